"""Saying: sentences for a person at a terminal, on stderr; for the command line and nothing below it.

Texts come from files and servers: a line break or an escape sequence of theirs is shown, not obeyed; secrets are taken
out; a terminal of another encoding must not turn a message into a traceback.
"""

import os
import sys

from loadgen.redaction import redact, secrets_in


def echo(*lines: str) -> None:
    """Write lines to stderr."""
    secrets = secrets_in(os.environ)
    encoding = sys.stderr.encoding or "ascii"
    for line in lines:
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in redact(line, secrets))
        sys.stderr.write(shown.encode(encoding, "backslashreplace").decode(encoding) + "\n")
