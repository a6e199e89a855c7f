"""moto's own tests in server mode, run against the emulator: which of them must pass, and which differ on purpose.

    python -m bench.moto_suite [--list]

Downloads the source distribution of the installed moto from the package index, with its tests, into a temporary
directory; nothing of it is kept. Only tests of services and operations that the emulator has are run (FILES). Those in
moto_tests.txt must pass; for the others DIFFERENCES has the reasons. The last line has the counts. Exit status 1 if a
test of the list does not pass.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from bench.moto_plugin import OUTCOMES_VARIABLE

ROOT = Path(__file__).parents[1]
MUST_PASS = Path(__file__).with_name("moto_tests.txt")
FILES = (
    *("tests/test_sts/test_sts.py", "tests/test_sagemakerruntime/test_sagemakerruntime.py"),
    *(f"tests/test_sagemaker/test_sagemaker_{name}.py" for name in ("models", "endpoint", "processing")),
    "tests/test_cloudwatch/test_cloudwatch.py",
    "tests/test_s3/test_s3.py",
    *(
        f"tests/test_s3/test_s3_{name}.py"
        for name in (
            *("copyobject", "multipart", "list_objects", "presigned_url", "metadata", "conditionals"),
            *("content_encoding", "locales", "object_attributes", "response_headers", "storageclass"),
        )
    ),
)
# Beginning of a test's id -> why tests of that file or name may fail. They are differences that are meant.
DIFFERENCES: Mapping[str, str] = {
    "tests/test_sts/": "the account has one user and no roles; its region and partition are fixed",
    "tests/test_sagemakerruntime/": "moto answers for endpoints that do not exist, with results that a test queued",
    "tests/test_sagemaker/test_sagemaker_models.py": "the account has models from the start; other texts and regions",
    "tests/test_sagemaker/test_sagemaker_endpoint.py": "real-time variants, auto scaling; only serverless is deployed",
    "tests/test_sagemaker/test_sagemaker_processing.py": "no Outputs without S3Uri; LocalPath must be in /opt/ml",
    "tests/test_cloudwatch/": "no alarms, dashboards, tags, anomaly detectors or metric math; periods lie on the clock",
    "tests/test_s3/": "objects, lists, copies and multipart uploads only: no versions, ACLs, policies, tags or classes",
}


def _prepare(directory: Path) -> tuple[Path, Path]:
    """Download moto's sources, and freezegun, which its tests import; return both places."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    requirement = f"moto=={version('moto')}"
    subprocess.run([*pip, "download", "--no-deps", "--no-binary", ":all:", "-d", directory, requirement], check=True)
    extra = directory / "extra"
    subprocess.run([*pip, "install", "--no-deps", "--target", extra, "freezegun"], check=True)
    (archive,) = directory.glob("moto-*.tar.gz")
    with tarfile.open(archive) as sources:
        sources.extractall(directory, filter="data")
    return directory / archive.name.removesuffix(".tar.gz"), extra


def _run(sources: Path, extra: Path) -> dict[str, str]:
    """Run the tests of FILES, and return their outcomes by id."""
    outcomes = sources / "outcomes.json"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")} | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(extra))),
        "TEST_SERVER_MODE": "true",
        OUTCOMES_VARIABLE: str(outcomes),
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    options = ("-p", "bench.moto_plugin", "-p", "no:xdist", "-p", "no:cacheprovider", "-q", "--tb=no", "--no-summary")
    # The exit status says only that some test failed, which is expected.
    subprocess.run([sys.executable, "-m", "pytest", *options, *FILES], cwd=sources, env=environment, check=False)
    read: dict[str, str] = json.loads(outcomes.read_text("utf-8"))
    return read


def main() -> int:
    """Run moto's tests, and print what does not pass but must, and the counts."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.moto_suite", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print every outcome, with the reason of a difference")
    options = parser.parse_args()
    required = set(MUST_PASS.read_text("utf-8").split())
    with tempfile.TemporaryDirectory() as directory:
        outcomes = _run(*_prepare(Path(directory)))
    if options.list:
        for name, outcome in sorted(outcomes.items()):
            reasons = [text for prefix, text in DIFFERENCES.items() if name.startswith(prefix)]
            print(f"{outcome:8} {name}" + (f"  ({reasons[0]})" if outcome == "failed" and reasons else ""))
    broken = sorted(name for name in required if outcomes.get(name) != "passed")
    for name in broken:
        print(f"VIOLATION {name}: {outcomes.get(name, 'not run')}")
    for name in sorted(name for name, outcome in outcomes.items() if outcome == "passed" and name not in required):
        print(f"passes, but is not in {MUST_PASS.name}: {name}")
    counts = Counter(outcomes.values())
    print(
        f"{len(outcomes)} tests: {counts['passed']} passed, {counts['failed']} differ, {counts['skipped']} skipped; "
        f"{len(required)} must pass, {len(broken)} of them do not"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
