"""One loaded model: its signature, and running it. The only place that calls onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from gnomon.core import limits
from gnomon.core.model import Signature
from gnomon.core.tensors import DTYPE_OF_ONNX, STRING, Array, TensorSpec
from gnomon.host.messages import clean_message
from gnomon.host.onnx_scan import Refused

# An error is said in the answer; printed too, a model that fails on every row floods the log.
_FATAL_ONLY = 4


class RunFailed(Exception):
    """The model raised an error on this input; the session can be used again."""


class RunOutOfMemory(RunFailed):
    """The run needed more memory than this process may have; the session can be used again."""


class RunStopped(Exception):
    """The run was stopped because its deadline passed."""


class Session:
    """A model ready to run, single-threaded.

    Args:
        path: The model file.

    Raises:
        Refused: onnxruntime does not take the file, or it takes or gives something that is not
            a tensor.
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise _load_error(error) from error
        self.signature = Signature(
            inputs=tuple(_spec("input", value) for value in self._session.get_inputs()),
            outputs=tuple(_spec("output", value) for value in self._session.get_outputs()),
        )
        if not self.signature.outputs:
            raise Refused("model_load_failed", "The model has no outputs.")
        self._input_names = [spec.name for spec in self.signature.inputs]
        self._output_names = [spec.name for spec in self.signature.outputs]
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = _FATAL_ONLY

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Run the model once.

        Args:
            inputs: One array per input, in the order of the signature.

        Returns:
            One array per output, in the order of the signature.

        Raises:
            RunFailed: The model refused this input.
            RunStopped: `stop` was called meanwhile.
        """
        feed = dict(zip(self._input_names, inputs, strict=True))
        options = self._options
        try:
            outputs = self._session.run(self._output_names, feed, options)
        except Exception as error:
            if options.terminate:
                # Options that stopped one run would stop the next one too.
                self._options = onnxruntime.RunOptions()
                self._options.log_severity_level = _FATAL_ONLY
                raise RunStopped from error
            text = clean_message(error)
            if _is_about_memory(text):
                raise RunOutOfMemory("the run needs more memory than its host may have") from error
            raise RunFailed(text) from error
        return tuple(np.asarray(output) for output in outputs)

    def stop(self) -> None:
        """Ask the run under way to stop, from another thread; a long node ends first."""
        self._options.terminate = True

    def zeros(self) -> tuple[Array, ...]:
        """Return the smallest input of zeros (empty text for strings) that fits the signature.

        Raises:
            Refused: Its fixed axes alone have more values than a request may have.
        """
        arrays = []
        for spec in self.signature.inputs:
            shape = tuple(1 if size is None else size for size in spec.shape)
            if np.prod(shape, dtype=np.float64) > limits.TENSOR_ELEMENTS_MAX:
                raise Refused(
                    "model_too_complex",
                    f"Input {spec.name!r} ({spec}) takes more than "
                    f"{limits.TENSOR_ELEMENTS_MAX} values.",
                )
            if spec.dtype == STRING:
                arrays.append(np.full(shape, "", dtype=object))
            else:
                arrays.append(np.zeros(shape, dtype=spec.dtype))
        return tuple(arrays)


def _spec(side: str, value: Any) -> TensorSpec:
    name, kind = value.name, value.type
    if not name.isprintable() or len(name.encode()) > limits.MODEL_NAME_BYTES_MAX or not name:
        raise Refused(
            "model_load_failed",
            f"The model has an {side} whose name is empty, longer than "
            f"{limits.MODEL_NAME_BYTES_MAX} bytes or not printable.",
        )
    if kind not in DTYPE_OF_ONNX:
        raise Refused(
            "model_load_failed",
            f"The model's {side} {name!r} is {kind}; only tensors of numbers, booleans and "
            "strings are served. (A scikit-learn classifier: convert it with zipmap=False.)",
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in value.shape)
    if len(shape) > limits.TENSOR_RANK_MAX:
        raise Refused(
            "model_too_complex",
            f"The model's {side} {name!r} has {len(shape)} axes; {limits.TENSOR_RANK_MAX} at most.",
        )
    return TensorSpec(name=name, dtype=DTYPE_OF_ONNX[kind], shape=shape)


def _load_error(error: Exception) -> Refused:
    text = clean_message(error)
    if isinstance(error, MemoryError) or _is_about_memory(text):
        return out_of_memory()
    if "is not a registered function/op" in text or "No Op registered for" in text:
        return Refused("custom_operator", f"The model uses an operator nobody knows: {text}")
    return Refused("model_load_failed", f"The model cannot be loaded: {text}")


def _is_about_memory(text: str) -> bool:
    return "bad_alloc" in text or "Failed to allocate" in text


def out_of_memory() -> Refused:
    """Return the refusal of a model that does not fit into its host."""
    return Refused(
        "model_memory_exceeded",
        "The model needs more memory than its host may have "
        f"({limits.HOST_MEMORY_MODEL_FACTOR} times its file, at least "
        f"{limits.HOST_MEMORY_MODEL_MIN_BYTES // limits.MIB} MiB).",
    )
