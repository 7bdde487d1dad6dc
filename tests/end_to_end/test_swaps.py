"""Swapping the models of a running pipeline in place, while callers ask without a pause."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import psutil
import pytest

import gnomon
from gnomon.core import limits
from gnomon.core.errors import DeploymentError
from tests import hostile_models
from tests.end_to_end.callers import Callers, first_output

ROW = [1.5, -2.5]
VERSIONS = 4
SWAPS = 50


def test_a_running_pipeline_is_swapped_in_place_and_no_answer_fails_or_mixes(
    server, tmp_path: Path
):
    # Given a running pipeline, and versions of a model of which each multiplies by its number
    client = server.client()
    path = tmp_path / "times.onnx"
    models: list[gnomon.Model] = []
    for factor in range(1, VERSIONS + 1):
        path.write_bytes(hostile_models.doubling(factor=float(factor)))
        models.append(client.upload_model("times", path))
    factors = {model.version(): model.ordinal() for model in models}
    pipeline = client.build_pipeline("swapped").add_model_step(models[0]).deploy()
    url, versions = pipeline.url(), {pipeline.versions()[0].name()}
    seen = set()

    def is_of_one_version(_: int, answer: list) -> bool:
        seen.add(answer[0]["model_version"])
        factor = factors[answer[0]["model_version"]]
        return first_output(answer).tolist() == [[1.5 * factor, -2.5 * factor]]

    # When it is swapped again and again, with challengers every other time
    with Callers(url, server.token, [{"x": [ROW]}], is_of_one_version) as heard:
        for swap in range(1, SWAPS + 1):
            champion, challenger = models[swap % VERSIONS], models[(swap + 1) % VERSIONS]
            if swap % 2:
                pipeline.replace_with_shadow_deploy(0, champion, [challenger]).deploy()
            else:
                pipeline.replace_with_model_step(0, champion).deploy()

            # Then each swap is a version of its own, under the same URL, and answers at once
            [result] = pipeline.infer({"x": [ROW]})
            assert result.raw["model_version"] == champion.version()
            assert len(result.challengers) == swap % 2
            assert pipeline.url() == url
            versions.add(pipeline.versions()[0].name())

    assert heard.failures == {}
    assert heard.wrong == []
    assert len(versions) == SWAPS + 1
    assert seen == set(factors)


def test_a_swap_to_other_resources_starts_another_host_and_no_answer_fails(server, tmp_path: Path):
    client = server.client()
    path = tmp_path / "double.onnx"
    path.write_bytes(hostile_models.doubling())
    model = client.upload_model("double", path)
    pipeline = client.build_pipeline("resized").add_model_step(model).deploy()
    before = server.pids()["double"]
    usual = psutil.Process(before)
    threads, (cap, _) = usual.num_threads(), usual.rlimit(resource.RLIMIT_AS)

    with Callers(
        pipeline.url(),
        server.token,
        [{"x": [ROW]}],
        lambda _, answer: first_output(answer).tolist() == [[3.0, -5.0]],
    ) as heard:
        config = gnomon.DeploymentConfigBuilder().cpus(2).memory("1500Mi").build()
        pipeline.deploy(deployment_config=config)
        resized = server.pids()["double"]
        host = psutil.Process(resized)
        more = limits.HOST_THREAD_BYTES + 1_500 * limits.MIB - limits.HOST_MEMORY_MODEL_MIN_BYTES
        assert host.rlimit(resource.RLIMIT_AS)[0] == cap + more
        assert host.num_threads() == threads + min(2, len(os.sched_getaffinity(0))) - 1
        client.get_pipeline("resized").deploy()

        # Who fetches the pipeline and deploys it again has what was asked for, and its host
        assert server.pids()["double"] == resized != before
    assert heard.failures == {}
    assert heard.wrong == []


def test_a_pipeline_that_asks_for_too_little_memory_says_so_and_leaves_the_old_one(
    server, tmp_path: Path
):
    client = server.client()
    path = tmp_path / "greedy.onnx"
    path.write_bytes(hostile_models.memory_bomb(150_000_000))
    pipeline = client.build_pipeline("greedy").add_model_step(client.upload_model("greedy", path))
    pipeline.deploy()

    with pytest.raises(DeploymentError, match=r"greedy.*needs more memory than its host may have"):
        pipeline.deploy(deployment_config=gnomon.DeploymentConfigBuilder().memory("1Mi").build())

    assert pipeline.infer({"x": [[0.0, 0.0]]})
