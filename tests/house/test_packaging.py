"""The locks, the wheel's metadata and the two scripts: what a fresh clone is installed with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
RUNTIME, DEV = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
SCRIPTS = ["demo", "test", ".ci/run", "tools/lock"]


def locked(path: Path) -> dict[str, tuple[Requirement, list[str]]]:
    """Read a lock: for each package its pin and the hashes of its files."""
    pins: dict[str, tuple[Requirement, list[str]]] = {}
    for entry in path.read_text().replace("\\\n", " ").splitlines():
        pin, *hashes = entry.split("--hash=")
        requirement = Requirement(pin.strip())
        assert canonicalize_name(requirement.name) not in pins, f"{requirement.name} is there twice"
        pins[canonicalize_name(requirement.name)] = requirement, [each.strip() for each in hashes]
    return pins


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("lock", [RUNTIME, DEV], ids=lambda path: path.name)
def test_a_lock_names_no_index_and_no_link(lock):
    text = lock.read_text()

    assert "://" not in text
    assert not re.search(r"^\s*(-|#)(?!-hash=)", text, re.MULTILINE), "an option or a header line"


@pytest.mark.parametrize("lock", [RUNTIME, DEV], ids=lambda path: path.name)
def test_a_lock_pins_one_version_of_everything_with_hashes(lock):
    for name, (requirement, hashes) in locked(lock).items():
        assert [each.operator for each in requirement.specifier] == ["=="], name
        assert not requirement.extras, name
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), name


def test_the_dev_lock_is_the_runtime_lock_and_more():
    runtime, dev = locked(RUNTIME), locked(DEV)

    assert runtime.keys() < dev.keys()
    assert {name: dev[name][0].specifier for name in runtime} == {
        name: requirement.specifier for name, (requirement, _) in runtime.items()
    }


@pytest.mark.parametrize(("lock", "extras"), [(RUNTIME, ["build"]), (DEV, ["build", "dev"])])
def test_a_lock_covers_what_the_project_asks_for(lock, extras):
    # Given what pyproject.toml asks for, the build backend included
    wanted = project()
    optional = wanted["project"]["optional-dependencies"]
    asked = [
        *wanted["build-system"]["requires"],
        *wanted["project"]["dependencies"],
        *(each for extra in extras for each in optional[extra]),
    ]

    # Then each has a pin that satisfies it
    pins = locked(lock)
    for requirement in map(Requirement, asked):
        pin, _ = pins[canonicalize_name(requirement.name)]
        version = next(iter(pin.specifier)).version
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}: {pin}"


def test_the_build_backend_is_built_with_what_the_build_extra_names():
    wanted = project()

    assert wanted["build-system"]["requires"] == wanted["project"]["optional-dependencies"]["build"]


@pytest.mark.parametrize("script", [*SCRIPTS, "tools/setup.sh"])
def test_a_script_is_sound_bash(script):
    path = ROOT / script
    checks = [["bash", "-n", path]]
    if shutil.which("shellcheck"):
        checks.append(["shellcheck", "-x", "-P", ROOT, "--severity=warning", path])

    for check in checks:
        done = subprocess.run(check, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    assert os.access(path, os.X_OK) == (script in SCRIPTS)


@pytest.mark.parametrize("script", ["demo", "test"])
@pytest.mark.parametrize("python", ["/nonexistent/python", "/bin/true"])
def test_a_script_without_python_says_so_in_one_line(tmp_path, script, python):
    # Given a clone, in a folder with a space in its name
    clone = tmp_path / "a clone"
    for name in (script, "tools/setup.sh"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)

    # When $PYTHON is no Python 3.11
    done = subprocess.run(
        [clone / script],
        env={**os.environ, "PYTHON": python},
        capture_output=True,
        text=True,
        timeout=60,
    )

    # Then one line says what is missing, and nothing was made
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "Python 3.11" in done.stderr
    assert not (clone / ".venv").exists()


# Sources setup.sh with stand-ins for what takes a minute and notes when they are called.
SETUP = """
set -euo pipefail
ROOT=$1
. "$ROOT/tools/setup.sh"
install_lock() {
    echo "install $1"
    mkdir -p "$VENV/bin" && touch "$VENV/bin/gnomon" && chmod +x "$VENV/bin/gnomon"
    [ -z "${BREAK:-}" ]
}
find_python() { python=$REAL_PYTHON; }
fresh_venv() { echo "new .venv" && rm -rf "$VENV" && mkdir "$VENV"; }
setup "$2"
"""


class Clone:
    """A clone's scripts and locks, with stand-ins for venv and pip."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tools").mkdir(parents=True)
        for name in ("pyproject.toml", RUNTIME.name, DEV.name, "tools/setup.sh"):
            shutil.copy(ROOT / name, root / name)

    def setup(self, wanted: str, **environment: str) -> list[str]:
        """Run setup and return what it did: "new .venv", "install LOCK"."""
        done = subprocess.run(
            ["bash", "-c", SETUP, "bash", self.root, wanted],
            env={**os.environ, "REAL_PYTHON": sys.executable, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode == 0) == ("BREAK" not in environment), done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path / "a clone")


def test_the_second_setup_does_nothing(clone):
    assert clone.setup("runtime") == ["new .venv", "install requirements.lock"]
    assert clone.setup("runtime") == []


def test_the_dev_venv_serves_the_demo_too(clone):
    assert clone.setup("dev") == ["new .venv", "install requirements-dev.lock"]
    assert clone.setup("runtime") == []


def test_the_runtime_venv_is_added_to_for_the_tests(clone):
    clone.setup("runtime")

    assert clone.setup("dev") == ["install requirements-dev.lock"]
    assert clone.setup("dev") == []


def test_a_venv_whose_install_broke_is_made_anew(clone):
    clone.setup("runtime", BREAK="yes")
    assert clone.setup("runtime") == ["new .venv", "install requirements.lock"]

    clone.setup("dev", BREAK="yes")
    assert clone.setup("runtime") == ["new .venv", "install requirements.lock"]


@pytest.mark.parametrize("name", ["pyproject.toml", RUNTIME.name, DEV.name])
def test_a_changed_lock_or_project_makes_the_venv_anew(clone, name):
    clone.setup("runtime")
    with (clone.root / name).open("a") as file:
        file.write("\n")

    assert clone.setup("runtime") == ["new .venv", "install requirements.lock"]


def test_a_moved_clone_makes_its_venv_anew(clone, tmp_path):
    clone.setup("runtime")
    clone.root = clone.root.rename(tmp_path / "elsewhere")

    assert clone.setup("runtime") == ["new .venv", "install requirements.lock"]
