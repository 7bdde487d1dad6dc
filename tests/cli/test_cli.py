"""The command line: what it prints, its exit codes, and JSON."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time

import pytest

import gnomon
from gnomon.cli import logs
from gnomon.settings import Home
from tests.sdk.wire import Answer

HEAVY = {"numpy", "pandas", "pyarrow", "urllib3", "fastapi", "sqlalchemy", "uvloop", "rich"}


def test_help_is_there_at_once_and_loads_nothing_heavy():
    code = "import sys; from gnomon.cli import main; main(['--help']); print(*sys.modules)"
    took_s = []
    for _ in range(5):
        begun = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        took_s.append(time.monotonic() - begun)

    assert {name.partition(".")[0] for name in done.stdout.split()} & HEAVY == set()
    for command in (
        "serve", "status", "infer", "logs", "shadow", "top", "token", "down",
        "models", "pipelines", "deploy", "undeploy", "tags", "gc",
    ):  # fmt: skip
        assert f"\n  {command} " in done.stdout
    assert min(took_s) < 0.3


def test_the_version_is_said(run):
    assert run("--version").out.startswith("gnomon 0.")


def test_status_shows_processes_deployments_and_models(run, server):
    shown = run("status")

    assert shown.code == 0
    for text in (server.url, "front-0  7", "/l", "pipeline cc-shadow: running", "champion",
                 "challenger", "xgb", "fraud"):  # fmt: skip
        assert text in shown.out
    document = run("status", "--json").json()
    assert document["processes"][0]["name"] == "front-0"
    assert document["deployments"][0]["models"][1]["label"] == "xgb"
    assert [model["name"] for model in document["models"]] == ["xgb", "lstm"]


def test_an_inference_shows_every_model(run, server, tensors):
    shown = run("infer", tensors, "--pipeline", "cc-shadow", "--request-id", "mine")

    assert shown.code == 0
    assert "request mine" in shown.out
    assert "champion    lstm   ok      227 µs" in shown.out
    assert "[array([[12.]])]" in shown.out
    [result] = run("infer", tensors, "--pipeline", "cc-shadow", "--json").json()
    assert result["outputs"][0]["Float"]["data"] == [12.0]
    assert result["challengers"]["xgb"]["status"] == "ok"
    assert result["request_id"]


def test_records_are_answered_by_rows(run, server, tmp_path):
    file = tmp_path / "rows.json"
    file.write_text('[{"tensor": [1, 2, 3]}, {"tensor": [0, 0, 1]}]')

    shown = run("infer", file, "--pipeline", "cc-shadow", "--workspace", "fraud")
    assert shown.code == 0
    assert "out.dense_1" in shown.out
    document = run("infer", file, "--pipeline", "cc-shadow", "--json").json()
    assert [row["out.dense_1"] for row in document["rows"]] == [[12.0], [2.0]]


def test_logs_have_a_line_per_model(run, server, tensors):
    for name in ("first", "second"):
        run("infer", tensors, "--pipeline", "cc-shadow", "--request-id", name)

    shown = run("logs", "cc-shadow", "--limit", 1)

    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0].split() == ["time", "request", "model", "status", "elapsed", "output"]
    assert [line.split()[3:6] for line in lines[1:3]] == [
        ["second", "xgb", "ok"],
        ["second", "lstm", "ok"],
    ]
    assert lines[3] == "There are older requests: --limit shows more."
    entries = run("logs", "cc-shadow", "--json").json()
    assert [entry["model_name"] for entry in entries] == ["xgb", "lstm"] * 2


def test_what_models_say_is_shown_and_not_obeyed(run, server, tensors):
    server.erring["xgb"] = "\x1b[2Jgone\x07"
    run("infer", tensors, "--pipeline", "cc-shadow")

    for shown in (run("infer", tensors, "--pipeline", "cc-shadow"), run("logs", "cc-shadow")):
        assert "\x1b" not in shown.out
        assert "�[2Jgone�" in shown.out


def test_nan_is_null_in_json(run, server, tensors, tmp_path):
    (tmp_path / "model.onnx").write_text("nan")
    client = gnomon.Client(interactive=False)
    client.set_current_workspace(client.get_workspace("fraud"))
    model = client.upload_model("nan", tmp_path / "model.onnx")
    client.build_pipeline("cc-nan").add_model_step(model).deploy()
    run("infer", tensors, "--pipeline", "cc-nan")

    assert run("logs", "cc-nan", "--json").json()[0]["outputs"] == [[[None]]]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["logs", "nope"], 1, "no pipeline 'nope'"),
        (["logs", "cc-shadow", "--workspace", "nope"], 1, "no workspace 'nope'"),
        (["infer", "nowhere.json", "--pipeline", "cc-shadow"], 2, "no file 'nowhere.json'"),
        (["infer", "a.csv", "--pipeline", "cc-shadow"], 2, "'.json' and '.arrow'"),
        (["logs", "cc-shadow", "--limit", "0"], 2, "limit"),
        (["infer"], 2, "FILE"),
        (["bogus"], 2, "bogus"),
        (["status", "--bogus"], 2, "--bogus"),
    ],
)
def test_what_goes_wrong_has_an_exit_code_and_is_told(run, server, arguments, code, says):
    shown = run(*arguments)
    assert shown.code == code
    assert says in shown.err
    assert shown.out == ""
    assert "Traceback" not in shown.err


def test_errors_are_json_too(run, server):
    shown = run("logs", "nope", "--json")
    assert (shown.code, shown.out) == (1, "")
    error = json.loads(shown.err)
    assert error["error_code"] == "not_found"
    assert "nope" in error["error"]

    shown = run("logs", "--json")
    assert (shown.code, shown.out) == (2, "")
    assert json.loads(shown.err)["error_code"] == "wrong_usage"

    server.answers["GET", "/v1/workspaces"] = lambda _: Answer(
        409, {"detail": "Busy.", "error_code": "conflict", "request_id": "r", "details": {"a": 1}}
    )
    assert json.loads(run("logs", "x", "--json").err) == {
        "error_code": "conflict",
        "error": "Busy.",
        "request_id": "r",
        "details": {"a": 1},
    }


def test_a_pipeline_in_two_workspaces_has_to_be_told_apart(run, server):
    client = gnomon.Client()
    client.set_current_workspace(client.create_workspace("other"))
    client.build_pipeline("cc-shadow")

    shown = run("logs", "cc-shadow")
    assert shown.code == 1
    assert "workspaces fraud, other: choose with --workspace" in shown.err
    assert run("logs", "cc-shadow", "--workspace", "other").code == 0


def test_logs_are_chosen_by_what_is_asked_for(run, server, tensors):
    for _ in range(2):
        run("infer", tensors, "--pipeline", "cc-shadow")

    shown = run("logs", "--limit", 1, "cc-shadow", "--model", "xgb", "--since", "2026-01-01")

    query = server.requests[-1].query
    assert (query["model"], query["start_datetime"]) == ("xgb", "2026-01-01T00:00:00+00:00")
    lines = shown.out.splitlines()
    assert ["xgb" in line for line in lines] == [False, True, False]
    assert lines[2] == "There are older requests: --limit shows more."
    assert run("logs", "show", "cc-shadow").code == 0
    assert run("logs", "cc-shadow", "--since", "yesterday").code == 1
    assert run("logs").code == 2


def test_logs_are_chosen_by_what_validations_found(run, server, tensors, tmp_path):
    server.above = {"too_high": 5.0}
    low = tmp_path / "low.json"
    low.write_text('{"tensor": [[0.5, 0.0, 0.0]]}')
    for name, file in (("high", tensors), ("low", low)):
        run("infer", file, "--pipeline", "cc-shadow", "--request-id", name)

    def found(*options):
        return {line.split()[3] for line in run(*options).out.splitlines()[1:]}

    assert found("logs", "cc-shadow") == {"high", "low"}
    assert found("logs", "cc-shadow", "--valid") == {"low"}
    assert found("logs", "cc-shadow", "--not-valid") == {"high"}
    entries = run("logs", "cc-shadow", "--not-valid", "--json").json()
    assert [entry["check_failures"] for entry in entries] == [[], ["too_high"]]
    run("logs", "export", "cc-shadow", tmp_path / "out", "--format", "csv", "--not-valid")
    [row] = (tmp_path / "out" / "cc-shadow-1.csv").read_text().splitlines()[1:]
    assert '"[1.0,2.0,3.0]"' in row


def test_logs_are_followed(run, server, tensors, monkeypatch):
    client = gnomon.Client(interactive=False)
    client.set_current_workspace(client.get_workspace("fraud"))
    pipeline = client.get_pipeline("cc-shadow")
    pipeline.infer_from_file(tensors, request_id="old")
    looks = []

    def wait(_):  # in place of a second: something is logged, twice; then somebody presses Ctrl-C
        looks.append(1)
        if len(looks) == 3:
            raise KeyboardInterrupt
        pipeline.infer_from_file(tensors, request_id=f"new-{len(looks)}")

    monkeypatch.setattr(logs.time, "sleep", wait)
    shown = run("logs", "cc-shadow", "--follow", "--json")

    assert shown.code == 130
    entries = [json.loads(line) for line in shown.out.splitlines()]
    assert [entry["request_id"] for entry in entries[::2]] == ["old", "new-1", "new-2"]
    assert [entry["model_name"] for entry in entries[:2]] == ["lstm", "xgb"]


def test_logs_are_exported(run, server, tensors, tmp_path):
    run("infer", tensors, "--pipeline", "cc-shadow")

    shown = run("logs", "export", "cc-shadow", tmp_path / "out", "--format", "csv")
    files = run("logs", "export", "cc-shadow", tmp_path / "out", "--prefix", "p", "--json").json()

    assert shown.out == f"{tmp_path}/out/cc-shadow-1.csv\n"
    assert (tmp_path / "out" / "cc-shadow-1.csv").read_text().startswith("time,in.tensor,")
    assert files == {"files": [f"{tmp_path}/out/p-1.json"]}
    assert run("logs", "export", "cc-shadow", tmp_path, "--format", "xml").code == 1


@pytest.mark.parametrize("command", ["status", "down", "token", "logs"])
def test_without_a_server_the_exit_code_is_3(run, tmp_path, monkeypatch, command):
    monkeypatch.delenv("GNOMON_URL", raising=False)
    more = ["any"] if command == "logs" else []

    shown = run(command, *more, "--home", tmp_path)

    assert shown.code == 3
    assert str(tmp_path) in shown.err
    assert os.listdir(tmp_path) == []
    document = json.loads(run(command, *more, "--home", tmp_path, "--json").err)
    assert document["error_code"] == "server_unreachable"


def test_a_server_that_is_gone_is_exit_code_3_too(run, server):
    server.__exit__()

    assert run("status").code == 3


def test_the_token_is_printed_alone(run, tmp_path):
    Home(tmp_path).token_file.write_text("gno_secret\n")

    assert run("token", "--home", tmp_path).out == "gno_secret\n"
    assert run("token", "--home", tmp_path, "--json").json() == {"token": "gno_secret"}


def test_elsewhere_than_on_linux_serve_says_in_one_line_what_it_needs(run, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")

    shown = run("serve")

    assert shown.code == 1
    assert shown.err.count("\n") == 1
    assert "needs Linux; this is win32" in shown.err


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    command = f"{shlex.quote(sys.executable)} -m gnomon --help | head -c 1"

    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30)

    assert (done.stdout, done.stderr) == ("U", "")


def test_serve_status_and_down_on_a_real_server(tmp_path):
    home = tmp_path / "home"

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gnomon", *arguments, "--home", str(home)],
            capture_output=True,
            text=True,
            timeout=60,
        )

    # Given a server that a client started
    client = gnomon.Client(home=home, interactive=False)
    assert client.get_current_workspace().name()

    # When the command line looks at it, it is there, and a second one is refused
    status = command("status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["control_url"] == client.api_endpoint
    second = command("serve")
    assert second.returncode == 1
    assert "runs in" in second.stderr

    # Then `down` ends it
    down = command("down")
    assert down.returncode == 0, down.stderr
    assert command("status").returncode == 3
    assert command("down").returncode == 3


def test_status_says_that_a_pipeline_does_not_run_when_its_champion_is_down(run, server):
    champion = server.pipelines[0]["deployment"]["models"][0]
    died = {"state": "crash_looping", "reason": "It died of signal 9."}
    champion.update(died, hosts=[{**champion["hosts"][0], **died}])

    shown = run("status")

    assert "pipeline cc-shadow: failed" in shown.out
    assert "It died of signal 9." in shown.out
    [view] = run("status", "--json").json()["deployments"]
    assert (view["status"], view["models"][0]["state"]) == ("Error", "crash_looping")
    champion.update(state="gone", reason=None)
    assert "pipeline cc-shadow: starting" in run("status").out


def test_status_has_a_line_for_each_host(run, server):
    champion = server.pipelines[0]["deployment"]["models"][0]
    [host] = champion["hosts"]
    champion.update(hosts=[host, {**host, "pid": 4711, "state": "starting"}])

    shown = run("status").out.splitlines()
    lines = [line.split() for line in shown if line.startswith("  champion")]

    assert [line[3:5] for line in lines] == [["ready", str(host["pid"])], ["starting", "4711"]]


def test_a_home_that_is_a_file_is_told_and_no_traceback(run, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")

    for home in (file, file / "below"):
        shown = run("serve", "--home", home)
        assert (shown.code, shown.out) == (1, "")
        assert "must be a directory. Choose another" in shown.err
        assert shown.err.count("\n") == 1
        shown = run("demo", "--json", "--home", home)
        assert (shown.code, shown.out) == (1, "")
        assert json.loads(shown.err)["error_code"] == "invalid"


@pytest.mark.parametrize("home", ["/sys/kernel", "/sys/gnomon"])
def test_a_home_that_cannot_be_written_is_told_and_no_traceback(run, home):
    shown = run("serve", "--home", home)

    assert shown.code == 1
    assert f"cannot keep its data in {home}" in shown.err
    assert shown.err.count("\n") == 1
    shown = run("demo", "--json", "--home", f"{home}/demo")
    assert shown.code == 1
    assert json.loads(shown.err)["error_code"] == "server_error"


def test_serve_takes_no_address_but_loopback(run, tmp_path):
    shown = run("serve", "--host", "0.0.0.0", "--home", tmp_path / "home")

    assert (shown.code, shown.out) == (2, "")
    assert "loopback only, not on '0.0.0.0'" in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "home").exists()


def test_any_other_trouble_with_files_is_told_too(run, server, tmp_path):
    (tmp_path / "a.json").mkdir()
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)

    for name in ("a.json", "loop.json", "x" * 300 + ".json"):
        shown = run("infer", tmp_path / name, "--pipeline", "cc-shadow", "--json")
        assert shown.code in (1, 2)
        assert json.loads(shown.err)["error"]


def test_a_running_server_whose_token_file_is_gone_is_not_said_to_be_absent(run, tmp_path):
    from gnomon.sdk import local

    Home(tmp_path).server_file.write_text(
        json.dumps(
            {
                "control_url": "http://127.0.0.1:1",
                "front_url": "http://127.0.0.1:2",
                "pid": os.getpid(),
                "pid_started": local.start_ticks(os.getpid()),
                "version": "0",
            }
        )
    )

    shown = run("token", "--home", tmp_path)

    assert shown.code == 1
    assert f"(process {os.getpid()}) runs, but its token file" in shown.err
