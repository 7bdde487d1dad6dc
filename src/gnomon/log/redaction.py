"""Entries without the columns that their pipeline leaves out of its log. Pure."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from gnomon.core.inference import Observation, ObservationEntry
from gnomon.core.routing import ServedModel
from gnomon.log.layouts import Entry
from gnomon.log.units import prefix_of

ERROR_LEFT_OUT = "Not kept: an error's text may quote a column that is left out of this log."


def redacted(entry: Entry) -> Entry:
    """Return what is stored of an entry.

    A column that is left out is not there at all. Neither is the text of an error, which may
    quote it.
    """
    columns = entry.route.log.redact
    if not columns:
        return entry
    if isinstance(entry, ObservationEntry):
        return replace(entry, observation=_without(entry.observation, columns))
    inputs = {name: each for name, each in entry.inputs.items() if f"in.{name}" not in columns}
    return replace(entry, inputs=inputs, champion=_without(entry.champion, columns))


def _without(observation: Observation, columns: tuple[str, ...]) -> Observation:
    if observation.outputs is None:
        return replace(observation, error=observation.error and ERROR_LEFT_OUT)
    kept, model = _kept(observation.model, columns)
    outputs = tuple([observation.outputs[index] for index in kept])
    return replace(observation, model=model, outputs=outputs)


@lru_cache(maxsize=1_000)
def _kept(model: ServedModel, columns: tuple[str, ...]) -> tuple[list[int], ServedModel]:
    """Return which of a model's outputs are kept, and the model as if it gave only those."""
    outputs = model.signature.outputs
    prefix = prefix_of(model)
    kept = [i for i, spec in enumerate(outputs) if f"{prefix}.{spec.name}" not in columns]
    specs = tuple(outputs[index] for index in kept)
    return kept, replace(model, signature=replace(model.signature, outputs=specs))
