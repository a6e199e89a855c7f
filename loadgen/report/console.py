"""Progress and results on the console: progress on stderr, the tables of a report on stdout.

A terminal shows a progress bar per step, anything else one line per finished step. No failure to show something
reaches the caller: it is reported on stderr, and nothing more is shown.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from loadgen.analysis.analysis import Analysis
from loadgen.interfaces import Progress as ProgressListener
from loadgen.measurement.histogram import Histogram
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Window
from loadgen.report.content.table import sanitize_text
from loadgen.report.formats.terminal import render_report
from loadgen.results.manifest import Manifest
from loadgen.statistics.order_statistics import calls_needed
from loadgen.workload.load import ClosedLoop
from loadgen.workload.step import Step


@contextmanager
def show_progress(*, quiet: bool = False) -> Iterator[ProgressListener]:
    """Show progress while the context lasts: bars in a terminal, otherwise or if `quiet` one line per step."""
    console = Console(file=sys.stderr)
    display = _Display("progress")
    if quiet or not console.is_terminal or console.is_dumb_terminal:
        yield _SafeProgress(_PlainProgress(console), display)
        return
    bars = _Bars(display, console)
    display.call(bars.start)
    try:
        yield _SafeProgress(_ProgressBars(bars), display)
    finally:
        display.call(bars.stop, even_after_failure=True)  # ends the thread that draws, and shows the cursor


def print_report(manifest: Manifest, analysis: Analysis, page: Path) -> None:
    """Print the tables of a report and the path of its page on stdout."""
    _Display("tables").call(_print_report, manifest, analysis, page)


def _print_report(manifest: Manifest, analysis: Analysis, page: Path) -> None:
    # Into a pipe, tables are not limited to the width of a terminal.
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    console.print(render_report(manifest, analysis))
    console.print(f"\nReport: {_printable(str(page))}", markup=False, highlight=False, soft_wrap=True)


class _Display:
    """Calls what shows something; after the first failure, which is reported on stderr, nothing more is called.

    Args:
        what: what is shown, for the report of a failure.

    `has_failed` tells whether there was a failure.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.has_failed = False

    def call(self, show: Callable[..., object], *arguments: object, even_after_failure: bool = False) -> None:
        """Call `show`, whose failure is reported, not raised."""
        if self.has_failed and not even_after_failure:
            return
        try:
            show(*arguments)
        except Exception as error:  # noqa: BLE001 - a terminal, a stream in its place, or rich: no run depends on it
            self.report(error)

    def report(self, error: Exception) -> None:
        """Report the first failure."""
        if self.has_failed:
            return
        self.has_failed = True
        _write_line(
            f"loadgen: {self._what} cannot be shown ({type(error).__name__}: {error}); results are not affected"
        )


def _write_line(text: str) -> None:
    with suppress(Exception):  # stderr is the last resort
        sys.stderr.write(f"{_printable(text)}\n")


class _SafeProgress:
    """A listener whose failures do not reach the run; after one, messages are still written."""

    def __init__(self, listener: ProgressListener, display: _Display) -> None:
        self._listener = listener
        self._display = display

    def log(self, text: str) -> None:
        if self._display.has_failed:
            _write_line(text)
        else:
            self._display.call(self._listener.log, text)

    def step_started(self, step: Step) -> None:
        self._display.call(self._listener.step_started, step)

    def window_closed(self, step: Step, window: Window) -> None:
        self._display.call(self._listener.window_closed, step, window)

    def step_finished(self, step: Step, run: Run) -> None:
        self._display.call(self._listener.step_finished, step, run)


class _Bars(Progress):
    """Progress bars that are removed when drawing fails, also in the thread in which rich draws them."""

    def __init__(self, display: _Display, console: Console) -> None:
        self._display = display
        super().__init__(
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=24),
            _CountColumn(),
            _StatsColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        rendered: list[RenderableType] = []
        self._display.call(lambda: rendered.extend(super(_Bars, self).get_renderables()))
        return rendered


def _printable(text: str) -> str:
    """Return text from elsewhere as one line for a terminal, with controls and direction overrides replaced."""
    return sanitize_text(text, max_length=len(text))


class _StepStats:
    """Counts and latencies of a step so far."""

    def __init__(self) -> None:
        self.service = Histogram()
        self.completed = 0
        self.seconds = 0.0
        self.throttled = 0
        self.failed = 0
        self.tps: float | None = None  # None before a whole second

    def add(self, window: Window) -> None:
        self.completed += sum(window.counts.values()) + window.warmup
        self.throttled += window.count(OutcomeCategory.THROTTLED)
        self.failed += window.count(OutcomeCategory.FAILED)
        self.seconds += window.length
        if window.length >= _MIN_SECONDS_FOR_TPS:
            self.tps = window.count(OutcomeCategory.OK) / window.length
        if OutcomeCategory.OK in window.service:
            self.service.add(window.service[OutcomeCategory.OK])

    def set_final_tps(self, run: Run) -> None:
        """Replace the TPS of the last window with that of the whole run; none for less than a second."""
        is_long = run.duration >= _MIN_SECONDS_FOR_TPS
        self.tps = run.count(OutcomeCategory.OK) / run.duration if is_long else None

    def __str__(self) -> str:
        p50 = f"{self.service.percentile(50) * 1000:,.1f}" if self.service.total else "-"
        p99 = f"{self.service.percentile(99) * 1000:,.1f}" if self.service.total >= _MIN_CALLS_FOR_P99 else "-"
        tps = "-" if self.tps is None else f"{self.tps:,.1f}"
        return f"{tps:>6} TPS  p50 {p50} ms  p99 {p99} ms  throttled {self.throttled:,}  failed {self.failed:,}"


_PIPED_WIDTH = 120
_MIN_SECONDS_FOR_TPS = 1.0  # as in the tables
_MIN_CALLS_FOR_P99 = calls_needed(99)


def _expected_requests(step: Step) -> float:
    """Return the number of requests of a step; 0 if its load does not determine it."""
    load = step.load
    if isinstance(load, ClosedLoop):
        return float(load.count or 0)
    duration = load.duration if load.duration is not None else load.arrivals.duration
    return load.arrivals.rate.cumulative(duration) if load.arrivals.rate else float(len(load.arrivals.instants))


class _CountColumn(ProgressColumn):
    """Completed requests, and their planned number where the load determines it."""

    def render(self, task: Task) -> Text:
        planned = "" if task.total is None else f"/{task.total:,.0f}"
        return Text(f"{task.completed:,.0f}{planned}")


class _StatsColumn(ProgressColumn):
    """TPS, percentiles, throttles and failures of one step."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("stats", "")))


class _ProgressBars:
    """A progress bar per step."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[Step, tuple[TaskID, _StepStats]] = {}

    def log(self, text: str) -> None:
        self._bars.console.print(escape(_printable(text)), style="dim", highlight=False)

    def step_started(self, step: Step) -> None:
        stats = _StepStats()
        task = self._bars.add_task(escape(_printable(step.label)), total=_expected_requests(step) or None, stats=stats)
        self._tasks[step] = task, stats

    def window_closed(self, step: Step, window: Window) -> None:
        task, stats = self._tasks[step]
        stats.add(window)
        self._bars.update(task, completed=stats.completed, stats=stats)

    def step_finished(self, step: Step, run: Run) -> None:
        if step not in self._tasks:
            return
        task, stats = self._tasks[step]
        stats.set_final_tps(run)
        self._bars.update(task, total=run.scheduled, completed=run.scheduled, stats=stats)
        self._bars.stop_task(task)


class _PlainProgress:
    """One line per finished step, without control codes."""

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
        stats = self._stats.pop(step, None)
        if stats is not None:
            stats.set_final_tps(run)
            self._print(f"{step.label}: {run.scheduled:,} requests in {run.duration:.1f} s  {stats}")

    def _print(self, text: str) -> None:
        self._console.print(_printable(text), markup=False, highlight=False, soft_wrap=True)
