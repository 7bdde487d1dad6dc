import subprocess
import sys

import pytest

# Stays alone, with a thread that was there before; then says what still works, one word a line.
PROGRAM = """
import os, subprocess, sys, threading
from gnomon.host.processes import stay_alone

begin, over = threading.Event(), threading.Event()

def say(what, do):
    try:
        do()
        print(what, "done", flush=True)
    except OSError as error:
        print(what, "refused", error.errno, flush=True)

def earlier():
    begin.wait()
    say("earlier thread: fork", os.fork)
    over.set()

threading.Thread(target=earlier).start()
print(stay_alone(), flush=True)
begin.set()
over.wait()
say("fork", os.fork)
say("spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
say("run", lambda: subprocess.run(["/bin/true"]))
later = threading.Thread(target=say, args=("later thread: fork", os.fork))
later.start()
later.join()
say("exec", lambda: os.execv(sys.executable, [sys.executable, "-c", "print('exec did it')"]))
"""


def test_a_process_that_stays_alone_can_start_threads_and_nothing_else():
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30
    )

    alone, *said = program.stdout.splitlines()
    if alone == "False":
        pytest.skip("this machine has no seccomp, or another processor than it is written for")
    assert said == [
        "earlier thread: fork refused 1",
        "fork refused 1",
        "spawn refused 1",
        "run refused 1",
        "later thread: fork refused 1",
        "exec refused 1",
    ], program.stderr
