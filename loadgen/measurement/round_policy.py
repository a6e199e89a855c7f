"""RoundPolicy: decides after each round which steps are measured further. Pure; the plan executor carries it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.block import Block
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredStep:
    """A step with what has been measured of it so far.

    Args:
        step: the step.
        samples: all its requests so far, dtype SAMPLE, in the order of completion; instants on the run's clock.
        blocks: its blocks so far, with their counts.
        region: AWS region of its endpoint.
        stop_reason: why it is not measured further, as in Run; empty while it is.
    """

    step: Step
    samples: NDArray[np.void]
    blocks: tuple[Block, ...]
    region: str = ""
    stop_reason: str = ""

    @property
    def is_open(self) -> bool:
        """True while the step is measured further."""
        return not self.stop_reason


class RoundPolicy(Protocol):
    """Ends steps early. Called between two rounds, while no request is in flight."""

    def steps_to_end(self, measured: Sequence[MeasuredStep]) -> Mapping[int, str]:
        """Return the steps that are not measured further, each with the reason.

        Args:
            measured: every step of the plan's batch that was deployed, in the order of the plan. Steps that have ended
                or were measured before the run was resumed are included, so that the others can be compared with them.
                When the quotas split the batch into waves, the steps of later waves are missing.

        Returns:
            Index in `measured` -> human-readable reason, for steps that are open; empty to go on with all of them.
            Such a step ends with the stop reason `decided`, and the reason becomes its run's `stop_detail`.
        """
        ...
