import numpy as np
import pytest

from gnomon.core.errors import InputMismatch
from gnomon.core.tensors import (
    TensorSpec,
    array_of,
    cast,
    conform,
    dtype_name,
    float32_rows,
    widest,
)


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        ([[1.0, 2.5]], "float64", (1, 2)),
        ([1, 2], "int64", (2,)),
        ([1, 2.5], "float64", (2,)),
        ([2**63], "uint64", (1,)),
        ([True, False], "bool", (2,)),
        (["a", "é"], "object", (2,)),
        ([], "float64", (0,)),
        (3.5, "float64", ()),
    ],
)
def test_lists_of_one_kind_become_arrays(value, dtype, shape):
    array = array_of(value, name="x")

    assert array.dtype == dtype
    assert array.shape == shape


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ([[1, 2], [3]], "ragged"),
        ([[1], 2], "ragged"),
        ([["a"], ["b", "c"]], "ragged"),
        ([None], "null"),
        ([1.0, None], "null"),
        ([True, 1], "booleans"),
        (["1.5", 1.5], "strings"),
        ([{"a": 1}], "objects"),
        ({"a": 1}, "objects"),
        ([2**64], "64-bit"),
        ([10**40], "64-bit"),
    ],
)
def test_what_numpy_would_guess_at_is_refused(value, word):
    with pytest.raises(InputMismatch, match=word) as caught:
        array_of(value, name="x")
    assert "'x'" in str(caught.value)


def test_integers_above_int64_stay_exact_beside_small_ones():
    assert array_of([2**64 - 1, 0], name="x").tolist() == [2**64 - 1, 0]
    with pytest.raises(InputMismatch, match="64-bit"):
        array_of([2**64 - 1, -1], name="x")


def test_nesting_is_bounded():
    value = 1.0
    for _ in range(50):
        value = [value]
    with pytest.raises(InputMismatch, match="nested deeper"):
        array_of(value, name="x")


def test_big_endian_numbers_keep_their_values():
    assert array_of(np.array([1.5], dtype=">f4"), name="x").tolist() == [1.5]
    assert array_of(np.array([1.5], dtype=">f4"), name="x").dtype.isnative


def give(value, dtype):
    return cast(np.asarray(value), dtype, name="x", model="price@3")


def test_float64_goes_into_float32_by_rounding():
    assert give([0.1], "float32").dtype == np.float32


@pytest.mark.parametrize("value", [1e300, -1e39])
def test_a_float_too_large_for_float32_is_refused(value):
    with pytest.raises(InputMismatch, match="too large"):
        give([value], "float32")


def test_infinity_and_nan_are_values_like_others():
    assert np.array_equal(
        give([np.inf, -np.inf, np.nan], "float32"),
        np.array([np.inf, -np.inf, np.nan], dtype=np.float32),
        equal_nan=True,
    )


def test_integers_go_where_each_fits_exactly():
    assert give([2**24], "float32").tolist() == [2.0**24]
    assert give([255], "uint8").tolist() == [255]
    assert give([2**53 + 1], "int64").tolist() == [2**53 + 1]
    assert give(np.array([2**63], dtype=np.uint64), "uint64").tolist() == [2**63]
    assert give([1] * 1_000, "int8").tolist() == [1] * 1_000


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([2**24 + 1], "float32"),
        ([2**53 + 1], "float64"),
        ([300], "int8"),
        ([-1], "uint64"),
        ([70_000], "float16"),
        ([1] * 1_000 + [128], "int8"),
    ],
)
def test_integers_that_would_change_are_refused(value, dtype):
    with pytest.raises(InputMismatch, match="exactly"):
        give(value, dtype)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1.5], "int64"),
        ([1.0], "int64"),
        (["1.5"], "float32"),
        ([True], "float32"),
        ([1], "bool"),
        ([1], "string"),
        ([1.5], "string"),
    ],
)
def test_kinds_are_never_mixed(value, dtype):
    with pytest.raises(InputMismatch, match=f"price@3: input 'x' must be {dtype}"):
        give(value, dtype)


def test_no_rows_fit_any_number_type():
    assert give(np.zeros((0, 3)), "int64").shape == (0, 3)


def test_a_shape_that_does_not_fit_is_named_with_both_sides():
    spec = TensorSpec(name="dense_input", dtype="float32", shape=(None, 29))
    with pytest.raises(InputMismatch, match=r"shape \[\?, 29\], got \[1, 28\]"):
        conform(np.zeros((1, 28)), spec, name="tensor", model="ccfraud@1")


def test_a_column_of_plain_values_feeds_an_input_of_one_value_a_row():
    spec = TensorSpec(name="area", dtype="float32", shape=(None, 1))
    assert conform(np.array([1, 2]), spec, name="area", model="m@1").tolist() == [[1.0], [2.0]]


ROWS = [[0.1, -2.5], [1e18, 3.0]]


def test_rows_of_floats_take_the_short_way_to_the_same_array():
    spec = TensorSpec(name="x", dtype="float32", shape=(None, 2))
    long_way = conform(array_of(ROWS, name="x"), spec, name="x", model="m@1")

    short_way = float32_rows(ROWS, 2)

    assert short_way.dtype == long_way.dtype
    assert short_way.tobytes() == long_way.tobytes()


@pytest.mark.parametrize(
    "value",
    [
        *([[0.1]], [[0.1, 0.2], [0.3]], [[0.1, 1]], [[0.1, True]], [[0.1, "1"]], [[0.1, None]]),
        *([0.1, 0.2], [[[0.1, 0.2]]], [[1e39, 0.0]], [], "text", None, {"a": 1.0}, [(0.1, 0.2)]),
    ],
)
def test_everything_else_takes_the_long_way(value):
    assert float32_rows(value, 2) is None


@pytest.mark.parametrize("count", [1, 64, 40_000])
def test_any_number_of_rows_takes_the_short_way(count):
    rows = np.random.default_rng(count).normal(size=(count, 2)).tolist()
    for floats in (-1, 2 * count):
        found = float32_rows(rows, 2, floats=floats)
        assert found.tobytes() == np.float32(rows).tobytes()
        assert not found.flags.writeable
    rows[-1][-1] = 1e39
    assert float32_rows(rows, 2, floats=2 * count) is None


def test_what_may_have_been_an_integer_takes_the_long_way_unless_it_is_known_to_be_none():
    assert float32_rows([[1e30, 0.5]], 2) is None
    assert float32_rows([[1e30, 0.5]], 2, floats=1) is None
    assert float32_rows([[1e30, 0.5]], 2, floats=2).tolist() == np.float32([[1e30, 0.5]]).tolist()


@pytest.mark.parametrize("value", [[[[0.5, 1.5], []]], [[[0.5], [1.5]]], [[0.5, 1.5], [2.5]]])
def test_nested_values_take_the_long_way_however_many_floats_there_are(value):
    assert float32_rows(value, 2, floats=2) is None
    assert float32_rows(value * 40_000, 2, floats=80_000) is None


def test_an_integer_beside_floats_is_not_rounded():
    assert array_of([0.5, 2**53], name="x").tolist() == [0.5, 2.0**53]
    assert array_of([0.5, 2**60], name="x").tolist() == [0.5, 2.0**60]
    with pytest.raises(InputMismatch, match="the integer 9007199254740993, which would be rounded"):
        array_of([[0.5], [2**53 + 1]], name="x")


def test_the_only_row_of_an_input_without_rows_is_the_whole_tensor():
    spec = TensorSpec(name="image", dtype="float32", shape=(2, None))
    image = np.zeros((2, 3), dtype=np.float32)
    assert conform(image, spec, name="x", model="m@1").shape == (2, 3)
    assert conform(image[np.newaxis], spec, name="x", model="m@1").shape == (2, 3)
    scalar = TensorSpec(name="s", dtype="int64", shape=())
    assert conform(np.array([7]), scalar, name="x", model="m@1").tolist() == 7
    with pytest.raises(InputMismatch, match=r"shape \[2, \?\], got \[2, 2, 3\]"):
        conform(np.stack([image, image]), spec, name="x", model="m@1")
    rows = TensorSpec(name="rows", dtype="float32", shape=(None, 3))
    with pytest.raises(InputMismatch, match=r"shape \[\?, 3\], got \[1, 2, 3\]"):
        conform(image[np.newaxis], rows, name="x", model="m@1")


def test_the_same_type_is_not_copied():
    array = np.ones((2, 3), dtype=np.float32)
    spec = TensorSpec(name="x", dtype="float32", shape=(None, 3))
    assert conform(array, spec, name="x", model="m@1") is array


@pytest.mark.parametrize("value", [np.array([1j]), np.array(["2020-01-01"], dtype="M8[D]")])
def test_types_no_model_takes_have_no_name(value):
    with pytest.raises(InputMismatch, match="cannot be fed"):
        dtype_name(value)


def test_a_shared_column_is_logged_in_the_type_that_holds_all():
    assert widest({"float32"}) == "float32"
    assert widest({"float32", "float64"}) == "float64"
    assert widest({"int32", "float32"}) == "float64"
    assert widest({"int8", "uint8"}) == "int16"
