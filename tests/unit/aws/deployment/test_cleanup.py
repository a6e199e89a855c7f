"""Cleanup: which resources of an account are attributed to a run, from its journal, from tags, or from both."""

from datetime import UTC, datetime, timedelta

import pytest

from loadgen.aws.deployment.attribution import Attribution, TaggedResource, select_expired, select_orphans
from loadgen.aws.deployment.journal import JournalState, ResourceLocation
from loadgen.aws.deployment.names_and_tags import CREATED_TAG, EXPIRES_TAG, OWNER_TAG, RUN_TAG, tags
from loadgen.aws.deployment.resources import Existence, ResourceKind
from loadgen.process_identity import ProcessIdentity

NOW = datetime(2026, 11, 22, 20, tzinfo=UTC)
ME = "arn:aws:iam::123456789012:user/me"
YOU = "arn:aws:iam::123456789012:user/you"
ROLE = "arn:aws:sts::123456789012:assumed-role/bench/"


def tagged_resource(name="loadgen-x", *, kind=ResourceKind.ENDPOINT, created=NOW, run="r", owner=ME, made=NOW, **more):
    return TaggedResource(kind, name, created, dict(tags(run_id=run, owner=owner, created=made)) | more)


def journal(*resources, owner=ME, intended=NOW):
    return JournalState(
        "r",
        ResourceLocation("aws", "123456789012", "us-east-1", owner=owner),
        ProcessIdentity.current(),
        resources=dict.fromkeys(resources, Existence.UNCERTAIN),
        intended={resource: intended.timestamp() for resource in resources},
    )


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
    found, skipped = select_orphans([tagged], run_id="r", attribution=Attribution(ME))
    assert names(found) == ([("endpoint", "loadgen-x")] if is_ours else [])
    # What is tagged with the run, but does not agree, is listed with the reason.
    assert len(skipped) == (not is_ours and tagged.is_tagged_with("r"))


def test_an_assumed_role_is_the_same_owner_in_another_session():
    """The session name of an assumed role changes with each login and is ignored; another role is another owner."""
    mine = tagged_resource(owner=ROLE + "monday")
    assert names(select_orphans([mine], run_id="r", attribution=Attribution(ROLE + "tuesday"))[0])
    assert not select_orphans([mine], run_id="r", attribution=Attribution(ROLE.replace("bench", "other") + "monday"))[0]
    assert not select_orphans([mine], run_id="r", attribution=Attribution(""))[0]


def test_an_empty_run_id_matches_nothing():
    """An empty run id matches no tag, not even an empty one."""
    assert select_orphans([tagged_resource(run="")], run_id="", attribution=Attribution(ME)) == ([], [])


@pytest.mark.parametrize(
    ("existing", "caller", "entry", "reason"),
    [
        (tagged_resource(), ME, {}, ""),
        (tagged_resource(run="another"), ME, {}, "name another, not this run"),
        (tagged_resource("prod-ranker"), ME, {}, "does not start with loadgen-"),
        (TaggedResource(ResourceKind.ENDPOINT, "prod-ranker", NOW, {}), ME, {}, "does not start with loadgen-"),
        (TaggedResource(ResourceKind.ENDPOINT, "loadgen-x", NOW, {}), ME, {}, "name no run"),
        (tagged_resource(), YOU, {}, "the caller is " + YOU),
        (tagged_resource(owner=YOU), YOU, {}, "its owner is " + YOU),  # the journal names another owner
        (tagged_resource(), ME, {"owner": YOU}, "its owner is " + ME),
        (tagged_resource(), ME, {"intended": NOW - timedelta(hours=2)}, "not when the journal announced it"),
        (tagged_resource(), ME, {"intended": datetime.fromtimestamp(0, UTC)}, "not when the journal announced it"),
        (tagged_resource(made=NOW - timedelta(hours=9)), ME, {}, "not the time in its tags"),
        (tagged_resource(owner=""), "", {"owner": ""}, ""),  # a custom endpoint without STS
    ],
)
def test_a_journaled_resource_must_agree_with_journal_and_tags(existing, caller, entry, reason):
    """A journal alone proves nothing: prefix, run, owner and creation time must agree, or the resource is listed with the reason."""
    attribution = Attribution(caller, journal((existing.kind, existing.name), **entry), "us-east-1")
    found, skipped = select_orphans([existing], run_id="r", attribution=attribution)
    assert names(found) == ([] if reason else [("endpoint", existing.name)])
    assert [reason in line for line in skipped] == ([True] if reason else [])


@pytest.mark.parametrize(
    ("name", "is_journaled", "caller", "created", "is_found", "is_listed"),
    [
        ("loadgen-r-1024-8-ab12", True, ME, NOW, True, False),
        ("loadgen-r-1024-8-ab12", False, ME, NOW, False, True),  # no journal names it
        ("loadgen-r-1024-8-ab12", True, YOU, NOW, False, True),
        ("loadgen-r-1024-8-ab12", True, ME, NOW + timedelta(hours=2), False, True),
        ("loadgen-other-1024-8-ab12", True, ME, NOW, False, True),
        ("loadgen-r-other-1024-8-ab12", True, ME, NOW, False, True),
        ("prod-ranker", True, ME, NOW, False, True),
        ("loadgen-other-1024-8-ab12", False, ME, NOW, False, False),
    ],
)
def test_without_readable_tags_journal_name_and_time_must_agree(
    name, is_journaled, caller, created, is_found, is_listed
):
    """If ListTags is denied, a resource is deleted only if a journal names it, its name contains the run id, and owner and time agree."""
    existing = TaggedResource(ResourceKind.ENDPOINT, name, created, None)
    attribution = Attribution(caller, journal(*[(ResourceKind.ENDPOINT, name)] * is_journaled))
    found, skipped = select_orphans([existing], run_id="r", attribution=attribution)
    assert (bool(found), bool(skipped)) == (is_found, is_listed)


def test_another_owner_is_named_with_the_command():
    """What another principal's run left is named with both owners and the command that deletes it."""
    attribution = Attribution(YOU, None, "eu-west-1")
    _, (line,) = select_orphans([tagged_resource()], run_id="r", attribution=attribution)
    assert line == (
        f"endpoint loadgen-x (billable) of run r: its owner is {ME}, the caller is {YOU}; clean up as its owner, or: "
        "aws sagemaker delete-endpoint --endpoint-name loadgen-x --region eu-west-1"
    )


def test_journal_and_tags_are_merged_and_endpoints_come_first():
    """A resource in journal, tags or both is deleted once; endpoints before their configurations."""
    journaled = journal((ResourceKind.CONFIG, "loadgen-a"), (ResourceKind.ENDPOINT, "loadgen-a"))
    tagged = [
        tagged_resource("loadgen-b", kind=ResourceKind.CONFIG),
        tagged_resource("loadgen-b"),
        tagged_resource("loadgen-a"),
        tagged_resource("loadgen-a", kind=ResourceKind.CONFIG),
    ]
    found, _ = select_orphans(tagged, run_id="r", attribution=Attribution(ME, journaled))
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
    assert not select_orphans([theirs], run_id="r", attribution=Attribution(ME))[0]
    assert names(select_orphans([theirs], run_id="r", attribution=Attribution(None))[0]) == [("endpoint", "loadgen-x")]
    assert not select_orphans([tagged_resource(run="another")], run_id="r", attribution=Attribution(None))[0]
    assert not select_orphans(
        [tagged_resource(created=NOW + timedelta(hours=2))], run_id="r", attribution=Attribution(None)
    )[0]


def test_without_a_run_only_expired_resources_are_selected():
    """Resources of the caller's runs are deleted once expired; younger ones are counted by run and skipped."""
    tagged = [
        tagged_resource("loadgen-a"),
        tagged_resource("loadgen-b", run="other"),
        tagged_resource("loadgen-c", owner="x"),
    ]
    young = select_expired(tagged, attribution=Attribution(ME), now=NOW + timedelta(hours=23))
    assert young[0] == []
    assert young[1] == [
        f"1 resource of run {run}, which may still be running, until 2026-11-23 20:00:00+00:00; "
        f"if it has ended: python -m loadgen cleanup {run}"
        for run in ("r", "other")
    ]
    old = select_expired(tagged, attribution=Attribution(ME), now=NOW + timedelta(hours=25))
    assert names(old[0]) == [("endpoint", "loadgen-a"), ("endpoint", "loadgen-b")]
    # What another owner left is billed too: it is named with its owner and the command.
    (line,) = old[1]
    assert line.startswith("endpoint loadgen-c (billable) of run r: its owner is x, the caller is ")
    two = [tagged_resource("loadgen-a"), tagged_resource("loadgen-b")]
    assert select_expired(two, attribution=Attribution(ME), now=NOW)[1][0].startswith("2 resources of run r, ")
