"""The steps that a pipeline is made of: values that say what is to be done, and do nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gnomon.core import limits
from gnomon.core.errors import Invalid

Mode = Literal["async", "joined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model version as a definition names it.

    Attributes:
        version_id: Id of the model version.
        name: The model's name.
        ordinal: The version's number under that name.
        uuid: The version's uuid.
        sha256: Hex digest of the model file.
        single: No run of it holds the rows of several requests, because it was configured so when
            the definition was deployed.
    """

    version_id: int
    name: str
    ordinal: int
    uuid: str
    sha256: str
    single: bool = False

    def __str__(self) -> str:
        return f"{self.name}@{self.ordinal}"

    def to_json(self) -> dict[str, Any]:
        """Return the reference as JSON values."""
        return {
            "version_id": self.version_id,
            "name": self.name,
            "ordinal": self.ordinal,
            "version": self.uuid,
            "sha": self.sha256,
            **({"batch_config": "single"} if self.single else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelRef:
        """Read what `to_json` wrote."""
        return cls(
            version_id=value["version_id"],
            name=value["name"],
            ordinal=value["ordinal"],
            uuid=value["version"],
            sha256=value["sha"],
            single=value.get("batch_config") == "single",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStep:
    """A champion that answers, and the challengers that watch.

    Attributes:
        champion: Its outputs are the step's outputs.
        challengers: In the order the user gave; each version once.
        mode: "async": the answer never waits. "joined": it waits up to `shadow_wait_ms`.
        shadow_wait_ms: Milliseconds, used in mode "joined" only.
        sample: Share of the requests that each challenger sees, in [0, 1], in their order. Not
            given: all of them see all.
    """

    champion: ModelRef
    challengers: tuple[ModelRef, ...] = ()
    mode: Mode = "async"
    shadow_wait_ms: int = limits.SHADOW_WAIT_DEFAULT_MS
    sample: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.sample:
            object.__setattr__(self, "sample", (1.0,) * len(self.challengers))

    def labels(self) -> tuple[str, ...]:
        """Return the label of each challenger; see `labels`."""
        return labels(self.champion, self.challengers)

    def models(self) -> tuple[ModelRef, ...]:
        """Return the champion and then the challengers."""
        return (self.champion, *self.challengers)

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON values, keyed by its kind, as all of these do."""
        if not self.challengers:
            return {"ModelInference": {"model": self.champion.to_json()}}
        return {
            "ShadowDeploy": {
                "champion": self.champion.to_json(),
                "challengers": [model.to_json() for model in self.challengers],
                "mode": self.mode,
                "shadow_wait_ms": self.shadow_wait_ms,
                "sample": list(self.sample),
            }
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiModelStep:
    """Models that all run on the same input, and are all in the answer; the first is its `out`.

    Attributes:
        members: Two or more; each version once.
    """

    members: tuple[ModelRef, ...]

    def models(self) -> tuple[ModelRef, ...]:
        """Return the models."""
        return self.members

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON values."""
        return {"MultiModel": {"models": [model.to_json() for model in self.members]}}


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSplit:
    """One of several models answers a request, each with its share of them.

    Attributes:
        weights: From 0 on; what counts is the share of their sum.
        options: The models, one for each weight.
        hash_key: Column whose value decides, so that the same value finds the same model: a
            number from 0 to 1 stands for the random number itself. None: chance decides.
    """

    weights: tuple[float, ...]
    options: tuple[ModelRef, ...]
    hash_key: str | None = None

    def models(self) -> tuple[ModelRef, ...]:
        """Return the models."""
        return self.options

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON values."""
        return {
            "RandomSplit": {
                "hash_key": self.hash_key,
                "weights": [
                    {"model": model.to_json(), "weight": weight}
                    for weight, model in zip(self.weights, self.options, strict=True)
                ],
            }
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySplit:
    """The value of a column says which of several models answers.

    Attributes:
        meta_key: The column.
        default: Answers where the value is none of `routes`.
        routes: By value, as text.
    """

    meta_key: str
    default: ModelRef
    routes: Mapping[str, ModelRef]

    def models(self) -> tuple[ModelRef, ...]:
        """Return the default and then the others; a model that stands twice is there once."""
        return tuple(dict.fromkeys((self.default, *self.routes.values())))

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON values."""
        return {
            "MetaValueSplit": {
                "split_key": self.meta_key,
                "control": self.default.to_json(),
                "routes": {value: model.to_json() for value, model in self.routes.items()},
            }
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Validations:
    """Conditions on what came in and what came out; where one is true, there is an anomaly.

    Attributes:
        expressions: By name; see `core/expressions.py`.
    """

    expressions: Mapping[str, Any]

    def models(self) -> tuple[ModelRef, ...]:
        """Return nothing: no model runs."""
        return ()

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON values."""
        return {"Check": {"expressions": dict(self.expressions)}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """Of the step of several models before it, this one is the answer's `out`.

    Attributes:
        index: Of the model in that step, from 0.
    """

    index: int

    def models(self) -> tuple[ModelRef, ...]:
        """Return nothing: no model runs."""
        return ()

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON values."""
        return {"Nth": {"index": self.index}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Which models of the step before it are logged. All are, always: kept, and without effect.

    Attributes:
        start: Index of the first.
        end: Index after the last; None: to the end.
    """

    start: int
    end: int | None = None

    def models(self) -> tuple[ModelRef, ...]:
        """Return nothing: no model runs."""
        return ()

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON values."""
        return {"AuditResults": {"from": self.start, "to": self.end}}


Step = ModelStep | MultiModelStep | RandomSplit | KeySplit | Validations | Select | Audit


def labels(champion: ModelRef, challengers: Sequence[ModelRef]) -> tuple[str, ...]:
    """Name each challenger: its model's name, or `name_vN` where that name stands twice.

    A retrained model under the champion's name is the commonest challenger; `_` cannot occur in
    names, so `ccfraud_v2` cannot be another model. The champion keeps its bare name.
    """
    uses = Counter(model.name for model in (champion, *challengers))
    return tuple(
        model.name if uses[model.name] == 1 else f"{model.name}_v{model.ordinal}"
        for model in challengers
    )


def with_refs(step: Step, changed: Callable[[ModelRef], ModelRef]) -> Step:
    """Return a step with each of its references put through a function."""
    match step:
        case ModelStep():
            return replace(
                step,
                champion=changed(step.champion),
                challengers=tuple(map(changed, step.challengers)),
            )
        case MultiModelStep():
            return replace(step, members=tuple(map(changed, step.members)))
        case RandomSplit():
            return replace(step, options=tuple(map(changed, step.options)))
        case KeySplit():
            routes = {text: changed(model) for text, model in step.routes.items()}
            return replace(step, default=changed(step.default), routes=routes)
    return step


def step_from_json(value: Mapping[str, Any]) -> Step:
    """Read what a step's `to_json` wrote.

    Raises:
        Invalid: The step is of no known kind.
    """
    for kind, read in _READERS.items():
        if kind in value:
            return read(value[kind])
    raise Invalid(f"A step must be one of {', '.join(_READERS)}, got {sorted(value)[:3]}.")


def _refs(values: Sequence[Mapping[str, Any]]) -> tuple[ModelRef, ...]:
    return tuple(map(ModelRef.from_json, values))


def _shadow(value: Mapping[str, Any]) -> Step:
    return ModelStep(
        champion=ModelRef.from_json(value["champion"]),
        challengers=_refs(value["challengers"]),
        mode=value["mode"],
        shadow_wait_ms=value["shadow_wait_ms"],
        sample=tuple(value.get("sample", ())),
    )


def _random_split(value: Mapping[str, Any]) -> Step:
    return RandomSplit(
        weights=tuple(each["weight"] for each in value["weights"]),
        options=_refs([each["model"] for each in value["weights"]]),
        hash_key=value["hash_key"],
    )


def _key_split(value: Mapping[str, Any]) -> Step:
    return KeySplit(
        meta_key=value["split_key"],
        default=ModelRef.from_json(value["control"]),
        routes={text: ModelRef.from_json(model) for text, model in value["routes"].items()},
    )


_READERS: dict[str, Callable[[Mapping[str, Any]], Step]] = {
    "ModelInference": lambda value: ModelStep(champion=ModelRef.from_json(value["model"])),
    "ShadowDeploy": _shadow,
    "MultiModel": lambda value: MultiModelStep(members=_refs(value["models"])),
    "RandomSplit": _random_split,
    "MetaValueSplit": _key_split,
    "Check": lambda value: Validations(expressions=value["expressions"]),
    "Nth": lambda value: Select(index=value["index"]),
    "AuditResults": lambda value: Audit(start=value["from"], end=value["to"]),
}
