"""What to ask of the machine when a pipeline is deployed, in the words of other platforms.

    from gnomon.deployment_config import DeploymentConfigBuilder

    config = DeploymentConfigBuilder().cpus(2).memory("1Gi").build()
    pipeline.deploy(deployment_config=config)

Every model has a process of its own, its host, and hosts share one machine. CPUs, memory and the
number of hosts are kept to, each model's alone; all else is kept with the pipeline version, and
`deploy` says that it has no effect.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol, Self

DeploymentConfig = dict[str, Any]


class Uploaded(Protocol):
    """A model version, as `upload_model` and `get_model` return it."""

    def uid(self) -> str:
        """Return what tells it from all others."""


class DeploymentConfigBuilder:
    """Collects what is asked for; every method returns the builder, `build` the result."""

    def __init__(self, workspace_id: int | None = None) -> None:
        self._config: DeploymentConfig = {
            "engine": {},
            "enginelb": {},
            "engineAux": {"images": {}},
        }
        if workspace_id is not None:
            self._config["workspace_id"] = workspace_id

    def build(self) -> DeploymentConfig:
        """Return what was asked for, for `pipeline.deploy(deployment_config=...)`.

        Raises:
            ValueError: `scale_down_queue_depth` was asked for without `scale_up_queue_depth`.
        """
        autoscale = self._config["engine"].get("autoscale", {})
        if "scale_down_queue_depth" in autoscale and "scale_up_queue_depth" not in autoscale:
            raise ValueError(
                "scale_down_queue_depth is only applicable when scale_up_queue_depth is configured."
            )
        return copy.deepcopy(self._config)

    # What one machine gives

    def cpus(self, core_count: float) -> Self:
        """Let so many threads work on one run of a model together: rounded up, 64 at most.

        No more than the machine has processors; one is what a model has without being asked for.
        """
        return self._limit(self._config["engine"], "cpu", core_count)

    def memory(self, memory_spec: str) -> Self:
        """Cap what each model may take beyond what every host needs: "512Mi", "1.5Gi".

        A run that needs more is answered with an error; a model that does, does not start.
        Without it: four times the model's file, at least 1 GiB.
        """
        return self._limit(self._config["engine"], "memory", memory_spec)

    def sidekick_cpus(self, model: Uploaded, core_count: float) -> Self:
        """As `cpus`, for one model, champion or challenger."""
        return self._limit(self._image(model), "cpu", core_count)

    def sidekick_memory(self, model: Uploaded, memory_spec: str) -> Self:
        """As `memory`, for one model, champion or challenger."""
        return self._limit(self._image(model), "memory", memory_spec)

    def replica_count(self, count: int) -> Self:
        """Give each champion so many hosts, 8 at most: one is what it has anyway.

        Its requests are shared out among them, and one that ends takes nobody else's with it. A
        challenger has one host.
        """
        if count < 0:
            raise RuntimeError("Replica count must be 0 or more.")
        return self._keep("replicas", count)

    def replica_autoscale_min_max(self, maximum: int, minimum: int = 0) -> Self:
        """Give each champion `minimum` hosts, at least one; the maximum is kept without effect.

        Nothing is scaled: of this and `replica_count` the larger number counts.
        """
        if minimum > maximum:
            raise RuntimeError("Minimum must be less than or equal to maximum.")
        self._autoscale().update({"replica_min": minimum, "replica_max": maximum, "type": "cpu"})
        return self

    # What is kept without effect

    def autoscale_cpu_utilization(self, cpu_utilization_percentage: int) -> Self:
        """Keep the utilization at which replicas should be added."""
        self._autoscale()["cpu_utilization"] = cpu_utilization_percentage
        return self

    def disable_autoscale(self) -> Self:
        """Forget what was kept about scaling."""
        self._config["engine"].pop("autoscale", None)
        return self

    def scale_up_queue_depth(self, queue_depth: int) -> Self:
        """Keep the length of a queue at which replicas should be added."""
        self._autoscale().update({"scale_up_queue_depth": queue_depth, "type": "queue"})
        return self

    def scale_down_queue_depth(self, queue_depth: int | None = None) -> Self:
        """Keep the length of a queue at which replicas should be removed."""
        depth = 1 if queue_depth is None else queue_depth
        self._autoscale()["scale_down_queue_depth"] = depth
        return self

    def autoscaling_window(self, window_seconds: int | None = None) -> Self:
        """Keep the seconds over which a queue should be looked at."""
        window_s = 300 if window_seconds is None else window_seconds
        self._autoscale()["autoscaling_window"] = window_s
        return self

    def gpus(self, gpu_count: int) -> Self:
        """Keep how many GPUs each model should have; it runs on the CPU."""
        return self._keep("gpu", gpu_count)

    def image(self, image: str) -> Self:
        """Keep the name of a container image."""
        return self._keep("image", image)

    def deployment_label(self, label: str) -> Self:
        """Keep the label of the machines to run on."""
        return self._keep("node_selector", label)

    def arch(self, arch: Any) -> Self:
        """Keep the kind of processor to run on."""
        return self._keep("arch", str(arch))

    def accel(self, accel: Any) -> Self:
        """Keep the kind of accelerator to run on."""
        return self._keep("accel", str(accel))

    def python_load_timeout_secs(self, timeout_secs: int) -> Self:
        """Keep how long a Python model may take to load."""
        return self._keep("python_load_timeout_secs", timeout_secs)

    def lb_cpus(self, core_count: float) -> Self:
        """Keep CPUs for a load balancer."""
        return self._limit(self._config["enginelb"], "cpu", core_count)

    def lb_memory(self, memory_spec: str) -> Self:
        """Keep memory for a load balancer."""
        return self._limit(self._config["enginelb"], "memory", memory_spec)

    def sidekick_env(self, model: Uploaded, environment: dict[str, str]) -> Self:
        """Keep environment variables of one model; hosts have none."""
        self._image(model)["env"] = dict(environment)
        return self

    def sidekick_gpus(self, model: Uploaded, gpu_count: int) -> Self:
        """As `gpus`, for one model."""
        self._image(model)["gpu"] = gpu_count
        return self

    def sidekick_arch(self, model: Uploaded, arch: Any) -> Self:
        """As `arch`, for one model."""
        self._image(model)["arch"] = str(arch)
        return self

    def sidekick_accel(self, model: Uploaded, accel: Any) -> Self:
        """As `accel`, for one model."""
        self._image(model)["accel"] = str(accel)
        return self

    def _keep(self, name: str, value: Any) -> Self:
        self._config["engine"][name] = value
        return self

    def _limit(self, place: dict[str, Any], what: str, amount: float | str) -> Self:
        resources = place.setdefault("resources", {"limits": {}, "requests": {}})
        resources["limits"][what] = resources["requests"][what] = amount
        return self

    def _image(self, model: Uploaded) -> dict[str, Any]:
        images: dict[str, Any] = self._config["engineAux"]["images"]
        found: dict[str, Any] = images.setdefault(model.uid(), {})
        return found

    def _autoscale(self) -> dict[str, Any]:
        found: dict[str, Any] = self._config["engine"].setdefault("autoscale", {})
        return found
