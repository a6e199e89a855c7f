"""Resume: which saved run may be continued by which scenario."""

from pathlib import Path

from loadgen.errors import ConfigError
from loadgen.results.manifest import Manifest
from loadgen.results.serialization import to_json


def check_resumable(saved: Manifest, current: Manifest, path: Path) -> None:
    """Check that a saved run can be continued by the current scenario, payloads, settings and target.

    Raises:
        ConfigError: one of these differs; the details hold both values.
    """
    pairs = {
        "scenario file": (saved.scenario_sha256, current.scenario_sha256),
        "payloads": (saved.payloads.get("sha256"), current.payloads.get("sha256")),
        "scenario class": (saved.kind, current.kind),
        "settings": (to_json(saved.settings), to_json(current.settings)),
        "seed": (saved.seed, current.seed),
        "target": tuple((m.identity.kind, m.identity.account_id, m.identity.region) for m in (saved, current)),
    }
    for name, (before, after) in pairs.items():
        if before != after:
            raise ConfigError(
                f"{path} was made with another {name}",
                hint="resume with the same, or start a new run with another --out",
                details=(f"saved:   {before}", f"current: {after}"),
            )
