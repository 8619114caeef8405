"""Faktory for Python: push jobs to a Faktory server and run them, losing none.

`Client` pushes `Job`s; `ConsumerBuilder` registers handlers and makes a `Consumer` that runs them.
"""

from typing import TYPE_CHECKING, Any

from .builder import ConsumerBuilder
from .client import Batch, Client
from .commands import JobFilter
from .consumer import Consumer, Health, Summary
from .context import JobContext, JobLogFilter, current_job
from .errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    ConsumerTerminated,
    Discard,
    EnterpriseRequired,
    FaktoryError,
    HandshakeError,
    InvalidJob,
    JobCancelled,
    JobCrashed,
    JobTimeout,
    NotUnique,
    ProtocolError,
    PushOutcomeUnknown,
    Retry,
    ServerError,
    VersionMismatch,
)
from .job import Failure, Job
from .lifecycle import State

if TYPE_CHECKING:
    from .app import App
    from .typed import TypedJob

__version__ = "0.1.0"

__all__ = [
    "App",
    "AuthenticationError",
    "Batch",
    "Client",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionLost",
    "Consumer",
    "ConsumerBuilder",
    "ConsumerTerminated",
    "Discard",
    "EnterpriseRequired",
    "Failure",
    "FaktoryError",
    "HandshakeError",
    "Health",
    "InvalidJob",
    "Job",
    "JobCancelled",
    "JobContext",
    "JobCrashed",
    "JobFilter",
    "JobLogFilter",
    "JobTimeout",
    "NotUnique",
    "ProtocolError",
    "PushOutcomeUnknown",
    "Retry",
    "ServerError",
    "State",
    "Summary",
    "TypedJob",
    "VersionMismatch",
    "current_job",
]


_LATE = {"App": ".app", "TypedJob": ".typed"}


def __getattr__(name: str) -> Any:
    """Import typed jobs when they are first asked for: whoever only pushes should not pay for them."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(_LATE[name], __name__), name)
    return found
