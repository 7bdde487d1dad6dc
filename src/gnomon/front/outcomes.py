"""How a run ended, as an observation; and what of a host's words is believed."""

from __future__ import annotations

import time

from gnomon.core import errors, limits
from gnomon.core.frames import Frame, FrameError
from gnomon.core.inference import Observation, Status
from gnomon.core.routing import ServedModel
from gnomon.core.tensors import Array, dtype_name

_CONTROL_CHARACTERS = dict.fromkeys((*range(32), 127), " ")
_CODES_OF_HOSTS = frozenset(
    error.code
    for error in (
        errors.InputMismatch,
        errors.ModelFailed,
        errors.LimitReached,
        errors.InferenceTimeout,
    )
)


def check_outputs(model: ServedModel, outputs: tuple[Array, ...]) -> None:
    """Refuse outputs that are not what the model declares.

    Raises:
        FrameError: Their number or a type differs.
    """
    specs = model.signature.outputs
    if len(outputs) != len(specs):
        raise FrameError(f"gave {len(outputs)} outputs where {len(specs)} are declared")
    for array, spec in zip(outputs, specs, strict=True):
        if dtype_name(array) != spec.dtype:
            raise FrameError(f"gave {dtype_name(array)} where {spec.dtype} is declared")


def code_of(frame: Frame) -> str:
    """Return the error code in a FAILED frame, one that a host may use."""
    code = frame.text.partition(": ")[0]
    return code if code in _CODES_OF_HOSTS else errors.ModelFailed.code


def failed(model: ServedModel, frame: Frame) -> Observation:
    """Return the observation of a run that its host reports as failed."""
    code = code_of(frame)
    text = frame.text.partition(": ")[2].translate(_CONTROL_CHARACTERS)
    text = text[: limits.ERROR_TEXT_CHARS_MAX] or "the model failed"
    timeout = code == errors.InferenceTimeout.code
    return Observation(
        model=model,
        status=Status.TIMEOUT if timeout else Status.ERROR,
        error=f"{model}: {text}",
        elapsed_ns=frame.number,
        time_us=time.time_ns() // 1000,
        code=code,
    )


def misfit(model: ServedModel, error: errors.InputMismatch) -> Observation:
    """Return the observation of a challenger that takes something else than what came."""
    return Observation(
        model=model,
        status=Status.SCHEMA,
        error=error.message,
        time_us=time.time_ns() // 1000,
        code=error.code,
    )


def not_run(
    model: ServedModel,
    text: str,
    *,
    status: Status = Status.ERROR,
    error: type[errors.GnomonError] = errors.HostUnavailable,
) -> Observation:
    """Return the observation of a run that never ended, or never began."""
    return Observation(
        model=model,
        status=status,
        error=f"{model}: {text}",
        time_us=time.time_ns() // 1000,
        code=error.code,
    )
