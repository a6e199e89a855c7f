"""How late an emulator answered: the difference between the instant at which a response was due and its sending.

An emulator that has too little CPU answers late, and its latencies are those of its own queue. It counts by how much.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The emulator counts the responses that were late by more than each of these milliseconds, under `answered_late_<N>ms`.
LATENESS_STEPS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True)
class AnswerLateness:
    """How late a target answered during a run, in seconds.

    Args:
        mean: mean over all answers.
        shares: (seconds, share of the answers that were later), ascending; empty if the target does not tell.
    """

    mean: float = 0.0
    shares: tuple[tuple[float, float], ...] = ()

    def values(self, count: int) -> NDArray[np.float64]:
        """Return the lateness of `count` answers, ascending, shape (count,).

        Each is the middle of its step; answers below the first step are taken as on time.

        Example:
            >>> AnswerLateness(0.002, ((0.001, 0.5), (0.005, 0.25))).values(4).tolist()
            [0.0, 0.0, 0.003, 0.005]
        """
        found = np.zeros(count)
        steps = [seconds for seconds, _ in self.shares]
        for (seconds, share), following in zip(self.shares, [*steps[1:], steps[-1] if steps else 0.0], strict=True):
            later = round(share * count)
            found[count - later :] = (seconds + following) / 2
        return found


def answer_lateness(server_counts: Mapping[str, int] | None) -> AnswerLateness:
    """Return the lateness of a run from the server-side counts; zero if the target does not tell."""
    counts = server_counts or {}
    answered = counts.get("answered_on_schedule", 0)
    if answered <= 0:
        return AnswerLateness()
    later = ((step / 1e3, counts.get(f"answered_late_{step}ms", 0) / answered) for step in LATENESS_STEPS_MS)
    return AnswerLateness(counts.get("answered_late_us", 0) / 1e6 / answered, tuple(later))
