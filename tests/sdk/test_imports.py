"""What importing gnomon loads, and the names under which things are found."""

import subprocess
import sys

import pytest

import gnomon
from gnomon import object as vendor_names
from gnomon.core import errors


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_gnomon_loads_nothing_heavy():
    heavy = {"numpy", "pandas", "pyarrow", "http", "fastapi", "sqlalchemy", "onnxruntime"}

    assert loaded_by("import gnomon") & heavy == set()


def test_the_client_loads_no_server_library_and_no_data_frames():
    heavy = {"pandas", "pyarrow", "fastapi", "uvicorn", "sqlalchemy", "onnxruntime", "typer"}

    assert loaded_by("import gnomon; gnomon.Client") & heavy == set()


def test_the_client_is_there_where_linux_is_not():
    without_linux = "sys.modules['fcntl'] = None; sys.platform = 'win32'"

    assert "http" in loaded_by(f"{without_linux}\nimport gnomon; gnomon.Client")


@pytest.mark.parametrize("name", [name for name in gnomon.__all__ if name != "__version__"])
def test_every_name_that_is_promised_is_there(name):
    assert getattr(gnomon, name) is not None
    assert name in dir(gnomon)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'gnomon' has no attribute 'nothing'"):
        _ = gnomon.nothing


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("EntityNotFoundError", errors.NotFound),
        ("InvalidNameError", errors.InvalidName),
        ("ModelUploadError", errors.ModelRejected),
        ("InferenceError", errors.InferenceError),
        ("InferenceTimeoutError", errors.InferenceTimeout),
        ("DeploymentError", errors.DeploymentError),
        ("WaitForDeployError", errors.DeploymentError),
        ("WaitForError", errors.WaitExpired),
        ("CommunicationError", errors.ServerUnreachable),
        ("LimitError", errors.LimitReached),
    ],
)
def test_exceptions_have_the_names_that_users_may_know(name, error):
    assert getattr(vendor_names, name) is error
    assert name in vendor_names.__all__
