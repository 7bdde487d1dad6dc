"""What is counted outlives the front that counted it."""

from __future__ import annotations

import signal
import subprocess
import sys

from gnomon.core import limits
from gnomon.core.inference import Status
from gnomon.front.counts import CountsFile
from gnomon.front.tallies import WIDTH, Tally


def counts_of(tally: Tally) -> dict[str, int]:
    return {name: count for name, count in tally.to_json().items() if count}


def test_what_was_under_way_when_a_front_was_killed_is_lost(tmp_path) -> None:
    path = tmp_path / "counts"
    program = f"""
import os, signal
from pathlib import Path
from gnomon.core.inference import Status
from gnomon.front.counts import CountsFile
from gnomon.front.tallies import WIDTH, Tally
tally = Tally(CountsFile(Path({str(path)!r}), WIDTH).of("7/rf"))
tally.began(5)
tally.ended(Status.OK, 2)
tally.ended(Status.TIMEOUT, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, timeout=30)
    assert ended.returncode == -signal.SIGKILL
    found = Tally(CountsFile(path, WIDTH).of("7/rf"))
    assert counts_of(found) == {"sampled": 5, "ok": 2, "timeout": 1, "lost": 2}
    assert found.pending == 0
    assert counts_of(Tally(CountsFile(path, WIDTH).of("7/other"))) == {}


def test_names_that_are_kept_no_more_begin_anew(tmp_path) -> None:
    path = tmp_path / "counts"
    file = CountsFile(path, WIDTH)
    for name in ("7/a", "8/b"):
        Tally(file.of(name)).began(3)
    file.keep(["8/b"])
    again = CountsFile(path, WIDTH)
    assert counts_of(Tally(again.of("7/a"))) == {}
    assert counts_of(Tally(again.of("8/b"))) == {"sampled": 3, "lost": 3}


def test_a_file_that_is_none_of_this_kind_is_begun_anew(tmp_path) -> None:
    path = tmp_path / "counts"
    path.write_bytes(b"something else")
    tally = Tally(CountsFile(path, WIDTH).of("7/a"))
    tally.began(1)
    tally.ended(Status.OK, 1)
    assert counts_of(Tally(CountsFile(path, WIDTH).of("7/a"))) == {"sampled": 1, "ok": 1}


def test_where_there_is_no_room_left_counting_goes_on_in_memory(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(limits, "COUNTED_MODELS_MAX", 2)
    file = CountsFile(tmp_path / "counts", WIDTH)
    tallies = [Tally(file.of(f"7/m{n}")) for n in range(3)]
    for tally in tallies:
        tally.began(1)
    found = CountsFile(tmp_path / "counts", WIDTH)
    assert [counts_of(Tally(found.of(f"7/m{n}"))) for n in range(3)][2] == {}
    assert counts_of(tallies[2]) == {"sampled": 1, "pending": 1}


def test_what_ends_after_its_name_was_given_up_counts_for_no_other(tmp_path) -> None:
    file = CountsFile(tmp_path / "counts", WIDTH)
    old = Tally(file.of("7/old"))
    old.began(2)
    old.let_go()
    file.keep([])
    new = Tally(file.of("7/new"))
    new.began(1)
    old.ended(Status.OK, 2)
    assert counts_of(new) == {"sampled": 1, "pending": 1}
    assert counts_of(old) == {"sampled": 2, "ok": 2}
