"""Tags of the account's SageMaker resources, by ARN."""

from collections.abc import Iterable, Mapping
from typing import Any

from loadgen.emulator.protocol.errors import validation_error


def read_tags(payload: Mapping[str, Any]) -> dict[str, str]:
    """Return the member Tags of an input as key -> value; empty if it is absent.

    Raises:
        ServiceError: a key occurs twice.
    """
    tags: dict[str, str] = {}
    for tag in payload.get("Tags", ()):
        if tag["Key"] in tags:
            raise validation_error("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        tags[tag["Key"]] = tag["Value"]
    return tags


_MAX_TAGS = 50  # of one resource (API reference, AddTags)


class ResourceTags:
    """The tags of every resource that exists; a resource without tags has an empty entry."""

    def __init__(self) -> None:
        self._tags: dict[str, dict[str, str]] = {}

    def add_resource(self, arn: str, tags: Mapping[str, str]) -> None:
        """Add a resource with its first tags."""
        self._tags[arn] = dict(tags)

    def remove_resource(self, arn: str) -> None:
        """Remove a resource with its tags."""
        self._tags.pop(arn, None)

    def add(self, arn: str, tags: Mapping[str, str]) -> None:
        """Add tags to a resource, or change their values.

        Raises:
            ServiceError: no such resource, or it would have more than 50 tags.
        """
        current = self._find(arn)
        if len(current.keys() | tags.keys()) > _MAX_TAGS:
            raise validation_error(f"A resource can have at most {_MAX_TAGS} tags.")
        current.update(tags)

    def remove(self, arn: str, keys: Iterable[str]) -> None:
        """Remove tags by key; a key that is not there is ignored.

        Raises:
            ServiceError: no such resource.
        """
        tags = self._find(arn)
        for key in keys:
            tags.pop(key, None)

    def to_list(self, arn: str) -> list[dict[str, str]]:
        """Return the tags of a resource as the API spells them.

        Raises:
            ServiceError: no such resource.
        """
        return [{"Key": key, "Value": value} for key, value in self._find(arn).items()]

    def _find(self, arn: str) -> dict[str, str]:
        if arn not in self._tags:
            raise validation_error(f'Could not find resource "{arn}".')
        return self._tags[arn]
