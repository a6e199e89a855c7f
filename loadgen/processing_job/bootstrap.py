"""The first program in the container of a Processing job: installs loadgen if it must, and hands over to it.

It runs before loadgen is there, so it knows Python's own library only. What it is told comes as one JSON file, since a
container's arguments are short. Its exit status decides whether the job has failed: a run that took place and found
something bad is no failed job; what it was is in the job's exit message.
"""

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_ERROR_PREFIX = "loadgen: error"  # how the line begins that says why it ended
# loadgen's exit statuses of runs that took place: fine, a broken promise, INVALID.
_COMPLETED_STATUSES = {0: "OK", 99: "THRESHOLD", 110: "INVALID"}


def main() -> int:
    """Install, run, report."""
    job_config = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    message_path = Path(sys.argv[2])
    code_dir = Path(__file__).resolve().parent
    install_error = _install(code_dir, job_config["version"])
    if install_error:
        _write_exit_message(message_path, install_error)
        return 1
    os.chdir(code_dir.parent / "files" / job_config["directory"])
    command = [sys.executable, "-m", "loadgen", "_processing-instance", *sys.argv[3:]]
    last_line = ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:  # noqa: S603
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: process.send_signal(received))
        for line in process.stderr or ():
            sys.stderr.write(line)
            last_line = line.strip() if line.startswith(_ERROR_PREFIX) else last_line
        status = process.wait()
    summary = (
        _COMPLETED_STATUSES.get(status)
        or last_line.removeprefix(_ERROR_PREFIX)
        or f"python -m loadgen explain {status}"
    )
    _write_exit_message(message_path, f"loadgen ended with status {status} ({summary})")
    return 0 if status in _COMPLETED_STATUSES else (status if status > 0 else 1)


def _install(code_dir: Path, required_version: str) -> str:
    """Install the wheel beside this file; return what went wrong, in words."""
    try:
        if version("loadgen") == required_version:
            return ""
    except PackageNotFoundError:
        pass
    wheels = [str(path) for path in sorted(code_dir.glob("*.whl"))]
    completed = subprocess.run(  # noqa: S603 - pip, of this interpreter
        [sys.executable, "-m", "pip", "install", "--quiet", *wheels], check=False, capture_output=True, text=True
    )
    if completed.returncode == 0:
        return ""
    last_line = completed.stderr.strip().rpartition("\n")[2]
    return f"loadgen could not be installed with Python {sys.version.split()[0]}: {last_line}"


def _write_exit_message(path: Path, text: str) -> None:
    """Write what DescribeProcessingJob will show; only the first instance speaks."""
    hosts = json.loads((path.parent.parent / "config" / "resourceconfig.json").read_text("utf-8"))
    if hosts["current_host"] == min(hosts["hosts"]) or "could not" in text:
        path.write_text(text[:1000], "utf-8")


if __name__ == "__main__":
    sys.exit(main())
