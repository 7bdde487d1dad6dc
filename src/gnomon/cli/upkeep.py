"""The command that removes what deleted things left on the disk."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gnomon.cli.common import HomeOption, JsonOption, app, client_of
from gnomon.sdk.printing import print_json, table_lines


@app.command()
def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Remove it without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show it.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the model files and logs of what was deleted, after showing which these are."""
    from gnomon.sdk.transport import path

    if as_json and not yes and not dry_run:
        raise typer.BadParameter("With --json nobody can be asked: say --yes or --dry-run.")
    transport = client_of(home)._transport
    found = transport.call("GET", path("garbage")).json()
    anything = bool(found["files"] or found["logs"])
    if not as_json:
        _print(found)
        if anything and not dry_run and not yes:
            typer.confirm("Remove it?", abort=True)
    if anything and not dry_run:
        found = transport.call("DELETE", path("garbage")).json()
    if as_json:
        print_json(found)
    elif found["removed"]:
        print("Removed.")


def _print(found: dict[str, Any]) -> None:
    files, logs = found["files"], found["logs"]
    if not files and not logs:
        print("There is nothing to remove.")
        return
    lines = table_lines(
        ("what", "name", "size"),
        [
            *(("model file", file["name"], f"{file['size_bytes']:,} B") for file in files),
            *(("log of pipeline", log["name"], f"{log['size_bytes']:,} B") for log in logs),
        ],
        right={2},
    )
    print("\n".join(lines))
    total = sum(piece["size_bytes"] for piece in (*files, *logs))
    print(
        f"\n{total:,} B in {len(files)} model file{_s(files)} and the logs of {len(logs)} "
        f"pipeline{_s(logs)}"
    )


def _s(things: list[Any]) -> str:
    return "" if len(things) == 1 else "s"
