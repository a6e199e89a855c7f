"""CloudWatch: one metric for a whole interval, read once it has settled, and a reason where there is none."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.aws.cloudwatch import CloudWatchReader, Interval, MetricsWaitPolicy, combine_datapoints
from loadgen.aws.session import AwsConnectionConfig, Clients, open_clients
from loadgen.emulator.server import Emulator, Settings, serve
from loadgen.measurement.cloudwatch_metrics import UNITS, CloudWatchMetric, CloudWatchMetrics
from loadgen.targets.emulated import Emulated
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import ServerlessConfig

QUICK = MetricsWaitPolicy(poll_interval=0.01, timeout=0.5, settle_time=0.05)


@asynccontextmanager
async def account(**settings: object) -> AsyncIterator[tuple[Emulator, Clients]]:
    async with (
        serve(Settings(**settings)) as emulator,  # type: ignore[arg-type]
        open_clients(AwsConnectionConfig(emulator_url=emulator.url)) as clients,
    ):
        yield emulator, clients


def test_metrics_are_those_of_the_calls_that_were_made():
    """Counts equal what was sent, units are CloudWatch's, percentiles lie in order between minimum and maximum."""

    async def main() -> None:
        async with (
            serve(Settings(time_scale=10_000.0)) as emulator,
            Emulated("xgboost", url=emulator.url).account(run_id="r") as place,
            place.open(ServerlessConfig(2048, 2), connections=2, timeout=20.0) as endpoint,
        ):
            start = emulator.clock()
            for _ in range(20):
                assert (await endpoint.transport.invoke(Request(b"x"))).status == 200
            read = await place.metrics(endpoint.name, start=start, end=emulator.clock(), invocations=20)
            assert (await place.server_counts(endpoint.name))["ok"] == 20
            assert read.is_final
            assert set(read.values) | set(read.unavailable) == set(UNITS)
            for name, metric in read.values.items():
                assert metric.unit == UNITS[name]
                ranked = [metric.percentiles[p] for p in ("p25", "p50", "p75", "p90", "p95", "p99")]
                assert ranked == sorted(ranked)
                assert metric.minimum <= ranked[0]
                assert ranked[-1] <= metric.maximum
            assert read.values["Invocations"].total == 20
            assert read.values["ModelLatency"].sample_count == 20
            # 4 ms in the container (the profile), within what its jitter allows
            assert 3000 < read.values["ModelLatency"].average < 5500
            assert "ModelSetupTime" not in read.values
            assert "cold starts only" in read.unavailable["ModelSetupTime"]

    asyncio.run(main())


def test_an_endpoint_without_calls_has_reasons_and_no_zeros():
    """Without data every metric is unavailable with a reason, none is zero, and `is_final` is False (C63)."""

    async def main() -> None:
        async with account() as (emulator, clients):
            reader = CloudWatchReader(
                clients.cloudwatch, "not-called", Interval.from_times(emulator.clock() - 60, emulator.clock())
            )
            read = await reader.read(end=emulator.clock(), invocations=5, wait_policy=QUICK)
        assert read.values == {}
        assert set(read.unavailable) == set(UNITS)
        assert all("no datapoint" in why for why in read.unavailable.values())
        assert not read.is_final

    asyncio.run(main())


def test_denied_metrics_are_missing_with_the_reason():
    """Without permission for CloudWatch every metric is unavailable with the reason (C63)."""
    text = "User: arn:u is not authorized to perform: cloudwatch:GetMetricStatistics"

    async def main() -> None:
        async with account() as (emulator, clients):
            emulator.faults.add(
                {
                    "operation": "GetMetricStatistics",
                    "kind": "error_before",
                    "times": 0,
                    "status": 403,
                    "code": "AccessDenied",
                    "message": text,
                }
            )
            reader = CloudWatchReader(clients.cloudwatch, "e", Interval(0, 60))
            read = await reader.read(end=60.0, invocations=5, wait_policy=QUICK)
        assert read.values == {}
        assert {
            name: "not allowed cloudwatch:GetMetricStatistics" in why for name, why in read.unavailable.items()
        } == (dict.fromkeys(UNITS, True))

    asyncio.run(main())


class Scripted:
    """A CloudWatch that counts more invocations at each look, and a clock that moves with each."""

    def __init__(self, sums: list[float], step: float) -> None:
        self.sums = sums
        self.looks = 0
        self.step = step
        self.asked: list[dict] = []

    def now(self) -> float:
        return self.looks * self.step

    async def get_metric_statistics(self, **asked):
        self.asked.append(asked)
        if asked.get("Statistics") == ["Sum"]:
            value = self.sums[min(self.looks, len(self.sums) - 1)]
            self.looks += 1
            return {"Datapoints": [{"Sum": value}] if value else []}
        return {"Datapoints": []}


@pytest.mark.parametrize(
    ("sums", "invocations", "looks", "settled"),
    [
        ([0, 4, 10], 10, 3, True),  # all there
        ([12], 10, 1, True),  # more than all: a neighbour in the same minute
        ([0, 3, 7, 7, 7, 9], 10, 5, True),  # unchanged for two more looks: throttles are not counted
        ([0], 10, 30, False),  # nothing, to the cap: nothing is never final
        (list(range(1, 40)), 99, 30, False),  # never at rest
        ([0], 0, 1, True),  # nothing was sent, nothing to wait for
    ],
)
def test_counts_are_awaited(sums, invocations, looks, settled):
    """Reading waits until all is counted, or the count rests, or the cap; a look takes 10 s of the scripted clock."""

    async def main() -> CloudWatchMetrics:
        reader = CloudWatchReader(script, "e", Interval(0, 60), now=script.now)
        return await reader.read(
            end=0.0,
            invocations=invocations,
            wait_policy=MetricsWaitPolicy(poll_interval=0.0, timeout=300.0, settle_time=20.0),
        )

    script = Scripted(sums, 10.0)
    read = asyncio.run(main())
    assert (script.looks, read.is_final, read.publish_delay) == (looks, settled, looks * 10.0)


def test_both_dimensions_are_always_asked_for():
    """Every question names endpoint and variant, one period for the interval, and one kind of statistics."""
    script = Scripted([1], 1.0)
    asyncio.run(
        CloudWatchReader(script, "e", Interval(120, 360), now=script.now).read(end=0, invocations=1, wait_policy=QUICK)
    )
    for asked in script.asked:
        assert asked["Dimensions"] == [
            {"Name": "EndpointName", "Value": "e"},
            {"Name": "VariantName", "Value": "AllTraffic"},
        ]
        assert asked["Period"] == 240
        assert asked["StartTime"].tzinfo is UTC
        assert ("Statistics" in asked) != ("ExtendedStatistics" in asked)
    namespaces = {asked["MetricName"]: asked["Namespace"] for asked in script.asked}
    assert namespaces.pop("MemoryUtilization") == "/aws/sagemaker/Endpoints"
    assert set(namespaces.values()) == {"AWS/SageMaker"}


def test_moto_reads_the_same():
    """Moto's CloudWatch, which knows nothing of us, gives back the statistics of the values that were put in."""
    from moto.server import ThreadedMotoServer

    values = [120_000.0, 80_000.0, 100_000.0, 95_000.0]
    minute = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()

    async def main() -> CloudWatchMetrics:
        host, port = server.get_host_and_port()
        async with open_clients(AwsConnectionConfig(emulator_url=f"http://{host}:{port}")) as clients:
            dimensions = [{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "AllTraffic"}]
            for name, unit, numbers in (
                ("ModelLatency", "Microseconds", values),
                ("Invocations", "None", [1.0] * 4),
            ):
                await clients.cloudwatch.put_metric_data(
                    Namespace="AWS/SageMaker",
                    MetricData=[
                        {
                            "MetricName": name,
                            "Dimensions": dimensions,
                            "Timestamp": minute + timedelta(seconds=40 * number),
                            "Unit": unit,
                            "Value": value,
                        }
                        for number, value in enumerate(numbers)
                    ],
                )
            start = minute.timestamp()
            reader = CloudWatchReader(clients.cloudwatch, "e", Interval.from_times(start, start + 121))
            return await reader.read(end=start + 121, invocations=4, wait_policy=QUICK)

    try:
        read = asyncio.run(main())
    finally:
        server.stop()
    latency = read.values["ModelLatency"]
    assert (latency.sample_count, latency.total, latency.minimum, latency.maximum) == (
        4,
        395_000.0,
        80_000.0,
        120_000.0,
    )
    assert latency.average == pytest.approx(98_750.0)
    assert read.values["Invocations"].total == 4
    assert "MemoryUtilization" in read.unavailable


def datapoint(values: list[float], at: int) -> dict:
    return {
        "SampleCount": float(len(values)),
        "Sum": math.fsum(values),
        "Average": math.fsum(values) / len(values),
        "Minimum": min(values),
        "Maximum": max(values),
        "Unit": "Microseconds",
        "Timestamp": datetime.fromtimestamp(at, UTC),
    }


@given(st.lists(st.lists(st.floats(0, 1e7), min_size=1, max_size=20), min_size=1, max_size=6), st.randoms())
def test_minutes_merge_to_the_whole(minutes, rng):
    """However observations fall into datapoints, and in whatever order these come, the whole has their statistics."""
    points = [datapoint(values, 60 * number) for number, values in enumerate(minutes)]
    rng.shuffle(points)
    merged = combine_datapoints(
        "ModelLatency", points, [point | {"ExtendedStatistics": {"p50": 1.0}} for point in points]
    )
    everything = [value for values in minutes for value in values]
    assert isinstance(merged, CloudWatchMetric)
    assert merged.sample_count == len(everything)
    assert merged.total == pytest.approx(math.fsum(everything))
    assert merged.average == pytest.approx(math.fsum(everything) / len(everything))
    assert (merged.minimum, merged.maximum) == (min(everything), max(everything))
    assert merged.timestamp == 0.0
    assert merged.percentiles == ({"p50": 1.0} if len(minutes) == 1 else {})  # percentiles of minutes do not merge


@given(st.floats(0, 2e9), st.floats(0, 1e5))
def test_intervals_cover_whole_minutes(start, seconds):
    """The interval begins and ends on minutes, covers what was measured, and is no minute longer than needed."""
    interval = Interval.from_times(start, start + seconds)
    assert interval.start % 60 == interval.end % 60 == 0
    assert interval.start <= start < interval.start + 60
    assert start + seconds <= interval.end
    assert interval.end - 60 < max(start + seconds, start + 1e-6) or interval.end - interval.start == 60
