"""The builder of what to ask of the machine."""

import json

import pytest

import gnomon
from gnomon.core.errors import Invalid
from gnomon.core.resources import (
    Resources,
    check_document,
    replicas_of,
    resources_of,
    without_effect,
)
from gnomon.core.steps import ModelRef
from gnomon.deployment_config import DeploymentConfigBuilder

MODEL = ModelRef(version_id=7, name="fraud", ordinal=1, uuid="u", sha256="0" * 64)


class Uploaded:
    def uid(self) -> str:
        return "fraud-7"


def test_the_builder_is_found_where_other_platforms_have_it():
    assert gnomon.DeploymentConfigBuilder is DeploymentConfigBuilder
    assert gnomon.deployment_config.DeploymentConfigBuilder is DeploymentConfigBuilder


def test_cpus_and_memory_are_what_a_host_gets():
    config = (
        DeploymentConfigBuilder(workspace_id=3).replica_count(1).cpus(1.5).memory("2Gi").build()
    )

    check_document(config)
    assert resources_of(config, MODEL) == Resources(threads=2, memory_mib=2048)
    assert without_effect(config, [MODEL]) == []
    assert config["engine"]["resources"]["requests"] == {"cpu": 1.5, "memory": "2Gi"}
    assert config["engine"]["replicas"] == 1


def test_replicas_are_how_many_hosts_a_champion_gets():
    builder = DeploymentConfigBuilder().replica_count(3)
    assert replicas_of(builder.build()) == 3
    assert without_effect(builder.build(), [MODEL]) == []
    scaled = builder.replica_autoscale_min_max(maximum=5, minimum=5).build()
    assert replicas_of(scaled) == 5
    assert without_effect(scaled, [MODEL]) == ["engine.replicas = 3", "engine.autoscale.type = cpu"]
    assert replicas_of(DeploymentConfigBuilder().replica_autoscale_min_max(4).build()) == 1
    with pytest.raises(Invalid, match="replicas must be a whole number, from 0 to 8: each is a"):
        check_document(DeploymentConfigBuilder().replica_count(9).build())


def test_one_model_can_have_more_than_the_others():
    builder = DeploymentConfigBuilder().cpus(1).memory("1Gi")
    config = builder.sidekick_cpus(Uploaded(), 4).sidekick_memory(Uploaded(), "3Gi").build()

    assert resources_of(config, MODEL) == Resources(threads=4, memory_mib=3072)
    assert without_effect(config, [MODEL]) == []


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("replica_count", 0), ["engine.replicas = 0"]),
        (("replica_autoscale_min_max", 4, 2), ["engine.autoscale.replica_max = 4",
                                               "engine.autoscale.type = cpu"]),
        (("replica_autoscale_min_max", 4), ["engine.autoscale.replica_min = 0",
                                            "engine.autoscale.replica_max = 4",
                                               "engine.autoscale.type = cpu"]),
        (("autoscale_cpu_utilization", 75), ["engine.autoscale.cpu_utilization = 75"]),
        (("scale_up_queue_depth", 5), ["engine.autoscale.scale_up_queue_depth = 5",
                                       "engine.autoscale.type = queue"]),
        (("autoscaling_window",), ["engine.autoscale.autoscaling_window = 300"]),
        (("gpus", 1), ["engine.gpu = 1"]),
        (("image", "engine:1"), ["engine.image = engine:1"]),
        (("deployment_label", "gpu=yes"), ["engine.node_selector = gpu=yes"]),
        (("arch", "arm"), ["engine.arch = arm"]),
        (("accel", "cuda"), ["engine.accel = cuda"]),
        (("python_load_timeout_secs", 9), ["engine.python_load_timeout_secs = 9"]),
        (("lb_cpus", 1), ["enginelb.resources.limits.cpu = 1",
                          "enginelb.resources.requests.cpu = 1"]),
        (("lb_memory", "1Gi"), ["enginelb.resources.limits.memory = 1Gi",
                                "enginelb.resources.requests.memory = 1Gi"]),
        (("sidekick_env", Uploaded(), {"A": "1"}), ["engineAux.images.fraud-7.env.A = 1"]),
        (("sidekick_gpus", Uploaded(), 1), ["engineAux.images.fraud-7.gpu = 1"]),
        (("sidekick_arch", Uploaded(), "arm"), ["engineAux.images.fraud-7.arch = arm"]),
        (("sidekick_accel", Uploaded(), "cuda"), ["engineAux.images.fraud-7.accel = cuda"]),
        (("disable_autoscale",), []),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_what_one_machine_does_not_give_is_kept_and_named(asked, says):
    method, *arguments = asked
    builder = DeploymentConfigBuilder()

    assert getattr(builder, method)(*arguments) is builder
    config = builder.build()

    check_document(config)
    assert json.loads(json.dumps(config)) == config
    assert resources_of(config, MODEL) == Resources()
    assert without_effect(config, [MODEL]) == says


def test_scaling_that_contradicts_itself_is_refused():
    with pytest.raises(RuntimeError, match="Minimum must be less than or equal to maximum"):
        DeploymentConfigBuilder().replica_autoscale_min_max(1, 2)
    with pytest.raises(RuntimeError, match="0 or more"):
        DeploymentConfigBuilder().replica_count(-1)
    with pytest.raises(ValueError, match="only applicable when scale_up_queue_depth"):
        DeploymentConfigBuilder().scale_down_queue_depth().build()
    builder = DeploymentConfigBuilder().scale_up_queue_depth(4).scale_down_queue_depth()
    assert builder.build()["engine"]["autoscale"]["scale_down_queue_depth"] == 1
    assert "autoscale" not in builder.disable_autoscale().build()["engine"]


def test_what_was_built_is_not_changed_by_building_on():
    builder = DeploymentConfigBuilder().cpus(1)
    first = builder.build()
    builder.cpus(2)
    assert first["engine"]["resources"]["limits"]["cpu"] == 1
