"""gnomon: shadow-tests machine-learning models. The champion answers, challengers only watch.

    import gnomon

    client = gnomon.Client()

The names below are loaded when they are first used: `import gnomon` itself loads no server
library, no pandas and no pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnomon import deployment_config as deployment_config
    from gnomon import framework as framework
    from gnomon import object as object
    from gnomon.core.errors import GnomonError
    from gnomon.deployment_config import DeploymentConfigBuilder
    from gnomon.framework import Framework
    from gnomon.sdk.catalog import Model, Pipeline, Workspace
    from gnomon.sdk.client import Client
    from gnomon.sdk.inference import InferenceResult
    from gnomon.sdk.logs import LogEntries, LogEntry

    __version__: str

_HOMES = {
    "Client": "gnomon.sdk.client",
    "DeploymentConfigBuilder": "gnomon.deployment_config",
    "Framework": "gnomon.framework",
    "GnomonError": "gnomon.core.errors",
    "InferenceResult": "gnomon.sdk.inference",
    "LogEntries": "gnomon.sdk.logs",
    "LogEntry": "gnomon.sdk.logs",
    "Model": "gnomon.sdk.catalog",
    "Pipeline": "gnomon.sdk.catalog",
    "Workspace": "gnomon.sdk.catalog",
}
_MODULES = frozenset({"deployment_config", "framework", "object"})

__all__ = [
    "Client",
    "DeploymentConfigBuilder",
    "Framework",
    "GnomonError",
    "InferenceResult",
    "LogEntries",
    "LogEntry",
    "Model",
    "Pipeline",
    "Workspace",
    "__version__",
    "deployment_config",
    "framework",
    "object",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("gnomon")
    elif name in _MODULES:
        return import_module(f"gnomon.{name}")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'gnomon' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
