"""What `gnomon demo` does: a champion and two challengers on the sample models, then stops."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from gnomon import samples
from gnomon.core.errors import Invalid
from gnomon.sdk import html, local, page
from gnomon.sdk.catalog import Pipeline
from gnomon.sdk.client import Client
from gnomon.sdk.inference import InferenceResult
from gnomon.sdk.logs import LogEntries, ShadowLogEntries
from gnomon.settings import Home, default_home

if TYPE_CHECKING:
    import pandas as pd

WORKSPACE, PIPELINE = "fraud-demo", "fraud-shadow"
PAGE_NAME = "demo.html"
# Only a directory with this file in it is ever emptied.
_MARKER = ".gnomon-demo"
_ROWS_OF_EACH_KIND = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a demo showed.

    Attributes:
        page: The HTML page of the run.
        kept: The server runs on.
    """

    url: str
    page: Path
    home: Path
    kept: bool
    answer: InferenceResult
    logs: LogEntries

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "url": self.url,
            "page": str(self.page),
            "home": str(self.home),
            "kept": self.kept,
            "answer": self.answer.to_json(),
            "logs": [entry.raw for entry in self.logs],
        }


def demo_home() -> Path:
    """Return where a demo keeps its data unless it is told: beside the user's own."""
    home = default_home()
    return home.with_name(f"{home.name}-demo")


def run(home: Home, *, keep: bool, page_file: Path | None, shown: bool = True) -> Outcome:
    """Start a server on free ports, show a shadow deployment on it, and stop it.

    Args:
        home: Emptied first, if it is new, empty, or an earlier demo's.
        keep: Leave the server running.
        page_file: Where the HTML page goes; None: into `home`.
        shown: Print what happens.

    Raises:
        Invalid: `home` has something else in it, or the page cannot be written.
        GnomonError: Something that was shown did not work.
    """
    say: Callable[..., None] = print if shown else _silent
    with local.home_errors(home):
        _empty(home)
    with _signals_end_the_demo():
        say(f"Starting a server with its data in {home.root}")
        server, process = local.start(home, options=["--control-port", "0", "--front-port", "0"])
        kept = False
        try:
            client = Client(home=home.root, start=False, interactive=shown)
            outcome = _show(client, home, page_file or home.root / PAGE_NAME, keep, say)
            kept = keep
        finally:
            if not kept:
                with _signals_ignored():
                    local.stop(server)
                    process.wait()
    if kept:
        say(f"\nThe server runs on at {server.control_url}. It is stopped by:")
        say(f"  gnomon down --home {shlex.quote(str(home.root))}")
    else:
        say("\nThe server is stopped. 'gnomon demo --keep' leaves it running.")
    return outcome


def _show(
    client: Client, home: Home, page_file: Path, kept: bool, say: Callable[..., None]
) -> Outcome:
    pipeline = _deploy(client, say)
    [answer] = pipeline.infer_from_file(samples.smoke_test_path())
    assert isinstance(answer, InferenceResult)
    _say_answer(answer, say)
    frame = pipeline.infer(_held_out_rows())
    say("\nSix payments as a DataFrame, half of them frauds:")
    say(frame.drop(columns=["in.tensor", "anomaly.count"]).to_string(index=False))
    logs, shadow = pipeline.logs(), pipeline.logs_shadow_deploy()
    _say_logs(logs, shadow, say)
    _write_page(page_file, _page(client, pipeline, shadow))
    say(f"\nURL:  {pipeline.url()}")
    say(f"Ask it yourself, while the server runs:\n  {_curl(client, pipeline, str(home.root))}")
    say(f"\nThe run as a page:  {page_file}")
    return Outcome(
        url=pipeline.url(), page=page_file, home=home.root, kept=kept, answer=answer, logs=logs
    )


def _deploy(client: Client, say: Callable[..., None]) -> Pipeline:
    client.set_current_workspace(client.get_workspace(WORKSPACE, create_if_not_exist=True))
    champion = client.upload_model(samples.CHAMPION, samples.champion_path())
    challengers = [
        client.upload_model(name, file) for name, file in samples.challenger_paths().items()
    ]
    names = " and ".join(model.name() for model in challengers)
    say(f"Uploaded {champion.name()}, the champion, and its challengers {names}")
    pipeline = client.build_pipeline(PIPELINE)
    return pipeline.add_shadow_deploy(champion, challengers).deploy()


def _held_out_rows() -> pd.DataFrame:
    import pandas as pd

    tensor, labels = samples.held_out()
    rows = np.concatenate([np.flatnonzero(labels == kind)[:_ROWS_OF_EACH_KIND] for kind in (1, 0)])
    return pd.DataFrame({"tensor": list(tensor[rows]), "fraud": labels[rows] == 1})


def _say_answer(answer: InferenceResult, say: Callable[..., None]) -> None:
    name, version = answer.model()
    say(f"\nOne payment. The answer is the champion's, {name} (version {version}):")
    say(f"  data         {answer.data()}")
    say(f"  elapsed      {html.elapsed_text(answer.raw['elapsed'])}")
    say("What the challengers made of it, beside the answer:")
    for label, outputs in answer.shadow_data().items():
        say(f"  shadow_data  {label}: {outputs}")
    for label, challenger in answer.challengers.items():
        elapsed = html.elapsed_text(challenger.elapsed_ns)
        say(f"  challengers  {label}: {challenger.status}, {elapsed}")


def _say_logs(logs: LogEntries, shadow: ShadowLogEntries, say: Callable[..., None]) -> None:
    say("\nThe log, one entry per model and request, newest first:")
    for entry in logs:
        say(f"  ({entry.model_name!r}, {_one_line(entry.output)})")
    say("\nThe shadow log, by request:")
    for request in shadow:
        say(f"  {request.timestamp:%Y-%m-%d %H:%M:%S UTC}  {request.request_id}")
        for role, entry in _roles(request.primary, request.challengers):
            elapsed = html.elapsed_text(entry.elapsed)
            say(f"    {role:10}  {entry.label:16}  {entry.status:7}  {elapsed:>8}", end="  ")
            say(_one_line(entry.output) if entry.status == "ok" else entry.error)


def _roles(primary: Any, challengers: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    yield "champion", primary
    for entry in challengers:
        yield "challenger", entry


def _one_line(outputs: list[Any]) -> str:
    with np.printoptions(precision=4, suppress=True, threshold=10, linewidth=10_000):
        text = " ".join(repr(outputs).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def _curl(client: Client, pipeline: Pipeline, home: str | None) -> str:
    """Return the command that asks the pipeline; with `gnomon token` in it if `home` is None."""
    header = client.auth.auth_header()["Authorization"]
    if home is None:
        header = "Bearer $(gnomon token)"
    body = shlex.quote(f"@{samples.smoke_test_path()}" if home else "@payment.json")
    return (
        f'curl {pipeline.url()} -H "Authorization: {header}" '
        f"-H 'X-Gnomon-Shadow-Wait-Ms: 1000' -d {body}"
    )


def _page(client: Client, pipeline: Pipeline, shadow: ShadowLogEntries) -> str:
    from importlib.metadata import version

    return page.render(
        page.Run(
            pipeline=pipeline.name(),
            facts=list(pipeline._row().items()),
            steps=pipeline.steps(),
            url=pipeline.url(),
            command=_curl(client, pipeline, None),
            requests=[entry.primary._request for entry in shadow],
            made_at=datetime.now(UTC),
            version=version("gnomon"),
        )
    )


def _write_page(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Invalid(
            f"The page cannot be written to {file}: {error.strerror}. Choose another place with "
            "--page."
        ) from error


def _silent(*_: object, **__: object) -> None:
    return


def _empty(home: Home) -> None:
    """Empty a demo's directory, stopping the server that an earlier one left running.

    Raises:
        Invalid: It has something in it that is not a demo's.
    """
    root = home.root
    marker = root / _MARKER
    if root.exists() and not root.is_dir():
        raise Invalid(f"{root} is a file; a demo needs a directory of its own.")
    if root.exists() and any(root.iterdir()) and not marker.is_file():
        raise Invalid(
            f"{root} is not empty, and its content is not an earlier demo's; a demo would delete "
            "it. Choose another directory with --home."
        )
    server = local.read(home)
    if server is not None:
        local.stop(server)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    marker.write_text("Made by 'gnomon demo', which empties this directory when it runs.\n")
    for entry in root.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != marker:
            entry.unlink()


@contextlib.contextmanager
def _signals_end_the_demo() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does: what was started is stopped."""

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """Stop what was started, whatever else is pressed; the wait for it is bounded."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
