"""A Dask cluster of machines that only know each other's names: the scheduler on the first, a Dask worker on each.

Every connection is TLS, and both ends must show the certificate of the run; it signs itself, so it is also the only
certificate authority. The HTTP pages that Dask always serves listen on the loopback address.
"""

import datetime as dt
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loadgen.distributed.dask import import_distributed
from loadgen.errors import ConfigError, UnavailableError

_JOIN_TIMEOUT = 1200.0  # seconds; the instances of one job start within minutes of each other
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class DaskCluster:
    """The machines of a cluster and what they share.

    Args:
        hosts: names of the machines; the scheduler runs on the first.
        current_host: name of this machine.
        port: TCP port of the scheduler.
        certificate: PEM file with the certificate of the run and its key.
    """

    hosts: tuple[str, ...]
    current_host: str
    port: int
    certificate: Path

    @asynccontextmanager
    async def open_client(self, log: Callable[[str], None]) -> AsyncIterator[Any]:
        """Run the scheduler and this machine's Dask worker, and open a client once every machine has joined.

        Raises:
            ConfigError: Dask is not installed.
            UnavailableError: not all machines joined in time.
        """
        distributed = import_distributed()
        security, own_address = self._security(), self._own_address()
        async with AsyncExitStack() as stack:
            scheduler = await stack.enter_async_context(
                distributed.Scheduler(
                    host=own_address,
                    port=self.port,
                    protocol="tls",
                    security=security,
                    dashboard=False,
                    dashboard_address=f"{_LOOPBACK}:0",
                )
            )
            await stack.enter_async_context(self._open_worker(scheduler.address))
            client = await stack.enter_async_context(
                distributed.Client(scheduler.address, security=security, asynchronous=True, set_as_default=False)
            )
            log(f"waiting for {len(self.hosts) - 1} other instances")
            try:
                await client.wait_for_workers(len(self.hosts), timeout=_JOIN_TIMEOUT)
            except TimeoutError as error:
                missing = sorted({*self.hosts} - {worker.name for worker in scheduler.workers.values()})
                raise UnavailableError(f"{', '.join(missing)} did not join within {_JOIN_TIMEOUT:g} s") from error
            yield client

    async def run_worker(self, on_joined: Callable[[], None]) -> None:
        """Run this machine's Dask worker until the scheduler is closed or lost.

        Args:
            on_joined: called when the Dask worker has joined the cluster.

        Raises:
            ConfigError: Dask is not installed.
            UnavailableError: the scheduler could not be reached in time.
        """
        # A machine whose own name cannot be resolved is a process of an emulator, next to the scheduler.
        scheduler_host = _LOOPBACK if self._own_address() == _LOOPBACK else self.hosts[0]
        try:
            async with self._open_worker(f"tls://{scheduler_host}:{self.port}") as worker:
                on_joined()
                await worker.finished()
        except OSError as error:  # includes TimeoutError
            raise UnavailableError(f"cannot join the Dask scheduler on {self.hosts[0]}: {error}") from error

    @asynccontextmanager
    async def _open_worker(self, scheduler_address: str) -> AsyncIterator[Any]:
        with TemporaryDirectory(prefix="loadgen-dask-") as scratch:
            worker = import_distributed().Worker(
                scheduler_address,
                name=self.current_host,
                host=self._own_address(),
                protocol="tls",
                security=self._security(),
                dashboard=False,
                dashboard_address=f"{_LOOPBACK}:0",
                memory_limit=0,  # Dask would measure this process, on the first machine that of the coordinator
                local_directory=scratch,
                death_timeout=_JOIN_TIMEOUT,
            )
            async with worker:
                yield worker

    def _security(self) -> Any:
        pem = str(self.certificate)
        return import_distributed().Security(
            require_encryption=True, tls_ca_file=pem, tls_client_cert=pem, tls_scheduler_cert=pem, tls_worker_cert=pem
        )

    def _own_address(self) -> str:
        """Return this machine's IPv4 address; the loopback address when its name cannot be resolved."""
        try:
            return socket.gethostbyname(self.current_host)
        except OSError:
            return _LOOPBACK


def create_certificate(*, now: float, lifetime: float) -> bytes:
    """Return the PEM of a new private key and its certificate, which signs itself.

    Args:
        now: epoch seconds.
        lifetime: seconds that the certificate is valid; a day more in both directions, since clocks differ.

    Raises:
        ConfigError: cryptography is not installed.
    """
    try:
        from cryptography import x509  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above
        from cryptography.x509.oid import NameOID  # noqa: PLC0415 - as above
    except ImportError as error:
        raise ConfigError("several instances need Dask and cryptography", hint="pip install 'loadgen[dask]'") from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loadgen run")])
    start, day = dt.datetime.fromtimestamp(now, dt.UTC), dt.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - day)
        .not_valid_after(start + day + dt.timedelta(seconds=lifetime))
        .sign(key, hashes.SHA256())
    )
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private_key + certificate.public_bytes(serialization.Encoding.PEM)
