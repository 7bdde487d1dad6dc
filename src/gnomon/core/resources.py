"""What a deployment asks of its machine: how much each model's host may use, and how many it has.

It is asked for in a document that may ask for more than one machine can give:

    {"engine": {"resources": {"limits": {"cpu": 2, "memory": "1Gi"}}, "replicas": 3},
     "engineAux": {"images": {"<model name>-<version id>": {"resources": ...}}}}

CPUs and memory of `engine` are those of each model's host, those of `engineAux` of one model's.
`replicas` is how many hosts each champion has; `autoscale.replica_min` asks for so many too, and
nothing is scaled. All else is kept with the pipeline version and has no effect.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gnomon.core import limits
from gnomon.core.errors import Invalid
from gnomon.core.steps import ModelRef

_UNITS = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T"), start=1)},
    **{unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti"), start=1)},
}
_AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)([A-Za-z]{0,2})")
# Where CPUs and memory of a host stand; but for the limits, they only repeat them.
_REPEATING = {
    f"{place}{what}": what
    for what in ("cpu", "memory")
    for place in ("", "resources.limits.", "resources.requests.")
}
# Each asks for so many hosts.
_REPLICAS = ("engine.replicas", "engine.autoscale.replica_min", "engine.autoscale.replica_max")
_SHOWN_CHARS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """How much one host may use.

    Attributes:
        threads: That work on one run together, at least 1.
        memory_mib: What the model may take, with its weights and its largest run, in MiB; what
            every host needs comes on top. None: it follows from the size of the file.
    """

    threads: int = 1
    memory_mib: int | None = None

    def suffix(self) -> str:
        """Return what tells a host with these from another one; nothing if none were asked for."""
        threads = "" if self.threads == 1 else f"-{self.threads}t"
        return threads + ("" if self.memory_mib is None else f"-{self.memory_mib}m")


USUAL = Resources()


def resources_of(document: Mapping[str, Any], model: ModelRef) -> Resources:
    """Return how much a model's host may use.

    Args:
        document: See the module; `check_document` let it through.
    """
    asked = {
        **_limits(document.get("engine", {})),
        **_limits(_images(document).get(_key(model), {})),
    }
    memory = asked.get("memory")
    return Resources(
        threads=_threads(asked.get("cpu", 1)),
        memory_mib=None if memory is None else _memory_mib(memory),
    )


def replicas_of(document: Mapping[str, Any]) -> int:
    """Return how many hosts each champion has; a challenger has one.

    Args:
        document: See the module.
    """
    # What was kept before replicas had an effect may be anything.
    asked = [count for _, count in _replicas(document) if _is_count(count)]
    return min(max(asked, default=1) or 1, limits.HOSTS_PER_MODEL_MAX)


def check_document(document: Any) -> None:
    """Refuse what cannot be kept, CPUs or memory that no host can have, and too many hosts.

    Raises:
        Invalid: It says what was found and what can be asked for.
    """
    if not isinstance(document, Mapping):
        raise Invalid(
            "deployment_config must be what DeploymentConfigBuilder().build() returns, got "
            f"{type(document).__name__}."
        )
    try:
        size = len(json.dumps(document, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid("deployment_config must be made of JSON values.") from error
    if size > limits.DEPLOYMENT_CONFIG_BYTES_MAX:
        raise Invalid(
            f"deployment_config has {size} bytes; {limits.DEPLOYMENT_CONFIG_BYTES_MAX} at most."
        )
    for name, count in _replicas(document):
        if not _is_count(count) or count > limits.HOSTS_PER_MODEL_MAX:
            raise Invalid(
                f"{name} must be a whole number, from 0 to {limits.HOSTS_PER_MODEL_MAX}: each is a "
                f"process on this machine; got {_shown(count)}."
            )
    for asked in (document.get("engine", {}), *_images(document).values()):
        found = _limits(asked)
        if "cpu" in found:
            _threads(found["cpu"])
        if "memory" in found:
            _memory_mib(found["memory"])


def without_effect(document: Mapping[str, Any], models: Iterable[ModelRef]) -> list[str]:
    """Return what a document asks for that one machine does not give, in words.

    Args:
        models: Of the steps: what is asked for another one has no effect.
    """
    hosts = ["engine.", *(f"engineAux.images.{_key(model)}." for model in models)]
    asked = dict(_leaves(document))
    replicas = replicas_of(document)

    def has_effect(name: str, value: Any) -> bool:
        if name == "workspace_id":
            return True
        if name in _REPLICAS:
            return bool(value == replicas)
        host = next((host for host in hosts if name.startswith(host)), None)
        what = None if host is None else _REPEATING.get(name.removeprefix(host))
        return what is not None and asked.get(f"{host}resources.limits.{what}") == value

    return [
        f"{name} = {str(value)[:_SHOWN_CHARS]}"
        for name, value in asked.items()
        if not has_effect(name, value)
    ]


def _key(model: ModelRef) -> str:
    return f"{model.name}-{model.version_id}"


def _part(place: Any, name: str) -> Mapping[str, Any]:
    part = place.get(name, {})
    if not isinstance(part, Mapping):
        raise Invalid(f"{name!r} in deployment_config must be an object, got {_shown(part)}.")
    return part


def _replicas(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what asks for a number of hosts, and the number."""
    engine = _part(document, "engine")
    if "replicas" in engine:
        yield _REPLICAS[0], engine["replicas"]
    scaled = engine.get("autoscale")
    if isinstance(scaled, Mapping) and "replica_min" in scaled:
        yield _REPLICAS[1], scaled["replica_min"]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _images(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return _part(_part(document, "engineAux"), "images")


def _limits(asked: Any) -> Mapping[str, Any]:
    if not isinstance(asked, Mapping):
        raise Invalid(f"deployment_config asks for {_shown(asked)} where an object must stand.")
    return _part(_part(asked, "resources"), "limits")


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, part in value.items():
        if isinstance(part, Mapping):
            yield from _leaves(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", part


def _threads(cpus: Any) -> int:
    is_number = isinstance(cpus, int | float) and not isinstance(cpus, bool)
    if is_number and 0 < cpus <= limits.HOST_THREADS_MAX:
        return math.ceil(float(cpus))
    raise Invalid(
        f"cpus must be a number above 0, {limits.HOST_THREADS_MAX} at most, got {_shown(cpus)}."
    )


def _memory_mib(memory: Any) -> int:
    found = _AMOUNT.fullmatch(str(memory)) if isinstance(memory, str | int) else None
    amount = 0.0 if found is None else float(found[1]) * _UNITS.get(found[2], 0)
    if not limits.MIB <= amount <= limits.HOST_MEMORY_ASKED_MAX_BYTES:
        raise Invalid(
            'memory must be an amount such as "512Mi" or "1.5Gi", from 1Mi to '
            f"{limits.HOST_MEMORY_ASKED_MAX_BYTES // limits.GIB}Gi, got {_shown(memory)}."
        )
    return math.ceil(amount / limits.MIB)


def _shown(value: Any) -> str:
    return repr(value)[:_SHOWN_CHARS]
