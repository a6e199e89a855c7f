"""The command `cleanup`: deletes what a run left and nothing else."""

from datetime import UTC, datetime, timedelta

from loadgen.aws.deployment.names_and_tags import EXPIRES_TAG, tags


def test_cleanup_lists_and_asks_before_it_deletes(run_in_sandbox):
    """Without --yes and a terminal nothing is deleted (exit 101); a running run is refused (78); --dry-run deletes nothing."""
    import signal

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
