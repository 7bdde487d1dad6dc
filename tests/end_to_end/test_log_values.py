"""Every column of every row of a log, compared with what ONNX Runtime says by itself.

One pipeline has models of five kinds, whose versions change while it is asked: what is logged is
read by the SDK, from exported files, and by other tools from the tables.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from onnx import TensorProto

from gnomon.core import limits
from tests.end_to_end import typed_models
from tests.waiting import until

CHALLENGERS = ("doubles", "flags", "floats", "integers", "words")
MOVED_S = 2 * limits.LOG_FLUSH_INTERVAL_S + 10.0
SIZES = (1, 3, 1, 40, 2, 1, 7, 60)
ROUNDS = 2
# Each version of the pipeline: which champion answers, which challengers watch
VERSIONS = [
    ("first", ("doubles", "floats")),
    ("first", CHALLENGERS),  # other labels: further columns
    ("second", CHALLENGERS),  # another version of the champion: the same columns
    ("retyped", CHALLENGERS),  # `next` is of another type: another generation
    ("first", ("floats", "words")),  # and back
]
CHAMPIONS = {
    "first": typed_models.everything(),
    "second": typed_models.everything(step=2),
    "retyped": typed_models.everything(sums=TensorProto.DOUBLE),
}
CONTENTS = {name: getattr(typed_models, name)() for name in CHALLENGERS} | CHAMPIONS
PARTS = ["time", "in", "anomaly", "out", *(f"out_{name}" for name in CHALLENGERS), "metadata"]
LISTS = {
    "x": pa.list_(pa.float32()),
    "a": pa.list_(pa.float64()),
    "k": pa.list_(pa.int64()),
    "word": pa.list_(pa.utf8()),
    "flag": pa.list_(pa.bool_()),
}
OF_TABLE = {"metadata.log", "metadata.place", "metadata.description", "metadata.step"}
MEASURED = (".elapsed_ns", ".ended", ".version_id")


class Asked:
    """What was asked and answered, and so what each row of the log must say.

    Attributes:
        rows: By request id and number of the row: the value of each column that it has.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], dict[str, object]] = {}

    def note(self, request_id, given, version, models) -> None:
        """Note a request.

        Args:
            models: By prefix of its columns each model that ran: its version, and its kind.
        """
        count = len(given["x"])
        tensors = {f"in.{name}": array for name, array in given.items()}
        texts = {
            "metadata.request_id": request_id,
            "metadata.pipeline_version": version,
            "metadata.rows": count,
            "anomaly.count": 0,
        }
        for prefix, (model, kind) in models.items():
            outputs = typed_models.told(CONTENTS[kind], given)
            tensors |= {f"{prefix}.{name}": array for name, array in outputs.items()}
            texts |= {
                f"metadata.{prefix}.version": model.version(),
                f"metadata.{prefix}.model": f"{model.name()}@{model.ordinal()}",
                f"metadata.{prefix}.sha": model.sha(),
                f"metadata.{prefix}.status": "ok",
                f"metadata.{prefix}.error": None,
            }
        for row in range(count):
            values = {name: array[row] for name, array in tensors.items()}
            self.rows[request_id, row] = {**values, **texts, "metadata.row": row}

    def check(self, found: pa.Table) -> list[tuple[str, int]]:
        """Check each value of some rows; return which rows these are."""
        keys = []
        for record in found.to_pylist():
            keys.append((record["metadata.request_id"], record["metadata.row"]))
            expected = self.rows[keys[-1]]
            assert expected.keys() <= record.keys()
            ran = {name.rpartition(".")[0] for name in expected}
            for name, value in record.items():
                if name in expected:
                    assert is_same(value, expected[name]), (keys[-1], name, value, expected[name])
                elif name.rpartition(".")[0] in ran | {""}:
                    assert is_measured(name), name
                    assert value is not None, name
                else:
                    assert value is None, name
        assert len(set(keys)) == len(keys)
        return keys


def is_measured(name: str) -> bool:
    """Say whether nobody knows the values of a column beforehand."""
    return name == "time" or name in OF_TABLE or name.endswith(MEASURED)


def is_same(value: object, expected: object) -> bool:
    """Say whether a cell has the shape and the bits of what is expected; NaN is NaN."""
    if not isinstance(expected, np.ndarray):
        return value == expected
    array = np.array(value, dtype=expected.dtype)
    if array.shape != expected.shape or array.dtype == object:
        return array.tolist() == expected.tolist()
    if array.dtype.kind == "f":
        alike = np.isnan(array) == np.isnan(expected)
        return alike.all() and np.nan_to_num(array).tobytes() == np.nan_to_num(expected).tobytes()
    return array.tobytes() == expected.tobytes()


def sent(given) -> pa.Table:
    """Rows as a table of lists, of the types that the models declare."""
    return pa.table({name: pa.array(array.tolist(), LISTS[name]) for name, array in given.items()})


@pytest.fixture(scope="module")
def asked(shared_server, tmp_path_factory):
    """A pipeline that was asked while its versions changed; what it must log, by version."""
    client, directory = shared_server.client(), tmp_path_factory.mktemp("models")

    def upload(name: str, kind: str):
        path = directory / f"{kind}.onnx"
        path.write_bytes(CONTENTS[kind])
        return client.upload_model(name, path)

    uploaded = {kind: upload("everything", kind) for kind in CHAMPIONS}
    uploaded |= {kind: upload(kind, kind) for kind in CHALLENGERS}
    pipeline, noted, keys = client.build_pipeline("typed"), Asked(), []
    for number, (champion, challengers) in enumerate(VERSIONS):
        pipeline.clear().add_shadow_deploy(
            uploaded[champion], [uploaded[each] for each in challengers]
        ).deploy()
        version = pipeline.versions()[0].name()
        models = {f"out_{each}": (uploaded[each], each) for each in challengers}
        models["out"] = uploaded[champion], champion
        before = len(noted.rows)
        for seed, count in enumerate(SIZES * ROUNDS):
            given = typed_models.rows(1_000 * number + seed, count)
            request_id = f"{number}-{seed}"
            answer = pipeline.infer(sent(given), request_id=request_id)
            assert answer.num_rows == count
            noted.note(request_id, given, version, models)
        keys.append(list(noted.rows)[before:])
    until(lambda: not any(map(shared_server.waiting, CHALLENGERS)))
    return pipeline, noted, keys


def check_entries(pipeline, noted, keys) -> None:
    """Check what the SDK reads: newest first, the rows of a request likewise."""
    entries = pipeline.logs(limit=10_000, dataset=PARTS)
    assert {entry.status for entry in entries} == {"ok"}
    end = len(entries)
    for (_, challengers), of_version in zip(VERSIONS, keys, strict=True):
        requests = len(dict(of_version))
        start = end - requests * (1 + len(challengers))
        assert noted.check(entries[start:end].to_arrow()) == of_version[::-1]
        end = start
    assert end == 0


def test_what_is_logged_is_what_onnxruntime_says_wherever_it_is_read(asked, tmp_path):
    pipeline, noted, keys = asked
    check_entries(pipeline, noted, keys)

    # When it has moved: as it was logged
    count = len(noted.rows)
    tables = Path(pipeline.log_table()).parent
    until(lambda: sum(map(height, generations(tables))) == count, within_s=MOVED_S)
    check_entries(pipeline, noted, keys)

    # Then an export has it in the same order, in a file for each kind of rows
    files = pipeline.export_logs(tmp_path, format="parquet", dataset=PARTS)
    exported = [key for file in files for key in noted.check(pq.read_table(file))]
    assert exported == [key for of_version in keys for key in of_version][::-1]
    assert len(files) > 1

    # and other tools find each row once; those of another type, and no others, in a second table
    retyped = {key for key, row in noted.rows.items() if row["out.next"].dtype == np.float64}
    everyone = noted.rows.keys()
    for place, expected in zip(generations(tables), (everyone - retyped, retyped), strict=True):
        log = DeltaTable(place).to_pyarrow_dataset()  # noqa: F841, found by its name
        for found in (
            pl.read_delta(str(place)).to_arrow(),
            duckdb.sql("SELECT * FROM log").arrow(),
        ):
            table = found if isinstance(found, pa.Table) else found.read_all()
            assert set(noted.check(table)) == expected


def generations(tables: Path) -> list[Path]:
    """The tables of a pipeline, the oldest first."""
    return sorted(
        (each for each in tables.iterdir() if each.name.isdigit()), key=lambda p: int(p.name)
    )


def height(table: Path) -> int:
    return pl.scan_delta(str(table)).select(pl.len()).collect().item()
