"""The user's tags: which AWS accepts beside loadgen's own, and where a target takes them."""

import pickle

import pytest

from loadgen import Emulated, SageMaker
from loadgen.aws.deployment.names_and_tags import validate_tags
from loadgen.errors import UsageError


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"CostCenter": "4711"},
        {"k" * 128: "v" * 256, "empty": ""},
        {"Kostenstelle Köln": "Straße 1", "a_.:/=+-@ b": "_.:/=+-@"},
        {f"key{n}": "" for n in range(46)},
        {"aws": "no colon", "loadgen": "no colon", "my-aws:x": "inside"},
    ],
)
def test_tags_that_aws_accepts(tags):
    """Keys of 1 to 128 and values of 0 to 256 letters, digits, spaces and _.:/=+-@, 46 beside loadgen's four, are kept."""
    assert validate_tags(tags) == tags
    assert SageMaker("ranker", tags=tags).tags == tags


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"": "x"}, "key has 0 characters; 1 to 128"),
        ({"k" * 129: "x"}, "key has 129 characters; 1 to 128"),
        ({"k": "v" * 257}, "value has 257 characters; 0 to 256"),
        ({"k": "a,b"}, "value contains ','"),
        ({"k#": "x"}, "key contains '#'"),
        ({"k": "a\nb"}, "value contains '.n'"),
        ({"k": "\U0001f600"}, "value contains"),
        ({"aws:x": "x"}, "AWS reserves"),
        ({"AWS:x": "x"}, "AWS reserves"),
        ({"loadgen:owner": "someone"}, "loadgen sets"),
        ({"Loadgen:Run": "x"}, "loadgen sets"),
        ({f"key{n}": "" for n in range(47)}, "47 tags; at most 46"),
        ({"k": 4711}, "strings"),
        ({1: "x"}, "strings"),
        ({"Team": "a", "team": "b"}, "differ in more than case"),
        ([("k", "v")], "give a dict"),
        ("k=v", "give a dict"),
    ],
)
def test_tags_that_aws_refuses_are_refused_before_anything_is_created(tags, message):
    """The UsageError of the target names the tag, what is wrong with it and the limit."""
    for target in (lambda: SageMaker("ranker", tags=tags), lambda: Emulated("instant", tags=tags)):
        with pytest.raises(UsageError, match=message):
            target()


def test_a_target_with_tags_is_a_value():
    """It can be compared, hashed and pickled, and does not change with the dict that was given."""
    given = {"Team": "search"}
    target = SageMaker("ranker", tags=given)
    given["Team"] = "ads"
    assert target.tags == {"Team": "search"}
    assert pickle.loads(pickle.dumps(target)) == target
    assert hash(target) == hash(SageMaker("ranker"))
    assert target != SageMaker("ranker")
