"""One small class per command: `line`, the bytes to send, and `decode`, what the reply means. Pure.

Whatever a verb is followed by comes from `json` or is checked against a pattern, so no argument can smuggle in a line.
Sources: server/commands.go, server/mutate.go, manager/*.go, client/batch.go and client/tracking.go.
"""

from .admin import END, Flush, Info, JobFilter, Mutate, PauseQueues, QueueLatency, RemoveQueues, ResumeQueues, Target
from .base import Command
from .enterprise import BatchCommit, BatchNew, BatchOpen, BatchStatus, TrackGet, TrackSet
from .jobs import Ack, Beat, Fail, Fetch, Push, PushBulk, State, cut, encode_job, is_not_found, is_unknown_worker

__all__ = [
    "END",
    "Ack",
    "BatchCommit",
    "BatchNew",
    "BatchOpen",
    "BatchStatus",
    "Beat",
    "Command",
    "Fail",
    "Fetch",
    "Flush",
    "Info",
    "JobFilter",
    "Mutate",
    "PauseQueues",
    "Push",
    "PushBulk",
    "QueueLatency",
    "RemoveQueues",
    "ResumeQueues",
    "State",
    "Target",
    "TrackGet",
    "TrackSet",
    "cut",
    "encode_job",
    "is_not_found",
    "is_unknown_worker",
]
