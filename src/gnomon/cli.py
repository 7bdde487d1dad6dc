"""The command line: `gnomon`. Its exit codes are in `Exit`; with --json, errors are JSON too.

Nothing heavy is imported before a command needs it: `gnomon --help` is answered at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnomon.core import limits
from gnomon.core.errors import GnomonError, Invalid, NotFound, ServerError, ServerUnreachable
from gnomon.sdk.printing import print_json, print_table, printable
from gnomon.settings import Home

if TYPE_CHECKING:
    from gnomon.sdk.client import Client
    from gnomon.sdk.inference import InferenceResult
    from gnomon.sdk.logs import LogEntry
    from gnomon.sdk.pipeline import Pipeline


class Exit(IntEnum):
    """What the exit codes mean."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    NO_SERVER = 3
    INTERRUPTED = 130


app = typer.Typer(
    name="gnomon",
    help="Shadow-tests ML models: the champion answers, challengers only watch.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Data directory; by default $GNOMON_HOME or the user's own."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
WorkspaceOption = Annotated[
    str | None, typer.Option(help="Its workspace; needed if the name is in several.")
]


@app.command()
def serve(
    home: HomeOption = None,
    host: Annotated[str, typer.Option(help="Address to listen at; loopback only.")] = "127.0.0.1",
    control_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Control plane; 0: any free port.")
    ] = None,
    front_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Inference; 0: any free port.")
    ] = None,
    open_inference: Annotated[
        bool, typer.Option("--open-inference", help="Let inference be asked without a token.")
    ] = False,
    probe_timeout_s: Annotated[
        float, typer.Option(min=0.1, help="Seconds that an uploaded model may take to load.")
    ] = limits.PROBE_TIMEOUT_S,
) -> None:
    """Run a server until SIGTERM or Ctrl-C."""
    from gnomon.sdk import local

    local.require_linux()
    from gnomon import server

    options = server.ServeOptions(
        host=host,
        control_port=control_port,
        front_port=front_port,
        open_inference=open_inference,
        probe_timeout_s=probe_timeout_s,
    )
    place = _home(home)
    with local.home_errors(place):
        try:
            code = server.serve(place, options)
        except Invalid as error:  # an address that it does not listen at
            raise typer.Exit(_failed(error, as_json=False, code=Exit.WRONG_USAGE)) from error
    raise typer.Exit(code)


@app.command()
def demo(
    home: HomeOption = None,
    page: Annotated[Path | None, typer.Option(help="Where the HTML page goes.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the sample models in shadow, on their own server."""
    from gnomon.sdk import demo as demo_module

    place = Home(demo_module.demo_home()) if home is None else _home(home)
    file = None if page is None else page.absolute()
    outcome = demo_module.run(place, keep=keep, page_file=file, shown=not as_json)
    if as_json:
        print_json(outcome.to_json())


@app.command()
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the server's processes, deployments and models."""
    from gnomon.sdk import deployment
    from gnomon.sdk.transport import path

    client = _client(home)
    server = client._transport.call("GET", path("server")).json()
    models = [
        {
            "workspace": workspace.name(),
            "name": model.name(),
            "versions": len(model.versions()),
            "updated_at": model.last_update_time().isoformat(),
        }
        for workspace in client.list_workspaces()
        for model in workspace.models()
    ]
    if as_json:
        deployments = [{**view, "status": deployment.word(view)} for view in server["deployments"]]
        print_json({**server, "deployments": deployments, "models": models})
        return
    _print_status(server, models)


def _print_status(server: dict[str, Any], models: list[dict[str, Any]]) -> None:
    from gnomon.sdk import deployment

    print(f"gnomon {server['version']}, process {server['pid']}, data in {server['home']}")
    print(f"control plane {server['control_url']}, inference {server['front_url']}\n")
    columns = ("name", "pid", "state", "restarts", "log")
    print_table(
        ("process", *columns[1:]),
        ([process[column] for column in columns] for process in server["processes"]),
    )
    for view in server["deployments"]:
        print(f"\npipeline {view['pipeline']}: {deployment.state(view)}  {view['url']}")
        if view["reason"]:
            print(printable(f"  {view['reason']}"))
        print_table(
            ("  role", "label", "version", "state", "pid", "restarts", "reason"),
            (
                [
                    f"  {model['role']}",
                    *(model[key] for key in ("label", "version", "state", "pid", "restarts")),
                    model["reason"] or "",
                ]
                for model in view["models"]
            ),
        )
    print()
    print_table(
        ("model", "workspace", "versions", "updated"),
        ([m["name"], m["workspace"], m["versions"], m["updated_at"][:19]] for m in models),
    )


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
    asked = _pipeline(_client(home, interactive=not as_json), pipeline, workspace)
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


@app.command()
def logs(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="Its name.")],
    limit: Annotated[
        int, typer.Option(min=1, max=limits.LOG_READ_REQUESTS_MAX, help="How many requests.")
    ] = limits.LOGS_DEFAULT,
    workspace: WorkspaceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a pipeline's newest requests, one line per model."""
    found = _pipeline(_client(home), pipeline, workspace).logs(limit)
    if as_json:
        print_json([entry.raw for entry in found])
        return
    headings = ("time", "request", "model", "status", "elapsed", "output")
    print_table(headings, (_log_line(entry) for entry in found))
    if found.more:
        print("There are older requests: --limit shows more.")


def _log_line(entry: LogEntry) -> list[object]:
    from gnomon.sdk.html import elapsed_text, time_text

    shown = " ".join(repr(entry.output).split()) if entry.status == "ok" else entry.error or ""
    short = shown if len(shown) <= 80 else f"{shown[:77]}..."
    elapsed = elapsed_text(entry.elapsed)
    return [
        time_text(entry.timestamp), entry.request_id, entry.label, entry.status, elapsed, short
    ]  # fmt: skip


@app.command()
def token(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print the token of the server on this machine."""
    from gnomon.sdk import local

    place = _home(home)
    found = local.token(place)
    if found is None:
        if (running := local.read(place)) is not None:
            raise ServerError(
                f"The server (process {running.pid}) runs, but its token file {place.token_file} "
                "is gone or cannot be read. 'gnomon down' and 'gnomon serve' make a new token; "
                "the old one is not taken any more then."
            )
        raise ServerUnreachable(
            f"There is no token in {place.root}: no server has been started there."
        )
    if as_json:
        print_json({"token": found})
        return
    print(found)


@app.command()
def down(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Stop the server on this machine."""
    from gnomon.sdk import local

    place = _home(home)
    server = local.read(place)
    if server is None:
        raise ServerUnreachable(f"No gnomon server runs with the data in {place.root}.")
    local.stop(server)
    if as_json:
        print_json({"stopped": server.pid})
        return
    print(f"Stopped the server at {server.control_url}.")


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
        return _failed(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough; Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        return _failed(ServerError(f"{where}{error.strerror or error}."), as_json)
    return code if isinstance(code, int) else Exit.DONE


def _failed(error: GnomonError, as_json: bool, code: Exit | None = None) -> Exit:
    """Tell an error on stderr and return the exit code: `code`, or the error's own."""
    if as_json:
        document = {
            "error_code": error.code,
            "error": error.message,
            "request_id": error.request_id,
            "details": error.details,
        }
        print(json.dumps(document, default=str), file=sys.stderr)
    else:
        print(printable(f"gnomon: {error.message}"), file=sys.stderr)
    if code is not None:
        return code
    return Exit.NO_SERVER if isinstance(error, ServerUnreachable) else Exit.FAILED


def _wrong_usage(error: typer.TyperException, as_json: bool) -> int:
    if as_json:
        document = {"error_code": "wrong_usage", "error": error.format_message()}
        print(json.dumps(document), file=sys.stderr)
    elif show := getattr(error, "show", None):
        show()
    return error.exit_code


def _home(given: Path | None) -> Home:
    return Home() if given is None else Home(given.expanduser().absolute())


def _client(home: Path | None, *, interactive: bool = False) -> Client:
    """Return a client of the server that runs; the command line never starts one by the way."""
    from gnomon.sdk.client import Client

    return Client(home=home, start=False, interactive=interactive)


def _pipeline(client: Client, name: str, workspace: str | None) -> Pipeline:
    """Find a pipeline by its name, in one workspace or in all."""
    if workspace is not None:
        client.set_current_workspace(client.get_workspace(workspace))
        return client.get_pipeline(name)
    found = [
        (home.name(), pipeline)
        for home in client.list_workspaces()
        for pipeline in home.pipelines()
        if pipeline.name() == name
    ]
    if not found:
        raise NotFound(f"There is no pipeline {name[:80]!r}; 'gnomon status' shows what there is.")
    if len(found) > 1:
        homes = ", ".join(sorted(home for home, _ in found))
        raise Invalid(f"Pipeline {name!r} is in the workspaces {homes}: choose with --workspace.")
    return found[0][1]
