"""The champions of several stages along one way: what a stage gives is what the next one takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gnomon.core.binding import bind, resolve
from gnomon.core.inference import Observation
from gnomon.core.model import Signature
from gnomon.core.routing import ServedModel, ServedStage
from gnomon.core.splits import MODEL_SPLIT
from gnomon.core.tensors import Array, TensorSpec
from gnomon.front.service import Channel
from gnomon.front.tallies import Tally

# For each stage: the index of its champion; or one for each row; or None: what the stage before
# gives says it.
Way = tuple[int | tuple[int, ...] | None, ...]


class Chain:
    """The champions of several stages, or of a split, along one way.

    Args:
        channels: For each stage those of its champions.
        tallies: By label, of the champions before the last stage at least.
        asked: Indices of the stages whose outputs are asked about afterwards.

    Attributes:
        texts: For each stage and champion what `_model_split` says of it.
        answers: How the chain looks from outside, for each champion of the last stage.
        model: The same for the one that answers; for the first of several.
    """

    def __init__(
        self,
        stages: Sequence[ServedStage],
        channels: Sequence[Sequence[Channel]],
        way: Way,
        *,
        tallies: Mapping[str, Tally],
        asked: frozenset[int],
    ) -> None:
        self.stages = stages
        self.channels = channels
        self.way = way
        self.asked = asked
        self._tallies = [
            [tallies[model.label] for model in stage.champions] for stage in stages[:-1]
        ]
        self.splits = [i for i, stage in enumerate(stages) if stage.split is not None]
        self.texts = [[_text(model) for model in stage.champions] for stage in stages]
        first, last = way[0], way[-1]
        assert first is not None
        entry = stages[0].champions[first if isinstance(first, int) else first[0]]
        self.answers = [_answering(entry, end, len(self.splits)) for end in stages[-1].champions]
        self.model = self.answers[last if isinstance(last, int) else 0]
        self._fields: dict[tuple[int, int, tuple[str, ...]], tuple[str, ...]] = {}

    def count(self, stage: int, option: int, requests: int, observation: Observation) -> None:
        """Count what a champion did; what the last one did is counted as the answer."""
        if stage < len(self._tallies):
            tally = self._tallies[stage][option]
            tally.began(requests)
            tally.ended(observation.status, requests)
            tally.took([observation.elapsed_ns] * requests)

    def inputs(self, stage: int, option: int, columns: Mapping[str, Array]) -> tuple[Array, ...]:
        """Return what a champion takes of what the stage before gives.

        Raises:
            InputMismatch: It does not fit.
        """
        model = self.stages[stage].champions[option]
        key = (stage, option, tuple(columns))
        fields = self._fields.get(key)
        if fields is None:
            fields = self._fields[key] = resolve(
                columns, model.signature, model.tensor_fields, model=str(model)
            )
        return bind(columns, model.signature, fields, model=str(model))


def _answering(entry: ServedModel, end: ServedModel, splits: int) -> ServedModel:
    """Return how a chain looks from outside: what its first model takes, what its last one gives.

    Args:
        splits: How many there are on the way.
    """
    picked = (TensorSpec(name=MODEL_SPLIT, dtype="string", shape=(None, splits)),)
    signature = Signature(
        inputs=entry.signature.inputs,
        outputs=end.signature.outputs + (picked if splits else ()),
    )
    return replace(end, signature=signature, tensor_fields=entry.tensor_fields)


def _text(model: ServedModel) -> str:
    """Return what `_model_split` says of a model, as other platforms' clients read it."""
    short = {"name": model.name, "version": model.uuid, "sha": model.sha256}
    file = {"version": model.uuid, "sha": model.sha256}
    return json.dumps({**short, "model_version": {**short, "file_info": file}})
