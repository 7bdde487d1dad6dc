"""Routes of what deleted things left on the disk."""

from __future__ import annotations

from gnomon.api.calls import Caller, Garbage
from gnomon.api.catalog_views import FindingsView
from gnomon.api.guards import guarded_router, needs
from gnomon.core.access import Right

router = guarded_router("/v1/garbage")


@router.get("")
@needs(Right.READ)
def find_garbage(call: Caller, garbage: Garbage) -> FindingsView:
    """Return the model files and logs that nothing needs any more."""
    return FindingsView.model_validate(garbage.collect(call, remove=False))


@router.delete("")
@needs(Right.WRITE)
def remove_garbage(call: Caller, garbage: Garbage) -> FindingsView:
    """Remove the model files and logs that nothing needs any more, and return which these were."""
    return FindingsView.model_validate(garbage.collect(call, remove=True))
