"""The seed tutorial, cell by cell, in a real kernel: what it shows there, it shows here."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end import notebook, seed

DIFFERENCES = Path(__file__).with_name("seed_differences.md")
# Cells that show the log: lines before the entries, and lines of the entries of one request.
LOG_CELLS = {10: (1, 3), 11: (0, 3), 12: (2, 7)}


@pytest.fixture(scope="module")
def displays(tutorial: Path, tmp_path_factory):
    """Run the seed twice in one home, and once more after the server was started again."""
    scratch = tmp_path_factory.mktemp("seed")
    home = scratch / "home"
    shutil.copytree(tutorial, scratch / "tutorial")
    codes = [cell.code for cell in seed.cells(tutorial)]

    def shown() -> list[list[str]]:
        displayed = notebook.run(codes, directory=scratch / "tutorial", home=home)
        return [seed.lines_of(display) for display in displayed]

    def down() -> None:
        environment = {**os.environ, "GNOMON_HOME": str(home)}
        subprocess.run([sys.executable, "-m", "gnomon", "down"], env=environment, check=False)

    try:
        runs = {1: shown(), 2: shown()}
        down()
        return {**runs, 3: shown()}
    finally:
        down()


def expected(cell: seed.Cell, run: int) -> list[str]:
    lines = list(cell.shown)
    for difference in seed.differences(DIFFERENCES):
        if cell.number in difference.cells and run in (difference.runs or (run,)):
            lines = difference.applied(lines)
    return lines


def without_repeats(number: int, lines: list[str], run: int) -> list[str]:
    """Take the entries of earlier runs off the end of a log, if they are there as they should."""
    head, group = LOG_CELLS[number]
    lines = [re.sub(r"^Log Entry \d+$", "Log Entry <n>", line) for line in lines]
    if number == 11:
        lines = [line.strip("[],") for line in lines]
    entries = lines[head:]
    assert entries == entries[:group] * run
    return lines[: head + group]


@pytest.mark.parametrize("run", [1, 2, 3])
@pytest.mark.parametrize("number", range(1, 14))
def test_a_cell_shows_what_the_seed_shows(displays, tutorial, number, run):
    cell = seed.cells(tutorial)[number - 1]
    wanted, shown = expected(cell, run), displays[run][number - 1]
    if number in LOG_CELLS:
        wanted = without_repeats(number, wanted, 1)
        shown = without_repeats(number, shown, run)

    assert len(shown) == len(wanted), shown
    for pattern, line in zip(wanted, shown, strict=True):
        assert seed.matches(pattern, line), f"{pattern!r} was expected"


def test_the_seed_has_the_cells_that_it_had(tutorial):
    assert [len(cell.shown) for cell in seed.cells(tutorial)] == [
        *(0, 0, 0, 0, 6, 0, 7, 1, 44, 4, 3, 8, 7)
    ]


def test_every_listed_difference_is_used(tutorial):
    for difference in seed.differences(DIFFERENCES):
        assert difference.cells
        for number in difference.cells:
            for run in difference.runs or (1,):
                expected(seed.cells(tutorial)[number - 1], run)
