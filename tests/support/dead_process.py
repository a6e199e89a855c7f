"""The identity of a process that has ended."""

import json
import subprocess
import sys

from loadgen.process_identity import ProcessIdentity, process_from_json


def dead_process() -> ProcessIdentity:
    """Start a process, and return its identity after it has ended."""
    code = (
        "import dataclasses, json\n"
        "from loadgen.process_identity import ProcessIdentity\n"
        "print(json.dumps(dataclasses.asdict(ProcessIdentity.current())))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    found = process_from_json(json.loads(done.stdout))
    assert found is not None
    return found
