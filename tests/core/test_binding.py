import numpy as np
import pytest

from gnomon.core.binding import bind, refuse_unknown, resolve
from gnomon.core.errors import InputMismatch
from gnomon.core.model import Signature
from gnomon.core.tensors import TensorSpec


def signature(*names: str) -> Signature:
    return Signature(
        inputs=tuple(TensorSpec(name=name, dtype="float32", shape=(None, 2)) for name in names),
        outputs=(),
    )


@pytest.mark.parametrize(
    ("columns", "inputs", "fields", "feeds"),
    [
        (["tensor"], ["dense_input"], None, ("tensor",)),
        (["tensor", "index"], ["dense_input"], None, ("tensor",)),
        (["dense_input", "tensor"], ["dense_input"], None, ("dense_input",)),
        (["whatever"], ["dense_input"], None, ("whatever",)),
        (["b", "a"], ["a", "b"], None, ("a", "b")),
        (["x", "y", "z"], ["a", "b"], ("y", "x"), ("y", "x")),
    ],
)
def test_columns_feed_inputs_by_fields_then_by_name_then_as_the_only_tensor(
    columns, inputs, fields, feeds
):
    assert resolve(columns, signature(*inputs), fields, model="m@1") == feeds


@pytest.mark.parametrize(
    ("columns", "inputs", "fields", "near"),
    [
        (["tenso", "index"], ["tensor2"], None, "tenso"),
        (["tensor", "index"], ["a", "b"], None, None),
        (["tensor"], ["dense_input"], ("dense",), "tensor"),
        ([], ["a"], None, None),
        (["a", "B"], ["a", "b"], None, "B"),
    ],
)
def test_nothing_else_is_guessed_and_the_nearest_column_is_named(columns, inputs, fields, near):
    with pytest.raises(InputMismatch, match="is missing") as caught:
        resolve(columns, signature(*inputs), fields, model="m@1")
    if near:
        assert f"Did you mean {near!r}?" in str(caught.value)


def test_inputs_must_have_as_many_rows_as_each_other():
    columns = {"a": np.zeros((2, 2)), "b": np.zeros((3, 2))}
    with pytest.raises(InputMismatch, match=r"same number of rows, got \[2, 3\]"):
        bind(columns, signature("a", "b"), ("a", "b"), model="m@1")


def test_the_plain_tensor_format_takes_no_unknown_names():
    refuse_unknown(["tensor"], ["tensor"], model="m@1")
    with pytest.raises(InputMismatch, match="nothing takes the input 'tenosr'; it takes 'tensor'"):
        refuse_unknown(["tensor", "tenosr"], ["tensor"], model="m@1")
