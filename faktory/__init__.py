"""Faktory for Python: push jobs to a Faktory server and run them, losing none.

`Client` pushes `Job`s; `ConsumerBuilder` registers handlers and makes a `Consumer` that runs them.
"""

from .builder import ConsumerBuilder
from .client import Batch, Client
from .commands import JobFilter
from .consumer import Consumer, Health, Summary
from .context import current_job
from .errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    ConsumerTerminated,
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
    ServerError,
    VersionMismatch,
)
from .job import Failure, Job
from .lifecycle import State

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "Batch",
    "Client",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionLost",
    "Consumer",
    "ConsumerBuilder",
    "ConsumerTerminated",
    "EnterpriseRequired",
    "Failure",
    "FaktoryError",
    "HandshakeError",
    "Health",
    "InvalidJob",
    "Job",
    "JobCancelled",
    "JobCrashed",
    "JobFilter",
    "JobTimeout",
    "NotUnique",
    "ProtocolError",
    "PushOutcomeUnknown",
    "ServerError",
    "State",
    "Summary",
    "VersionMismatch",
    "current_job",
]
