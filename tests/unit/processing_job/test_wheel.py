"""The wheel of the running loadgen."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import loadgen
from loadgen.processing_job.wheel import build_wheel


def test_pip_installs_the_wheel_of_the_running_package(tmp_path):
    """The wheel holds every file of the package, pip installs it, it can be imported, and a rebuild has equal bytes."""
    wheel = build_wheel(tmp_path)
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("loadgen/")}
    package = Path(loadgen.__file__).parent
    expected = {
        f"loadgen/{p.relative_to(package).as_posix()}"
        for p in package.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert packed == expected
    target = tmp_path / "site"
    pip = [*(sys.executable, "-m", "pip", "install"), *("--quiet", "--no-index", "--no-deps")]
    pip += ["--target", str(target), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True, timeout=120)
    code = "import loadgen, loadgen.analysis.prices as p; print(loadgen.__file__, p.PriceBook.builtin().name != '')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        check=False,
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [str(target / "loadgen/__init__.py"), "True"]
    assert build_wheel(tmp_path).read_bytes() == wheel.read_bytes()
