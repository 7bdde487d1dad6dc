"""Reading the files of a Python model: bounded, and nothing is written."""

from __future__ import annotations

import contextlib
import struct
import zipfile
from pathlib import Path

import pytest

from gnomon.core import limits
from gnomon.host.loaded import Refused
from gnomon.host.python_files import Importer, read_files
from tests.python_models import zipped

SOURCE = b"def process(inputs): ...\n"


def refused(path: Path) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        read_files(path)
    return caught.value.reason, caught.value.message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_a_module_alone_is_model_py(file):
    file.write_bytes(SOURCE)
    assert read_files(file) == {"model.py": SOURCE}

    file.write_bytes(b"PKCS = 1\n")  # as a zip begins, but for what follows
    assert read_files(file) == {"model.py": b"PKCS = 1\n"}


def test_a_zip_has_its_files_by_name(file):
    files = {"model.py": SOURCE, "helpers/__init__.py": b"", "helpers/table.json": b"{}"}
    file.write_bytes(zipped({**files, "helpers/": b""}))

    assert read_files(file) == files


def test_a_zip_without_a_module_says_what_it_has(file):
    file.write_bytes(zipped({"mine/model.py": SOURCE}))
    reason, message = refused(file)
    assert reason == "not_python"
    assert "has no model.py at its top; it has 'mine/model.py'" in message

    file.write_bytes(zipped({}))
    assert refused(file)[1].startswith("The zip has no model.py at its top; it has nothing.")


@pytest.mark.parametrize("name", ["../model.py", "/etc/passwd", "a/../../b.py", "..\\b.py", ".."])
def test_a_name_that_leads_out_of_the_zip_is_refused(file, name):
    file.write_bytes(zipped({"model.py": SOURCE, name: b"x"}))

    reason, message = refused(file)

    assert (reason, "lie outside of it" in message) == ("not_python", True)
    assert list(file.parent.iterdir()) == [file]


def test_a_zip_bomb_is_read_up_to_its_bound(file):
    bomb = zipped({"model.py": SOURCE, "large": bytes(limits.PYTHON_BYTES_MAX)})
    assert len(bomb) < limits.MIB
    file.write_bytes(bomb)

    assert refused(file) == ("model_too_complex", "The model has more than 64 MiB, unpacked.")


def test_a_zip_that_says_less_than_it_has_is_refused(file):
    content = bytearray(zipped({"model.py": SOURCE, "large": bytes(limits.PYTHON_BYTES_MAX)}))
    size = struct.pack("<I", limits.PYTHON_BYTES_MAX)
    assert content.count(size) == 2  # beside the file, and in the directory
    file.write_bytes(content.replace(size, struct.pack("<I", 10)))

    assert refused(file)[0] == "not_python"  # its checksum is not that of so few


def test_a_zip_of_many_files_is_refused(file):
    many = {f"f{number}.py": b"" for number in range(limits.PYTHON_FILES_MAX)}
    file.write_bytes(zipped({"model.py": SOURCE, **many}))

    assert refused(file)[0] == "model_too_complex"


def test_a_file_that_is_too_large_is_not_read(file):
    with file.open("wb") as sparse:
        sparse.truncate(limits.PYTHON_BYTES_MAX + 1)

    assert refused(file)[0] == "model_too_complex"


def test_a_broken_or_encrypted_zip_is_refused(file):
    good = zipped({"model.py": SOURCE * 100})
    encrypted = bytearray(good)
    encrypted[6] |= 1
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    odd = zipped({"model.py": SOURCE}, compression=zipfile.ZIP_BZIP2)
    for content in (bytes(encrypted), odd, b"PK\x03\x04 no zip"):
        file.write_bytes(content)
        assert refused(file)[0] == "not_python"
    for cut in range(4, len(good), 7):
        file.write_bytes(good[:cut])
        assert refused(file)[0] == "not_python", cut
    for at in range(4, len(good)):
        file.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        with contextlib.suppress(Refused):  # and nothing else
            read_files(file)


def test_modules_are_found_before_those_of_the_same_name_elsewhere():
    importer = Importer({"a.py": b"x = 1", "b/__init__.py": b"", "b/c.py": b"", "b.py": b""})

    names = {name: importer.find_spec(name) for name in ("a", "b", "b.c", "b.d", "c", "json")}

    found = {name: spec.origin for name, spec in names.items() if spec is not None}
    assert found == {"a": "a.py", "b": "b/__init__.py", "b.c": "b/c.py"}
    assert names["b"].submodule_search_locations == ["b"]
    assert names["a"].submodule_search_locations is None
    with pytest.raises(ImportError):
        importer.get_filename("c")
    with pytest.raises(OSError, match=r"no file 'model\.py'"):
        importer.get_data("model.py")
