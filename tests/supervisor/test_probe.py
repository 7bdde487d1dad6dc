import pytest

from gnomon import samples
from tests import hostile_models

REFUSED = {
    "external_data": "external_data_not_allowed",
    "custom_operator": "custom_operator",
    "unknown_operator": "custom_operator",
    "future_opset": "model_load_failed",
    "cycle": "model_load_failed",
    "function_bomb": "model_too_complex",
    "endless_function": "model_too_complex",
    "deep_nesting": "model_too_complex",
    "hostile_names": "model_load_failed",
    "no_outputs": "model_load_failed",
    "many_outputs": "model_too_complex",
    "sequence_output": "model_load_failed",
    "huge_dimensions": "model_load_failed",
    "memory_bomb": "model_memory_exceeded",
    "crashes_on_zeros": "model_crashed_loader",
    "endless_loop": "model_load_timeout",
}


def test_each_hostile_file_is_refused_with_its_reason_and_the_server_goes_on(bare):
    good = bare.save(hostile_models.doubling(), "good")
    for name, reason in REFUSED.items():
        path = bare.save(getattr(hostile_models, name)(), name)

        report = bare.client.probe(path, "0" * 64)

        assert (name, report.reason) == (name, reason)
        assert report.message
        assert str(bare.directory) not in report.message
        assert bare.client.probe(good, "0" * 64).signature is not None


@pytest.mark.parametrize("name", hostile_models.NOT_ONNX)
def test_what_is_not_onnx_is_called_that(bare, name):
    path = bare.save(hostile_models.NOT_ONNX[name], name)

    assert bare.client.probe(path, "0" * 64).reason == "not_onnx"


def test_a_good_model_gives_its_signature(bare):
    path = bare.save(hostile_models.doubling("area", "price"))

    signature = bare.client.probe(path, "0" * 64).signature

    assert [str(spec) for spec in signature.inputs] == ["float32 [?, 2]"]
    assert [spec.name for spec in signature.inputs + signature.outputs] == ["area", "price"]


def test_models_that_are_only_dangerous_on_some_input_are_taken(bare):
    for name in ("crashes_on_input", "errors_on_input", "memory_bomb_on_input", "script_name"):
        path = bare.save(getattr(hostile_models, name)(), name)
        assert bare.client.probe(path, "0" * 64).signature is not None, name


@pytest.mark.parametrize(
    ("content", "row_wise"),
    [
        (hostile_models.doubling(), True),
        (hostile_models.deep_tree(50), True),
        (hostile_models.mixes_rows("mean"), False),
        (hostile_models.mixes_rows("sum"), False),
        (hostile_models.errors_on_input(), True),
        *((path.read_bytes(), True) for path in samples.challenger_paths().values()),
        (samples.champion_path().read_bytes(), True),
    ],
    ids=["doubling", "tree", "mean", "cumulative", "errors", "boosted", "forest", "net"],
)
def test_the_probe_finds_out_whether_rows_may_run_together(bare, content, row_wise):
    assert bare.client.probe(bare.save(content), "0" * 64).signature.row_wise is row_wise


def test_a_tree_as_deep_as_trees_get_loads_on_the_probes_stack(bare):
    assert bare.client.probe(bare.save(hostile_models.deep_tree(20_000)), "0" * 64).signature


def test_a_probe_leaves_no_process_behind(bare):
    bare.client.probe(bare.save(hostile_models.endless_loop()), "0" * 64)

    assert len(bare.tree()) == 1  # the nursery
