import pytest

from gnomon.host.messages import clean_message, python_message


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x for "
            "the following indices\n index: 1 Got: 3 Expected: 2\n Please fix either the inputs",
            "Got invalid dimensions for input: x for the following indices index: 1 Got: 3 "
            "Expected: 2 Please fix either the inputs",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Reshape "
            "node. Name:'' Status Message: /onnxruntime_src/onnxruntime/core/reshape_helper.h:91 "
            "onnxruntime::ReshapeHelper::ReshapeHelper(const onnxruntime::TensorShape&, "
            "std::function<void(int)>, bool) sizes == wanted was false. It cannot be reshaped.",
            "Non-zero status code returned while running Reshape node. Name:'' Status Message: "
            "sizes == wanted was false. It cannot be reshaped.",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : /src/load_utils.h:46 void onnxruntime::Validate("
            "const std::unordered_map<std::string, int>&) ONNX Runtime only guarantees this.",
            "ONNX Runtime only guarantees this.",
        ),
        ("Load model from /home/ann/models/a.onnx failed", "Load model from <path> failed"),
        ("bad\x00 \x1b[31mtext", "bad   [31mtext"),
        ("", "Exception"),
    ],
)
def test_an_error_is_said_without_codes_paths_and_signatures(said, shown):
    assert clean_message(Exception(said)) == shown


def test_a_text_is_bounded_and_odd_ones_do_no_harm():
    assert len(clean_message(Exception("x" * 10_000))) == 500
    assert clean_message(Exception("a.cc:1 b::c((((")) == ""
    assert clean_message(Exception("(" * 5_000 + "::" * 2_000))


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (KeyError("fr"), "KeyError: 'fr'"),
        (SystemExit(), "SystemExit"),
        (FileNotFoundError(2, "No such file", "/home/ann/my data/a"), "No such file: <path>"),
        (ValueError("one\n  two\nthree\nfour\nfive"), "ValueError: one two three four"),
        (type("Odd\n", (Exception,), {"__str__": lambda _: 1 / 0})(), "Odd"),
        (ValueError("x" * 10_000), "ValueError: " + "x" * 488),
    ],
)
def test_an_error_of_python_code_is_said_in_one_line(error, shown):
    assert python_message(error).endswith(shown)
    assert "\n" not in python_message(error)
