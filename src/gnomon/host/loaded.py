"""What a loaded model is to its host, whatever runs it, and how loading and running may fail."""

from __future__ import annotations

import resource
from typing import Protocol

import numpy as np

from gnomon.core import limits
from gnomon.core.model import Signature
from gnomon.core.tensors import STRING, Array


class Refused(Exception):
    """The file cannot be served.

    Attributes:
        reason: Code word of `ProbeReport.reason`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class RunFailed(Exception):
    """The model raised an error on this input; it can be run again."""


class RunOutOfMemory(RunFailed):
    """The run needed more memory than this process may have; the model can be run again."""


class RunStopped(Exception):
    """The run was stopped because its deadline passed."""


class LoadedModel(Protocol):
    """A model ready to run.

    Attributes:
        signature: What it takes and gives.
    """

    signature: Signature

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Run the model once.

        Args:
            inputs: One array per input, in the order of the signature; good during the run only.

        Returns:
            One array per output, in the order of the signature.

        Raises:
            RunFailed: The model refused this input.
            RunStopped: `stop` was called meanwhile.
        """

    def stop(self) -> None:
        """Ask the run under way to stop, from another thread; it may take a while."""

    def warm_up(self) -> None:
        """Do what the first caller should not wait for.

        Raises:
            Refused: The model cannot be served, as this process is.
        """

    def settle(self) -> None:
        """See what a long run has left behind; called when nobody waits."""


def zeros(signature: Signature) -> tuple[Array, ...]:
    """Return the smallest input of zeros (empty text for strings) that fits a signature.

    Raises:
        Refused: Its fixed axes alone have more values than a request may have.
    """
    arrays = []
    for spec in signature.inputs:
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


def failure_on_zeros(model: LoadedModel) -> str | None:
    """Run a model once on zeros; return what it says if it fails.

    Raises:
        Refused: It needs more memory than this process may have; or see `zeros`.
    """
    try:
        model.run(zeros(model.signature))
    except RunOutOfMemory as error:
        raise out_of_memory() from error
    except RunFailed as error:
        return str(error)
    return None


def out_of_memory() -> Refused:
    """Return the refusal of a model that does not fit."""
    return Refused(
        "model_memory_exceeded",
        "The model needs more memory than its host may have, "
        f"{resource.getrlimit(resource.RLIMIT_AS)[0] // limits.MIB} MiB in all.",
    )
