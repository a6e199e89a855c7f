"""The catalogue of what can go wrong: which test stands for which case, or why none can.

    python -m bench.catalogue

Found by reading the tests, not by running them: a test names its cases in its docstring, such as (C55), or in the
identifiers of its data. The last line has the counts; exit status 1 when a case has neither a test nor a reason.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"
_ID = re.compile(r"\bC(\d{2,3})\b(?! to C)(?<! to C\d\d)(?<! to C\d\d\d)")  # a range names no case in particular

CASES: Mapping[int, str] = dict(
    enumerate(
        """
unknown flag, missing value
no arguments
--help and --version without network, credentials or a sound AWS configuration
impossible memory size, MaxConcurrency, rate, duration, clients
an enormous sweep
a run's name that is a path, too long, or odd
a model's name of 63 characters
standard output closed, or no terminal
no HOME, LANG=C, read-only home
two runs into one directory
contradicting flags
resuming with another scenario, payload or format
a missing extra
scenario file missing, a directory, a pipe, unreadable
syntax error in the scenario file
import of a module fails
exception in the scenario file
exception in a hook of each request
something blocks the event loop
the scenario exits, is interrupted, or ends the process
a hook returns the wrong type
no scenario found, or several
byte order mark, cookie, line ends, tabs
configuration file with duplicate keys or a bomb in it
the scenario leaks memory
payload file missing or unreadable
payload file empty
bad lines in JSON Lines
invalid UTF-8
UTF-16 or byte order mark
no final newline, CRLF, trailing blanks
a body over 4 MB
a payload file of 10 GB
a payload file changed during the run
pickle, harmless or malicious
pickle truncated or of an unknown protocol
ragged CSV
directory of odd members
a compressed bomb
JSON with NaN, 1e400, deep nesting
header values with line breaks or non-ASCII
no region
no credentials
expired token at the start
token expires under load
access denied on Create or Delete
tagging denied
the model does not exist
quota refuses endpoint k of n
configuration not visible yet
the endpoint's name exists and is not ours
endpoint Failed
Creating past the deadline, deletion refused
Rate exceeded
the answer to a Create is lost
deletion finds nothing
one of n deletions fails
SystemUpdating at removal
endpoint deleted, configuration stays
clock off by ten minutes
wrong region, partition or account
another account than expected
CloudWatch missing or denied
no price for region or memory
throttled
out of memory
another model error
model not ready
5xx, HTML, empty error body
oversize refused by the service
an unknown code
the model uses its whole time limit
200 with an empty or wrong body
DNS fails or is slow
refused, blackholed, one address family dead
TLS broken in any way
proxies
reset before any byte of the answer
reset inside the answer
bytes after the answer
chunked encoding broken
contradicting lengths
1xx answers
malformed or huge headers
an answer that trickles
a peer that never answers, or answers early
a peer that stops reading
unrequested compression, endless bodies
connections closed early and often
the answer of another request
redirects
bodies where none may be
output directory cannot be made
output directory holds a run
disk full
EIO, failing fsync
too few file descriptors
ports used up
memory used up
another load takes the CPU
the loop stalls
the generator is stopped and goes on
the wall clock jumps
no /tmp, no shared memory, no fork
one worker killed
Dask worker or scheduler lost
versions differ between driver and workers
a Processing job is stopped
the driver loses the network
signal before anything is created
signal while a create is in flight
signal while an endpoint is Creating
signal under load
signal while draining
signal while the report is written
signal while removing
a second signal
SIGTERM with a deadline
SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP
SIGKILL
SIGKILL, then the process id is used again
the emulator's port is taken
foreign Host or Origin at the emulator
slow and huge requests at the emulator
hostile text in names, errors and headers
a report of little or nothing
a report of ten million records
a sample file torn, flipped, foreign or of the future
comparing runs of different settings
an emulated run taken for a real one
""".strip().splitlines(),
        1,
    )
)

# Tests that stand for a case without naming it.
EXTRA_TESTS: Mapping[int, tuple[str, ...]] = {
    13: ("system/test_dask.py::test_dask_is_an_extra",),
    41: ("unit/workload/test_request.py::test_no_header_can_be_injected",),
    99: ("unit/engine/test_engine_endings.py::test_a_sink_that_fails_ends_the_run_with_its_error",),
    100: ("system/test_verdict_under_load.py::test_a_starved_run_is_invalid_and_says_why",),
    101: (
        "system/test_verdict_under_load.py::test_a_starved_run_is_invalid_and_says_why",
        "unit/engine/test_engine.py::test_a_freeze_shows_in_the_open_loop_and_not_in_the_closed",
    ),
    103: ("unit/engine/test_clock.py",),
    122: ("unit/emulator/test_server.py::test_only_loopback_addresses_are_bound",),
    123: (
        "unit/emulator/test_server.py::test_a_foreign_name_is_refused_before_anything_happens",
        "unit/emulator/test_server.py::test_a_browsers_get_changes_nothing",
    ),
    124: (
        "unit/emulator/test_server.py::test_slow_and_garbled_connections_are_cut_and_others_served",
        "unit/emulator/test_server.py::test_one_connection_too_many_is_cut",
        "unit/emulator/test_server.py::test_a_gzip_bomb_is_not_unpacked",
    ),
    125: (
        "unit/report/formats/test_html_page.py::test_hostile_text_is_only_text",
        "unit/report/formats/test_terminal.py::test_no_control_characters_from_servers",
    ),
    126: (
        "unit/report/formats/test_html_page.py::test_nothing_at_all_renders",
        "unit/report/formats/test_html_page.py::test_a_single_odd_run_renders",
    ),
}

# What this program cannot meet, and why.
NOT_APPLICABLE: Mapping[int, str] = {
    18: "there are no hooks that run for each request: a scenario is plain values",
    19: "no code of a scenario runs while requests are sent; a loop that is blocked by its host is C101",
    21: "there are no hooks that run for each request",
    24: "there is no configuration file: settings are the scenario's values",
    25: "no code of a scenario runs while requests are sent; our own memory is held flat by python -m bench.soak",
    34: "payload files are read once and whole, before anything is deployed",
    37: "payloads are JSON Lines, pickle or a directory; CSV is not read",
    39: "compressed payload files are not read",
    73: "answers are not checked: a 200 is counted as ok",
    127: "a million requests are reported by python -m bench.soak, which says how long it took; too long for a test",
    129: "there is no comparison of saved runs",
}


def find_tests() -> dict[int, list[str]]:
    """Return the tests of each case, as FILE::FUNCTION."""
    found = {number: list(EXTRA_TESTS.get(number, ())) for number in CASES}
    for path in sorted(TESTS.glob("*.py")):
        for name, number in _named(path):
            if number in found and name not in found[number]:
                found[number].append(name)
    return found


def _named(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every case that a file names, with the test or the table that names it."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            place = f"{path.name}::{node.name}"
            texts = [ast.get_docstring(node) or "", *map(ast.unparse, node.decorator_list)]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            place = f"{path.name}::{ast.unparse(targets[0])}"
            texts = [ast.unparse(node)]
        else:
            continue
        for text in texts:
            for number in _ID.findall(text):
                yield place, int(number)


def missing(found: Mapping[int, list[str]]) -> list[int]:
    """Return the cases with neither a test nor a reason."""
    return [number for number in CASES if not found[number] and number not in NOT_APPLICABLE]


def main() -> int:
    """Print the table."""
    found = find_tests()
    for number, what in CASES.items():
        print(f"C{number:02d}  {what}")
        if found[number]:
            print(f"       {', '.join(found[number])}")
        else:
            print(f"       does not apply: {NOT_APPLICABLE[number]}" if number in NOT_APPLICABLE else "       NO TEST")
    lacking = missing(found)
    tested = sum(bool(places) for places in found.values())
    out = len(CASES) - tested - len(lacking)
    print(f"{len(CASES)} cases: {tested} with tests, {out} do not apply, {len(lacking)} lack a test")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
