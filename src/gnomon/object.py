"""The exceptions that users catch, under the names and the import path that they may know.

Each is a class of the one tree in `gnomon.core.errors`; `except EntityNotFoundError` and
`except NotFound` are the same.
"""

from __future__ import annotations

from gnomon.core.errors import (
    DeploymentError,
    GnomonError,
    InferenceError,
    InferenceTimeout,
    InvalidName,
    LimitReached,
    ModelRejected,
    NotFound,
    ServerUnreachable,
    WaitExpired,
)

CommunicationError = ServerUnreachable
EntityNotFoundError = NotFound
InferenceTimeoutError = InferenceTimeout
InvalidNameError = InvalidName
LimitError = LimitReached
ModelUploadError = ModelRejected
WaitForDeployError = DeploymentError
WaitForError = WaitExpired

__all__ = [
    "CommunicationError",
    "DeploymentError",
    "EntityNotFoundError",
    "GnomonError",
    "InferenceError",
    "InferenceTimeoutError",
    "InvalidNameError",
    "LimitError",
    "ModelUploadError",
    "WaitForDeployError",
    "WaitForError",
]
