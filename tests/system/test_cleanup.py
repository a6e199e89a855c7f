"""Cleanup removes what a run left and nothing else, from the journal, from tags, or from both."""

from datetime import UTC, datetime, timedelta

import pytest

from loadgen.aws.deployment.cleanup import TaggedResource, select_orphans
from loadgen.aws.deployment.journal import ResourceLocation
from loadgen.aws.deployment.naming import CREATED_TAG, EXPIRES_TAG, OWNER_TAG, RUN_TAG, tags
from loadgen.aws.deployment.resources import Existence, ResourceKind
from loadgen.aws.deployment.run_registry import (
    RegisteredRun,
    list_dead_runs,
    list_runs,
    register_run,
    state_directory,
    unregister_run,
)
from loadgen.process_identity import ProcessIdentity

NOW = datetime(2026, 11, 22, 20, tzinfo=UTC)
ME = "arn:aws:iam::123456789012:user/me"
ROLE = "arn:aws:sts::123456789012:assumed-role/bench/"


def thing(name="loadgen-x", *, kind=ResourceKind.ENDPOINT, created=NOW, run="r", owner=ME, made=NOW, **more):
    return TaggedResource(kind, name, created, dict(tags(run_id=run, owner=owner, created=made)) | more)


def names(found):
    return [(str(f.kind), f.name) for f in found]


@pytest.mark.parametrize(
    ("tagged", "is_ours"),
    [
        (thing(), True),
        (thing(created=NOW + timedelta(minutes=30)), True),  # its Create was repeated for half an hour
        (thing(run="another"), False),
        (thing(owner="arn:aws:iam::123456789012:user/you"), False),
        (thing(created=NOW - timedelta(hours=2)), False),  # older than its tag: the tag was copied
        (thing(created=NOW + timedelta(hours=2)), False),  # younger: likewise
        (thing(**{CREATED_TAG: "yesterday"}), False),
        (thing(**{CREATED_TAG: "2026-11-22T20:00:00"}), False),  # of no time zone
        (TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, None), False),
        (TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, {}), False),
        (TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, {RUN_TAG: "r"}), False),
    ],
)
def test_by_tags_alone_only_what_agrees_in_everything_is_ours(tagged, is_ours):
    """G15: run, owner and time of creation must all agree; one that does not is a bystander."""
    found, spared = select_orphans({}, [tagged], run_id="r", owner=ME)
    assert (names(found), spared) == ([("endpoint", "loadgen-x")] if is_ours else [], [])


def test_an_assumed_role_is_the_same_owner_in_another_session():
    """The last part of the ARN changes with each login; another role, or the account alone, is another owner."""
    mine = thing(owner=ROLE + "monday")
    assert names(select_orphans({}, [mine], run_id="r", owner=ROLE + "tuesday")[0])
    assert not select_orphans({}, [mine], run_id="r", owner=ROLE.replace("bench", "other") + "monday")[0]
    assert not select_orphans({}, [mine], run_id="r", owner="")[0]


def test_without_an_owner_run_and_time_must_agree():
    """With owner=None, as for a Processing job, a resource of any owner is selected when run and time agree."""
    resources = [thing(owner="arn:aws:sts::1:assumed-role/job/x"), thing("loadgen-y", run="another")]
    resources.append(thing("loadgen-z", created=NOW + timedelta(hours=2)))
    assert names(select_orphans({}, resources, run_id="r", owner=None)[0]) == [("endpoint", "loadgen-x")]


def test_nothing_is_ours_without_a_run():
    """An empty run id matches no tag, not even an empty one."""
    assert select_orphans({}, [thing(run="")], run_id="", owner=ME) == ([], [])


@pytest.mark.parametrize(
    ("tagged", "found", "spared"),
    [
        ([], True, False),  # not there, or not visible yet: its deletion will tell
        (
            [TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, None)],
            True,
            False,
        ),  # tags denied: the journal is enough
        ([thing()], True, False),
        ([thing(run="another")], False, True),  # someone else has the name: it is left alone, and said
        ([TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, {})], False, True),
    ],
)
def test_by_the_journal_what_contradicts_it_is_left_alone(tagged, found, spared):
    """C51: what the journal names is removed, unless its tags say that it is another's."""
    standing = {(ResourceKind.ENDPOINT, "loadgen-x"): Existence.UNCERTAIN}
    got, left_alone = select_orphans(standing, tagged, run_id="r", owner=ME)
    assert (bool(got), bool(left_alone)) == (found, spared)


def test_both_records_are_joined_and_endpoints_come_first():
    """What either knows is removed once; endpoints before the configurations that they are made from."""
    standing = {
        (ResourceKind.CONFIG, "loadgen-a"): Existence.CREATED,
        (ResourceKind.ENDPOINT, "loadgen-a"): Existence.UNCERTAIN,
    }
    tagged = [thing("loadgen-b", kind=ResourceKind.CONFIG), thing("loadgen-b"), thing("loadgen-a")]
    found, _ = select_orphans(standing, tagged, run_id="r", owner=ME)
    assert names(found) == [
        ("endpoint", "loadgen-a"),
        ("endpoint", "loadgen-b"),
        ("endpoint-config", "loadgen-a"),
        ("endpoint-config", "loadgen-b"),
    ]
    assert found[0].existence is Existence.OBSERVED


def test_a_day_later_a_run_must_be_over():
    """The expiry tag is a day after the creation; nothing without it ever expires."""
    assert thing().tags[EXPIRES_TAG] == "2026-11-23T20:00:00+00:00"
    assert not thing().is_expired(NOW + timedelta(hours=23))
    assert thing().is_expired(NOW + timedelta(hours=25))
    assert not TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, {OWNER_TAG: ME}).is_expired(
        NOW + timedelta(days=900)
    )


def test_the_register_tells_of_dead_runs_only(tmp_path):
    """C120: a run that is alive is not told of, nor one whose emulator is gone; one that died is, until it is removed."""
    dead = ProcessIdentity(2**22 + 1, ProcessIdentity.current().host, "1 gone")
    aws = ResourceLocation("aws", "123456789012", "eu-west-1")
    runs = [
        RegisteredRun("alive", tmp_path / "a.jsonl", aws, ProcessIdentity.current()),
        RegisteredRun("dead", tmp_path / "d.jsonl", aws, dead),
        RegisteredRun(
            "rehearsed", tmp_path / "e.jsonl", ResourceLocation("emulator", "1", "x", "http://127.0.0.1:9"), dead
        ),
        RegisteredRun("far", tmp_path / "f.jsonl", aws, ProcessIdentity(1, "elsewhere")),
    ]
    for run in runs:
        assert register_run(tmp_path, run) == ""
    assert sorted(run.run_id for run in list_runs(tmp_path)) == ["alive", "dead", "far", "rehearsed"]
    assert list_dead_runs(tmp_path) == [runs[1]]
    assert sorted(run.run_id for run in list_runs(tmp_path)) == ["alive", "dead", "far"]
    unregister_run(tmp_path, "dead")
    assert list_dead_runs(tmp_path) == []


def test_a_register_that_cannot_be_kept_is_said_and_no_obstacle(tmp_path):
    """C09: a state directory that is a file: a sentence, and nothing else; garbage in it is passed over."""
    (tmp_path / "file").write_text("")
    run = RegisteredRun("r", tmp_path / "j", ResourceLocation("aws", "1", "x"), ProcessIdentity.current())
    assert "cannot write" in register_run(tmp_path / "file", run)
    assert list_runs(tmp_path / "file") == []
    (tmp_path / "unfinished").mkdir()
    for number, content in enumerate(("", "[]", "{}", '{"run": "../x", "process": {"pid": 1}}', "\0")):
        (tmp_path / "unfinished" / f"{number}.json").write_text(content)
    assert list_runs(tmp_path) == []


def test_where_state_is_kept_follows_the_environment(tmp_path):
    """C09: XDG_STATE_HOME when it is absolute, else under HOME, else nowhere."""
    home = str(tmp_path)
    assert state_directory({"XDG_STATE_HOME": home, "HOME": "/h"}) == tmp_path / "loadgen"
    assert state_directory({"XDG_STATE_HOME": "relative", "HOME": home}) == tmp_path / ".local" / "state" / "loadgen"
    assert state_directory({}) is None
    assert state_directory({"HOME": ""}) is None


def test_cleanup_asks_and_lists_before_it_removes(run_in_sandbox):
    """Without --yes and without a person nothing is removed, 101; a running run is refused, 78; --dry-run changes nothing."""
    import signal

    async def main(on):
        child = on.start(str(on.write_scenario(load="duration=60")), "--out", "out", "--quiet")
        await on.wait_until(lambda: on.arrivals() > 4)
        run_id = on.run_id()
        for named in (run_id, "out"):
            status, _, said = await on.run("cleanup", named, "--yes")
            assert (status, "is still running" in said) == (78, True), said
        child.signal(signal.SIGKILL)
        await on.finish(child)
        standing = on.existing_resources()
        assert len(standing) == 4
        status, _, said = await on.run("cleanup", run_id)
        assert (status, on.existing_resources()) == (101, standing)
        for name in standing:
            assert name.partition(" ")[2] in said
        status, _, _ = await on.run("cleanup", "out", "--dry-run")
        assert (status, on.existing_resources()) == (0, standing)
        # By another account's credentials nothing is looked for.
        journal = on.directory / "out" / "journal.jsonl"
        whole = journal.read_text()
        journal.write_text(whole.replace("123456789012", "999999999999"))
        status, _, said = await on.run("cleanup", "out", "--yes")
        assert (status, on.existing_resources()) == (77, standing), said
        journal.write_text(whole)
        on.fault("DeleteEndpoint", "error_before", times=1, status=400, code="AccessDeniedException", message="no")
        status, _, said = await on.run("cleanup", "out", "--yes")
        assert status == 101, said
        assert "could not be deleted" in said
        status, _, said = await on.run("cleanup", "out", "--yes")
        assert (status, on.existing_resources()) == (0, set()), said
        assert (await on.run("cleanup", run_id, "--yes"))[0] == 0
        assert (await on.run("cleanup", "no-such-directory-or-run", "--yes"))[0] == 0

    run_in_sandbox(main)


def test_cleanup_without_a_run_leaves_what_may_still_go_on(run_in_sandbox):
    """By tags, only what has expired is removed unasked-for; what is younger is named with its command."""

    async def main(on):
        day = datetime.now(UTC) - timedelta(days=2)
        arn = "arn:aws:iam::123456789012:user/emulated"
        on.create_unrelated_endpoint("loadgen-young", dict(tags(run_id="young", owner=arn, created=datetime.now(UTC))))
        status, _, said = await on.run("cleanup", "--yes")
        assert status == 0
        assert "young" in said
        assert on.deleted_unrelated_resources() == set()
        old = dict(tags(run_id="old", owner=arn, created=datetime.now(UTC))) | {EXPIRES_TAG: day.isoformat()}
        on.create_unrelated_endpoint("loadgen-old", old)
        status, _, said = await on.run("cleanup", "--yes")
        assert status == 0
        assert on.deleted_unrelated_resources() == {"endpoint loadgen-old", "config loadgen-old"}

    run_in_sandbox(main)
