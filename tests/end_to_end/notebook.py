"""Runs cells of code in a real Jupyter kernel, and gives back what each displays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def run(cells: Sequence[str], *, directory: Path, home: Path) -> list[str]:
    """Run code cells in order in one kernel.

    Args:
        directory: The kernel's working directory.
        home: GNOMON_HOME of the kernel.

    Returns:
        For each cell what a reader sees: printed text, then HTML where there is some, else text.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell raised.
    """
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(code) for code in cells]
    execute(notebook, directory=directory, home=home)
    return [display(cell) for cell in notebook.cells]


def execute(notebook: nbformat.NotebookNode, *, directory: Path, home: Path) -> None:
    """Run a notebook in place."""
    client = NotebookClient(
        notebook,
        timeout=60,
        coalesce_streams=True,
        resources={"metadata": {"path": str(directory)}},
    )
    client.execute(env={**os.environ, "GNOMON_HOME": str(home)})


def display(cell: nbformat.NotebookNode) -> str:
    """Return what a cell shows: printed text, then each displayed value on lines of its own."""
    printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    values = [output.data for output in cell.outputs if output.output_type != "stream"]
    shown = [value.get("text/html") or value.get("text/plain", "") for value in values]
    return "\n".join([printed.rstrip("\n"), *shown]).strip("\n")
