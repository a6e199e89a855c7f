"""The guide's script for a cluster over SSH, run against an SSH server on the loopback address."""

import getpass
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.emulator import eventually

ROOT = Path(__file__).parents[2]
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
SEARCH_PATH = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="needs sshd: apt-get install openssh-server"),
    pytest.mark.skipif(importlib.util.find_spec("asyncssh") is None, reason="needs asyncssh: pip install asyncssh"),
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs loadgen[dask]"),
]


def make_key(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_name(path.name + ".pub").read_text()


@contextmanager
def ssh_server(directory):
    """Run an SSH server for this user on a free loopback port; yield a home directory whose ~/.ssh/config knows it."""
    directory.chmod(0o700)
    host_key, user_key = make_key(directory / "host"), make_key(directory / "user")
    (directory / "authorized_keys").write_text(user_key)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/authorized_keys\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSetEnv PYTHONPATH={SEARCH_PATH}\n"
    )
    home = directory / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/config").write_text(
        f"Host 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n  IdentityFile {directory}/user\n"
        f"  UserKnownHostsFile {directory}/known_hosts\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd's own directory, which a service manager creates otherwise
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", directory / "sshd_config"], stdout=log, stderr=log)
        try:
            eventually(lambda: "listening" in (directory / "log").read_text(), within=20)
            yield home
        finally:
            server.terminate()
            server.wait()


def test_the_guide_s_script_runs_over_ssh(tmp_path):
    """The script makes a cluster of the hosts it is given, the run uses a Dask worker on each, and all of it ends."""
    page = (ROOT / "loadgen/guide/05-scaling-out.md").read_text()
    (script,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "SSHCluster" in block]
    (tmp_path / "cluster.py").write_text(script)
    with ssh_server(tmp_path) as home:
        done = subprocess.run(
            [sys.executable, "cluster.py", "127.0.0.1", "127.0.0.1"],
            check=False,
            cwd=tmp_path,
            env=os.environ | {"HOME": str(home), "PYTHONPATH": SEARCH_PATH},
            capture_output=True,
            text=True,
            timeout=180,
        )
        log = (tmp_path / "log").read_text()
    assert done.returncode == 0, done.stderr
    assert "2 workers: tcp://" in done.stderr, done.stderr
    assert log.count("Accepted publickey") == 3, log  # a scheduler and two Dask workers
    assert list(tmp_path.glob("results/*/benchmarking_report/benchmarking_report.html"))
