"""The files of a scenario, for another environment."""

import json
from pathlib import Path

import pytest

from loadgen.errors import UsageError
from loadgen.processing_job import bundle as bundle_module
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


SECRET_FILES = [
    *(".env", ".env.local", "prod.env", ".git/config", ".aws/credentials", "sub/.ssh/id_rsa", ".netrc", "netrc"),
    *(
        "key.pem",
        "sub/server.KEY",
        "store.p12",
        "store.jks",
        "id_ed25519",
        "id_rsa.pub",
        "credentials",
        "Credentials.csv",
    ),
    *("me_accessKeys.csv", "rootkey.csv", "client_secret_1.json", "secrets.yaml", "kubeconfig", "terraform.tfstate"),
    *("gcp-credentials.json", "service-account-1.json", ".npmrc", ".pypirc", ".docker/config.json"),
]


@pytest.mark.parametrize("name", SECRET_FILES)
def test_secrets_beside_a_scenario_are_never_uploaded(name, tmp_path):
    """A file of keys or credentials is not in the bundle although the scenario opens it, and is named with a reason; one beside it is."""
    for written in (name, "ask.py", "data.jsonl"):
        (tmp_path / written).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / written).write_text("x")
    opened = [tmp_path / name, tmp_path / "data.jsonl"]
    bundle = build_bundle(opened, scenario=tmp_path / "ask.py", working_directory=tmp_path)
    assert sorted(bundle.files) == ["ask.py", "data.jsonl"]
    assert [line.partition(": ")[0] for line in bundle.omitted] == [str(tmp_path / name)]
    with pytest.raises(UsageError, match="not uploaded"):
        build_bundle([], scenario=tmp_path / name, working_directory=tmp_path)


@pytest.mark.parametrize(
    "target", ["outside/payload.jsonl", "work/.aws/credentials", "work/key.pem"], ids=["outside", "hidden", "key"]
)
@pytest.mark.parametrize("is_directory", [False, True])
def test_a_link_counts_as_the_file_it_leads_to(target, is_directory, tmp_path):
    """A link, or a link to the directory, that leads out of the scenario's directory or to a secret is left out and named."""
    for name in (target, "work/ask.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    link = tmp_path / "work/link"
    link.symlink_to((tmp_path / target).parent if is_directory else tmp_path / target)
    opened = link / Path(target).name if is_directory else link
    bundle = build_bundle([opened], scenario=tmp_path / "work/ask.py", working_directory=tmp_path / "work")
    assert list(bundle.files) == ["ask.py"]
    assert len(bundle.omitted) == 1
    assert str(opened) in bundle.omitted[0]


def test_a_link_named_as_a_secret_is_left_out(tmp_path):
    """A link `key.pem` to a file of another name is left out as well, and a link inside of the directory is followed."""
    for name in ("ask.py", "plain.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "key.pem").symlink_to("plain.txt")
    (tmp_path / "data.jsonl").symlink_to("plain.txt")
    paths = {"scenario": tmp_path / "ask.py", "working_directory": tmp_path}
    assert list(build_bundle([tmp_path / "key.pem"], **paths).files) == ["ask.py"]
    assert list(build_bundle([tmp_path / "data.jsonl"], **paths).files) == ["ask.py", "plain.txt"]


def test_files_above_the_limit_are_refused_before_anything_is_uploaded(tmp_path, monkeypatch):
    """Two files that exceed the limit together are a UsageError with the total, the limit and the largest."""
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE_BYTES", 3 << 20)
    (tmp_path / "ask.py").write_text("x")
    (tmp_path / "large.jsonl").write_bytes(bytes(2 << 20))
    (tmp_path / "small.jsonl").write_bytes(bytes(1 << 20))
    opened = [tmp_path / "large.jsonl", tmp_path / "small.jsonl"]
    with pytest.raises(
        UsageError, match=r"3 MiB of files, the limit is 3 MiB; the largest is .*large.jsonl with 2 MiB"
    ):
        build_bundle(opened, scenario=tmp_path / "ask.py", working_directory=tmp_path)
    (tmp_path / "ask.py").write_text("")
    assert len(build_bundle(opened, scenario=tmp_path / "ask.py", working_directory=tmp_path).files) == 3
