"""Commands that save what a server keeps, and put it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnomon.cli.common import HomeOption, JsonOption, app, home_of, say


@app.command()
def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Made by this command.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy metadata, models and log to DIR; a server may be at work."""
    from gnomon.server import backup as copying

    copying.backup(home_of(home), directory)
    text = f"Copied to {directory}: it has a token in it, keep it to yourself."
    say(text, {"backup": str(directory)}, as_json)


@app.command()
def restore(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="That 'gnomon backup' made.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup back; what is there now is kept beside it. No server may run."""
    from gnomon.server import backup as copying

    place = home_of(home)
    copying.restore(directory, place)
    text = f"Restored to {place.root}. 'gnomon serve' starts a server there."
    say(text, {"restored": str(place.root)}, as_json)
