"""The command line: `gnomon`. Its exit codes are in `Exit`; with --json, errors are JSON too.

Nothing heavy is imported before a command needs it: `gnomon --help` is answered at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from gnomon.cli import (
    backups,
    inferences,
    logs,
    models,
    pipelines,
    servers,
    shadows,
    tags,
    upkeep,
    workspaces,
)
from gnomon.cli.common import Exit, app, tell
from gnomon.core.errors import GnomonError, ServerError

__all__ = [
    "backups",
    "inferences",
    "logs",
    "main",
    "models",
    "pipelines",
    "servers",
    "shadows",
    "tags",
    "upkeep",
    "workspaces",
]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"gnomon {version('gnomon')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    try:
        code = app(given, prog_name="gnomon", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _wrong_usage(error, as_json)
    except GnomonError as error:
        return tell(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough; Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        return tell(ServerError(f"{where}{error.strerror or error}."), as_json)
    return code if isinstance(code, int) else Exit.DONE


def _wrong_usage(error: typer.TyperException, as_json: bool) -> int:
    if as_json:
        document = {"error_code": "wrong_usage", "error": error.format_message()}
        print(json.dumps(document), file=sys.stderr)
    elif show := getattr(error, "show", None):
        show()
    return error.exit_code
