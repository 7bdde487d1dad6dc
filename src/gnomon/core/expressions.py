"""Validations: conditions over what came in and what came out; where one is true is an anomaly.

A row is anomalous where the condition is true, not where it is null (unknown). Where it cannot be
computed, because a column is not there or is of another type or too short, the row is anomalous
too: an answer that cannot be checked is not known to be good. The answer itself stands either way.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from gnomon.core import evaluation, expression_trees
from gnomon.core.errors import Invalid
from gnomon.core.evaluation import Rows
from gnomon.core.names import check_validation_name
from gnomon.core.nullable import CannotCompute, and_known, either
from gnomon.core.tensors import STRING, Array, TensorSpec

_LOG = logging.getLogger("gnomon.validations")


class Expression:
    """A condition that has been checked, and can be computed.

    Args:
        tree: See `core/expression_trees.py`.
        name: Of the validation, for messages.

    Attributes:
        columns: Names of those that it reads: "in.<field>", "out.<field>".

    Raises:
        Invalid: It is no condition, too large, or has an operation or a column that there is not.
    """

    def __init__(self, tree: object, name: str) -> None:
        self._what = f"The validation {name!r}"
        node = expression_trees.read(tree, self._what)
        self.columns = expression_trees.columns_of(node)
        try:
            self._compute = evaluation.compiled(node)
        except Invalid as error:
            raise Invalid(f"{self._what} {error.message}.") from None

    def evaluate(
        self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], rows: int
    ) -> Array:
        """Say for each row whether it is an anomaly.

        Args:
            inputs, outputs: By field; the first axis is the row. A list of one value counts as
                that value, and a value as a list of one.
            rows: How many.

        Returns:
            bool, shape (rows,). True where a value of one row alone cannot be computed.

        Raises:
            CannotCompute: No row can be computed; the text says why.
        """
        batch = Rows(inputs, outputs, rows)
        with np.errstate(all="ignore"):
            values, nulls = self._compute(batch)
        found = either(and_known(values, nulls), batch.failed)
        if not isinstance(found, np.ndarray) or found.shape != (rows,):
            return np.full(rows, found, dtype=bool)
        return found

    def check_outputs(self, outputs: Sequence[TensorSpec]) -> None:
        """Refuse what can never be computed of a model's outputs, as far as its shapes tell.

        Raises:
            Invalid: They have other types than it takes, or lists too short.
        """
        specs = {f"out.{spec.name}": spec for spec in outputs if _is_fixed(spec)}
        if not self.columns <= specs.keys():
            return
        try:
            self.evaluate({}, {spec.name: _zeros(spec) for spec in specs.values()}, 1)
        except CannotCompute as error:
            raise Invalid(f"{self._what} cannot be computed: {error}.") from None


def parse(tree: object, name: str) -> Expression:
    """Read a validation that anybody may have made.

    Raises:
        Invalid: See `Expression`; or the name is not one for a validation.
    """
    return Expression(tree, check_validation_name(name))


class Checks:
    """The validations of one route.

    Args:
        trees: By name.
        about: What they belong to, for the program's log: a pipeline and its version.

    Raises:
        Invalid: One of them is none.
    """

    def __init__(self, trees: Mapping[str, object], about: str = "") -> None:
        self._expressions = {name: parse(trees[name], name) for name in sorted(trees)}
        self._about = about
        self._told: set[str] = set()

    def evaluate(
        self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], rows: int
    ) -> dict[str, Array]:
        """Say for each validation which rows are anomalies; never raises.

        Args:
            inputs, outputs: By field; the first axis is the row.

        Returns:
            By name, in alphabetical order: bool, shape (rows,). All True for one that cannot be
            computed, of which the program's log has one line.
        """
        return {
            name: self._found(name, expression, inputs, outputs, rows)
            for name, expression in self._expressions.items()
        }

    def _found(
        self,
        name: str,
        expression: Expression,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        rows: int,
    ) -> Array:
        try:
            return expression.evaluate(inputs, outputs, rows)
        except Exception as error:
            if name not in self._told:
                self._told.add(name)
                _LOG.warning(
                    "%s: validation %s cannot be computed: %s. Its rows count as anomalies; this "
                    "is said once.",
                    self._about,
                    name,
                    error if isinstance(error, CannotCompute) else repr(error),
                )
            return np.ones(rows, dtype=bool)


def _is_fixed(spec: TensorSpec) -> bool:
    """Say whether it is known what a row of an output looks like."""
    return spec.shape[:1] == (None,) and None not in spec.shape[1:]


def _zeros(spec: TensorSpec) -> Array:
    shape = (1, *(size or 0 for size in spec.shape[1:]))
    if spec.dtype == STRING:
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, spec.dtype)
