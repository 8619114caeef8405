"""Faktory for Python: push jobs to a Faktory server and run them, losing none.

`Client` pushes `Job`s; `ConsumerBuilder` registers handlers and makes a `Consumer` that runs them. Each name is
imported when it is first used: a program that only pushes does not pay for what runs jobs.

PYTEST_DONT_REWRITE: pytest, which finds our plugin, would warn whoever has imported the package before it.
"""

from typing import TYPE_CHECKING, Any

from .runtime.loading import load as _load

if TYPE_CHECKING:
    from .app import App
    from .builder import ConsumerBuilder
    from .client import Batch, Client
    from .commands import JobFilter
    from .consumer import Consumer
    from .core.lifecycle import State
    from .core.run import JobLogFilter, current_job, managed
    from .core.standing import Health, Summary
    from .errors import (
        AuthenticationError,
        ChildStartFailed,
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
        PushDropped,
        PushOutcomeUnknown,
        Retry,
        ServerError,
        ThreadStartFailed,
        UnknownJobType,
        VersionMismatch,
    )
    from .job import Failure, Job
    from .typed.context import JobContext
    from .typed.job import TypedJob

__version__ = "0.1.0"

__all__ = [
    "App",
    "AuthenticationError",
    "Batch",
    "ChildStartFailed",
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
    "PushDropped",
    "PushOutcomeUnknown",
    "Retry",
    "ServerError",
    "State",
    "Summary",
    "ThreadStartFailed",
    "TypedJob",
    "UnknownJobType",
    "VersionMismatch",
    "current_job",
    "managed",
]

_NAMES = {
    ".app": ("App",),
    ".builder": ("ConsumerBuilder",),
    ".client": (
        "Batch",
        "Client",
    ),
    ".commands": ("JobFilter",),
    ".consumer": ("Consumer",),
    ".core.standing": (
        "Health",
        "Summary",
    ),
    ".core.run": (
        "JobLogFilter",
        "current_job",
        "managed",
    ),
    ".errors": (
        "AuthenticationError",
        "ChildStartFailed",
        "ConfigurationError",
        "ConnectFailed",
        "ConnectionLost",
        "ConsumerTerminated",
        "Discard",
        "EnterpriseRequired",
        "FaktoryError",
        "HandshakeError",
        "InvalidJob",
        "JobCancelled",
        "JobCrashed",
        "JobTimeout",
        "NotUnique",
        "ProtocolError",
        "PushDropped",
        "PushOutcomeUnknown",
        "Retry",
        "ServerError",
        "ThreadStartFailed",
        "UnknownJobType",
        "VersionMismatch",
    ),
    ".job": (
        "Failure",
        "Job",
    ),
    ".core.lifecycle": ("State",),
    ".typed.context": ("JobContext",),
    ".typed.job": ("TypedJob",),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(_load(_HOMES[name], __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
