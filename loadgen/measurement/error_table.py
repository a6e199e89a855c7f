"""ErrorTable: numbers the distinct errors of a run, and stays small whatever a service puts into codes and messages.

Rule: one row for each outcome, code, container status and folded message. A row keeps its first text. At most 20
messages of a code and 1,000 rows are kept; errors beyond share one row of their code, or of their outcome.
"""

import re
from collections import Counter
from collections.abc import Callable

from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import ErrorCode
from loadgen.redaction import redact_payload

MAX_MESSAGES = 20  # different messages of one error code that are kept
MAX_ERRORS = 1000  # rows, apart from one for each outcome
MAX_CODE_CHARACTERS = 128
MAX_MESSAGE_CHARACTERS = 256
FURTHER_MESSAGES = "further messages, not kept"
FURTHER_CODES = "further codes, not kept"

# UUIDs; hexadecimal identifiers; a short one after "id"; any word with a digit. Possessive, so linear on any text.
_VARIABLE_PART = re.compile(
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{8,}+\b"
    r"|(?:(?<=\bid )|(?<=\bid=)|(?<=\bid:)|(?<=\bid: ))[0-9a-f]++\b|(?<!\w)[^\W\d]*+\d\w*+",
    re.IGNORECASE,
)

_Key = tuple[Outcome, str, int | None, str]


def fold_message(message: str) -> str:
    """Return the first 256 characters of a message without the numbers and identifiers that differ from call to call.

    Example:
        >>> fold_message("worker 17 died, request 5f0c2a9b-11aa-4c3d-9e00-0123456789ab")
        'worker # died, request #'
        >>> fold_message("no tensor of id a1b2 in batch3")
        'no tensor of id # in #'
    """
    return _VARIABLE_PART.sub("#", message[:MAX_MESSAGE_CHARACTERS])


class ErrorTable:
    """The distinct errors of one run. For one event loop; not thread-safe.

    Args:
        on_new: called with each new row, before its number is returned.
    """

    def __init__(self, on_new: Callable[[ErrorCode], None] | None = None) -> None:
        self._rows: dict[_Key, ErrorCode] = {}
        self._message_counts: Counter[tuple[Outcome, str]] = Counter()
        self._on_new = on_new

    @property
    def rows(self) -> tuple[ErrorCode, ...]:
        """The rows in the order of their numbers, which begin with 1."""
        return tuple(self._rows.values())

    def number(
        self,
        outcome: Outcome,
        code: str,
        status: int,
        message: str,
        *,
        body: bytes = b"",
        original_status: int | None = None,
        request_index: int = 0,
    ) -> int:
        """Return the number by which samples refer to this error, and keep its first text.

        Args:
            outcome: outcome of the request.
            code: the error code; truncated to 128 characters.
            status: HTTP status, or 0.
            message: the error's message; truncated to 256 characters.
            body: the request's body; parts of it are removed from the message.
            original_status: the model container's status; None if there is none.
            request_index: which of the scenario's requests met the error.
        """
        code = code[:MAX_CODE_CHARACTERS]
        key: _Key = (outcome, code, original_status, fold_message(message))
        known = self._rows.get(key)
        if known is not None:
            return known.number
        if self._message_counts[outcome, code] >= MAX_MESSAGES:
            key, message, original_status = (outcome, code, None, FURTHER_MESSAGES), FURTHER_MESSAGES, None
        elif len(self._rows) >= MAX_ERRORS:
            key = (outcome, FURTHER_CODES, None, FURTHER_MESSAGES)
            code, status, message, original_status = FURTHER_CODES, 0, FURTHER_MESSAGES, None
        else:
            self._message_counts[outcome, code] += 1
        known = self._rows.get(key)
        if known is None:
            text = redact_payload(message, body)[:MAX_MESSAGE_CHARACTERS]
            known = ErrorCode(len(self._rows) + 1, outcome, code, status, text, original_status, request_index)
            self._rows[key] = known
            if self._on_new is not None:
                self._on_new(known)
        return known.number

    def add(self, error: ErrorCode) -> int:
        """Return the number of a row of another table in this one."""
        return self.number(
            error.outcome,
            error.code,
            error.status,
            error.message,
            original_status=error.original_status,
            request_index=error.request_index,
        )
