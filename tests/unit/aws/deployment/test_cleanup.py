"""Cleanup: which resources of an account are attributed to a run, from its journal, from tags, or from both."""

from datetime import UTC, datetime, timedelta

import pytest

from loadgen.aws.deployment.cleanup import TaggedResource, select_expired, select_orphans
from loadgen.aws.deployment.names_and_tags import CREATED_TAG, EXPIRES_TAG, OWNER_TAG, RUN_TAG, tags
from loadgen.aws.deployment.resources import Existence, ResourceKind

NOW = datetime(2026, 11, 22, 20, tzinfo=UTC)
ME = "arn:aws:iam::123456789012:user/me"
ROLE = "arn:aws:sts::123456789012:assumed-role/bench/"


def tagged_resource(name="loadgen-x", *, kind=ResourceKind.ENDPOINT, created=NOW, run="r", owner=ME, made=NOW, **more):
    return TaggedResource(kind, name, created, dict(tags(run_id=run, owner=owner, created=made)) | more)


def names(found):
    return [(str(f.kind), f.name) for f in found]


@pytest.mark.parametrize(
    ("tagged", "is_ours"),
    [
        (tagged_resource(), True),
        (tagged_resource(created=NOW + timedelta(minutes=30)), True),  # its Create was repeated for half an hour
        (tagged_resource(run="another"), False),
        (tagged_resource(owner="arn:aws:iam::123456789012:user/you"), False),
        (tagged_resource(created=NOW - timedelta(hours=2)), False),  # older than its tag: the tag was copied
        (tagged_resource(created=NOW + timedelta(hours=2)), False),  # younger than its tag
        (tagged_resource(**{CREATED_TAG: "yesterday"}), False),
        (tagged_resource(**{CREATED_TAG: "2026-11-22T20:00:00"}), False),  # of no time zone
        (TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, None), False),
        (TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, {}), False),
        (TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, {RUN_TAG: "r"}), False),
    ],
)
def test_by_tags_alone_run_owner_and_time_must_agree(tagged, is_ours):
    """By tags alone, a resource is deleted only if run, owner and creation time all agree (G15)."""
    found, skipped = select_orphans({}, [tagged], run_id="r", owner=ME)
    assert (names(found), skipped) == ([("endpoint", "loadgen-x")] if is_ours else [], [])


def test_an_assumed_role_is_the_same_owner_in_another_session():
    """The session name of an assumed role changes with each login and is ignored; another role is another owner."""
    mine = tagged_resource(owner=ROLE + "monday")
    assert names(select_orphans({}, [mine], run_id="r", owner=ROLE + "tuesday")[0])
    assert not select_orphans({}, [mine], run_id="r", owner=ROLE.replace("bench", "other") + "monday")[0]
    assert not select_orphans({}, [mine], run_id="r", owner="")[0]


def test_an_empty_run_id_matches_nothing():
    """An empty run id matches no tag, not even an empty one."""
    assert select_orphans({}, [tagged_resource(run="")], run_id="", owner=ME) == ([], [])


@pytest.mark.parametrize(
    ("tagged", "found", "skipped"),
    [
        ([], True, False),  # deleted, or not visible yet: its deletion decides
        (
            [TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, None)],
            True,
            False,
        ),  # tags cannot be read: the journal is enough
        ([tagged_resource()], True, False),
        ([tagged_resource(run="another")], False, True),  # another run has the name
        ([TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, {})], False, True),
    ],
)
def test_a_journaled_resource_tagged_with_another_run_is_skipped(tagged, found, skipped):
    """A journaled resource is deleted, unless its tags name another run (C51)."""
    journaled = {(ResourceKind.ENDPOINT, "loadgen-x"): Existence.UNCERTAIN}
    got, got_skipped = select_orphans(journaled, tagged, run_id="r", owner=ME)
    assert (bool(got), bool(got_skipped)) == (found, skipped)


def test_journal_and_tags_are_merged_and_endpoints_come_first():
    """A resource in journal, tags or both is deleted once; endpoints before their configurations."""
    journaled = {
        (ResourceKind.CONFIG, "loadgen-a"): Existence.CREATED,
        (ResourceKind.ENDPOINT, "loadgen-a"): Existence.UNCERTAIN,
    }
    tagged = [
        tagged_resource("loadgen-b", kind=ResourceKind.CONFIG),
        tagged_resource("loadgen-b"),
        tagged_resource("loadgen-a"),
    ]
    found, _ = select_orphans(journaled, tagged, run_id="r", owner=ME)
    assert names(found) == [
        ("endpoint", "loadgen-a"),
        ("endpoint", "loadgen-b"),
        ("endpoint-config", "loadgen-a"),
        ("endpoint-config", "loadgen-b"),
    ]
    assert found[0].existence is Existence.OBSERVED


def test_a_resource_expires_a_day_after_its_creation():
    """The expiry tag is one day after the creation; a resource without the tag never expires."""
    assert tagged_resource().tags[EXPIRES_TAG] == "2026-11-23T20:00:00+00:00"
    assert not tagged_resource().is_expired(NOW + timedelta(hours=23))
    assert tagged_resource().is_expired(NOW + timedelta(hours=25))
    assert not TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, {OWNER_TAG: ME}).is_expired(
        NOW + timedelta(days=900)
    )


def test_any_owner_is_accepted_on_request():
    """A Processing job creates endpoints under its own role, so its submitter accepts any owner; run and time must agree."""
    theirs = tagged_resource(owner="arn:aws:sts::123456789012:assumed-role/job/SageMaker")
    assert not select_orphans({}, [theirs], run_id="r", owner=ME)[0]
    assert names(select_orphans({}, [theirs], run_id="r", owner=None)[0]) == [("endpoint", "loadgen-x")]
    assert not select_orphans({}, [tagged_resource(run="another")], run_id="r", owner=None)[0]
    assert not select_orphans({}, [tagged_resource(created=NOW + timedelta(hours=2))], run_id="r", owner=None)[0]


def test_without_a_run_only_expired_resources_are_selected():
    """Resources of the caller's runs are deleted once expired; younger ones are counted by run and skipped."""
    tagged = [
        tagged_resource("loadgen-a"),
        tagged_resource("loadgen-b", run="other"),
        tagged_resource("loadgen-c", owner="x"),
    ]
    young = select_expired(tagged, owner=ME, now=NOW + timedelta(hours=23))
    assert young.orphans == []
    assert young.skipped == [
        "1 resources of run r: it may still be running (loadgen cleanup r)",
        "1 resources of run other: it may still be running (loadgen cleanup other)",
    ]
    old = select_expired(tagged, owner=ME, now=NOW + timedelta(hours=25))
    assert (names(old.orphans), old.skipped) == ([("endpoint", "loadgen-a"), ("endpoint", "loadgen-b")], [])
