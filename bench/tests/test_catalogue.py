"""Every case of the catalogue of what can go wrong has a test, or a reason why it has none."""

import ast
from pathlib import Path

from bench import catalogue


def test_every_case_has_a_test_or_a_reason():
    """G25: none of the 130 is without both; python -m bench.catalogue prints the table."""
    found = catalogue.find_tests()
    assert sorted(found) == list(range(1, 131))
    assert [f"C{number}" for number in catalogue.missing(found)] == []


def test_a_reason_is_given_only_where_there_is_no_test():
    """What has a test applies: a reason beside it would be a lie."""
    found = catalogue.find_tests()
    assert [number for number in catalogue.NOT_APPLICABLE if found[number]] == []


def test_tests_that_are_named_exist():
    """A test that stands for a case without naming it is still there, under that name."""
    here = Path(__file__).parents[2] / "tests"
    for number, places in catalogue.EXTRA_TESTS.items():
        for place in places:
            name, _, function = place.partition("::")
            functions = {
                node.name for node in ast.parse((here / name).read_text("utf-8")).body if hasattr(node, "name")
            }
            assert not function or function in functions, f"C{number}: {place}"
