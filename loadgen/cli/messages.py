"""Messages for the user of the command line, on stderr."""

import os
import sys

from loadgen.redaction import redact, secrets_in


def echo(*lines: str) -> None:
    """Write lines to stderr without secrets.

    Texts can come from files and servers, so control characters are escaped. Characters that the terminal's encoding
    lacks are escaped as well.
    """
    secrets = secrets_in(os.environ)
    encoding = sys.stderr.encoding or "ascii"
    for line in lines:
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in redact(line, secrets))
        sys.stderr.write(shown.encode(encoding, "backslashreplace").decode(encoding) + "\n")
