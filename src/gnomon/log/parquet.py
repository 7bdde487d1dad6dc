"""The Parquet files of the tables, with checksums over all that stands in them.

The format has checksums of pages, but none of the footer, and a library that believes a damaged
one may end the process. So a file's name has the checksum of its footer.
"""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq

_MAGIC = b"PAR1"
_END = struct.Struct("<I4s")  # length of the footer before it, and the magic number
_NAME = re.compile(r"part-[0-9a-f-]{36}-([0-9a-f]{8})\.zstd\.parquet")
WRITING: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "write_page_checksum": True,
}


class DamagedFile(ValueError):
    """A file is not what was written."""


def named(path: Path) -> Path:
    """Rename a file that is complete, so that its name tells a damaged footer; return the new one.

    Raises:
        OSError: It has its old name.
    """
    return path.rename(path.with_name(f"part-{uuid4()}-{_footer(path):08x}.zstd.parquet"))


def opened(path: Path) -> pq.ParquetFile:
    """Open a file to read it; its pages are checked as they are read.

    Raises:
        DamagedFile: Its footer is not what was written.
        OSError: It is missing or cannot be read.
    """
    found = _NAME.fullmatch(path.name)
    if found is not None and int(found[1], 16) != _footer(path):
        raise DamagedFile(f"the footer of {path.name} is damaged")
    return pq.ParquetFile(path, page_checksum_verification=True)


def _footer(path: Path) -> int:
    """Return the checksum of a file's last bytes, its size included."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < _END.size:
            raise DamagedFile(f"{path.name} is too short")
        file.seek(size - _END.size)
        length, magic = _END.unpack(file.read(_END.size))
        if magic != _MAGIC or length + _END.size > size:
            raise DamagedFile(f"{path.name} does not end as such a file does")
        file.seek(size - _END.size - length)
        return zlib.crc32(file.read(), zlib.crc32(str(size).encode()))
