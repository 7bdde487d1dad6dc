"""What `Model.configure` can be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gnomon.core.errors import Invalid


def check_unset(**given: Any) -> None:
    """Refuse what gnomon has nothing for.

    Raises:
        Invalid: Something is not None.
    """
    for name, value in given.items():
        if value is not None:
            raise Invalid(f"{name} cannot be set: gnomon has nothing of the kind. Leave it out.")


def check_batch_config(batch_config: Any) -> str:
    """Return how the model is to be run.

    Raises:
        Invalid: It is neither "single" nor "batch".
    """
    if batch_config not in ("single", "batch"):
        raise Invalid(f'batch_config must be "single" or "batch", got {str(batch_config)[:80]!r}.')
    return str(batch_config)


def check_numbers(config: Any) -> dict[str, float]:
    """Return a configuration of dynamic batching.

    Raises:
        Invalid: It is no mapping of numbers.
    """
    if not isinstance(config, Mapping) or not all(
        isinstance(value, int | float) for value in config.values()
    ):
        raise Invalid(
            "dynamic_batching_config must be a mapping of numbers, as "
            f'{{"max_batch_delay_ms": 10}}, got {str(config)[:80]!r}.'
        )
    return {str(name): value for name, value in config.items()}
