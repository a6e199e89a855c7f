"""The command `cleanup`: deletes what a run left and nothing else."""

import json
import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from loadgen.aws.deployment.names_and_tags import EXPIRES_TAG, tags
from tests.support.sandbox import OTHER_OWNER_ARN, OWNER_ARN


def test_cleanup_lists_and_asks_before_it_deletes(run_in_sandbox):
    """Without --yes and a terminal nothing is deleted (exit 101); a running run is refused (78); --dry-run deletes nothing."""

    async def main(sandbox):
        child = sandbox.start(str(sandbox.write_scenario(load="duration=60")), "--out", "out", "--quiet")
        await sandbox.wait_until(lambda: sandbox.arrivals() > 4)
        run_id = sandbox.run_id()
        for named in (run_id, "out"):
            status, _, stderr = await sandbox.run("cleanup", named, "--yes")
            assert (status, "is still running" in stderr) == (78, True), stderr
        child.signal(signal.SIGKILL)
        await sandbox.finish(child)
        remaining = sandbox.existing_resources()
        assert len(remaining) == 4
        status, _, stderr = await sandbox.run("cleanup", run_id)
        assert (status, sandbox.existing_resources()) == (101, remaining)
        for name in remaining:
            assert name.partition(" ")[2] in stderr
        status, _, _ = await sandbox.run("cleanup", "out", "--dry-run")
        assert (status, sandbox.existing_resources()) == (0, remaining)
        # With another account's credentials nothing is searched.
        journal = sandbox.directory / "out" / "journal.jsonl"
        whole = journal.read_text()
        journal.write_text(whole.replace("123456789012", "999999999999"))
        status, _, stderr = await sandbox.run("cleanup", "out", "--yes")
        assert (status, sandbox.existing_resources()) == (77, remaining), stderr
        journal.write_text(whole)
        sandbox.fault("DeleteEndpoint", "error_before", times=1, status=400, code="AccessDeniedException", message="no")
        status, _, stderr = await sandbox.run("cleanup", "out", "--yes")
        assert status == 101, stderr
        assert "could not be deleted" in stderr
        status, _, stderr = await sandbox.run("cleanup", "out", "--yes")
        assert (status, sandbox.existing_resources()) == (0, set()), stderr
        assert (await sandbox.run("cleanup", run_id, "--yes"))[0] == 0
        assert (await sandbox.run("cleanup", "no-such-directory-or-run", "--yes"))[0] == 0

    run_in_sandbox(main)


def test_cleanup_without_a_run_skips_runs_that_may_be_running(run_in_sandbox):
    """Without a run id only expired resources are deleted; younger ones are listed with the command that deletes them."""

    async def main(sandbox):
        day = datetime.now(UTC) - timedelta(days=2)
        arn = "arn:aws:iam::123456789012:user/emulated"
        sandbox.create_unrelated_endpoint(
            "loadgen-young", dict(tags(run_id="young", owner=arn, created=datetime.now(UTC)))
        )
        status, _, stderr = await sandbox.run("cleanup", "--yes")
        assert status == 0
        assert "young" in stderr
        assert sandbox.deleted_unrelated_resources() == set()
        old = dict(tags(run_id="old", owner=arn, created=datetime.now(UTC))) | {EXPIRES_TAG: day.isoformat()}
        sandbox.create_unrelated_endpoint("loadgen-old", old)
        status, _, stderr = await sandbox.run("cleanup", "--yes")
        assert status == 0
        assert sandbox.deleted_unrelated_resources() == {"endpoint loadgen-old", "config loadgen-old"}

    run_in_sandbox(main)


async def kill_run(sandbox, *, sizes=(1024,), load="duration=60"):
    """Start a run, kill it under load, and return its id."""
    child = sandbox.start(str(sandbox.write_scenario(load=load, sizes=sizes)), "--out", "out", "--quiet")
    await sandbox.wait_until(lambda: sandbox.arrivals() > 4)
    child.signal(signal.SIGKILL)
    await sandbox.finish(child)
    return sandbox.run_id()


def rewrite_journal(sandbox, change):
    """Apply a change to every entry of the journal."""
    path = sandbox.directory / "out" / "journal.jsonl"
    lines = path.read_bytes().partition(b"\0")[0].splitlines()
    path.write_text("".join(json.dumps(change(json.loads(line))) + "\n" for line in lines))


@pytest.mark.parametrize("name", ["prod-ranker", "loadgen-foreign-1024-2-ab12cd34ef"])
@pytest.mark.parametrize("is_denied", [False, True])
def test_a_journal_that_names_a_foreign_endpoint_deletes_nothing(run_in_sandbox, name, is_denied):
    """An endpoint that is only named in a journal is left alone and listed with the reason (101), ListTags denied or not; --resume too."""

    async def main(sandbox):
        await kill_run(sandbox)
        sandbox.create_unrelated_endpoint(name, {})
        before = sandbox.existing_resources()
        rewrite_journal(sandbox, lambda entry: entry | {"name": name} if "name" in entry else entry)
        sandbox.faults.is_denying_tags = is_denied
        status, _, stderr = await sandbox.run("cleanup", "out", "--yes")
        assert sandbox.deleted_unrelated_resources() == set(), stderr
        # Without its true name in the journal, the run's own endpoint is found by its tags.
        assert (status, sandbox.existing_resources()) == (101, before if is_denied else set()), stderr
        assert f"left alone: endpoint {name} (billable)" in stderr
        scenario = str(sandbox.write_scenario(load="duration=60", sizes=(1024,)))
        child = sandbox.start(scenario, "--resume", "out", "--quiet")
        arrivals = sandbox.arrivals()
        await sandbox.wait_until(lambda: sandbox.arrivals() > arrivals)
        child.signal(signal.SIGINT)
        await sandbox.finish(child)
        assert sandbox.deleted_unrelated_resources() == set()

    run_in_sandbox(main)


def test_a_resumed_run_that_leaves_something_behind_ends_with_101(run_in_sandbox):
    """What --resume may not delete is a cause of status 101 in result.json, as for any other run."""

    async def main(sandbox):
        await kill_run(sandbox, load="count=2000")
        name = "loadgen-foreign-1024-2-ab12cd34ef"
        sandbox.create_unrelated_endpoint(name, {})
        rewrite_journal(sandbox, lambda entry: entry | {"name": name} if "name" in entry else entry)
        status, _, err = await sandbox.run(str(sandbox.directory / "scenario.py"), "--resume", "out", "--quiet")
        assert (status, sandbox.deleted_unrelated_resources()) == (101, set()), err
        exit_record = sandbox.result()["exit"]
        assert exit_record["code"] == 101
        (cause,) = [cause for cause in exit_record["causes"] if cause["code"] == 101]
        assert cause["message"].startswith("the interrupted run may have left 2 resources: ")
        assert name in cause["message"]
        assert f"left alone: endpoint {name} (billable)" in err

    run_in_sandbox(main)


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"pid_namespace": "pid:[elsewhere]"}])
def test_a_run_that_cannot_be_seen_is_not_cleaned_up(run_in_sandbox, change):
    """A run of another host or PID namespace is refused while its heartbeat is recent (78); then --assume-ended its host deletes."""

    async def main(sandbox):
        run_id = await kill_run(sandbox)
        remaining = sandbox.existing_resources()

        def move(entry):
            return entry | {"process": entry["process"] | change} if "process" in entry else entry

        rewrite_journal(sandbox, move)
        registered = next((sandbox.directory / "state" / "loadgen" / "runs").iterdir())
        registered.write_text(json.dumps(move(json.loads(registered.read_text()))))
        lock = sandbox.directory / "out" / "loadgen.lock"
        lock.write_text(json.dumps(json.loads(lock.read_text()) | change))
        scenario = str(sandbox.directory / "scenario.py")
        host = json.loads(registered.read_text())["process"]["host"]
        for argv in (("out",), (run_id,), ("out", "--assume-ended", host)):
            status, _, stderr = await sandbox.run("cleanup", *argv, "--yes")
            assert (status, sandbox.existing_resources()) == (78, remaining), stderr
            assert "is still running" in stderr
        # Even without its lock it is not resumed.
        lock.rename(lock.with_suffix(".kept"))
        status, _, stderr = await sandbox.run(scenario, "--resume", "out")
        assert (status, sandbox.existing_resources()) == (73, remaining), stderr
        assert "heartbeat" in stderr
        lock.with_suffix(".kept").rename(lock)
        # Seven minutes later.
        rewrite_journal(sandbox, lambda entry: entry | {"time": entry["time"] - 420})
        for path in (registered, lock, sandbox.directory / "out" / "journal.jsonl"):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 420))
        for argv in (("out",), (run_id,), ("out", "--assume-ended", "another")):
            status, _, stderr = await sandbox.run("cleanup", *argv, "--yes")
            assert (status, sandbox.existing_resources()) == (78, remaining), stderr
            assert "cannot be seen from here" in stderr
            assert "its last heartbeat was 7 min ago" in stderr
        assert (await sandbox.run("cleanup", "--yes"))[0] == 0
        assert sandbox.existing_resources() == remaining
        status, _, stderr = await sandbox.run(scenario, "--resume", "out")
        assert (status, sandbox.existing_resources()) == (73, remaining), stderr
        status, _, stderr = await sandbox.run("cleanup", "out", "--yes", "--assume-ended", host)
        assert (status, sandbox.existing_resources()) == (0, set()), stderr

    run_in_sandbox(main)


def test_a_run_that_was_resumed_elsewhere_is_not_cleaned_up_here(run_in_sandbox):
    """The journal's last process counts too: this host's registry only knows the first one, which has ended (78)."""

    async def main(sandbox):
        run_id = await kill_run(sandbox)
        remaining = sandbox.existing_resources()
        path = sandbox.directory / "out" / "journal.jsonl"
        content = path.read_bytes().partition(b"\0")[0]
        opened = json.loads(content.splitlines()[0])
        resumed = opened | {"process": opened["process"] | {"host": "elsewhere"}}
        path.write_bytes(content + json.dumps(resumed).encode() + b"\n")
        status, _, stderr = await sandbox.run("cleanup", run_id, "--yes")
        assert (status, sandbox.existing_resources()) == (78, remaining), stderr
        assert "elsewhere" in stderr
        await sandbox.run("cleanup", "--yes")
        assert sandbox.existing_resources() == remaining

    run_in_sandbox(main)


def test_a_run_known_by_its_tags_only_must_have_expired(run_in_sandbox):
    """Without journal and registry, `--yes` does not delete what has not expired (78); --assume-ended RUN does."""

    async def main(sandbox):
        run_id = await kill_run(sandbox)
        remaining, elsewhere = sandbox.existing_resources(), {"XDG_STATE_HOME": str(sandbox.directory / "elsewhere")}
        status, _, stderr = await sandbox.run("cleanup", run_id, "--yes", **elsewhere)
        assert (status, sandbox.existing_resources()) == (78, remaining), stderr
        status, _, stderr = await sandbox.run("cleanup", run_id, "--yes", "--assume-ended", run_id, **elsewhere)
        assert (status, sandbox.existing_resources()) == (0, set()), stderr

    run_in_sandbox(main)


def test_what_another_principal_left_is_named(run_in_sandbox):
    """`cleanup RUN` leaves another owner's endpoint alone, names the owner and the command, and exits with 101; so does --dry-run."""

    async def main(sandbox):
        created = datetime.now(UTC)
        sandbox.create_unrelated_endpoint(
            "loadgen-theirs", dict(tags(run_id="theirs", owner=OTHER_OWNER_ARN, created=created))
        )
        for flag in ("--dry-run", "--yes"):
            status, _, stderr = await sandbox.run("cleanup", "theirs", flag)
            assert (status, sandbox.deleted_unrelated_resources()) == (101, set()), stderr
            for part in (OTHER_OWNER_ARN, OWNER_ARN, "aws sagemaker delete-endpoint --endpoint-name loadgen-theirs"):
                assert part in stderr

    run_in_sandbox(main)


@pytest.mark.parametrize("denied", ["ListEndpoints", "ListTags", "DescribeEndpoint"])
def test_what_cannot_be_read_is_not_called_clean(run_in_sandbox, denied):
    """If a read is denied, the missing permission is named; without a journal the status is 101, never "no resources left"."""

    async def main(sandbox):
        run_id = await kill_run(sandbox)
        remaining = sandbox.existing_resources()
        sandbox.fault(
            denied,
            "error_before",
            times=100,
            status=400,
            code="AccessDeniedException",
            message=f"User is not authorized to perform: sagemaker:{denied}",
        )
        elsewhere = {"XDG_STATE_HOME": str(sandbox.directory / "elsewhere")}
        argv = (run_id, "--yes", "--assume-ended", run_id)
        status, _, stderr = await sandbox.run("cleanup", *argv, **elsewhere)
        assert status == 101, stderr
        assert f"sagemaker:{denied}" in stderr
        assert "no resources left" not in stderr
        if denied != "ListEndpoints":
            assert remaining == sandbox.existing_resources()
        status, _, stderr = await sandbox.run("cleanup", "out", "--yes")
        # With the journal, name and time are enough without tags; without Describe nothing is.
        is_left = any(name.startswith("endpoint ") for name in sandbox.existing_resources())
        assert (status, is_left) == ((101, True) if denied == "DescribeEndpoint" else (0, False)), stderr

    run_in_sandbox(main)
