"""The CA bundle of the SDK: checked before the first call, and named by what sets it."""

import botocore.session
import pytest

from loadgen.aws.ca_bundle import check_ca_bundle
from loadgen.errors import ConfigError
from tests.support.certificates import root_file


@pytest.fixture
def session(tmp_path, monkeypatch):
    """A session of an environment without AWS settings; `ca_bundle` of the profile is in tmp_path / "config"."""
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return botocore.session.Session()


@pytest.mark.parametrize("source", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "ca_bundle"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "No such file or directory"), ("", "holds no valid certificate"), ("not a certificate", "holds no valid")],
)
def test_a_bundle_that_cannot_be_loaded_is_named(tmp_path, monkeypatch, session, source, content, problem):
    """A missing, empty or other file gives a ConfigError with the variable or setting, the path and the reason."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    if source == "ca_bundle":
        (tmp_path / "config").write_text(f"[default]\nca_bundle = {path}\n")
    else:
        monkeypatch.setenv(source, str(path))
    environment = {source: str(path)} if source != "ca_bundle" else {}
    with pytest.raises(ConfigError) as caught:
        check_ca_bundle(session, environment)
    assert caught.value.message.startswith(f"{source} ")
    assert str(path) in caught.value.message
    assert problem in caught.value.message
    assert source in caught.value.hint


def test_an_empty_variable_does_not_turn_verification_off(monkeypatch, session):
    """AWS_CA_BUNDLE set to nothing would make the SDK accept any certificate; it is refused."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "")
    with pytest.raises(ConfigError, match="would not verify certificates"):
        check_ca_bundle(session, {"AWS_CA_BUNDLE": ""})


def test_a_directory_is_refused(tmp_path, monkeypatch, session):
    """The SDK reads a file only; a directory is named as such."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path))
    with pytest.raises(ConfigError, match="it is a directory"):
        check_ca_bundle(session, {"AWS_CA_BUNDLE": str(tmp_path)})


def test_a_bundle_that_can_be_loaded_is_accepted(tmp_path, monkeypatch, session):
    """A PEM file and no setting at all are accepted; AWS_CA_BUNDLE comes before REQUESTS_CA_BUNDLE, as in the SDK."""
    check_ca_bundle(session, {})
    path = str(root_file(tmp_path))
    monkeypatch.setenv("AWS_CA_BUNDLE", path)
    check_ca_bundle(session, {"AWS_CA_BUNDLE": path, "REQUESTS_CA_BUNDLE": "/nowhere"})
