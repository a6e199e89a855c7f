"""Verdict: may the numbers of a run be believed? The generator judges itself, before any number is shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One way in which a run fails to be trustworthy.

    Args:
        what: what is wrong, in words.
        figure: what was seen, with its unit.
        bound: what would have been accepted.
        advice: what to change.
    """

    what: str
    figure: str
    bound: str
    advice: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """VALID, or INVALID with reasons. Notes do not spoil a run but must be read with its numbers."""

    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_valid(self) -> bool:
        """True when nothing speaks against the numbers."""
        return not self.reasons

    def __str__(self) -> str:
        return "VALID" if self.is_valid else "INVALID"
