"""A loaded ONNX model: its signature, and running it. The only place that calls onnxruntime."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from gnomon.core import limits
from gnomon.core.model import Signature
from gnomon.core.tensors import DTYPE_OF_ONNX, Array, TensorSpec
from gnomon.host.loaded import (
    Refused,
    RunFailed,
    RunOutOfMemory,
    RunStopped,
    failure_on_zeros,
    out_of_memory,
    zeros,
)
from gnomon.host.messages import clean_message

# An error is said in the answer; printed too, a model that fails on every row floods the log.
_FATAL_ONLY = 4
_TENSORS_MAX = limits.TENSORS_PER_REQUEST_MAX


class Session:
    """An ONNX model ready to run; see `LoadedModel`.

    Args:
        path: The model file.
        threads: That work on one run together; no more than there are processors.

    Raises:
        Refused: onnxruntime does not take the file, or it takes or gives something that is not
            a tensor.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = min(threads, len(os.sched_getaffinity(0)))
        # A thread that has nothing to do leaves the processor to other hosts.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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
        if max(len(self.signature.inputs), len(self.signature.outputs)) > _TENSORS_MAX:
            raise Refused(
                "model_too_complex",
                f"The model has {len(self.signature.inputs)} inputs and "
                f"{len(self.signature.outputs)} outputs; {_TENSORS_MAX} of each at most.",
            )
        # What InferenceSession.run calls, without its checks, which the front has made.
        self._run = getattr(self._session, "_sess", self._session).run
        self._input_names = [spec.name for spec in self.signature.inputs]
        self._output_names = [spec.name for spec in self.signature.outputs]
        self._options = _run_options()
        self._usual_bytes = 0
        self._keeps_much = False

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """See `LoadedModel`."""
        feed = dict(zip(self._input_names, inputs, strict=True))
        try:
            return self._run_once(feed)
        except RunOutOfMemory:
            if not self._keeps_much:
                raise
        self._give_back()
        return self._run_once(feed)

    def _run_once(self, feed: dict[str, Array]) -> tuple[Array, ...]:
        options = self._options
        try:
            outputs = self._run(self._output_names, feed, options)
        except Exception as error:
            if options.terminate:
                # Options that stopped one run would stop the next one too.
                self._options = _run_options()
                raise RunStopped from error
            text = clean_message(error)
            if _is_about_memory(text):
                raise RunOutOfMemory("the run needs more memory than its host may have") from error
            raise RunFailed(text) from error
        return tuple([np.asarray(output) for output in outputs])

    def stop(self) -> None:
        """Ask the run under way to stop, from another thread; a long node ends first."""
        self._options.terminate = True

    def warm_up(self) -> None:
        """Run once on zeros: arenas are sized and lazy kernels made before the first caller.

        A model may refuse zeros with an error, but not take the process with it.

        Raises:
            Refused: It needs more memory than this process may have; or see `zeros`.
        """
        failure_on_zeros(self)
        self._usual_bytes = _resident_bytes()

    def settle(self) -> None:
        """See what a long run has left behind; call it when nobody waits.

        ONNX Runtime keeps the memory that its largest runs needed, in pieces that a larger one
        cannot use: requests of growing sizes would bring the process to its limit.
        """
        kept_bytes = _resident_bytes() - self._usual_bytes
        self._keeps_much = kept_bytes > limits.HOST_MEMORY_KEPT_BYTES
        if kept_bytes > resource.getrlimit(resource.RLIMIT_AS)[0] / 2:
            self._give_back()

    def _give_back(self) -> None:
        """Let go of all memory that no run uses, at the end of a small run."""
        self._keeps_much = False
        options = _run_options()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        feed = dict(zip(self._input_names, zeros(self.signature), strict=True))
        with contextlib.suppress(Exception):  # zeros may not be to its liking
            self._session.run(self._output_names, feed, options)


def _run_options() -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.log_severity_level = _FATAL_ONLY
    return options


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


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
