"""The files of a scenario, for another environment."""

import json
from pathlib import Path

from loadgen.processing_job.bundle import build_bundle, record_opened_files


def test_a_bundle_holds_the_files_that_a_scenario_opens(tmp_path):
    """It holds opened files next to the scenario or below the working directory, no hidden and no Python files."""
    for name in ("work/data/a.jsonl", "work/.aws/credentials", "work/skipped.txt", "other/secret", "work/sub/ask.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with record_opened_files() as paths:
        for name in ("work/data/a.jsonl", "work/.aws/credentials", "other/secret"):
            (tmp_path / name).read_text()
        Path(json.__file__).read_text()
    (tmp_path / "work/skipped.txt").read_text()
    bundle = build_bundle(paths, scenario=tmp_path / "work/sub/ask.py", working_directory=tmp_path / "work")
    assert sorted(bundle.files) == ["data/a.jsonl", "sub/ask.py"]
    assert (bundle.working_directory, bundle.remote_path(tmp_path / "work/sub/ask.py")) == ("", "sub/ask.py")
    outside = build_bundle([], scenario=tmp_path / "other/secret", working_directory=tmp_path / "work")
    assert (outside.working_directory, outside.remote_path(tmp_path / "other/secret")) == ("work", "../other/secret")
