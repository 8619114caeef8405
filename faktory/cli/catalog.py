"""Which commands there are. A module is imported only when its command is called for, or completed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Final

COMMANDS: Final = {
    "dev": "serve and work for an app whose code changes",
    "worker": "import an app and run its jobs",
    "cron": "push the periodic jobs of an app when they are due",
    "jobs": "print the jobs of an app, as they are called",
    "info": "show a server's queues and sets",
    "health": "ask a worker whether it is well",
    "metrics": "serve the sizes of a server's queues for Prometheus",
    "push": "push one job, or many from a file",
    "queues": "list, pause, resume and empty queues",
    "dead": "look at dead jobs, requeue or delete them",
    "retries": "look at failed jobs that run again, requeue, kill or delete them",
    "scheduled": "look at jobs that wait for their time, requeue, kill or delete them",
    "flush": "delete every job of a server",
    "top": "watch a server's queues and sets",
    "generate": "write an app, or a job with its test, to begin with",
    "completion": "print what has a shell complete commands and options",
    "server": "run a Faktory server in memory, for development and tests",
}
"""Each command's module in this package, and what `--help` says of it."""
_MODULES: Final = {"queues": "queue_admin", "dead": "sets", "retries": "sets", "scheduled": "sets"}
"""The modules of commands that are called otherwise."""


def module_of(command: str) -> ModuleType:
    """Import what carries out a command: a module with `describe(parser)` and `run(arguments, output) -> int`."""
    return import_module(f".{_MODULES.get(command, command)}", __package__)
