"""The entry point of a Processing job's container: install loadgen if necessary, then run this instance.

This program runs before loadgen is installed, so it imports the standard library only. Its input is one JSON file,
because ContainerArguments are limited to 256 characters each. Its exit status decides whether the job fails: a run
that took place completes the job, whatever it found; the exit message names the run's status.
"""

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_ERROR_PREFIX = "loadgen: error"  # begins the line in which loadgen reports an error
# Exit statuses of runs that took place (loadgen.errors.ExitStatus).
_COMPLETED_STATUSES = {0: "OK", 99: "THRESHOLD", 110: "INVALID"}
_MAX_MESSAGE_LENGTH = 1000  # SageMaker's ExitMessage holds 1024


def main() -> int:
    """Install loadgen, run `_processing-instance`, write the exit message.

    Command line: JOB_CONFIG MESSAGE_FILE and the arguments of `_processing-instance`.
    """
    job_config = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    message_path = Path(sys.argv[2])
    code_dir = Path(__file__).resolve().parent
    install_error = _install(code_dir, job_config["version"])
    if install_error:
        message_path.write_text(install_error[:_MAX_MESSAGE_LENGTH], "utf-8")
        return 1
    os.chdir(code_dir.parent / "files" / job_config["working_directory"])
    command = [sys.executable, "-m", "loadgen", "_processing-instance", *sys.argv[3:]]
    error_line = ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:  # noqa: S603
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: process.send_signal(received))
        for line in process.stderr or ():
            sys.stderr.write(line)
            error_line = line.strip() if line.startswith(_ERROR_PREFIX) else error_line
        returned = process.wait()
    # A signal is a negative number here, and 128 + its number for a shell.
    status = 128 - returned if returned < 0 else returned
    summary = (
        _COMPLETED_STATUSES.get(status)
        or (f"killed by {_signal_name(-returned)}" if returned < 0 else "")
        or error_line.removeprefix(_ERROR_PREFIX)
        or f"python -m loadgen explain {status}"
    )
    if _is_leader(message_path):
        message = f"loadgen ended with status {status} ({summary})"
        message_path.write_text(message[:_MAX_MESSAGE_LENGTH], "utf-8")
    return 0 if status in _COMPLETED_STATUSES else status


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _install(code_dir: Path, required_version: str) -> str:
    """Install the wheel next to this file; return an error message, empty on success."""
    try:
        if version("loadgen") == required_version:
            return ""
    except PackageNotFoundError:
        pass
    wheels = [str(path) for path in sorted(code_dir.glob("*.whl"))]
    completed = subprocess.run(  # noqa: S603 - pip of this interpreter
        [sys.executable, "-m", "pip", "install", "--quiet", *wheels], check=False, capture_output=True, text=True
    )
    if completed.returncode == 0:
        return ""
    last_line = completed.stderr.strip().rpartition("\n")[2]
    return f"loadgen could not be installed with Python {sys.version.split()[0]}: {last_line}"


def _is_leader(message_path: Path) -> bool:
    """Return True on the instance whose exit message describes the run."""
    hosts = json.loads((message_path.parent.parent / "config" / "resourceconfig.json").read_text("utf-8"))
    return bool(hosts["current_host"] == min(hosts["hosts"]))


if __name__ == "__main__":
    sys.exit(main())
