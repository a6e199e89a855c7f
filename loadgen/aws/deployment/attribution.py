"""Attribution: decide whether an existing resource belongs to a run. Pure; cleanup.py reads the account.

Rule: name prefix, run, owner and creation time must all agree, with the tags and with the run's journal if there is
one. A journal alone proves nothing: it can be damaged, or of another place. What does not agree is left alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loadgen.aws.deployment.journal import JournalState
from loadgen.aws.deployment.names_and_tags import (
    CREATED_TAG,
    EXPIRES_TAG,
    NAME_PREFIX,
    OWNER_TAG,
    RUN_TAG,
    is_name_of_run,
    tag_value,
)
from loadgen.aws.deployment.resources import Existence, ResourceKind, delete_command

# Tag and journal entry are made just before the Create, and a Create is retried for minutes at most.
_MAX_BEFORE, _MAX_AFTER = timedelta(minutes=15), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class OrphanedResource:
    """A resource that a run may have left.

    Args:
        kind: of the resource.
        name: unique in the account and region.
        run_id: the run that created it.
        existence: how much is known of it.
        evidence: how it was found, human-readable.
        expires: its expiry tag; None if that is absent or cannot be read.
    """

    kind: ResourceKind
    name: str
    run_id: str
    existence: Existence
    evidence: str
    expires: datetime | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({_price(self.kind)}) of run {self.run_id}, {self.evidence}"


@dataclass(frozen=True, slots=True)
class TaggedResource:
    """A resource in the account.

    Args:
        kind: of the resource.
        name: unique in the account and region.
        created: AWS's creation time.
        tags: its tags; None when the caller may not read them.
    """

    kind: ResourceKind
    name: str
    created: datetime
    tags: Mapping[str, str] | None

    @property
    def expires(self) -> datetime | None:
        """The expiry tag; None without a valid one."""
        return _parse_timestamp((self.tags or {}).get(EXPIRES_TAG, ""))

    def is_tagged_with(self, run_id: str) -> bool:
        """Return whether its tags name the run. An empty run id matches nothing."""
        return bool(run_id) and (self.tags or {}).get(RUN_TAG) == tag_value(run_id)

    def is_expired(self, now: datetime) -> bool:
        """Return whether its run must have ended, by the expiry tag."""
        return self.expires is not None and self.expires < now


@dataclass(frozen=True, slots=True)
class Attribution:
    """What a resource must agree with before it is deleted.

    Args:
        caller: ARN of the caller, compared with the owner tag; None accepts every owner.
        journal: of the run; None without one.
        region: where the resource is, for the commands that are shown.
        endpoint_url: of the control plane; empty for AWS.
    """

    caller: str | None
    journal: JournalState | None = None
    region: str = ""
    endpoint_url: str = ""

    def disagreement(self, resource: TaggedResource, run_id: str) -> str:
        """Return why a resource is not attributed to a run, human-readable; empty if everything agrees."""
        if not resource.name.startswith(NAME_PREFIX):
            return f"its name does not start with {NAME_PREFIX}"
        journal = self.journal if self._is_journaled(resource) else None
        if journal is not None:
            intended = journal.intended.get((resource.kind, resource.name))
            if intended is None or not _is_timely(resource.created, datetime.fromtimestamp(intended, UTC)):
                return f"it was created at {_time(resource.created)}, which is not when the journal announced it"
        if resource.tags is None:
            return self._disagreement_without_tags(resource, run_id, journal)
        if not resource.is_tagged_with(run_id):
            return f"its tags name {resource.tags.get(RUN_TAG) or 'no run'}, not this run"
        owner = resource.tags.get(OWNER_TAG, "")
        if self.caller is not None and not _is_same_owner(owner, tag_value(self.caller), journal):
            return self._owner_disagreement(resource, owner)
        created = _parse_timestamp(resource.tags.get(CREATED_TAG, ""))
        if created is None or not _is_timely(resource.created, created):
            return f"it was created at {_time(resource.created)}, which is not the time in its tags"
        return ""

    def _is_journaled(self, resource: TaggedResource) -> bool:
        return self.journal is not None and (resource.kind, resource.name) in self.journal.resources

    def _disagreement_without_tags(self, resource: TaggedResource, run_id: str, journal: JournalState | None) -> str:
        if journal is None:
            return "its tags cannot be read (sagemaker:ListTags), and no journal names it"
        if not is_name_of_run(resource.name, run_id):
            return "its tags cannot be read (sagemaker:ListTags), and its name does not contain the run's id"
        if self.caller is not None and not _is_same_owner(
            tag_value(journal.location.owner), tag_value(self.caller), journal
        ):
            return self._owner_disagreement(resource, journal.location.owner)
        return ""

    def _owner_disagreement(self, resource: TaggedResource, owner: str) -> str:
        command = delete_command(resource.kind, resource.name, self.region, self.endpoint_url)
        return (
            f"its owner is {owner or '(unknown)'}, the caller is {self.caller or '(unknown)'}; "
            f"clean up as its owner, or: {command}"
        )


def _price(kind: ResourceKind) -> str:
    return "billable" if kind is ResourceKind.ENDPOINT else "costs nothing"


def _time(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(" ", "seconds")


def _parse_timestamp(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None


def _is_timely(created: datetime, announced: datetime) -> bool:
    return -_MAX_BEFORE <= created - announced <= _MAX_AFTER


def _is_same_owner(theirs: str, caller: str, journal: JournalState | None) -> bool:
    """Return whether owner, caller and the journal's owner are one; they may be unknown only if a journal says so."""

    # The last part of an assumed role's ARN is the session name, which changes with each login.
    def without_session(arn: str) -> str:
        return arn.rpartition("/")[0] if ":assumed-role/" in arn else arn

    if journal is None:
        return bool(caller) and without_session(theirs) == without_session(caller)
    recorded = without_session(tag_value(journal.location.owner))
    return without_session(theirs) == without_session(caller) == recorded


def describe_skipped(kind: ResourceKind, name: str, run_id: str, reason: str) -> str:
    """Return the line for a resource that is left alone."""
    return f"{kind} {name} ({_price(kind)}) of run {run_id}: {reason}"


def select_orphans(
    existing: Sequence[TaggedResource], *, run_id: str, attribution: Attribution
) -> tuple[list[OrphanedResource], list[str]]:
    """Decide which resources of an account a run left.

    Args:
        existing: what the account holds under loadgen's name prefix or a name of the journal.
        run_id: of the run.
        attribution: what they must agree with.

    Returns:
        The resources to delete, endpoints first; and a line for each other resource that the journal, the tags or, if
        they cannot be read, the name attribute to the run.
    """
    journaled = attribution.journal.resources if attribution.journal is not None else {}
    orphans, skipped = [], []
    for resource in existing:
        is_journaled = (resource.kind, resource.name) in journaled
        is_named = resource.tags is None and is_name_of_run(resource.name, run_id)
        if not (is_journaled or is_named or resource.is_tagged_with(run_id)):
            continue
        if reason := attribution.disagreement(resource, run_id):
            skipped.append(describe_skipped(resource.kind, resource.name, run_id, reason))
            continue
        evidence = "in its journal" if is_journaled else ""
        evidence += (" and " if evidence else "") + ("tagged" if resource.tags is not None else "named after it")
        orphans.append(
            OrphanedResource(resource.kind, resource.name, run_id, Existence.OBSERVED, evidence, resource.expires)
        )
    return sort_orphans(orphans), skipped


def sort_orphans(orphans: Sequence[OrphanedResource]) -> list[OrphanedResource]:
    """Return orphans in the order of deletion: endpoints first."""
    return sorted(orphans, key=lambda orphan: (orphan.kind is not ResourceKind.ENDPOINT, orphan.name))


def select_expired(
    tagged: Sequence[TaggedResource], *, attribution: Attribution, now: datetime
) -> tuple[list[OrphanedResource], list[str]]:
    """Decide which resources belong to runs that must have ended, by their expiry tags.

    Args:
        tagged: what the account holds under loadgen's name prefix.
        attribution: what they must agree with; without a journal.
        now: with a time zone.

    Returns:
        The resources to delete; and a line for each expired resource that does not agree, such as one of another owner,
        and for each run of the caller that may still be running.
    """
    expired = [resource for resource in tagged if resource.is_expired(now)]
    unexpired = [resource for resource in tagged if not resource.is_expired(now)]
    orphans, skipped = list[OrphanedResource](), list[str]()
    for run_id in dict.fromkeys((resource.tags or {}).get(RUN_TAG, "") for resource in tagged):
        found, disagreeing = select_orphans(expired, run_id=run_id, attribution=attribution)
        orphans += found
        skipped += disagreeing
        if young := select_orphans(unexpired, run_id=run_id, attribution=attribution)[0]:
            skipped.append(_describe_young(run_id, young))
    return orphans, skipped


def _describe_young(run_id: str, young: Sequence[OrphanedResource]) -> str:
    count = len(young)
    expiry = max((f", until {_time(orphan.expires)}" for orphan in young if orphan.expires is not None), default="")
    return (
        f"{count} resource{'s' if count != 1 else ''} of run {run_id}, which may still be running{expiry}; "
        f"if it has ended: python -m loadgen cleanup {run_id}"
    )
