"""How many clients can an image classifier serve before it throttles them?

Each file of a directory of pictures is one request. This scenario creates a few small pictures first.
"""

import struct
import tempfile
import zlib
from pathlib import Path

from loadgen import Emulated, ServerlessBenchmark, read_requests


def draw(path: Path, shade: int, side: int = 96) -> None:
    """Write a PNG picture with a gradient."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    lines = b"".join(
        b"\0" + bytes(v for x in range(side) for v in (shade, x * 2 % 256, y * 2 % 256)) for y in range(side)
    )
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


pictures = Path(tempfile.mkdtemp(prefix="loadgen-pictures-"))
for number in range(8):
    draw(pictures / f"{number}.png", shade=number * 32)

scenario = ServerlessBenchmark(
    target=Emulated("mobilenet-v2"),
    requests=read_requests(pictures, content_type="image/png"),
    memory_sizes=[2048, 3072],
    invocations=80,
    max_concurrency=[2, 4],
    multipliers=[1, 1.5, 2],
    concurrency_invocations=100,
)
