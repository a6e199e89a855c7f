"""The identity of a run: its id, its output directory, and the manifest that describes it."""

import hashlib
import platform
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loadgen.errors import DataError
from loadgen.interfaces import Identity
from loadgen.results.manifest import Manifest
from loadgen.results.serialization import to_json
from loadgen.scenario.loader import LoadedScenario
from loadgen.workload.request import Request

# The packages whose versions can change a result.
_PACKAGES = (
    "loadgen",
    "aioboto3",
    "aiobotocore",
    "aiohttp",
    "botocore",
    "hdrhistogram",
    "httptools",
    "numpy",
    "uvloop",
)
# Fields of every scenario that a report needs, and `target`.
_COMMON_FIELDS = ("target", "seed", "timeout", "together", "objective", "instance", "slos", "failure_share_limit")


@dataclass(frozen=True, slots=True)
class RunContext:
    """A run that is about to start.

    Args:
        loaded: the scenario and its file.
        command: the command line that repeats the run.
        run_id: unique; starts with the time, so that names sort by time.
        created: the start, in UTC.
    """

    loaded: LoadedScenario
    command: str
    run_id: str
    created: datetime

    @classmethod
    def create(cls, loaded: LoadedScenario, *, command: str, run_id: str = "") -> "RunContext":
        """Return the context of a run that starts now; an empty `run_id` is replaced by a new one."""
        now = datetime.now(UTC)
        return cls(loaded, command, run_id or f"{now:%m%d%H%M%S}{secrets.token_hex(2)}", now)

    def default_out(self, parent: Path) -> Path:
        """Return a directory for the run below `parent`; its name contains the run's time and id."""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.loaded.name).strip("-") or "scenario"
        return parent / f"{self.created:%Y%m%d-%H%M%S}-{slug[:40]}-{self.run_id[-4:]}"

    def make_manifest(self, identity: Identity) -> Manifest:
        """Return the run's manifest, given the account that the scenario has opened."""
        scenario = self.loaded.scenario
        return Manifest(
            run_id=self.run_id,
            created=self.created.isoformat(timespec="seconds"),
            scenario=self.loaded.path.name if self.loaded.sha256 else self.loaded.name,
            title=self.loaded.title,
            kind=type(scenario).__name__,
            settings=_settings(scenario),
            scenario_sha256=self.loaded.sha256,
            payloads=describe_payloads(scenario.requests),
            seed=scenario.seed,
            identity=identity,
            versions=_versions(),
            command=self.command,
        )


def _settings(scenario: Any) -> dict[str, Any]:
    """Return the scenario's fields without the payloads; a value that cannot be saved becomes its repr.

    Of a scenario that is no dataclass: what every scenario has, since the report reads SLOs and limits from here.
    """
    names = [f.name for f in fields(scenario)] if is_dataclass(scenario) else _COMMON_FIELDS
    values = {name: getattr(scenario, name) for name in names if hasattr(scenario, name)}
    settings: dict[str, Any] = {}
    for name, value in values.items():
        if name == "requests":
            continue
        try:
            to_json(value)
            settings[name] = tuple(value) if isinstance(value, list) else value
        except DataError:
            settings[name] = repr(value)
    return settings


def describe_payloads(requests: Sequence[Request]) -> dict[str, Any]:
    """Return count, sizes and a hash of requests; two runs with equal hashes chose from the same payloads."""
    digest = hashlib.sha256()
    for request in requests:
        for name, value in request.arguments().items():
            content = value if isinstance(value, bytes) else str(value).encode()
            digest.update(f"{name}:{len(content)}:".encode() + content)
    sizes = [len(request.body) for request in requests]
    return {
        "count": len(sizes),
        "bytes_mean": sum(sizes) / len(sizes),
        "bytes_max": max(sizes),
        "sha256": digest.hexdigest(),
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
