"""The files of a Python model: read into memory within bounds, and imported from there."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path, PurePosixPath
from types import ModuleType

from gnomon.core import limits
from gnomon.host.loaded import Refused
from gnomon.host.messages import python_message

MODULE = "model"
_MODULE_FILE = f"{MODULE}.py"
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")  # the second has no files
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_NAMES_SHOWN = 5


def read_files(path: Path) -> dict[str, bytes]:
    """Return the files of an uploaded model by name: of a zip, or a module's source alone.

    Nothing is written anywhere.

    Raises:
        Refused: It is neither, lacks model.py, or is larger than a model may be.
    """
    if path.stat().st_size > limits.PYTHON_BYTES_MAX:
        raise _too_large()
    data = path.read_bytes()
    if not data.startswith(_ZIPS):
        if b"\0" in data:
            raise Refused("not_python", "The file is neither a Python module nor a zip of some.")
        return {_MODULE_FILE: data}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = _unzipped(archive)
    except (Refused, MemoryError):
        raise
    except Exception as error:  # a broken zip has many ways to say so
        raise Refused("not_python", f"The zip cannot be read: {python_message(error)}") from error
    if _MODULE_FILE not in files:
        shown = ", ".join(repr(name[:80]) for name in list(files)[:_NAMES_SHOWN]) or "nothing"
        raise Refused(
            "not_python",
            f"The zip has no {_MODULE_FILE} at its top; it has {shown}. "
            "Zip the files themselves, not the folder that they are in.",
        )
    return files


def _unzipped(archive: zipfile.ZipFile) -> dict[str, bytes]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > limits.PYTHON_FILES_MAX:
        raise Refused(
            "model_too_complex",
            f"The zip has {len(members)} files; {limits.PYTHON_FILES_MAX} at most.",
        )
    files = {}
    room = limits.PYTHON_BYTES_MAX
    for member in members:
        _check(member)
        with archive.open(member) as file:
            content = file.read(room + 1)  # its size is only what the zip says
        room -= len(content)
        if room < 0:
            raise _too_large()
        files[member.filename] = content
    return files


def _check(member: zipfile.ZipInfo) -> None:
    name = PurePosixPath(member.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in member.orig_filename:
        raise Refused(
            "not_python",
            f"The zip has a file that would lie outside of it, {member.filename[:80]!r}.",
        )
    if member.flag_bits & _ENCRYPTED or member.compress_type not in _COMPRESSIONS:
        raise Refused(
            "not_python",
            f"The file {member.filename[:80]!r} in the zip is encrypted, or compressed otherwise "
            "than by deflate.",
        )


def _too_large() -> Refused:
    most = limits.PYTHON_BYTES_MAX // limits.MIB
    return Refused("model_too_complex", f"The model has more than {most} MiB, unpacked.")


class Importer(MetaPathFinder, SourceLoader):  # type: ignore[misc]  # typeshed's own bases disagree
    """Imports modules from files in memory, `name.py` and `name/__init__.py`."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return where a module comes from; None: not from here."""
        return None if self._file(fullname) is None else spec_from_loader(fullname, self)

    def get_filename(self, fullname: str) -> str:
        """Return the name of a module's file.

        Raises:
            ImportError: There is none.
        """
        file = self._file(fullname)
        if file is None:
            raise ImportError(f"No module named {fullname!r}", name=fullname)
        return file

    def get_data(self, path: str) -> bytes:
        """Return a file, also one that is no module: `pkgutil.get_data` ends here.

        Raises:
            OSError: There is none of that name.
        """
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(f"The model has no file {path!r}.") from None

    def _file(self, fullname: str) -> str | None:
        stem = fullname.replace(".", "/")
        names = (f"{stem}/__init__.py", f"{stem}.py")
        return next((name for name in names if name in self._files), None)
