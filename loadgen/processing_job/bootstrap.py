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

_ERROR = "loadgen: error"  # how the line begins that says why it ended
# loadgen's exit statuses of runs that took place: fine, a broken promise, INVALID.
_TOOK_PLACE = {0: "OK", 99: "THRESHOLD", 110: "INVALID"}


def main() -> int:
    """Install, run, report."""
    orders = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    message = Path(sys.argv[2])
    here = Path(__file__).resolve().parent
    trouble = _install(here, orders["version"])
    if trouble:
        _say(message, trouble)
        return 1
    os.chdir(here.parent / "files" / orders["directory"])
    command = [sys.executable, "-m", "loadgen", "instance", *sys.argv[3:]]
    last = ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:  # noqa: S603
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: process.send_signal(received))
        for line in process.stderr or ():
            sys.stderr.write(line)
            last = line.strip() if line.startswith(_ERROR) else last
        status = process.wait()
    told = _TOOK_PLACE.get(status) or last.removeprefix(_ERROR) or f"python -m loadgen explain {status}"
    _say(message, f"loadgen ended with status {status} ({told})")
    return 0 if status in _TOOK_PLACE else (status if status > 0 else 1)


def _install(here: Path, wanted: str) -> str:
    """Install the wheel beside this file; return what went wrong, in words."""
    try:
        if version("loadgen") == wanted:
            return ""
    except PackageNotFoundError:
        pass
    wheels = [str(path) for path in sorted(here.glob("*.whl"))]
    done = subprocess.run(  # noqa: S603 - pip, of this interpreter
        [sys.executable, "-m", "pip", "install", "--quiet", *wheels], check=False, capture_output=True, text=True
    )
    if done.returncode == 0:
        return ""
    last = done.stderr.strip().rpartition("\n")[2]
    return f"loadgen could not be installed with Python {sys.version.split()[0]}: {last}"


def _say(message: Path, text: str) -> None:
    """Write what DescribeProcessingJob will show; only the first instance speaks."""
    hosts = json.loads((message.parent.parent / "config" / "resourceconfig.json").read_text("utf-8"))
    if hosts["current_host"] == min(hosts["hosts"]) or "could not" in text:
        message.write_text(text[:1000], "utf-8")


if __name__ == "__main__":
    sys.exit(main())
