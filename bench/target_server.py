"""The server of the throughput and scale benches: nginx if it is installed, else the responder, on its own core."""

import datetime as dt
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} {ssl} backlog=8192;
    {certificate}
    location / {{
      default_type text/csv; add_header x-amzn-RequestId $request_id;
      add_header x-Amzn-Invoked-Production-Variant AllTraffic; return 200 "0.123456789012345\\n";
    }}
  }}
}}
"""


def certificate(folder: Path) -> Path:
    """Write a key and a self-signed certificate for localhost; return the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = folder / "localhost.pem"
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + built.public_bytes(pem)
    )
    return path


@contextmanager
def target_server(folder: Path, *, tls: Path | None, cpu: int) -> Iterator[tuple[str, str]]:
    """Run a server pinned to a core; yield its name and URL.

    Args:
        folder: directory of its files.
        tls: PEM file with key and certificate; None for HTTP.
        cpu: number of the core.
    """
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    with _nginx(nginx, folder, tls, cpu) if nginx else _responder(tls, cpu) as (name, port):
        yield name, f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"


@contextmanager
def _nginx(program: str, folder: Path, tls: Path | None, cpu: int) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    certificate_lines = f"ssl_certificate {tls}; ssl_certificate_key {tls};" if tls else ""
    settings = folder / "nginx.conf"
    settings.write_text(
        _NGINX.format(folder=folder, port=port, ssl="ssl" if tls else "", certificate=certificate_lines)
    )
    with _pinned([program, "-p", str(folder), "-c", str(settings), "-e", str(folder / "start.log")], cpu) as process:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                if process.poll() is not None:
                    raise
                continue
            break
        yield "nginx", port


@contextmanager
def _responder(tls: Path | None, cpu: int) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "bench.responder", "--cpu", str(cpu), *(["--tls", str(tls)] if tls else [])]
    with _pinned(command, cpu) as process:
        if process.stdout is None:
            raise RuntimeError("the responder has no stdout")
        yield "responder", int(process.stdout.readline())


@contextmanager
def _pinned(command: list[str], cpu: int) -> Iterator[subprocess.Popen[str]]:
    """Run a program pinned to one core; end it on exit."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})  # a child inherits it
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    finally:
        os.sched_setaffinity(0, before)
    with process:
        try:
            yield process
        finally:
            process.terminate()
