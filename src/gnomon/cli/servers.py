"""Commands about the server on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gnomon.cli.common import Exit, HomeOption, JsonOption, app, client_of, home_of, say, tell
from gnomon.core import limits
from gnomon.core.errors import Invalid, ServerError, ServerUnreachable
from gnomon.sdk.printing import print_json, print_table, printable
from gnomon.settings import Home


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
    fronts: Annotated[
        int | None,
        typer.Option(
            min=1, max=limits.FRONTS_MAX, help="Processes that answer inference; $GNOMON_FRONTS, 1."
        ),
    ] = None,
    open_inference: Annotated[
        bool, typer.Option("--open-inference", help="Let inference be asked without a token.")
    ] = False,
    allow_python_models: Annotated[
        bool,
        typer.Option(
            "--allow-python-models",
            help="Run Python models: whoever may upload one may run code on this machine.",
        ),
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
        fronts=fronts,
        open_inference=open_inference,
        allow_python_models=allow_python_models,
        probe_timeout_s=probe_timeout_s,
    )
    place = home_of(home)
    with local.home_errors(place):
        try:
            code = server.serve(place, options)
        except Invalid as error:  # such as an address that it does not listen at
            raise typer.Exit(tell(error, as_json=False, code=Exit.WRONG_USAGE)) from error
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

    place = Home(demo_module.demo_home()) if home is None else home_of(home)
    file = None if page is None else page.absolute()
    outcome = demo_module.run(place, keep=keep, page_file=file, shown=not as_json)
    if as_json:
        print_json(outcome.to_json())


@app.command()
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the server's processes, deployments and models."""
    from gnomon.sdk import deployment
    from gnomon.sdk.transport import path

    client = client_of(home)
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
                    *(f"  {model['role']}", model["label"], model["version"]),
                    *(host[key] for key in ("state", "pid", "restarts")),
                    host["reason"] or "",
                ]
                for model in view["models"]
                for host in model["hosts"]
            ),
        )
    print()
    print_table(
        ("model", "workspace", "versions", "updated"),
        ([m["name"], m["workspace"], m["versions"], m["updated_at"][:19]] for m in models),
    )


@app.command()
def token(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print the token of the server on this machine."""
    from gnomon.sdk import local

    place = home_of(home)
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
    say(found, {"token": found}, as_json)


@app.command()
def down(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Stop the server on this machine."""
    from gnomon.sdk import local

    place = home_of(home)
    server = local.read(place)
    if server is None:
        raise ServerUnreachable(f"No gnomon server runs with the data in {place.root}.")
    local.stop(server)
    say(f"Stopped the server at {server.control_url}.", {"stopped": server.pid}, as_json)
