"""Which requests a challenger sees: a hash decides, so it is the same in every front and replay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from numbers import Real
from typing import Any

from gnomon.core.errors import Invalid

HASH_BYTES = 8


def is_sampled(request_id: str, label: str, rate: float) -> bool:
    """Return whether a challenger sees a request.

    Labels decide independently of each other. What is in a smaller sample is in a larger one too.

    Args:
        label: Of the challenger.
        rate: Share of the requests that it is to see, in [0, 1].
    """
    if rate >= 1.0:
        return True
    if rate <= 0.0:
        return False
    digest = blake2b(f"{label}\0{request_id}".encode(), digest_size=HASH_BYTES).digest()
    return int.from_bytes(digest) < rate * (1 << 8 * HASH_BYTES)


def check_rate(rate: Any) -> float:
    """Return the rate as a float.

    Raises:
        Invalid: It is no number from 0 to 1.
    """
    number = isinstance(rate, Real) and not isinstance(rate, bool)
    if not number or not math.isfinite(rate) or not 0 <= rate <= 1:
        raise Invalid(
            f"sample must be a share of the requests, from 0 to 1, got {str(rate)[:40]}: "
            "0.1 is a tenth of them."
        )
    return float(rate)


def rates_by_label(sample: Any, labels: Sequence[str]) -> dict[str, float]:
    """Return the rate of each challenger that a sample speaks of.

    Args:
        sample: One rate for all challengers, or rates by label, for some of them.
        labels: Of all challengers.

    Raises:
        Invalid: It is neither, a rate is none, or there is no such challenger.
    """
    if not isinstance(sample, Mapping):
        rate = check_rate(sample)
        return dict.fromkeys(labels, rate)
    check_labels(sample, labels)
    return {label: check_rate(rate) for label, rate in sample.items()}


def check_labels(given: Mapping[str, object], labels: Sequence[str]) -> None:
    """Refuse what is not the label of a challenger.

    Raises:
        Invalid: One is not; the message names those that are.
    """
    for label in given:
        if label not in labels:
            known = ", ".join(labels) or "none"
            raise Invalid(f"There is no challenger {str(label)[:80]!r}; there is: {known}.")
