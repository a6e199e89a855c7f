"""Build a wheel of the running loadgen, so that a container runs the same code.

Source: PEP 427 and the binary distribution format of packaging.python.org.
"""

import base64
import hashlib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip file; constant, so that equal sources give equal bytes


def build_wheel(directory: Path) -> Path:
    """Write the wheel of the running loadgen to a directory and return its path."""
    about = distribution("loadgen")
    package = Path(__file__).parents[1]
    info = f"loadgen-{about.version}.dist-info"
    content = {
        f"loadgen/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    # The egg-info of a source tree has the same text under another name.
    content[f"{info}/METADATA"] = (about.read_text("METADATA") or about.read_text("PKG-INFO") or "").encode()
    content[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: loadgen\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    content[f"{info}/RECORD"] = _record_file(content, f"{info}/RECORD")
    target = directory / f"loadgen-{about.version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_EPOCH), data, zipfile.ZIP_DEFLATED)
    return target


def _record_file(content: dict[str, bytes], record_path: str) -> bytes:
    lines = []
    for name, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    return "".join([*lines, f"{record_path},,\n"]).encode()
