"""Logs: what we and the AWS SDK log, shown when somebody asks for it with --debug, without secrets.

Of the SDK's debug records those that hold whole requests or answers are not shown at all: no pattern finds every
customer's data.
"""

import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from loadgen.redaction import redact

_LOGGERS = ("loadgen", "botocore", "aiobotocore", "aiohttp", "asyncio")
# Whose debug records say what was decided, and never what was sent.
_SAFE_DEBUG_LOGGERS = ("loadgen", "asyncio", "botocore.credentials", "botocore.configprovider", "botocore.regions")


class RedactingFilter(logging.Filter):
    """Lets no record pass that holds a request or an answer, and takes credentials out of the rest."""

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a record in place; False keeps it back."""
        if record.levelno < logging.WARNING and not record.name.startswith(_SAFE_DEBUG_LOGGERS):
            return False
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info))
        record.msg, record.args = redact(text, self._secrets), ()
        record.exc_info = record.exc_text = None
        return True


@contextmanager
def debug_logging(stream: IO[str], secrets: Sequence[str]) -> Iterator[None]:
    """Show what we and the AWS SDK log while the context lasts, without secrets; the root logger is left alone."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    handler.addFilter(RedactingFilter(secrets))
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, level, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
