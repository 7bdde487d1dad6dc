"""A loaded Python model: somebody's function `process`, and running it.

Only a host that was told what its model declares imports this, so that others are as lean as ever.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.core.errors import InputMismatch
from gnomon.core.model import Signature
from gnomon.core.tensors import STRING, Array, TensorSpec, dtype_name
from gnomon.host.interruption import Interruptible
from gnomon.host.loaded import (
    Refused,
    RunFailed,
    RunOutOfMemory,
    RunStopped,
    failure_on_zeros,
    out_of_memory,
)
from gnomon.host.messages import python_message
from gnomon.host.processes import stay_alone
from gnomon.host.python_files import MODULE, Importer, read_files

_FUNCTION = "process"
_FRAMES_SHOWN = 20
_PLACES_MAX = 100
_NAMES_SHOWN = 10


class PythonModel:
    """A function of arrays by column, ready to run; see `LoadedModel`.

    Its process can make no other from now on.

    Args:
        path: The uploaded file, see `read_files`.
        declared: The columns that it was said to take and to give.

    Raises:
        Refused: It cannot be imported, has no function `process`, or the kernel does not let
            this process be confined.
    """

    def __init__(self, path: Path, declared: Signature) -> None:
        self.signature = declared
        self._interruptible = Interruptible()
        self._tracebacks = _Tracebacks()
        # What it prints is in the host's log at once: this process never ends in good order.
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        if not stay_alone():
            raise Refused(
                "python_not_confined",
                "Python models are not run on this machine: its kernel, or the container, does "
                "not let gnomon keep them from starting processes (seccomp).",
            )
        self._function = self._load(path)

    def _load(self, path: Path) -> Callable[[dict[str, Array]], Any]:
        try:
            sys.meta_path.insert(0, Importer(read_files(path)))
            module = importlib.import_module(MODULE)
            function = getattr(module, _FUNCTION, None)
        except Refused:
            raise
        except MemoryError as error:
            raise out_of_memory() from error
        except BaseException as error:
            self._tracebacks.show(error)
            raise Refused(
                "model_load_failed", f"The module cannot be imported: {python_message(error)}"
            ) from error
        if not callable(function):
            raise Refused(
                "model_load_failed",
                f"{MODULE}.py has no function {_FUNCTION}(inputs), which takes and returns a dict "
                "of arrays.",
            )
        return function  # type: ignore[no-any-return]

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """See `LoadedModel`."""
        names = [spec.name for spec in self.signature.inputs]
        # Copied: the function may change what it gets, and keep it longer than a run.
        columns = dict(zip(names, map(np.array, inputs), strict=True))
        rows = len(inputs[0])
        try:
            return self._interruptible.call(lambda: self._outputs(self._function(columns), rows))
        except (RunFailed, RunStopped):
            raise
        except MemoryError as error:
            raise RunOutOfMemory("the run needs more memory than its host may have") from error
        except BaseException as error:  # also SystemExit, which would end this process
            self._tracebacks.show(error)
            raise RunFailed(python_message(error)) from error

    def stop(self) -> None:
        """See `LoadedModel`."""
        self._interruptible.interrupt()

    def warm_up(self) -> None:
        """See `LoadedModel`. That it does not fail on zeros was seen by the probe."""
        failure_on_zeros(self)

    def settle(self) -> None:
        """See `LoadedModel`."""

    def _outputs(self, given: object, rows: int) -> tuple[Array, ...]:
        """Return what the function gave in the order of the signature.

        Raises:
            RunFailed: It is something else than was declared.
        """
        if not isinstance(given, dict):
            raise RunFailed(f"{_FUNCTION} gave {_kind(given)}, not a dict of arrays.")
        declared = {spec.name: spec for spec in self.signature.outputs}
        if given.keys() != declared.keys():
            raise RunFailed(
                f"{_FUNCTION} gave the columns {_shown(given)}; its output_schema has "
                f"{_shown(declared)}."
            )
        return tuple(_output(given[name], spec, rows) for name, spec in declared.items())


def _output(value: object, spec: TensorSpec, rows: int) -> Array:
    if not isinstance(value, np.ndarray):
        raise RunFailed(f"{_FUNCTION} gave {_kind(value)} as {spec.name!r}, not an array.")
    array = np.asarray(value)  # of a subclass the array
    wanted = (rows, *spec.shape[1:])
    fits = array.ndim == len(wanted) and all(
        size in (None, found) for size, found in zip(wanted, array.shape, strict=True)
    )
    try:
        found = dtype_name(array)
    except InputMismatch:
        found = str(array.dtype)[:80]
    if found != spec.dtype or not fits:
        shape = ", ".join(map(str, array.shape))
        raise RunFailed(
            f"{_FUNCTION} gave {found} [{shape}] as {spec.name!r} for {rows} row(s); its "
            f"output_schema says {spec}."
        )
    if spec.dtype == STRING:
        _check_text(array, spec)
    return array


def _check_text(array: Array, spec: TensorSpec) -> None:
    try:
        "".join(array.flat).encode()
    except UnicodeEncodeError:
        raise RunFailed(
            f"{_FUNCTION} gave text as {spec.name!r} that is not Unicode: it has surrogates."
        ) from None


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__[:80]!r}"


def _shown(names: Iterable[object]) -> str:
    return ", ".join(repr(str(name)[:80]) for name in list(names)[:_NAMES_SHOWN]) or "none"


class _Tracebacks:
    """Prints errors of the model's code to the host's log, of each place in it the first one.

    A model that fails on every row would flood the log.
    """

    def __init__(self) -> None:
        self._places: set[tuple[type[BaseException], int]] = set()

    def show(self, error: BaseException) -> None:
        """Print an error, if it is news."""
        *_, (_, line) = traceback.walk_tb(error.__traceback__)
        place = (type(error), line)
        if place not in self._places and len(self._places) < _PLACES_MAX:
            self._places.add(place)
            with contextlib.suppress(Exception):  # the error's own text is the model's code too
                traceback.print_exception(error, limit=-_FRAMES_SHOWN)
