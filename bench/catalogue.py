"""The catalogue of failure cases: which tests cover each, or why it cannot occur.

    python -m bench.catalogue

Tests are read, not run: a test names its cases at the end of its docstring, such as (C55), or in the ids of its
parameters. Ids are never reused. The last line has the counts. Exit status 1 if a case has neither a test nor a reason.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
_ID = re.compile(r"\bC\d{2,3}\b(?! to C)(?<! to C\d\d)(?<! to C\d\d\d)")  # a range names no single case

CASES: Mapping[str, str] = {
    "C01": "unknown flag, missing value",
    "C02": "no arguments",
    "C03": "--help and --version without network, credentials or a valid AWS configuration",
    "C04": "impossible memory size, MaxConcurrency, rate, duration, clients",
    "C05": "an enormous sweep",
    "C06": "a run's name that is a path, too long, or odd",
    "C07": "a model's name of 63 characters",
    "C08": "standard output closed, or no terminal",
    "C09": "no HOME, LANG=C, read-only home",
    "C10": "two runs into one directory",
    "C11": "contradicting flags",
    "C12": "resuming with another scenario, payload or format",
    "C13": "a missing extra",
    "C14": "scenario file missing, a directory, a pipe, unreadable",
    "C15": "syntax error in the scenario file",
    "C16": "import of a module fails",
    "C17": "exception in the scenario file",
    "C18": "exception in a hook of each request",
    "C19": "something blocks the event loop",
    "C20": "the scenario exits, is interrupted, or ends the process",
    "C21": "a hook returns the wrong type",
    "C22": "no scenario found, or several",
    "C23": "byte order mark, cookie, line ends, tabs",
    "C24": "configuration file with duplicate keys or a bomb in it",
    "C25": "the scenario leaks memory",
    "C26": "payload file missing or unreadable",
    "C27": "payload file empty",
    "C28": "bad lines in JSON Lines",
    "C29": "invalid UTF-8",
    "C30": "UTF-16 or byte order mark",
    "C31": "no final newline, CRLF, trailing blanks",
    "C32": "a body over 4 MB",
    "C33": "a payload file of 10 GB",
    "C34": "a payload file changed during the run",
    "C35": "pickle, harmless or malicious",
    "C36": "pickle truncated or of an unknown protocol",
    "C37": "ragged CSV",
    "C38": "directory of odd members",
    "C39": "a compressed bomb",
    "C40": "JSON with NaN, 1e400, deep nesting",
    "C41": "header values with line breaks or non-ASCII",
    "C42": "no region",
    "C43": "no credentials",
    "C44": "expired token at the start",
    "C45": "token expires under load",
    "C46": "access denied on Create or Delete",
    "C47": "tagging denied",
    "C48": "the model does not exist",
    "C49": "the quota refuses endpoint k of n",
    "C50": "the endpoint configuration is not visible yet",
    "C51": "the endpoint name exists and belongs to something else",
    "C52": "endpoint Failed",
    "C53": "Creating past the deadline, deletion refused",
    "C54": "Rate exceeded",
    "C55": "the answer to a Create is lost",
    "C56": "deletion finds nothing",
    "C57": "one of n deletions fails",
    "C58": "SystemUpdating at deletion",
    "C59": "endpoint deleted, configuration stays",
    "C60": "clock off by ten minutes",
    "C61": "wrong region, partition or account",
    "C62": "another account than expected",
    "C63": "CloudWatch missing or denied",
    "C64": "no price for region or memory",
    "C65": "throttled",
    "C66": "out of memory",
    "C67": "another model error",
    "C68": "model not ready",
    "C69": "5xx, HTML, empty error body",
    "C70": "oversize refused by the service",
    "C71": "an unknown code",
    "C72": "the model takes as long as its time limit allows",
    "C73": "200 with an empty or wrong body",
    "C74": "DNS fails or is slow",
    "C75": "refused, blackholed, one address family dead",
    "C76": "TLS broken in any way",
    "C77": "proxies",
    "C78": "reset before any byte of the answer",
    "C79": "reset inside the answer",
    "C80": "bytes after the answer",
    "C81": "chunked encoding broken",
    "C82": "contradicting lengths",
    "C83": "1xx answers",
    "C84": "malformed or huge headers",
    "C85": "an answer that trickles",
    "C86": "a peer that never answers, or answers early",
    "C87": "a peer that stops reading",
    "C88": "unrequested compression, endless bodies",
    "C89": "connections closed early and often",
    "C90": "the answer of another request",
    "C91": "redirects",
    "C92": "bodies where none may be",
    "C93": "output directory cannot be made",
    "C94": "output directory holds a run",
    "C95": "disk full",
    "C96": "EIO, failing fsync",
    "C97": "too few file descriptors",
    "C98": "ports used up",
    "C99": "memory used up",
    "C100": "another load takes the CPU",
    "C101": "the loop stalls",
    "C102": "the generator process is stopped and continued",
    "C103": "the wall clock jumps",
    "C104": "no /tmp, no shared memory, no fork",
    "C105": "one worker killed",
    "C106": "Dask worker or scheduler lost",
    "C107": "versions differ between coordinator and workers",
    "C108": "a Processing job is stopped",
    "C109": "the coordinator loses the network",
    "C110": "signal before anything is created",
    "C111": "signal while a create is in flight",
    "C112": "signal while an endpoint is Creating",
    "C113": "signal under load",
    "C114": "signal while draining",
    "C115": "signal while the report is written",
    "C116": "signal while deleting",
    "C117": "a second signal",
    "C118": "SIGTERM with a deadline",
    "C119": "SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP",
    "C120": "SIGKILL",
    "C121": "SIGKILL, then the process id is reused",
    "C122": "the emulator's port is taken",
    "C123": "foreign Host or Origin at the emulator",
    "C124": "slow and huge requests at the emulator",
    "C125": "hostile text in names, errors and headers",
    "C126": "a report of little or nothing",
    "C127": "a report of ten million records",
    "C128": "a sample file torn, flipped, foreign or of the future",
    "C129": "comparing runs of different settings",
    "C130": "an emulated run mistaken for a run on AWS",
}

# Tests that cover a case without naming it.
EXTRA_TESTS: Mapping[str, tuple[str, ...]] = {
    "C41": ("unit/workload/test_request.py::test_no_header_can_be_injected",),
    "C99": ("unit/engine/test_engine.py::test_a_failing_sink_ends_the_run",),
    "C100": ("system/test_verdict_under_load.py::test_a_starved_run_is_invalid_and_says_why",),
    "C101": (
        "system/test_verdict_under_load.py::test_a_starved_run_is_invalid_and_says_why",
        "unit/engine/test_load_drivers.py::test_a_stall_of_the_target_shows_in_the_open_loop_only",
    ),
    "C103": ("unit/engine/test_clock.py",),
    "C122": ("unit/emulator/test_server.py::test_only_loopback_addresses_are_bound",),
    "C123": (
        "unit/emulator/test_server.py::test_a_foreign_host_or_origin_is_rejected",
        "unit/emulator/test_server.py::test_the_query_protocol_is_not_served_over_get",
    ),
    "C124": (
        "unit/emulator/test_server.py::test_slow_and_garbled_connections_are_closed_and_others_served",
        "unit/emulator/test_server.py::test_a_request_above_the_connection_limit_is_refused_with_the_limit",
        "unit/emulator/test_server.py::test_a_gzip_bomb_is_not_unpacked",
    ),
    "C125": (
        "unit/report/formats/test_html_page.py::test_hostile_text_is_escaped",
        "unit/report/formats/test_terminal.py::test_no_control_characters_from_servers",
    ),
    "C126": (
        "unit/report/formats/test_html_page.py::test_a_directory_without_runs_renders",
        "unit/report/formats/test_html_page.py::test_each_unusual_run_renders",
    ),
}

# Cases that cannot occur, and why.
NOT_APPLICABLE: Mapping[str, str] = {
    "C18": "no hooks run for each request: a scenario consists of values",
    "C19": "no code of a scenario runs while requests are sent; a loop blocked by its host is C101",
    "C21": "no hooks run for each request",
    "C24": "there is no configuration file: settings are fields of the scenario",
    "C25": "no code of a scenario runs while requests are sent; python -m bench.soak checks that memory is flat",
    "C34": "payload files are read once and completely, before anything is deployed",
    "C37": "payloads are JSON Lines, pickle or a directory; CSV is not read",
    "C39": "compressed payload files are not read",
    "C73": "bodies are not checked: a 200 is counted as ok",
    "C127": "python -m bench.soak reports a million requests and the time it took; too long for a test",
    "C129": "there is no comparison of saved runs",
}


def find_tests() -> dict[str, list[str]]:
    """Return the tests of each case, as PATH::FUNCTION with the path below tests/."""
    found = {case: list(EXTRA_TESTS.get(case, ())) for case in CASES}
    for path in sorted(TESTS.rglob("*.py")):
        for name, case in _named_cases(path):
            if case in found and name not in found[case]:
                found[case].append(name)
    return found


def unknown_cases() -> set[str]:
    """Return the ids that tests name and the catalogue does not have."""
    return {case for path in TESTS.rglob("*.py") for _, case in _named_cases(path)} - set(CASES)


def _named_cases(path: Path) -> Iterator[tuple[str, str]]:
    """Yield every case that a file names, with the test or the table of parameters that names it."""
    file = path.relative_to(TESTS).as_posix()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{file}::{node.name}"
            texts = [ast.get_docstring(node) or "", *map(ast.unparse, node.decorator_list)]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            name = f"{file}::{ast.unparse(targets[0])}"
            texts = [ast.unparse(node)]
        else:
            continue
        for text in texts:
            for case in _ID.findall(text):
                yield name, case


def missing_cases(found: Mapping[str, list[str]]) -> list[str]:
    """Return the cases with neither a test nor a reason."""
    return [case for case in CASES if not found[case] and case not in NOT_APPLICABLE]


def main() -> int:
    """Print every case with its tests or its reason."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.catalogue", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    found = find_tests()
    for case, description in CASES.items():
        print(f"{case:<4}  {description}")
        if found[case]:
            print(f"      {', '.join(found[case])}")
        else:
            print(f"      cannot occur: {NOT_APPLICABLE[case]}" if case in NOT_APPLICABLE else "      NO TEST")
    missing = missing_cases(found)
    tested = sum(bool(tests) for tests in found.values())
    other = len(CASES) - tested - len(missing)
    print(f"{len(CASES)} cases: {tested} with tests, {other} cannot occur, {len(missing)} without a test")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
