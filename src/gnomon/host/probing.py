"""The probe: a throw-away host that looks at an uploaded file, so that no other process has to."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path

from gnomon.core.deployment import ProbeReport
from gnomon.core.model import Signature
from gnomon.host.independence import is_row_wise
from gnomon.host.loaded import LoadedModel, Refused, failure_on_zeros
from gnomon.host.onnx_scan import scan
from gnomon.host.process import EXIT_DONE, Descriptors, HostOrder, report
from gnomon.host.session import Session
from gnomon.host.watchdog import Watchdog


class Probing:
    """Loads a file and runs it once on zeros, and reports what it found."""

    def __init__(self, order: HostOrder, descriptors: Descriptors) -> None:
        self._path = Path(order.model_path)
        self._declared = order.declared
        self._status = descriptors.status

    def run(self, watchdog: Watchdog) -> int:  # noqa: ARG002
        """Probe; return the exit code.

        The first report is what counts for the upload. The rows are looked at after it, because
        a model may be deadly on some input and good on all that its callers send.
        """
        try:
            model = self._onnx() if self._declared is None else self._python(self._declared)
        except Refused as refusal:
            self._report(ProbeReport(reason=refusal.reason, message=refusal.message))
            return EXIT_DONE
        self._report(ProbeReport(signature=model.signature))
        if is_row_wise(model):
            self._report(ProbeReport(signature=replace(model.signature, row_wise=True)))
        return EXIT_DONE

    def _onnx(self) -> LoadedModel:
        _scan_file(self._path)
        session = Session(self._path)
        session.warm_up()
        return session

    def _python(self, declared: Signature) -> LoadedModel:
        from gnomon.host.python_model import PythonModel

        model = PythonModel(self._path, declared)
        failure = failure_on_zeros(model)
        if failure is not None:
            raise Refused(
                "model_failed",
                f"The model fails on a row of zeros (and empty text), its trial run: {failure}",
            )
        return model

    def _report(self, found: ProbeReport) -> None:
        report(self._status, report=found.to_json())

    def stop_run(self) -> None:
        """Do nothing: the supervisor and RLIMIT_CPU end a probe."""

    def drain(self) -> None:
        """Do nothing: a probe ends by itself or is killed."""


def _scan_file(path: Path) -> None:
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise Refused("not_onnx", "The file is empty.")
        # Never closed: a refusal's traceback may hold slices of it, and the process ends soon.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        scan(memoryview(mapped))
    except RecursionError:
        raise Refused("model_too_complex", "The model is nested too deeply.") from None
