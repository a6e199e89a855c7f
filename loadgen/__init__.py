"""Measure what a SageMaker endpoint can do and what it costs.

The public names, and nothing else. They are looked up when first used, so that `python -m loadgen --help` and a
service that embeds one part of loadgen do not pay for the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadgen.arrivals import even as even
    from loadgen.arrivals import poisson as poisson
    from loadgen.arrivals import trace as trace
    from loadgen.benchmark import ServerlessBenchmark as ServerlessBenchmark
    from loadgen.cloud_benchmark import run_as_sagemaker_job as run_as_sagemaker_job
    from loadgen.engine import run as run
    from loadgen.errors import LoadgenError as LoadgenError
    from loadgen.instants import read_instants as read_instants
    from loadgen.load import ClosedLoop as ClosedLoop
    from loadgen.load import OpenLoop as OpenLoop
    from loadgen.load import Uniform as Uniform
    from loadgen.outcome import Column as Column
    from loadgen.outcome import Outcome as Outcome
    from loadgen.outcome import TransportError as TransportError
    from loadgen.payload import convert_invoke_args_to_jsonl as convert_invoke_args_to_jsonl
    from loadgen.payload import convert_invoke_args_to_pkl as convert_invoke_args_to_pkl
    from loadgen.payload import read_requests as read_requests
    from loadgen.predecessor import run_serverless_benchmarks as run_serverless_benchmarks
    from loadgen.rate import Rate as Rate
    from loadgen.rate import constant as constant
    from loadgen.rate import ramp as ramp
    from loadgen.rate import stages as stages
    from loadgen.record import Window as Window
    from loadgen.request import Reply as Reply
    from loadgen.request import Request as Request
    from loadgen.runs import Run as Run
    from loadgen.scenario import Scenario as Scenario
    from loadgen.slo import Slo as Slo
    from loadgen.step import ErrorLimit as ErrorLimit
    from loadgen.step import Step as Step
    from loadgen.summary import summarize as summarize
    from loadgen.target import ServerlessConfig as ServerlessConfig
    from loadgen.targets.emulated import Emulated as Emulated
    from loadgen.targets.existing import Existing as Existing
    from loadgen.targets.sagemaker import SageMaker as SageMaker
    from loadgen.transport.null import NullTransport as NullTransport
    from loadgen.verdict import judge as judge

_HOMES = {
    "arrivals": ("even", "poisson", "trace"),
    "benchmark": ("ServerlessBenchmark",),
    "cloud_benchmark": ("run_as_sagemaker_job",),
    "engine": ("run",),
    "errors": ("LoadgenError",),
    "instants": ("read_instants",),
    "load": ("ClosedLoop", "OpenLoop", "Uniform"),
    "outcome": ("Column", "Outcome", "TransportError"),
    "payload": ("convert_invoke_args_to_jsonl", "convert_invoke_args_to_pkl", "read_requests"),
    "predecessor": ("run_serverless_benchmarks",),
    "rate": ("Rate", "constant", "ramp", "stages"),
    "record": ("Window",),
    "request": ("Reply", "Request"),
    "runs": ("Run",),
    "scenario": ("Scenario",),
    "slo": ("Slo",),
    "step": ("ErrorLimit", "Step"),
    "summary": ("summarize",),
    "target": ("ServerlessConfig",),
    "targets.emulated": ("Emulated",),
    "targets.existing": ("Existing",),
    "targets.sagemaker": ("SageMaker",),
    "transport.null": ("NullTransport",),
    "verdict": ("judge",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)  # noqa: PLE0605 - the table above is the list


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'loadgen' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"loadgen.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
