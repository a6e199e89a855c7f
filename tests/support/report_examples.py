"""Example analyses and manifests for tests of the report."""

from dataclasses import replace
from html.parser import HTMLParser

from loadgen.analysis.analysis import analyze
from loadgen.analysis.prices import PriceBook
from loadgen.interfaces import Identity
from loadgen.results.manifest import Manifest
from tests.support import example_runs

# From the Big List of Naughty Strings (github.com/minimaxir/big-list-of-naughty-strings) and the classics of each place
# that a string can end up in: markup, attributes, JSON in a script, a terminal, a spreadsheet, a format string.
NAUGHTY = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)><a b='",
    "' onmouseover='alert(1)",
    "--><!-- ]]> <![CDATA[",
    "</style></title></textarea></table></svg><iframe src=//example.com>",
    "{{ 7*7 }}{% raw %}${7*7}#{7*7}",
    "javascript:alert(1)",
    "\x1b[31mred\x1b]0;title\x07\x9b2J\r\n\t\x00\x7f",
    "\u202egnp.exe\u2066\u200b\ufeff\u2028\u2029",
    "\ud800 lone surrogate",
    "[bold red]markup[/] [link=http://example.com]x[/link]",
    '=HYPERLINK("http://example.com","x")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "%s%n%d%.0s%% 100%",
    'a,"b"\n;c',
    "&lt;&#60;&amp;",
    "Ω≈ç√∫˜µ≤≥÷ 田中さん 🏳0🌈️ Z̮̞̠͙͔ͅalgo",
    "x" * 5000,
)


def manifest(kind="emulator", **fields):
    """Return a manifest."""
    made = Manifest(
        run_id="k3v9q2",
        created="2026-11-01T12:00:00+00:00",
        scenario="quickstart.py",
        title="Which memory size and concurrency should this model have?",
        kind="ServerlessBenchmark",
        settings={"memory_sizes": (1024, 2048), "target": {"profile": "mobilenet-v2"}, "invocations": 200},
        scenario_sha256="9f" * 32,
        payloads={"count": 7, "bytes_mean": 29000.0, "bytes_max": 31000, "sha256": "ab" * 32},
        seed=7,
        identity=Identity(kind, "123456789012" if kind == "aws" else "", "us-east-1", "a detail"),
        versions={"loadgen": "0.1.0", "python": "3.11.7"},
        command="python -m loadgen scenarios/quickstart.py",
    )
    return replace(made, **fields)


def analyze_runs(*runs, region="us-east-1", slos=()):
    """Return the analysis of runs."""
    return analyze(runs, region=region, prices=PriceBook.builtin(), slos=slos)


def small_benchmark(count=60):
    """Return a benchmark of few calls that has all sections."""
    return (
        *example_runs.stability_runs(count),
        *example_runs.concurrency_runs(sizes=(2, 4), multipliers=(1, 2), count=count),
    )


def edge_runs():
    """Return one run per failure of a memory size, and two other unusual runs."""
    return (
        example_runs.failed_deploy(1024),
        example_runs.all_failed(2048),
        example_runs.out_of_memory(3072),
        example_runs.zero_samples(4096),
        example_runs.one_sample(5120),
        example_runs.without_metrics(6144, 60),
        example_runs.open_loop(20, 5, max_in_flight=1, max_concurrency=1),
        example_runs.warmed_up(2048, 40),
    )


def hostile_analysis(text):
    """Return a manifest and an analysis with a text in every field that comes from a server, a file or a user."""
    runs = []
    for run in (
        example_runs.failed_deploy(),
        example_runs.out_of_memory(2048),
        example_runs.concurrency_run(2, 4, count=40),
        example_runs.open_loop(20, 5),
    ):
        step = replace(run.step, name=text)
        codes = tuple(code._replace(code=text[:128], message=text[:256]) for code in run.error_codes)
        missing = dict.fromkeys(run.metrics.unavailable, text)
        runs.append(
            replace(
                run,
                step=step,
                error_codes=codes,
                endpoint=text,
                failure=text if run.failure else "",
                transport=text,
                transport_note=text,
                metrics=replace(run.metrics, unavailable=missing),
                data_errors=(text,),
            )
        )
    identity = Identity("aws", "", "us-east-1", text)
    settings = {"model": text, text: [text]}
    about = manifest(
        title=text, scenario=text, command=text, settings=settings, versions={"loadgen": text}, identity=identity
    )
    return about, analyze_runs(*runs)


class PageParser(HTMLParser):
    """Every element of a page with its attributes, and its text."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.text = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def names(self):
        return [tag for tag, _ in self.elements]
