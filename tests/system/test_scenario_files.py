"""Every scenario in scenarios/ runs and answers its question."""

import asyncio
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

SCENARIOS = Path(__file__).parents[2] / "scenarios"
SMALL = {
    "quickstart": ["invocations=5", "memory_sizes=[1024, 2048]", "max_concurrency=[2]", "concurrency_invocations=12"],
    "tabular": ["invocations=30", "concurrency_invocations=30"],
    "images": ["invocations=5", "max_concurrency=[2]", "concurrency_invocations=12"],
    "text": ["invocations=4", "concurrency_invocations=4"],
    "promise": ["timeout=60.0"],
}


@pytest.mark.parametrize("name", [n for n in SMALL if n != "promise"])
def test_a_scenario_runs_from_another_folder(name, tmp_path):
    """A scenario, run with fewer calls from another directory, prints a recommendation and writes a report."""
    argv = [sys.executable, "-m", "loadgen", str(SCENARIOS / f"{name}.py"), "--emulate", "--quiet", "--out", "out"]
    for setting in SMALL[name]:
        argv += ["--set", setting]
    env = os.environ | {"PYTHONPATH": str(SCENARIOS.parent)}
    done = subprocess.run(argv, check=False, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode in {0, 110}, done.stdout + done.stderr  # 110: INVALID on a busy machine
    assert "Recommendation: " in done.stdout
    assert (tmp_path / "out/benchmarking_report/benchmarking_report.html").exists()
    if name == "text":
        assert "1024" in done.stdout
        assert "Recommendation: 1024" not in done.stdout


def test_every_scenario_file_is_tested():
    """Every scenario file is run by a test."""
    assert {path.stem for path in SCENARIOS.glob("*.py")} == {*SMALL, "embedded"}


def test_the_embedding_service_probes_its_model_while_it_serves():
    """The embedding service responds to /health with the counts of its probe, and leaves no task when it ends."""
    spec = importlib.util.spec_from_file_location("embedded_scenario", SCENARIOS / "embedded.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    async def watch():
        runner = web.AppRunner(module.service())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with aiohttp.ClientSession() as client, asyncio.timeout(30):
                while not (seen := await (await client.get(f"http://127.0.0.1:{port}/health")).json()).get("ok"):
                    await asyncio.sleep(0)
        finally:
            await runner.cleanup()
        return seen, asyncio.all_tasks() - {asyncio.current_task()}

    seen, left = asyncio.run(watch())
    assert seen["ok"] in {1, 2, 3}
    assert seen["failed"] == 0
    assert left == set()
