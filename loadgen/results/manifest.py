"""The manifest: metadata of an output directory, written before the first request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loadgen.interfaces import Identity

# Of the whole output directory. 1 (2026-11): initial; 2 (2026-11): field names as in guide/09-output-files.md.
FORMAT = 2


@dataclass(frozen=True, slots=True)
class Manifest:
    """Metadata of an output directory.

    Args:
        run_id: unique id; part of every resource name and tag.
        created: ISO 8601, UTC.
        scenario: file name of the scenario, or a name for an embedded one.
        title: first line of the scenario's docstring.
        kind: `ServerlessBenchmark` or `Scenario`.
        settings: fields of the scenario as JSON values, without payloads.
        scenario_sha256: hash of the scenario file; empty if there is none.
        payloads: `count`, `bytes_mean`, `bytes_max` and `sha256` of the requests.
        seed: seed of the payload choice.
        identity: where the run was measured.
        versions: package -> version, with `python` and `platform`.
        command: command that repeats the run.
        format: version of the directory's format.
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
