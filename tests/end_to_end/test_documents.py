"""The code in the README and in docs/ runs, as it stands there; so do the examples."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.end_to_end import notebook

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture
def environment(tmp_path: Path):
    """A home of its own, in which the code starts a server and tests end it."""
    environment = {
        **os.environ,
        "GNOMON_HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    yield environment
    subprocess.run([sys.executable, "-m", "gnomon", "down"], env=environment, check=False)


def run(command: list[str], environment: dict[str, str], directory: Path) -> str:
    done = subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_code_in_a_document_runs(document: Path, environment, tmp_path: Path):
    blocks = re.findall(
        r"^```(python|sh)\n(.*?)^```", document.read_text(), flags=re.MULTILINE | re.DOTALL
    )
    python = "\n".join(code for language, code in blocks if language == "python")
    shell = "\n".join(code for language, code in blocks if language == "sh")
    assert python or shell

    if python:
        run([sys.executable, "-c", python], environment, tmp_path)
    if shell:
        if "curl" in shell and shutil.which("curl") is None:
            pytest.skip("the shell code needs curl, which is not on PATH")
        if not python:
            run([sys.executable, "-c", "import gnomon; gnomon.Client()"], environment, tmp_path)
        run(["bash", "-euo", "pipefail", "-c", shell], environment, tmp_path)


# Directories of a server's home, and media types
NOT_OF_THE_PROJECT = ("artifacts/", "inference-log/", "run/", "logs/", "application/")


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "ARCHITECTURE.md"], ids=lambda p: p.name)
def test_every_place_that_a_document_names_is_there(document: Path):
    text = document.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (document.parent / target).exists(), target
    for path in re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.py)?)`", text):
        assert any(
            (place / path).exists() for place in (ROOT, ROOT / "src" / "gnomon")
        ) or path.startswith(NOT_OF_THE_PROJECT), path


EXPECTED = (
    "champion: 0.067406",
    "fraud-boosted: 0.67056",
    "fraud-forest: 0.24250",
    "fraud-boosted: differs on 2.10% of the transactions",
    "right where the champion is wrong 30 times, the reverse 12 times",
    "fraud-forest: differs on 3.70% of the transactions",
    "right where the champion is wrong 22 times, the reverse 52 times",
    "6 log entries",
    "(2001, 6) rows and columns",
)


def test_the_example_script_shows_what_it_should(environment, tmp_path: Path):
    shown = run(
        [sys.executable, str(ROOT / "examples" / "shadow_deployment.py")], environment, tmp_path
    )

    for text in EXPECTED:
        assert text in shown


def test_the_example_notebook_shows_what_the_script_shows(environment, tmp_path: Path):
    made = nbformat.read(ROOT / "examples" / "shadow_deployment.ipynb", as_version=4)

    notebook.execute(made, directory=tmp_path, home=Path(environment["GNOMON_HOME"]))

    shown = "\n".join(notebook.display(cell) for cell in made.cells if cell.cell_type == "code")
    for text in EXPECTED:
        assert text in shown


def test_the_example_of_a_swap_shows_what_it_should(environment, tmp_path: Path):
    shown = run(
        [sys.executable, str(ROOT / "examples" / "swap_in_place.py")], environment, tmp_path
    )

    assert [line for line in shown.splitlines() if not line.startswith(("Waiting", "gnomon"))] == [
        "now: fraud-boosted",
        "now: fraud-champion",
        "fraud-boosted says 0.6706",
        "fraud-champion says 0.0674",
        "same URL: True",
    ]


STEPS = {
    "ab_split": [
        "the champion answered about three of four: True",
        "models a customer: Counter({1: 30})",
        "customers a model: ['fraud-boosted', 'fraud-champion']",
        "eu: 6 payments answered by fraud-boosted",
        "us: 3 payments answered by fraud-forest",
    ],
    "chain": [
        "steps: 2",
        "54 of 2000 payments are flagged, 25 of them are frauds",
        "points of the first three: [0, 0, 0]",
        "the challenger would flag 52",
        "now 52 are flagged",
    ],
    "validations": [
        "fraud: 54 of 2000 payments",
        "large: 39 of 2000 payments",
        "unsure: 28 of 2000 payments",
        "payments with an anomaly: 109",
        "marked in the log: True",
        "fraud, with twice the threshold: 27",
    ],
    "several_inputs": [
        "price: float32 [?, 1]",
        "pieces: int64 [?, 1]",
        "total: float32 [?, 1]",
        "much: bool [?, 1]",
        "[[28.5], [120.0]] [[False], [True]]",
        "order a costs 28.5, much: False",
        "order b costs 120, much: True",
        "[28.5, 120.0]",
    ],
}


@pytest.mark.parametrize("example", STEPS)
def test_the_examples_of_steps_show_what_they_should(example: str, environment, tmp_path: Path):
    shown = run([sys.executable, str(ROOT / "examples" / f"{example}.py")], environment, tmp_path)

    lines = [line for line in shown.splitlines() if not line.startswith(("Waiting", "gnomon"))]
    assert lines == STEPS[example]


def test_the_small_models_of_the_examples_are_those_that_their_maker_makes():
    makers = runpy.run_path(str(ROOT / "examples" / "models" / "make_small.py"), run_name="maker")
    for name in ("decision", "amount"):
        made = makers[name]().SerializeToString(deterministic=True)
        assert (ROOT / "examples" / "models" / f"{name}.onnx").read_bytes() == made


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_examples_are_importable_without_side_effects(example: Path):
    assert callable(runpy.run_path(str(example), run_name="example")["main"])
