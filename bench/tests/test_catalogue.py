"""The failure catalogue: every case has a test or a reason."""

import ast

from bench import catalogue


def test_every_case_has_a_test_or_a_reason():
    """No case of the catalogue is without both a test and a reason; `python -m bench.catalogue` prints the table."""
    found = catalogue.find_tests()
    assert catalogue.missing_cases(found) == []


def test_ids_are_c01_to_c130():
    """The 130 ids are written out, without a gap and in order."""
    assert list(catalogue.CASES) == [f"C{number:02d}" for number in range(1, 131)]


def test_every_named_case_exists():
    """Tests, reasons and further tests name only ids of the catalogue."""
    assert catalogue.unknown_cases() == set()
    assert {*catalogue.NOT_APPLICABLE, *catalogue.EXTRA_TESTS} <= set(catalogue.CASES)


def test_a_reason_is_given_only_where_there_is_no_test():
    """A case that is said not to occur has no test."""
    found = catalogue.find_tests()
    assert [case for case in catalogue.NOT_APPLICABLE if found[case]] == []


def test_further_tests_exist():
    """Every test that covers a case without naming it exists under its name."""
    for case, tests in catalogue.EXTRA_TESTS.items():
        for test in tests:
            path, _, function = test.partition("::")
            body = ast.parse((catalogue.TESTS / path).read_text("utf-8")).body
            functions = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert not function or function in functions, f"{case}: {test}"
