"""Faktory for Python: push jobs to a Faktory server and run them, losing none.

`Client` pushes `Job`s; `ConsumerBuilder` registers handlers and makes a `Consumer` that runs them.
"""

from .app import App
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
