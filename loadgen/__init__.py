"""Measure what a SageMaker endpoint can do and what it costs.

This module defines the public names. Each is imported when it is first used, so that `python -m loadgen --help` and a
service that embeds one part of loadgen do not import the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadgen.analysis.size_choice import Objective as Objective
    from loadgen.analysis.slo import Slo as Slo
    from loadgen.analysis.summary import summarize as summarize
    from loadgen.analysis.verdict import judge as judge
    from loadgen.compat import run_as_sagemaker_job as run_as_sagemaker_job
    from loadgen.compat import run_serverless_benchmarks as run_serverless_benchmarks
    from loadgen.engine.engine import run as run
    from loadgen.errors import LoadgenError as LoadgenError
    from loadgen.interfaces import TransportError as TransportError
    from loadgen.measurement.outcome import Outcome as Outcome
    from loadgen.measurement.outcome import OutcomeCategory as OutcomeCategory
    from loadgen.measurement.run import Run as Run
    from loadgen.measurement.tally import Window as Window
    from loadgen.scenario.interleaved import Interleaved as Interleaved
    from loadgen.scenario.interleaved import Variant as Variant
    from loadgen.scenario.scenario import Scenario as Scenario
    from loadgen.scenario.serverless_benchmark import ServerlessBenchmark as ServerlessBenchmark
    from loadgen.targets.emulated import Emulated as Emulated
    from loadgen.targets.existing import Existing as Existing
    from loadgen.targets.sagemaker import SageMaker as SageMaker
    from loadgen.transport.null import NullTransport as NullTransport
    from loadgen.workload.arrivals import even as even
    from loadgen.workload.arrivals import poisson as poisson
    from loadgen.workload.arrivals import trace as trace
    from loadgen.workload.load import ClosedLoop as ClosedLoop
    from loadgen.workload.load import OpenLoop as OpenLoop
    from loadgen.workload.load import Uniform as Uniform
    from loadgen.workload.payload import convert_invoke_args_to_jsonl as convert_invoke_args_to_jsonl
    from loadgen.workload.payload import convert_invoke_args_to_pkl as convert_invoke_args_to_pkl
    from loadgen.workload.payload import read_requests as read_requests
    from loadgen.workload.rate import Rate as Rate
    from loadgen.workload.rate import constant as constant
    from loadgen.workload.rate import ramp as ramp
    from loadgen.workload.rate import stages as stages
    from loadgen.workload.request import Reply as Reply
    from loadgen.workload.request import Request as Request
    from loadgen.workload.serverless_config import ServerlessConfig as ServerlessConfig
    from loadgen.workload.step import ErrorLimit as ErrorLimit
    from loadgen.workload.step import Step as Step
    from loadgen.workload.timestamps import read_timestamps as read_timestamps

    Column, read_instants = OutcomeCategory, read_timestamps

_NAMES_BY_MODULE = {
    "analysis.size_choice": ("Objective",),
    "analysis.slo": ("Slo",),
    "analysis.summary": ("summarize",),
    "analysis.verdict": ("judge",),
    "compat": ("run_as_sagemaker_job", "run_serverless_benchmarks"),
    "engine.engine": ("run",),
    "errors": ("LoadgenError",),
    "interfaces": ("TransportError",),
    "measurement.outcome": ("Outcome", "OutcomeCategory"),
    "measurement.run": ("Run",),
    "measurement.tally": ("Window",),
    "scenario.interleaved": ("Interleaved", "Variant"),
    "scenario.scenario": ("Scenario",),
    "scenario.serverless_benchmark": ("ServerlessBenchmark",),
    "targets.emulated": ("Emulated",),
    "targets.existing": ("Existing",),
    "targets.sagemaker": ("SageMaker",),
    "transport.null": ("NullTransport",),
    "workload.arrivals": ("even", "poisson", "trace"),
    "workload.load": ("ClosedLoop", "OpenLoop", "Uniform"),
    "workload.payload": ("convert_invoke_args_to_jsonl", "convert_invoke_args_to_pkl", "read_requests"),
    "workload.rate": ("Rate", "constant", "ramp", "stages"),
    "workload.request": ("Reply", "Request"),
    "workload.serverless_config": ("ServerlessConfig",),
    "workload.step": ("ErrorLimit", "Step"),
    "workload.timestamps": ("read_timestamps",),
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}
# Second public names of the same objects.
_ALIASES = {"Column": "OutcomeCategory", "read_instants": "read_timestamps"}
__all__ = sorted([*_MODULE_OF, *_ALIASES])  # noqa: PLE0605 - derived from the table above


def __getattr__(name: str) -> object:
    defined = _ALIASES.get(name, name)
    if defined not in _MODULE_OF:
        raise AttributeError(f"module 'loadgen' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"loadgen.{_MODULE_OF[defined]}"), defined)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
