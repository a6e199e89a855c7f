"""The Jinja environment and the Content-Security-Policy of every page; the page itself is a function elsewhere."""

import base64
import hashlib
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def content_security_policy(style: str, script: str) -> str:
    """Return a Content-Security-Policy that allows this style and this script only."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@lru_cache(maxsize=1)
def page_environment() -> Environment:
    """Return the environment of the templates: everything is escaped but charts."""
    environment = Environment(
        loader=PackageLoader("loadgen.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Vega escapes every text in its SVG; a test checks this with hostile texts.
    environment.filters["trusted_svg"] = Markup
    return environment


def template_source(name: str) -> str:
    """Return the source of a template file."""
    environment = page_environment()
    assert environment.loader is not None  # noqa: S101 - set two functions above
    return environment.loader.get_source(environment, name)[0]
