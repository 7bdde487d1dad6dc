"""Which column feeds which model of a route, and what is logged of a request's columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gnomon.core.binding import bind, refuse_unknown, resolve
from gnomon.core.errors import InputMismatch
from gnomon.core.inference import Observation
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import Array, TensorSpec, cast, float32_rows, widest
from gnomon.front.codecs.columns import Columns, JsonColumns
from gnomon.front.pieces import ChainObservation

_PLANS_MAX = 64  # callers of one route send few different sets of columns


@dataclass(frozen=True, slots=True)
class Logged:
    """A column that feeds a model, as it is logged.

    Attributes:
        dtype: The widest that the models it feeds declare.
        champion_input: Index of the champion's input that it feeds; None: challengers only.
        reused: The champion's own array has that type.
    """

    column: str
    dtype: str
    champion_input: int | None
    reused: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """How the requests with one set of columns are fed.

    Attributes:
        champion: The column of each input.
        challengers: The same for each challenger; a text: why it cannot be fed.
        alike: For each challenger, whether it takes exactly the champion's arrays.
        logged: The columns that feed a model.
        further: The others.
    """

    champion: tuple[str, ...]
    challengers: tuple[tuple[str, ...] | str, ...]
    alike: tuple[bool, ...]
    logged: tuple[Logged, ...]
    further: tuple[str, ...]


class Feeding:
    """The plans of one route, each made when its columns first come.

    Attributes:
        first: How many challengers, the first ones, take what requests give; the others take what
            a stage gives.
    """

    def __init__(self, route: Route) -> None:
        self._route = route
        stages = route.stages
        self.first = stages[0].challengers if stages else len(route.challengers)
        self._stage_of = [at for at, stage in enumerate(stages) for _ in range(stage.challengers)]
        self._deciding = _deciding(route)
        self._champion = str(route.champion)
        self._challengers = tuple(str(model) for model in route.challengers)
        self._float32_width = _float32_width(route.champion)
        self._plans: dict[tuple[bool, tuple[str, ...]], Plan] = {}
        self._float_rows_plans: dict[str, Plan | None] = {}

    def plan(self, columns: Columns, *, strict: bool) -> Plan:
        """Return how to feed these columns.

        Args:
            strict: Columns that feed no input of the champion are refused.

        Raises:
            InputMismatch: An input of the champion has no column.
        """
        key = (strict, tuple(columns))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._make_plan(columns, strict)
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def float_rows_plan(self, column: str) -> Plan | None:
        """Return how to feed requests whose only column has rows of floats, if `float_rows` can.

        That is so where all that the champion takes is such rows, and the log keeps them as the
        champion gets them.
        """
        try:
            return self._float_rows_plans[column]
        except KeyError:
            plan = self._make_float_rows_plan(column)
        if len(self._float_rows_plans) >= _PLANS_MAX:
            self._float_rows_plans.clear()
        self._float_rows_plans[column] = plan
        return plan

    def _make_float_rows_plan(self, column: str) -> Plan | None:
        if self._float32_width is None:
            return None
        try:
            plan = self._make_plan(JsonColumns({column: []}, b""), strict=True)
        except InputMismatch:
            return None
        return plan if [logged.reused for logged in plan.logged] == [True] else None

    def float_rows(self, rows: list[Any], floats: int) -> Array | None:
        """Return the rows of requests fed by `float_rows_plan` as the champion's input.

        Args:
            floats: How many values are floats for certain.

        Returns:
            None if they are not all rows of floats that fit.
        """
        assert self._float32_width is not None
        return float32_rows(rows, self._float32_width, floats=floats)

    def champion(self, columns: Columns, plan: Plan) -> tuple[Array, ...]:
        """Return the champion's inputs.

        Raises:
            InputMismatch: A column does not fit.
        """
        if self._float32_width is not None:
            array = columns.float32_rows(plan.champion[0], self._float32_width)
            if array is not None:
                return (array,)
        signature = self._route.champion.signature
        return bind(columns, signature, plan.champion, model=self._champion)

    def challenger(
        self, index: int, columns: Columns | None, plan: Plan, champion: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        """Return a challenger's inputs.

        Args:
            columns: None only where every challenger takes exactly the champion's arrays.

        Raises:
            InputMismatch: A column is missing or does not fit.
        """
        fields = plan.challengers[index]
        if isinstance(fields, str):
            raise InputMismatch(fields)
        if plan.alike[index]:
            return champion
        assert columns is not None
        signature = self._route.challengers[index].signature
        return bind(columns, signature, fields, model=self._challengers[index])

    def passed(self, index: int, observation: Observation) -> tuple[Array, ...]:
        """Return the inputs of a challenger behind the first stage.

        Args:
            observation: Of the champion, with what the stage before gave.

        Raises:
            InputMismatch: It does not fit.
        """
        assert isinstance(observation, ChainObservation)
        columns = observation.passed[self._stage_of[index] - 1]
        model = self._route.challengers[index]
        return bind(columns, model.signature, _resolve(columns, model), model=str(model))

    def logged(self, columns: Columns, plan: Plan, champion: tuple[Array, ...]) -> dict[str, Array]:
        """Return what is logged of a request, by column.

        Raises:
            InputMismatch: A further column is nested too deeply.
        """
        inputs = {}
        for logged in plan.logged:
            if logged.reused:
                assert logged.champion_input is not None
                inputs[logged.column] = champion[logged.champion_input]
            else:
                inputs[logged.column] = self._widened(columns, logged, champion)
        for column in plan.further:
            inputs[column] = columns.loggable(column)
        return inputs

    def _widened(self, columns: Columns, logged: Logged, champion: tuple[Array, ...]) -> Array:
        given = None if logged.champion_input is None else champion[logged.champion_input]
        try:
            array = cast(
                columns[logged.column], logged.dtype, name=logged.column, model=self._champion
            )
        except InputMismatch:
            # A challenger's wish cannot be met: it has status schema, the log has what came.
            return columns.loggable(logged.column) if given is None else given
        return array if given is None else array.reshape(given.shape)

    def _make_plan(self, columns: Columns, strict: bool) -> Plan:
        route = self._route
        fields = self._resolve(columns, route.champion)
        if strict:
            refuse_unknown(columns, (*fields, *self._deciding), model=self._champion)
        challengers: list[tuple[str, ...] | str] = []
        for model in route.challengers[: self.first]:
            try:
                challengers.append(self._resolve(columns, model))
            except InputMismatch as error:
                challengers.append(error.message)
        dtypes = defaultdict(set)
        for model, names in zip(route.models(), (fields, *challengers), strict=False):
            if not isinstance(names, str):
                for name, spec in zip(names, model.signature.inputs, strict=True):
                    dtypes[name].add(spec.dtype)
        logged = tuple(
            self._logged_as(column, widest(wanted), fields) for column, wanted in dtypes.items()
        )
        alike = tuple(
            names == fields and _same_inputs(model, route.champion)
            for model, names in zip(route.challengers, challengers, strict=False)
        )
        further = tuple(name for name in columns if name not in dtypes)
        return Plan(fields, tuple(challengers), alike, logged, further)

    def _resolve(self, columns: Columns, model: ServedModel) -> tuple[str, ...]:
        """Name the columns that feed a model; what decides on a split is found by name only."""
        if not self._deciding:
            return _resolve(columns, model)
        wanted = model.tensor_fields or [spec.name for spec in model.signature.inputs]
        return _resolve([c for c in columns if c in wanted or c not in self._deciding], model)

    def _logged_as(self, column: str, dtype: str, fields: tuple[str, ...]) -> Logged:
        if column not in fields:
            return Logged(column, dtype, None, False)
        position = fields.index(column)
        spec = self._route.champion.signature.inputs[position]
        return Logged(column, dtype, position, spec.dtype == dtype)


def _deciding(route: Route) -> frozenset[str]:
    """Return the columns that decide which model of a split answers."""
    splits = (stage.split for stage in route.stages if stage.split is not None)
    return frozenset(split.column for split in splits if split.column is not None)


def _resolve(columns: Iterable[str], model: ServedModel) -> tuple[str, ...]:
    return resolve(columns, model.signature, model.tensor_fields, model=str(model))


def _float32_width(model: ServedModel) -> int | None:
    """Return the width if all that a model takes is rows of float32."""
    match model.signature.inputs:
        case (TensorSpec(dtype="float32", shape=(None, int(width))),):
            return width
    return None


def _same_inputs(model: ServedModel, champion: ServedModel) -> bool:
    return [(spec.dtype, spec.shape) for spec in model.signature.inputs] == [
        (spec.dtype, spec.shape) for spec in champion.signature.inputs
    ]
