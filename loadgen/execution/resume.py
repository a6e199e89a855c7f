"""Resume: whether a saved run may be continued, and by which scenario."""

from pathlib import Path

from loadgen.aws.deployment.journal import JOURNAL_FILE, read_journal
from loadgen.errors import ConfigError, LoadgenError, OutputError
from loadgen.liveness import HEARTBEAT_TIMEOUT, LastSign, Liveness, assess_liveness
from loadgen.results.manifest import Manifest
from loadgen.results.serialization import to_json


def check_interrupted(directory: Path) -> None:
    """Check that no process continues the run of a directory whose lock is free.

    The lock may have been removed by hand, or by a process that could not see its owner.

    Raises:
        OutputError: the last process of its journal runs, or has a recent heartbeat.
    """
    path = directory / JOURNAL_FILE
    try:
        state = read_journal(path)
    except LoadgenError:
        return  # reported where the journal is needed
    sign = LastSign.read(path, others=state.last_entry)
    if assess_liveness(state.process, sign) is Liveness.RUNNING:
        raise OutputError(
            f"{directory} is in use by {state.process}: {state.process.invisibility or 'it runs'}, and {sign}",
            hint="stop that process, or wait until its heartbeat is older than "
            f"{HEARTBEAT_TIMEOUT / 60:g} min if it was killed",
        )


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
