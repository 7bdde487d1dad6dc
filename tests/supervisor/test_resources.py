"""Hosts keep to what was asked for: threads and memory."""

from __future__ import annotations

import os

import numpy as np
import psutil
import pytest

from gnomon.core import limits
from gnomon.core.frames import Kind
from gnomon.core.resources import Resources
from tests import hostile_models

MANY = np.array([[120_000_000.0, 0.0]], dtype=np.float32)  # values: 458 MiB
FEW = np.array([[1_000.0, 0.0]], dtype=np.float32)


def test_a_host_has_the_threads_that_were_asked_for(bare):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one processor, and a host has no more threads than that")
    bare.start(hostile_models.doubling(), "one")
    bare.start(hostile_models.doubling(), "two", resources=Resources(threads=2))

    one = psutil.Process(bare.when("ready", "one").pid)
    two = psutil.Process(bare.when("ready", "two").pid)

    assert two.num_threads() == one.num_threads() + 1
    row = np.array([[1.0, 2.0]], dtype=np.float32)
    assert bare.connect("two").run(row).tensors[0].tolist() == [[2.0, 4.0]]


def test_a_host_has_no_more_threads_than_the_machine_has_processors(bare):
    bare.start(hostile_models.doubling(), "one")
    bare.start(hostile_models.doubling(), "many", resources=Resources(threads=64))

    one = psutil.Process(bare.when("ready", "one").pid)
    many = psutil.Process(bare.when("ready", "many").pid)

    processors = len(os.sched_getaffinity(0))
    assert many.num_threads() == one.num_threads() + processors - 1


def test_a_run_beyond_the_memory_that_was_asked_for_fails_and_the_host_goes_on(bare):
    # Given a model that runs with what a host usually may have
    bare.start(hostile_models.memory_bomb_on_input(), "usual")
    assert bare.connect("usual").run(MANY, deadline_ms=60_000).kind is Kind.RESULT

    # When it has less
    bare.start(hostile_models.memory_bomb_on_input(), "tight", resources=Resources(memory_mib=100))
    line = bare.connect("tight")
    beyond, within = line.run(MANY, deadline_ms=60_000), line.run(FEW)

    # Then the run fails and the process is the same
    assert beyond.kind is Kind.FAILED
    assert beyond.text.startswith("limit_reached: ")
    assert within.kind is Kind.RESULT
    assert bare.status("tight").restarts == 0


def test_a_run_that_needs_more_than_usual_has_it_if_it_was_asked_for(bare):
    more = np.array([[350_000_000.0, 0.0]], dtype=np.float32)  # values: 1.3 GiB
    bare.start(hostile_models.memory_bomb_on_input(), "usual")
    bare.start(hostile_models.memory_bomb_on_input(), "wide", resources=Resources(memory_mib=3_000))

    assert bare.connect("usual").run(more).kind is Kind.FAILED
    assert bare.connect("wide").run(more, deadline_ms=60_000).kind is Kind.RESULT


def test_a_model_that_does_not_fit_into_its_memory_says_how_much_it_has(bare):
    bare.start(hostile_models.memory_bomb(150_000_000), resources=Resources(memory_mib=10))

    status = bare.when("failed")

    cap_mib = (limits.HOST_MEMORY_BASE_BYTES + limits.HOST_STACK_BYTES) // limits.MIB + 10
    assert status.reason == (
        f"The model needs more memory than its host may have, {cap_mib} MiB in all."
    )
