"""DataFrames to records and back: one JSON object a row.

NaN and null travel in neither direction as values for a model: JSON has no word for the first, and
no model takes the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gnomon.core.errors import InputMismatch
from gnomon.sdk.inference import Challenger, to_json

if TYPE_CHECKING:
    import pandas as pd

SHADOW_PREFIX = "out_"


def is_frame(value: object) -> bool:
    """Say whether `value` is a pandas DataFrame, without importing pandas."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] == "pandas"
        for kind in type(value).__mro__
    )


def encode_frame(frame: pd.DataFrame) -> bytes:
    """Return the body for a DataFrame: JSON records.

    Args:
        frame: One input row a row; a cell is a number, a text, a boolean, or a list or array.

    Raises:
        InputMismatch: No rows, column names that are no text or stand twice, or a cell that is
            missing, NaN or infinite.
    """
    names = [str(name) for name in frame.columns]
    if not all(isinstance(name, str) for name in frame.columns) or len(set(names)) < len(names):
        raise InputMismatch(f"The columns must have names, each another one; got {names[:10]}.")
    if frame.empty:
        raise InputMismatch("The DataFrame has no rows or no columns.")
    columns = [_cells(frame[name], name) for name in names]
    records = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    try:
        return to_json(records)
    except InputMismatch as error:
        raise _unfit_cell(records) or error from error


def _cells(series: pd.Series[Any], name: str) -> list[Any]:
    """Return a column's values as Python objects; missing ones are refused."""
    missing = np.flatnonzero(series.isna().to_numpy())
    if len(missing):
        raise _missing(name, int(missing[0]))
    return series.tolist()


def _unfit_cell(records: list[dict[str, Any]]) -> InputMismatch | None:
    """Find the cell that JSON could not carry."""
    for row, record in enumerate(records):
        for name, value in record.items():
            try:
                to_json(value)
            except InputMismatch as error:
                return InputMismatch(
                    f"Column {name[:80]!r}, row {row}: {error}", column=name[:80], row=row
                )
    return None


def _missing(name: str, row: int) -> InputMismatch:
    return InputMismatch(
        f"Column {name[:80]!r} has no value in row {row} (NaN or null). Records are sent as JSON, "
        "which cannot carry it: fill or drop the row before calling.",
        column=name[:80],
        row=row,
    )


def decode_frame(
    records: list[dict[str, Any]], challengers: Mapping[str, Challenger], request_id: str
) -> pd.DataFrame:
    """Make the DataFrame of an answer.

    Returns:
        A row per input row, with the columns of `column_order`; `attrs` has "request_id" and
        "challengers", as `InferenceResult` has them.
    """
    import pandas as pd

    rows = [dict(_flatten(record)) for record in records]
    names = column_order(name for row in rows for name in row)
    frame = pd.DataFrame({name: pd.Series([row.get(name) for row in rows]) for name in names})
    frame["time"] = pd.to_datetime(frame["time"], unit="ms").astype("datetime64[ms]")
    frame.attrs["request_id"] = request_id
    frame.attrs["challengers"] = dict(challengers)
    return frame


def _flatten(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, dict):
            for field, cell in value.items():
                yield f"{key}.{field}", cell
        else:
            yield key, value


def column_order(names: Iterator[str]) -> list[str]:
    """Return each name once: time, in.*, out.*, anomaly.*, then out_<label>.* by label."""
    groups = {"time": 0, "in": 1, "out": 2, "anomaly": 3}
    found = dict.fromkeys(names)
    order = {name: index for index, name in enumerate(found)}

    def key(name: str) -> tuple[int, str, int]:
        group = name.partition(".")[0]
        return groups.get(group, 4), group, order[name]

    return sorted(found, key=key)
