"""Cloud: submits a Processing job, waits for it, brings its results home, and removes what it left.

What is asked for is processing.py's; what runs over there is bootstrap.py's and instances.py's.
"""

import asyncio
import json
import random
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from loadgen.analysis.prices import PriceBook
from loadgen.aws.deployment.deletion import Removal
from loadgen.aws.deployment.naming import RUN
from loadgen.aws.deployment.resources import Existence, Holdings, Kind, NoJournal
from loadgen.aws.errors import SDK_ERRORS, Trouble, explain, judge
from loadgen.aws.identity import Reached, reach
from loadgen.aws.retry import EMULATED, Pace
from loadgen.aws.s3 import Shelf, bring, ensure_bucket, put
from loadgen.aws.session import Access
from loadgen.errors import ConfigError, InputError, LeftoversError, UnavailableError
from loadgen.interfaces import Leftover
from loadgen.processing_job import bootstrap
from loadgen.processing_job.bundle import Parcel
from loadgen.processing_job.job_spec import Hire, State, job_request
from loadgen.processing_job.wheel import build_wheel
from loadgen.results.lock import LOCK

_POLL = 10.0  # seconds between two looks at a job; a stand-in is asked more often
_POLL_STAND_IN = 0.3
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cargo:
    """What a job is sent.

    Args:
        run_id: the run's.
        words: what to type after `python -m loadgen` over there.
        parcel: the files it needs.
    """

    run_id: str
    words: Sequence[str]
    parcel: Parcel


@asynccontextmanager
async def _reached(region: str | None) -> AsyncIterator[tuple[Reached, Any]]:
    async with reach(Access(region=region)) as reached, reached.clients.storage() as s3:
        yield reached, s3


async def submit(cargo: Cargo, hire: Hire, *, shelf: Shelf | None, region: str | None, say: Say) -> State:
    """Upload everything and create the job.

    Args:
        cargo: what it carries out.
        hire: where.
        shelf: the place in S3; None for the bucket that the SageMaker SDK uses too.
        region: overrides the SDK's own chain.
        say: takes a sentence for whoever watches.

    Raises:
        LoadgenError: it could not be created; nothing runs.
    """
    async with _reached(region) as (reached, s3):
        here = reached.clients.region
        account = reached.identity.account_id
        own = (shelf or Shelf(f"sagemaker-{here}-{account}", "loadgen")) / f"loadgen-{cargo.run_id}"
        await ensure_bucket(s3, own.bucket, here)
        say(f"uploading to {own.uri}")
        await _upload(s3, own, cargo, instances=hire.instances)
        say(hire.price(here, PriceBook.builtin()))
        request = job_request(hire, run_id=cargo.run_id, region=here, shelf=own)
        try:
            await reached.clients.sagemaker.create_processing_job(**request)
        except SDK_ERRORS as error:
            raise explain(error, f"CreateProcessingJob {request['ProcessingJobName']}", now=time.time()) from error
        return await _describe(reached, request["ProcessingJobName"])


async def _upload(s3: Any, shelf: Shelf, cargo: Cargo, *, instances: int) -> None:
    code, files = shelf / "input" / "code", shelf / "input" / "files"
    orders = {
        "version": version("loadgen"),
        "run": cargo.run_id,
        "words": list(cargo.words),
        "directory": cargo.parcel.directory,
        "meeting": (shelf / "meeting.json").uri,
        "secret": secrets.token_hex(32),
        "instances": instances,
    }
    with tempfile.TemporaryDirectory(prefix="loadgen-") as scratch:
        wheel = await asyncio.to_thread(build_wheel, Path(scratch))
        await put(s3, code / wheel.name, wheel)
    await put(s3, code / "bootstrap.py", Path(bootstrap.__file__))
    await put(s3, code / "orders.json", json.dumps(orders).encode())
    for name, path in cargo.parcel.files.items():
        await put(s3, files / name, path)


async def _describe(reached: Reached, name: str) -> State:
    try:
        return State.of(await reached.clients.sagemaker.describe_processing_job(ProcessingJobName=name))
    except SDK_ERRORS as error:
        if judge(error) is Trouble.MISSING or "ResourceNotFound" in str(error):
            where = f"account {reached.identity.account_id or '(unknown)'}, {reached.clients.region}"
            raise InputError(f"no Processing job {name} in {where}", hint="check AWS_REGION and AWS_PROFILE") from error
        raise explain(error, f"DescribeProcessingJob {name}", now=time.time()) from error


async def follow(name: str, *, region: str | None, say: Say, stop: asyncio.Event) -> State:
    """Wait until a job has ended, and return how.

    Args:
        name: the job's.
        region: overrides the SDK's own chain.
        say: takes a sentence for whoever watches.
        stop: set it to stop the job, and then to wait for its end.

    Raises:
        LoadgenError: it cannot be asked about; it may run on.
    """
    async with _reached(region) as (reached, _):
        pause = _POLL if reached.identity.kind == "aws" else _POLL_STAND_IN
        seen, asked_to_stop = "", False
        while True:
            state = await _describe(reached, name)
            if state.status != seen:
                seen = state.status
                say(str(state))
            if state.is_over:
                return state
            if stop.is_set() and not asked_to_stop:
                asked_to_stop = True
                await _stop(reached, name)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await (asyncio.Event() if asked_to_stop else stop).wait()


async def _stop(reached: Reached, name: str) -> None:
    try:
        await reached.clients.sagemaker.stop_processing_job(ProcessingJobName=name)
    except SDK_ERRORS as error:
        if not (await _describe(reached, name)).is_over:
            raise explain(error, f"StopProcessingJob {name}", now=time.time()) from error


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was brought home.

    Args:
        state: how the job stands.
        directory: where its results are now.
        files: how many were new or had changed.
        leftovers: endpoints of the run that could not be removed.
    """

    state: State
    directory: Path
    files: int
    leftovers: tuple[Leftover, ...]


async def fetch(name: str, directory: Path, *, region: str | None, say: Say) -> Fetched:
    """Bring a job's results home, and remove the endpoints it left when it has ended. Again is no harm.

    Raises:
        LoadgenError: there is no such job, or its results cannot be read or written.
    """
    async with _reached(region) as (reached, s3):
        state = await _describe(reached, name)
        say(str(state))
        leftovers = await _settled(reached, state, say) if state.is_over else ()
        # The lock is of a process over there, which nobody here can see to have ended.
        files = await bring(s3, state.output, directory, leave_out={LOCK})
        say(f"{files} files brought to {directory}" if files else f"{directory} is up to date")
        return Fetched(state, directory, files, leftovers)


async def _settled(reached: Reached, state: State, say: Say) -> tuple[Leftover, ...]:
    """Remove every endpoint and configuration with the run's tag; return what could not be removed."""
    api = reached.clients.sagemaker
    url = "" if reached.identity.kind == "aws" else reached.clients.control_url
    held = Holdings(NoJournal(), region=reached.clients.region, endpoint_url=url)
    try:
        # Names hold the run's id, so that few have to be asked for their tags.
        async for page in api.get_paginator("list_endpoints").paginate(NameContains=state.run_id):
            for row in page["Endpoints"]:
                if await _is_of(api, row["EndpointArn"], state.run_id):
                    held.admit(Kind.ENDPOINT, row["EndpointName"], Existence.SEEN)
        async for page in api.get_paginator("list_endpoint_configs").paginate(NameContains=state.run_id):
            for row in page["EndpointConfigs"]:
                if await _is_of(api, row["EndpointConfigArn"], state.run_id):
                    held.admit(Kind.CONFIG, row["EndpointConfigName"], Existence.SEEN)
    except SDK_ERRORS as error:
        raise explain(error, f"looking for what run {state.run_id} left", now=time.time()) from error
    found = list(held)
    if found:
        say(f"removing {', '.join(holding.name for holding in found)}, which the job left")
        pace = Pace() if reached.identity.kind == "aws" else EMULATED
        await Removal(api, held, pace, random.SystemRandom()).remove(found)
    return tuple(held.leftovers())


async def _is_of(api: Any, arn: str, run_id: str) -> bool:
    answer = await api.list_tags(ResourceArn=arn)
    return any(tag["Key"] == RUN and tag["Value"] == run_id for tag in answer["Tags"])


def check_reachable(target: Any) -> None:
    """Refuse a target that a job elsewhere cannot reach.

    Raises:
        ConfigError: it is an emulator of this machine.
    """
    if getattr(target, "emulator_url", "") or type(target).__name__ == "Emulated":
        raise ConfigError(
            "a Processing job cannot reach an emulator on this machine",
            hint="name SageMaker(...) or Existing(...) in the scenario, and leave --emulate out",
        )


def check(fetched: Fetched) -> None:
    """Refuse to be silent about a job that did not end well.

    Raises:
        LeftoversError: something of it may still exist.
        UnavailableError: it failed, or was stopped.
    """
    if fetched.leftovers:
        details = [str(leftover) for leftover in fetched.leftovers]
        raise LeftoversError("something may still exist", hint="remove it", details=details)
    if fetched.state.status != "Completed":
        raise failed(fetched.state)


def failed(state: State) -> UnavailableError:
    """Return the error that a job's end amounts to."""
    return UnavailableError(str(state), hint="its log is in CloudWatch Logs, /aws/sagemaker/ProcessingJobs")
