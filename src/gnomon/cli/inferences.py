"""The command that asks a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gnomon.cli.common import (
    HomeOption,
    JsonOption,
    WorkspaceOption,
    app,
    client_of,
    find_pipeline,
)
from gnomon.sdk.printing import print_json, print_table

if TYPE_CHECKING:
    from gnomon.sdk.inference import InferenceResult


@app.command()
def infer(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Tensors or records (.json), or .arrow.")
    ],
    pipeline: Annotated[str, typer.Option(help="The pipeline's name.")],
    workspace: WorkspaceOption = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait.")] = None,
    request_id: Annotated[str | None, typer.Option(help="By which the logs know it.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a pipeline about what is in FILE."""
    asked = find_pipeline(client_of(home, interactive=not as_json), pipeline, workspace)
    try:
        answer = asked.infer_from_file(file, timeout=timeout, request_id=request_id)
    except (FileNotFoundError, TypeError) as error:
        raise typer.BadParameter(str(error)) from error
    if isinstance(answer, list):
        if as_json:
            print_json([result.to_json() for result in answer])
            return
        for result in answer:
            _print_result(result)
        return
    if as_json:
        rows = answer.assign(time=answer["time"].astype("str")).to_dict("records")
        print_json({"request_id": answer.attrs["request_id"], "rows": rows})
        return
    print(answer.to_string(max_rows=20, max_colwidth=60))


def _print_result(result: InferenceResult) -> None:
    from gnomon.sdk.html import elapsed_text

    name, version = result.model()
    lines: list[tuple[str, str, str, int, str, object]] = [
        ("champion", name, "ok", result.raw["elapsed"], version, result.data())
    ]
    outputs = result.shadow_data()
    for label, model in result.challengers.items():
        shown = outputs.get(label) or model.error or ""
        lines.append(
            ("challenger", label, model.status, model.elapsed_ns, model.model_version, shown)
        )
    print(f"request {result.request_id}")
    print_table(
        ("role", "label", "status", "elapsed", "version", "output"),
        ([role, label, s, elapsed_text(ns), v, out] for role, label, s, ns, v, out in lines),
    )
