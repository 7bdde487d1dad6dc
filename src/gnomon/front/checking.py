"""A route's validations: they look at what came in and out, and never touch an answer's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gnomon.core.binding import takes_rows
from gnomon.core.expressions import Checks
from gnomon.core.inference import Observation
from gnomon.core.routing import Route
from gnomon.core.tensors import Array
from gnomon.front.pieces import ChainObservation


class Checking:
    """The validations of one route."""

    def __init__(self, route: Route) -> None:
        self._last = max(0, len(route.stages) - 1)
        self._is_whole = not takes_rows(route.champion.signature)
        about = f"pipeline {route.pipeline}, version {route.pipeline_version}"
        self._checks = [(check.stage, Checks(check.expressions, about)) for check in route.checks]

    def checked(
        self, observation: Observation, inputs: Mapping[str, Array], rows: int
    ) -> Observation:
        """Return a champion's observation with what the validations say of each row.

        Args:
            inputs: The columns of the same requests, as they are logged.
            rows: How many; of a request that a model takes as a whole, all fare alike.
        """
        assert observation.outputs is not None
        names = [spec.name for spec in observation.model.signature.outputs]
        last = dict(zip(names, observation.outputs, strict=False))
        passed = observation.passed if isinstance(observation, ChainObservation) else {}
        anomalies: dict[str, Array] = {}
        for stage, checks in self._checks:
            outputs = last if stage == self._last else passed[stage]
            anomalies |= checks.evaluate(inputs, outputs, 1 if self._is_whole else rows)
        if self._is_whole:
            anomalies = {name: np.repeat(found, rows) for name, found in anomalies.items()}
        return replace(observation, anomalies=dict(sorted(anomalies.items())))
