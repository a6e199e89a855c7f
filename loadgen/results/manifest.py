"""Manifest: what was run, where, when and with what; written before the first request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loadgen.interfaces import Identity

# Of the whole output directory. 1 (2026-11): the first; 2 (2026-11): field names as in guide/09-output-files.md.
FORMAT = 2


@dataclass(frozen=True, slots=True)
class Manifest:
    """The circumstances of an output directory.

    Args:
        run_id: unique; part of every resource name and tag.
        created: ISO 8601, UTC.
        scenario: the file's name, or what stands for it when embedded.
        title: the first line of the scenario's docstring.
        kind: `ServerlessBenchmark` or `Scenario`.
        settings: the scenario's fields as plain JSON values; never a payload.
        scenario_sha256: of the file; empty without one.
        payloads: {"count", "bytes_mean", "bytes_max", "sha256"} of the requests.
        seed: of the choice of payloads.
        identity: where it ran.
        versions: package -> version, with python and the platform.
        command: what to type to run it again.
        format: of the directory.
    """

    run_id: str
    created: str
    scenario: str
    title: str
    kind: str
    settings: Mapping[str, Any]
    scenario_sha256: str
    payloads: Mapping[str, Any]
    seed: int
    identity: Identity
    versions: Mapping[str, str]
    command: str
    format: int = FORMAT
