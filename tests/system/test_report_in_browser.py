"""The HTML page in a real browser, at desktop and phone width."""

import asyncio

import pytest

from loadgen.analysis.slo import Slo
from loadgen.report.formats.html_page import render_page
from tests.support import example_runs
from tests.support.browser import CHROMIUM, chromium
from tests.support.report_examples import analyze_runs, manifest, small_benchmark

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

MARK = "document.querySelector(\"[aria-roledescription='rect mark'][aria-label*='of calls']\")"
PLACE = f"(() => {{const r = {MARK}.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]}})()"


@pytest.fixture
def report(tmp_path):
    """A page with every section."""
    runs = (*small_benchmark(), example_runs.open_loop(20, 5), example_runs.all_failed())
    path = tmp_path / "report.html"
    path.write_text(
        render_page(manifest(), analyze_runs(*runs, slos=[Slo("service_p50", at_most=1)])), encoding="utf-8"
    )
    return path


def test_the_page_works_in_a_browser(report):
    """At 1280 and 400 pixels: no request, no console message, no horizontal scrolling, and tooltips on charts."""

    async def look():
        async with chromium() as tab:
            for width in (1280, 400):
                await tab.open(report, width=width)
                assert await tab.evaluate("document.documentElement.scrollWidth") == width
                assert await tab.evaluate(
                    "[...document.querySelectorAll('.chart svg')].every(c => c.getBBox().width > 300)"
                )
                await tab.evaluate(f"{MARK}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
                async with asyncio.timeout(30):
                    while await tab.evaluate("document.getElementById('tooltip').hidden"):
                        x, y = await tab.evaluate(PLACE)
                        await tab.point_at(x - 3, y)  # until the scrolling, which hides the reading, is over
                        await tab.point_at(x, y)
                assert await tab.evaluate("document.getElementById('tooltip').textContent") == await tab.evaluate(
                    f"{MARK}.getAttribute('aria-label')"
                )
                picture = await tab.screenshot()
                assert len(picture) > 50_000
            assert tab.messages == []
            assert {address for address in tab.requested_urls if address != report.as_uri()} == set()

    asyncio.run(look())
