"""Processes for tests."""

import json
import subprocess
import sys

from loadgen.process_identity import process_from_json

_PROGRAM = """
import dataclasses, json
from loadgen.process_identity import ProcessIdentity
print(json.dumps(dataclasses.asdict(ProcessIdentity.current())))
"""


def ended_process():
    """The identity of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, check=True)
    return process_from_json(json.loads(done.stdout))
