"""Targets: plain values until they are entered, then a place to measure, and nothing left of it afterwards."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from loadgen.aws.session import AwsConnectionConfig, open_clients
from loadgen.emulator.server import Settings, serve
from loadgen.errors import ConfigError, ResourceLeakError, UnavailableError, UsageError
from loadgen.targets import emulated
from loadgen.targets.emulated import Emulated
from loadgen.targets.existing import Existing
from loadgen.targets.sagemaker import SageMaker
from loadgen.targets.transport_selection import resolve_transport
from loadgen.transport.botocore import BotocoreTransport
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import ServerlessConfig
from tests.support.scripted_server import wait_until

CONFIG = ServerlessConfig(2048, 2)


def children() -> set[int]:
    """Ask the kernel for this process's children that still run."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it ended while we looked
        if int(parent) == os.getpid() and state != "Z":
            found.add(int(name))
    return found


def test_the_emulator_needs_nothing_but_this_package():
    """An emulator starts in its own process, serves the model under its name, and is gone afterwards."""

    async def main() -> None:
        before = children()
        async with Emulated("instant", model="ranker", quotas="ordinary", seed=3, time_scale=10_000.0).account(
            run_id="r"
        ) as account:
            assert len(children() - before) == 1
            assert account.identity.kind == "emulator"
            assert account.identity.detail == "profile instant, quotas ordinary, seed 3, time x10000"
            assert (account.quotas.endpoints, account.quotas.total_concurrency) == (5, 10)
            await account.check([CONFIG])
            async with account.open(CONFIG, connections=2, timeout=10.0) as endpoint:
                assert endpoint.name.startswith("loadgen-r-2048-2-")
                assert endpoint.transport_name == "wire"
                replies = await asyncio.gather(*(endpoint.transport.invoke(Request(b"x")) for _ in range(2)))
                assert {reply.status for reply in replies} == {200}
                assert (await account.server_counts(endpoint.name))["ok"] == 2
            assert account.leftovers() == []
        assert children() == before

    asyncio.run(main())


def test_the_profile_follows_the_model():
    """A model registered under another name behaves like the profile: it fails to deploy as that profile does."""

    async def main() -> None:
        async with (
            serve(Settings(time_scale=100_000.0)) as emulator,
            Emulated("fails-to-deploy", model="ranker", url=emulator.url).account(run_id="r") as account,
        ):
            with pytest.raises(UnavailableError, match="ping health check"):
                async with account.open(CONFIG, connections=1, timeout=1.0):
                    pass
            assert account.leftovers() == []

    asyncio.run(main())


def test_a_model_that_is_registered_already_is_kept():
    """Two runs under one model name in one emulator: the second uses the existing model."""

    async def main() -> None:
        async with serve(Settings(time_scale=100_000.0)) as emulator:
            for _ in range(2):
                async with Emulated("instant", model="ranker", url=emulator.url).open(CONFIG) as transport:
                    assert (await transport.invoke(Request(b"x"))).status == 200

    asyncio.run(main())


def test_an_emulator_that_exits_is_reported_with_its_status():
    """Killed in mid-run, the error names the emulator and its status, instead of a refused connection."""

    async def main() -> None:
        before = children()
        with pytest.raises(UnavailableError, match="the emulator was killed by SIGKILL"):
            async with Emulated("instant", time_scale=10_000.0).account(run_id="r") as account:
                (emulator,) = children() - before
                os.kill(emulator, signal.SIGKILL)
                await wait_until(lambda: emulator not in children())
                await account.server_counts("e")

    asyncio.run(main())


def test_an_emulator_that_cannot_start_says_why(monkeypatch):
    """If the emulator exits at once, its last stderr lines are in the details, without waiting for the timeout."""
    monkeypatch.setattr(emulated.sys, "executable", "/bin/ls")  # which does not know `-m`'s friends

    async def main() -> None:
        async with Emulated("instant").account(run_id="r"):
            pass

    with pytest.raises(UnavailableError, match="the emulator exited with status") as caught:
        asyncio.run(main())
    assert caught.value.details


def test_cancelled_while_it_starts_no_emulator_is_left():
    """A cancellation at any time of the start ends the process it had begun."""

    async def main() -> None:
        before = children()

        async def use() -> None:
            async with Emulated("instant").account(run_id="r"):
                raise AssertionError("it was cancelled before")

        task = asyncio.create_task(use())
        await wait_until(lambda: children() != before)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children() == before

    asyncio.run(main())


def test_an_emulator_ends_with_its_parent():
    """When the process that started it is killed, the emulator's input closes, and it ends."""
    code = (
        "import asyncio\n"
        "from loadgen.targets.emulated import Emulated\n"
        "async def main():\n"
        "    async with Emulated('instant').account(run_id='r') as account:\n"
        "        print(account._clients.control_url, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        url = parent.stdout.readline().strip()
        parent.kill()
    port = int(url.rpartition(":")[2])

    async def main() -> None:
        async def is_down() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return True
            except ConnectionResetError:  # it was still listening, and closed in that very moment
                return False
            writer.close()
            return False

        async with asyncio.timeout(30.0):
            while not await is_down():
                await asyncio.sleep(0)

    assert url.startswith("http://127.0.0.1:")
    asyncio.run(main())


def test_an_existing_endpoint_opens_in_one_line(monkeypatch):
    """`async with Existing(name).open() as transport` invokes the endpoint and does not delete it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    async def main() -> None:
        async with (
            serve(Settings(time_scale=10_000.0)) as emulator,
            Emulated("instant", url=emulator.url).account(run_id="r") as account,
            account.open(CONFIG, connections=1, timeout=10.0) as endpoint,
        ):
            monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.url)
            async with Existing(endpoint.name).open() as transport:
                assert (await transport.invoke(Request(b"x"))).status == 200
            assert (await endpoint.transport.invoke(Request(b"x"))).status == 200
            assert (await account.server_counts(endpoint.name))["ok"] == 2

    asyncio.run(main())


def test_a_model_opens_for_embedding_and_is_removed(monkeypatch):
    """`SageMaker(model).open(config)` deploys through the SDK's own chain, and removes the endpoint after the block."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    async def main() -> None:
        async with serve(Settings(time_scale=100_000.0)) as emulator:
            monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.url)
            async with SageMaker("instant").open(CONFIG, connections=2) as transport:
                assert (await transport.invoke(Request(b"x"))).status == 200
            async with SageMaker("instant").account(run_id="r") as account:
                assert account.identity.kind == "emulator"
                assert (await account._clients.sagemaker.list_endpoints())["Endpoints"] == []

    asyncio.run(main())


def test_leftovers_of_an_opened_target_are_an_error():
    """Without a run, leftovers are raised as an error, with the command that deletes each."""

    async def main() -> None:
        async with serve(Settings(time_scale=10_000.0)) as emulator:
            with pytest.raises(ResourceLeakError) as caught:
                async with Emulated("instant", url=emulator.url).open(CONFIG):
                    denied = {"status": 400, "code": "AccessDeniedException", "message": "no"}
                    emulator.faults.add({"operation": "DeleteEndpoint", "kind": "error_before", "times": 0} | denied)
            assert "aws sagemaker delete-endpoint --endpoint-name loadgen-open-" in caught.value.details[0]

    asyncio.run(main())


@pytest.mark.parametrize("name", ["botocore", "wire"])
def test_either_transport_carries_the_requests(name):
    """Each transport reaches the emulator under its own name; the ledger counts what it carried."""

    async def main() -> None:
        async with (
            serve(Settings(time_scale=100_000.0)) as emulator,
            Emulated("instant", url=emulator.url, transport=name).account(run_id="r") as account,
            account.open(CONFIG, connections=2, timeout=10.0) as endpoint,
        ):
            assert (endpoint.transport_name, endpoint.transport_note) == (name, "")
            for _ in range(5):
                assert (await endpoint.transport.invoke(Request(b"x"))).status == 200
            assert (await account.server_counts(endpoint.name))["ok"] == 5

    asyncio.run(main())


@pytest.fixture
def _proxied(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


@pytest.mark.usefixtures("_proxied")
def test_auto_falls_back_to_botocore_with_the_reason():
    """With a proxy in the environment `auto` uses botocore, and the note contains the reason (C77)."""

    async def main() -> None:
        async with (
            open_clients(AwsConnectionConfig(region="us-east-1")) as clients,
            resolve_transport("auto")(clients, "e", connections=1, timeout=5.0) as link,
        ):
            assert link.name == "botocore"
            assert isinstance(link.transport, BotocoreTransport)
            assert "proxy" in link.note

    asyncio.run(main())


@pytest.mark.usefixtures("_proxied")
def test_a_transport_asked_for_by_name_is_not_replaced():
    """Whoever names the wire transport gets it or a refusal with the reason, never another one."""

    async def main() -> None:
        async with open_clients(AwsConnectionConfig(region="us-east-1")) as clients:
            with pytest.raises(ConfigError, match="'wire' cannot be used: a proxy applies"):
                async with resolve_transport("wire")(clients, "e", connections=1, timeout=5.0):
                    pytest.fail("it was opened")

    asyncio.run(main())


WRONG = [
    lambda: SageMaker(""),
    lambda: SageMaker("-x"),
    lambda: SageMaker("a" * 64),
    lambda: SageMaker("m", transport="carrier-pigeon"),
    lambda: SageMaker("m", deploy_timeout=0),
    lambda: SageMaker("m", deploy_timeout=float("nan")),
    lambda: SageMaker("m", metrics_timeout=-1),
    lambda: Existing("an endpoint"),
    lambda: Existing("e", transport=""),
    lambda: Emulated("no-such-profile"),
    lambda: Emulated(quotas="generous"),
    lambda: Emulated(time_scale=0),
    lambda: Emulated(metric_lag=-1),
    lambda: Emulated(model="a b"),
    lambda: Emulated(url="127.0.0.1:80"),
    lambda: resolve_transport("pigeon"),
]


@pytest.mark.parametrize("build", WRONG)
def test_values_that_cannot_be_meant_are_refused_when_built(build):
    """A target is checked where it is written down, not when it is entered."""
    with pytest.raises(UsageError):
        build()


def test_building_targets_imports_no_aws_package():
    """Scenario files build targets as they load; neither an AWS package nor an HTTP client comes with that (C03)."""
    code = (
        "import sys\n"
        "from loadgen import Emulated, Existing, SageMaker\n"
        "Emulated(), Existing('e'), SageMaker('m')\n"
        "print([m for m in sys.modules if m.partition('.')[0] in ('boto3', 'botocore', 'aioboto3', 'aiobotocore', 'aiohttp')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
