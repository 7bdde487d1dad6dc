"""Which columns of the log a pipeline's models give, so that one that nobody gives is no surprise.

Which columns callers send is not known before they do: every `in.<field>` may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from gnomon.core.errors import Invalid
from gnomon.core.log_settings import LogSettings
from gnomon.core.model import Signature
from gnomon.core.plan import Plan
from gnomon.core.splits import MODEL_SPLIT

_NAMED_MAX = 20


def check_redacted(
    settings: LogSettings, planned: Plan, signatures: Mapping[int, Signature]
) -> None:
    """Refuse to leave out an output that no model gives.

    Args:
        signatures: By the id of the model version.

    Raises:
        Invalid: There is one; the message names those that there are.
    """
    outputs = _outputs(planned, signatures)
    for column in settings.redact:
        if not column.startswith("in.") and column not in outputs:
            more = ", ..." if len(outputs) > _NAMED_MAX else ""
            raise Invalid(
                f"redact names {column[:80]!r}, which no model of the pipeline gives; they give: "
                f"{', '.join(outputs[:_NAMED_MAX])}{more}."
            )


def _outputs(planned: Plan, signatures: Mapping[int, Signature]) -> list[str]:
    """Return the output columns that the log has, each once."""

    def names(prefix: str, version_id: int) -> list[str]:
        return [f"{prefix}.{spec.name}" for spec in signatures[version_id].outputs]

    found: list[str] = []
    for champion in planned.stages[-1].champions:
        found += names("out", champion.version_id)
    if any(stage.split is not None for stage in planned.stages):
        found.append(f"out.{MODEL_SPLIT}")
    for stage in planned.stages:
        for label, challenger in zip(stage.labels, stage.challengers, strict=True):
            found += names(f"out_{label}", challenger.version_id)
    return list(dict.fromkeys(found))
