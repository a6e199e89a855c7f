"""Names and tags: valid for AWS and readable, whatever a run is called."""

import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from loadgen.aws.deployment.names_and_tags import endpoint_name, tags
from loadgen.workload.serverless_config import MEMORY_SIZES_MB, ServerlessConfig

NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")  # botocore's pattern for EndpointName


@given(st.text(max_size=100), st.sampled_from(MEMORY_SIZES_MB), st.integers(1, 200))
def test_names_are_valid_whatever_the_run_is_called(run_id, memory_mb, max_concurrency):
    """Any run id, however long or odd, gives a name that AWS takes, with configuration and suffix readable (C06, C07)."""
    name = endpoint_name(run_id, ServerlessConfig(memory_mb, max_concurrency), "0123456789")
    assert NAME.fullmatch(name)
    assert len(name) <= 63
    assert name.startswith("loadgen")
    assert name.endswith(f"-{memory_mb}-{max_concurrency}-0123456789")


@given(st.text(max_size=400), st.text(max_size=400))
def test_tags_are_valid_whatever_they_say(run_id, owner):
    """Tag values keep to AWS's characters and to 256 of them."""
    for value in tags(run_id=run_id, owner=owner, created=datetime(2026, 1, 1, tzinfo=UTC)).values():
        assert re.fullmatch(r"[a-zA-Z0-9 _.:/=+@-]{0,256}", value)
