"""Live progress in a terminal: a bar for each step, or one quiet line for each step where nobody watches.

Everything goes to stderr: stdout is for results.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from loadgen.analysis.analysis import Analysis
from loadgen.interfaces import Progress as Watching
from loadgen.measurement.histogram import Histogram
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Window
from loadgen.report.formats.terminal import render_report
from loadgen.results.manifest import Manifest
from loadgen.workload.load import ClosedLoop
from loadgen.workload.step import Step


@contextmanager
def show_progress(*, quiet: bool = False) -> Iterator[Watching]:
    """Show what happens while the context lasts: bars in a terminal, else a line for each step."""
    console = Console(file=sys.stderr)
    if quiet or not console.is_terminal or console.is_dumb_terminal:
        yield _PlainProgress(console)
        return
    with Progress(
        TextColumn("{task.description}", style="bold"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        _StatsColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        refresh_per_second=4,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bars:
        yield _ProgressBars(bars)


def print_report(manifest: Manifest, analysis: Analysis, page: Path) -> None:
    """Print the tables of a run on stdout, and where its page is."""
    # Piped, a table is as wide as it needs to be: there is no window that it must fit.
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    console.print(render_report(manifest, analysis))
    console.print(f"\nReport: {page}", markup=False, highlight=False, soft_wrap=True)


class _StepStats:
    """What a step has shown so far."""

    def __init__(self) -> None:
        self.service = Histogram()
        self.completed = 0
        self.seconds = 0.0
        self.throttled = 0
        self.failed = 0
        self.tps = 0.0

    def add(self, window: Window) -> None:
        self.completed += sum(window.counts.values()) + window.warmup
        self.throttled += window.count(OutcomeCategory.THROTTLED)
        self.failed += window.count(OutcomeCategory.FAILED)
        self.seconds += window.length
        if window.length > 0:
            self.tps = window.count(OutcomeCategory.OK) / window.length
        if OutcomeCategory.OK in window.service:
            self.service.add(window.service[OutcomeCategory.OK])

    def __str__(self) -> str:
        p50 = f"{self.service.percentile(50) * 1000:,.1f}" if self.service.total else "-"
        p99 = f"{self.service.percentile(99) * 1000:,.1f}" if self.service.total >= _MIN_CALLS_FOR_P99 else "-"
        return f"{self.tps:6,.1f} TPS  p50 {p50} ms  p99 {p99} ms  throttled {self.throttled:,}  failed {self.failed:,}"


_PIPED_WIDTH = 120
_MIN_CALLS_FOR_P99 = 368  # below that no upper bound of a 95 % interval exists


def _expected_requests(step: Step) -> float:
    """Return how many requests a step will send, as far as its load says."""
    load = step.load
    if isinstance(load, ClosedLoop):
        return float(load.count or 0)
    duration = load.duration if load.duration is not None else load.arrivals.duration
    return load.arrivals.rate.cumulative(duration) if load.arrivals.rate else float(len(load.arrivals.instants))


class _StatsColumn(ProgressColumn):
    """TPS, percentiles and refusals of one step."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("seen", "")))


class _ProgressBars:
    """A bar for each step."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[Step, tuple[TaskID, _StepStats]] = {}

    def log(self, text: str) -> None:
        self._bars.console.print(escape(text), style="dim", highlight=False)

    def step_started(self, step: Step) -> None:
        seen = _StepStats()
        task = self._bars.add_task(escape(step.name), total=_expected_requests(step) or None, seen=seen)
        self._tasks[step] = task, seen

    def window_closed(self, step: Step, window: Window) -> None:
        task, seen = self._tasks[step]
        seen.add(window)
        self._bars.update(task, completed=seen.completed, seen=seen)

    def step_finished(self, step: Step, run: Run) -> None:
        if step not in self._tasks:
            return
        task, seen = self._tasks[step]
        # What is shown at the end is the whole step's throughput, not its last second's.
        seen.tps = run.count(OutcomeCategory.OK) / run.duration if run.duration else 0.0
        self._bars.update(task, total=run.scheduled, completed=run.scheduled, seen=seen)
        self._bars.stop_task(task)


class _PlainProgress:
    """A line for each step, without control codes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stats: dict[Step, _StepStats] = {}

    def log(self, text: str) -> None:
        self._print(text)

    def step_started(self, step: Step) -> None:
        self._stats[step] = _StepStats()

    def window_closed(self, step: Step, window: Window) -> None:
        self._stats[step].add(window)

    def step_finished(self, step: Step, run: Run) -> None:
        seen = self._stats.pop(step, None)
        if seen is not None:
            seen.tps = run.count(OutcomeCategory.OK) / run.duration if run.duration else 0.0
            self._print(f"{step.name}: {run.scheduled:,} requests in {run.duration:.1f} s  {seen}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
