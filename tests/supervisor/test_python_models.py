"""Python models in their hosts: what the probe refuses, what a host survives, and how it ends."""

from __future__ import annotations

import os
import signal

import numpy as np
import psutil
import pytest

from gnomon.core import limits
from gnomon.core.deployment import ProbeReport
from gnomon.core.frames import Kind
from gnomon.core.model import PYTHON_NOT_ALLOWED, Signature
from gnomon.core.tensors import TensorSpec
from tests.python_models import COLUMNS, GOOD, REFUSED, on_large, zipped
from tests.supervisor.conftest import Bare
from tests.waiting import until

SMALL = np.array([[1.0, 2.0]], dtype=np.float32)
LARGE = np.array([[2_000.0, 2.0]], dtype=np.float32)
COUNTRY = np.array(["fr"], dtype=object)


def probe(bare: Bare, content: bytes | str, declared=COLUMNS) -> ProbeReport:
    path = bare.save(content if isinstance(content, bytes) else content.encode())
    return bare.client.probe(path, "0" * 64, declared)


def start(bare: Bare, source: str, name: str) -> None:
    bare.start(source.encode(), name, declared=COLUMNS)
    bare.when("ready", name)


def log(bare: Bare) -> str:
    return (bare.directory / "logs" / "hosts.log").read_text()


@pytest.mark.parametrize("name", REFUSED)
def test_the_probe_refuses(python, name):
    source, reason, said = REFUSED[name]

    report = probe(python, source)

    assert (report.reason, said in (report.message or "")) == (reason, True), report
    assert str(python.directory) not in report.message
    assert "Traceback" not in report.message
    assert len(report.message) < 700


def test_what_cannot_be_imported_leaves_its_traceback_in_the_hosts_log(python):
    probe(python, "def helper():\n    raise LookupError('of mine')\nhelper()\n")

    lines = until(lambda: "LookupError: of mine" in log(python) and log(python).splitlines())
    [at] = [number for number, line in enumerate(lines) if "LookupError: of mine" in line]
    assert lines[at - 1].strip() == "gnomon-probe:     raise LookupError('of mine')"
    assert 'File "model.py", line 2, in helper' in lines[at - 2]


def test_a_good_module_is_taken_as_it_was_declared(python):
    signature = probe(python, GOOD).signature

    assert (signature.inputs, signature.outputs) == (COLUMNS.inputs, COLUMNS.outputs)
    assert signature.row_wise


def test_a_module_that_mixes_its_rows_is_not_batched(python):
    total = "np.full(len(inputs['amounts']), inputs['amounts'].sum(), np.float32)"

    signature = probe(python, GOOD.replace('inputs["amounts"].sum(axis=1)', total)).signature

    assert not signature.row_wise


def test_a_module_that_changes_its_inputs_is_row_wise_all_the_same(python):
    source = GOOD.replace("    return", "    inputs['amounts'] *= 2\n    return", 1)

    assert probe(python, source).signature.row_wise


def test_a_zip_has_modules_packages_and_data_of_its_own(python):
    content = zipped(
        {
            "model.py": (
                "import pkgutil\n"
                "from names.upper import upper\n"
                "import totals\n"
                "SUFFIX = pkgutil.get_data('names', 'suffix.txt').decode()\n"
                "def process(inputs):\n"
                "    return {'total': totals.of(inputs['amounts']),"
                " 'known': upper(inputs['country'], SUFFIX)}\n"
            ),
            "totals.py": "def of(amounts): return amounts.sum(axis=1)\n",
            "names/__init__.py": "",
            "names/upper.py": (
                "import numpy as np\n"
                "def upper(texts, suffix):\n"
                "    return np.array([[text.upper() + suffix] for text in texts])\n"
            ),
            "names/suffix.txt": "!",
        }
    )
    assert probe(python, content).signature is not None

    python.start(content, "zip", declared=COLUMNS)
    python.when("ready", "zip")
    total, known = python.connect("zip").run(SMALL, COUNTRY).tensors

    assert (total.tolist(), known.tolist()) == ([3.0], [["FR!"]])


def test_a_server_that_was_not_told_to_runs_no_python_model(bare):
    assert probe(bare, GOOD) == ProbeReport(reason="python_not_allowed", message=PYTHON_NOT_ALLOWED)

    bare.start(GOOD.encode(), declared=COLUMNS)

    status = bare.when("failed")
    assert (status.reason, status.pid) == (PYTHON_NOT_ALLOWED, None)
    assert len(bare.tree()) == 1  # the nursery


FAILS = {
    "raises": ("raise KeyError('fr')", "model_failed: KeyError: 'fr'"),
    "exits": ("sys.exit(3)", "model_failed: SystemExit: 3"),
    "interrupts": ("raise KeyboardInterrupt", "model_failed: KeyboardInterrupt"),
    "exits quietly": ("raise GeneratorExit", "model_failed: GeneratorExit"),
    "recurses": ("bad()", "model_failed: RecursionError: maximum recursion depth"),
    "names a path": (
        "open('/no/such file')",
        "model_failed: FileNotFoundError: [Errno 2] No such file or directory: <path>",
    ),
    "writes a file": (
        "os.write(os.open('/tmp', os.O_TMPFILE | os.O_RDWR), b'x')",
        "model_failed: OSError: [Errno 27] File too large",
    ),
    "forks": ("os.fork()", "model_failed: PermissionError: [Errno 1]"),
    "starts a program": ("subprocess.run(['true'])", "model_failed: PermissionError: [Errno 1]"),
    "becomes a program": (
        "os.execv('/bin/true', ['true'])",
        "model_failed: PermissionError: [Errno 1]",
    ),
    "opens a socket": (
        "socket.create_connection(('127.0.0.1', 80), 5)",
        ("model_failed: OSError: [Errno 101]", "model_failed: PermissionError: [Errno 13]"),
    ),
    "asks the internet": (
        "urllib.request.urlopen('http://192.0.2.1/', timeout=5)",
        "model_failed: URLError: <urlopen error",
    ),
    "takes memory": ("STATE['x'] = bytearray(8 << 30)", "limit_reached: the run needs more memory"),
    "reads from the terminal": ("input()", "model_failed: EOFError: EOF when reading"),
    "an error that cannot be said": (
        "raise type('Odd\\n\\x1b', (Exception,), {'__str__': lambda e: 1 / 0})",
        "model_failed: Odd",
    ),
    "an endless error": ("raise ValueError('x' * 10_000_000)", "model_failed: ValueError: xxx"),
}


def test_a_run_that_fails_is_an_answer_and_the_host_goes_on(python):
    for name, (statement, said) in FAILS.items():
        host = name.replace(" ", "-")
        start(python, on_large(statement), host)
        line = python.connect(host)

        failed = line.run(LARGE, COUNTRY)
        fine = line.run(SMALL, COUNTRY)

        assert failed.kind is Kind.FAILED, name
        assert failed.text.startswith(said), (name, failed.text)
        assert len(failed.text) < 600
        assert "\n" not in failed.text, name
        assert fine.kind is Kind.RESULT, name
        assert python.status(host).restarts == 0, name
        python.client.stop_host(host)


def test_the_traceback_of_a_place_is_in_the_log_once_and_not_in_the_answer(python):
    start(python, on_large("raise KeyError('of a run')"), "traced")
    line = python.connect("traced")

    answers = [line.run(LARGE, COUNTRY) for _ in range(5)]

    assert {answer.text for answer in answers} == {"model_failed: KeyError: 'of a run'"}
    until(lambda: "traced: KeyError: 'of a run'" in log(python))
    assert log(python).count("traced: Traceback") == 1
    assert 'traced:   File "model.py", line' in log(python)


def test_what_a_model_prints_is_in_the_log_at_once_however_much_it_is(python):
    start(
        python, on_large("print('x' * 9_000_000, end=''); print('\\nlast', file=sys.stderr)"), "p"
    )
    line = python.connect("p")

    answers = [line.run(LARGE, COUNTRY).kind for _ in range(2)]

    assert answers == [Kind.RESULT] * 2
    until(lambda: log(python).count("p: last\n") == 2)


def test_outputs_that_are_too_large_to_send_are_an_error(python):
    declared = Signature(
        inputs=COLUMNS.inputs[:1],
        outputs=(TensorSpec(name="wide", dtype="float64", shape=(None, None)),),
    )
    source = (
        "import numpy as np\n"
        "def process(inputs):\n"
        "    return {'wide': np.zeros((1, 1 + int(inputs['amounts'][0, 0]) * 8_000))}\n"
    )
    assert probe(python, source, declared).signature is not None
    python.start(source.encode(), "wide", declared=declared)
    python.when("ready", "wide")
    line = python.connect("wide")

    assert line.run(LARGE).text.startswith("model_failed: its outputs cannot be sent: ")
    assert line.run(SMALL).kind is Kind.RESULT


def test_a_run_that_never_ends_is_stopped_at_its_deadline_and_the_host_goes_on(python):
    start(python, on_large("while True: pass"), "endless")
    line = python.connect("endless")

    stopped = line.run(LARGE, COUNTRY, deadline_ms=200)

    assert stopped.text == "inference_timeout: the run was stopped at its deadline"
    assert line.run(SMALL, COUNTRY).kind is Kind.RESULT
    assert python.status("endless").restarts == 0


STUCK = {
    "sleeps": "time.sleep(60)",
    "holds-the-interpreter": "re.match('(a|a)+$', 'a' * 99 + 'b')",
    "goes-on": (
        "\n    while True:\n        try: time.sleep(60)\n        except BaseException: pass"
    ),
}


@pytest.mark.parametrize("name", STUCK)
def test_a_run_that_cannot_be_stopped_ends_its_host_which_is_started_again(python, name):
    start(python, on_large(STUCK[name]), name)
    line = python.connect(name)

    assert line.run(LARGE, COUNTRY, deadline_ms=200) is None  # the connection ends

    status = until(lambda: (s := python.status(name)).restarts == 1 and s, within_s=20.0)
    assert status.reason == "Its process was ended because a run did not stop at its deadline."
    python.when("ready", name)
    assert python.connect(name).run(SMALL, COUNTRY).kind is Kind.RESULT


def test_a_run_that_ends_its_process_is_told_and_the_host_is_started_again(python):
    start(python, on_large("os._exit(7)"), "leaves")

    assert python.connect("leaves").run(LARGE, COUNTRY) is None

    until(lambda: python.status("leaves").restarts == 1)
    assert python.when("ready", "leaves").reason is None
    assert python.connect("leaves").run(SMALL, COUNTRY).kind is Kind.RESULT


def test_inputs_are_the_functions_own(python):
    """It may change them, and keep them: what comes later does not change what it kept."""
    source = (
        "KEPT = []\n"
        "import numpy as np\n"
        "def process(inputs):\n"
        "    amounts = inputs['amounts']\n"
        "    amounts *= 2\n"
        "    KEPT.append(amounts)\n"
        "    return {'total': amounts.sum(axis=1),"
        " 'known': np.array([[str(KEPT[0][0].tolist())]] * len(amounts))}\n"
    )
    start(python, source, "keeps")
    line = python.connect("keeps")

    first = line.run(SMALL, COUNTRY)
    for _ in range(100):
        later = line.run(LARGE, COUNTRY)

    assert first.tensors[0].tolist() == [6.0]
    assert later.tensors[1].tolist() == first.tensors[1].tolist()  # what warmed it up


def test_a_host_that_is_busy_with_python_ends_with_its_supervisor(tmp_path):
    from tests.bare import supervisor

    with supervisor(tmp_path, "--allow-python-models") as process:
        bare = Bare(process, tmp_path)
        start(bare, on_large("re.match('(a|a)+$', 'a' * 99 + 'b')"), "holds")
        host = psutil.Process(bare.when("ready", "holds").pid)
        line = bare.connect("holds")
        line.send(LARGE, COUNTRY, deadline_ms=60_000)
        until(lambda: host.cpu_times().user > 0.3)

        os.kill(process.pid, signal.SIGKILL)

        until(lambda: not host.is_running() or host.status() == psutil.STATUS_ZOMBIE)


def test_a_python_host_has_the_limits_of_any_host(python):
    start(python, GOOD, "limited")
    process = psutil.Process(python.when("ready", "limited").pid)

    assert set(process.environ()) == {
        "PATH", "LANG", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ORT_DISABLE_TELEMETRY",
    }  # fmt: skip
    assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert process.rlimit(psutil.RLIMIT_NOFILE) == (limits.HOST_FILES_MAX,) * 2
    assert process.cwd() == str(python.directory / "run" / "empty")
