"""Requests of a log as one table, when not all of them have values of the same types."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from gnomon.core.errors import Invalid
from gnomon.sdk import log_files
from gnomon.sdk.asking import Dataset
from gnomon.sdk.logs import LogEntries
from tests.sdk.logged import request


@pytest.mark.parametrize(
    ("one", "other", "fits"),
    [
        ([[1]], [[0.5]], True),
        ([[2**53 + 1]], [[0.5]], False),  # which no float is
        ([[True]], [[2]], False),
        ([["a"]], [[0.5]], False),
    ],
)
def test_values_of_other_types_are_one_table_only_if_none_of_them_changes(
    tmp_path, one, other, fits
):
    several = [request(inputs={"tensor": np.array(each)}) for each in (one, other)]
    logs = LogEntries.of(several)

    if fits:
        assert logs.to_arrow()["in.tensor"].to_pylist() == [*one, *other]
    else:
        with pytest.raises(Invalid, match=r"in\.tensor has values of different kinds"):
            logs.to_arrow()
    # An export makes files of them, whatever they are
    files = log_files.export(
        [(several, False)],
        prefix=tmp_path / "p",
        format="parquet",
        bytes_max=10**6,
        dataset=Dataset(),
        oldest_first=True,
        shown=False,
    )
    tables = [pq.read_table(file)["in.tensor"] for file in files]
    assert [row for table in tables for row in table.to_pylist()] == [*one, *other]
    assert len(files) == (1 if fits else 2)
