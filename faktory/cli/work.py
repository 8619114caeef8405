"""What `faktoryctl worker` does in the process that runs the jobs: import the app, plan, tell, work.

Apart from `worker`, as a supervisor takes the same options and never imports what runs jobs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from ..app import App
from ..builder import ConsumerBuilder
from ..core.callables import is_async
from ..protocol.address import Address
from . import banner, joblog, pools
from .observed import Observed
from .output import OK, Output
from .parsing import Usage
from .pools import Plan
from .queues import Queues
from .target import load

CONCURRENCY: Final = 10
_log: logging.Logger = logging.getLogger(joblog.COMMAND)


def work(arguments: argparse.Namespace, output: Output, target: str, queues: Queues | None, start: int) -> int:
    set_environment(arguments)
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    shows_jobs = arguments.log_jobs == "always" or (arguments.log_jobs in (None, "auto") and is_terminal)
    _configure_logging(arguments, output, is_terminal=is_terminal, shows_jobs=shows_jobs)
    observed = None if arguments.check else Observed.by(arguments, os.environ)
    found = load(target, arguments.app_dir)
    told = Told.of(found)
    queues = told.queues if queues is None else queues
    plan = _planned(arguments, found, queues)
    if observed is None:  # --check
        output.result(_check_text(arguments, plan, told))
        return OK
    if shows_jobs:
        plan.builder.middleware(joblog.ran).on_failure(joblog.failed)
    mode = os.environ.get("FAKTORY_MODE") or "queue"
    if mode != "queue":
        _log.warning("WARNING the mode is %s: jobs run where they are pushed, and none of them comes here", mode)

    def tell(server: str) -> None:
        facts = plan.facts(told.jobs, server, _example(found))
        if start > 1:
            return  # what has not changed since the first start
        if is_terminal and arguments.log_format != "json":
            output.tell(banner.block(facts))
        else:
            for line in banner.lines(facts):
                _log.info("%s", line)

    try:
        return pools.run(plan, output, tell, observed, asks_version=is_terminal)
    finally:
        _tell_of_threads()


@dataclass(frozen=True, slots=True)
class Told:
    """What a target says of itself: its jobs as they are called, and the queues that they are pushed to."""

    jobs: tuple[str, ...]
    used: dict[str, list[str]]
    """Each queue, with the jobs that are pushed to it; empty for a builder that does not know."""
    wanted: Queues | None = None
    """What the builder says to fetch from."""

    @property
    def queues(self) -> Queues:
        """What to fetch from when nothing else is said."""
        return self.wanted or list(self.used) or ["default"]

    @classmethod
    def of(cls, target: App | ConsumerBuilder) -> Told:
        """Look at a target."""
        if isinstance(target, ConsumerBuilder):
            jobs = [f"{jobtype}(job)" for jobtype, _, _ in target._registry.entries()]
            return cls(tuple(jobs), _by_queue(target._homes()), target._queues)
        jobs = [
            banner.signature_text(jobtype, typed.function, typed.signature) for jobtype, typed in target.jobs.items()
        ]
        return cls(tuple(jobs), _by_queue((typed.options.queue, jobtype) for jobtype, typed in target.jobs.items()))


def _by_queue(homes: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    used: dict[str, list[str]] = {}
    for queue, jobtype in homes:
        used.setdefault(queue, []).append(jobtype)
    return used


def _planned(arguments: argparse.Namespace, found: App | ConsumerBuilder, queues: Queues) -> Plan:
    """Return the builder with the options in it, and how to run it."""
    builder = found.consumer() if isinstance(found, App) else found
    handlers = builder._handlers()
    has_async = any(is_async(handler.function) for handler in handlers.values())
    by_environment = os.environ.get("FAKTORY_ISOLATION") == "process"
    pool: str = arguments.pool or ("processes" if builder._processes is not None or by_environment else "")
    if arguments.pool not in (None, "processes"):
        os.environ.pop("FAKTORY_ISOLATION", None)  # what is on the command line goes before it
        if builder._processes is not None:
            raise Usage(f"the builder's processes({builder._processes}) and --pool {arguments.pool} contradict")
    pool = pool or ("asyncio" if has_async else "threads")
    own = builder._processes if builder._processes is not None else builder._workers
    default = int(os.environ.get("FAKTORY_PROCESSES", "") or CONCURRENCY) if by_environment else CONCURRENCY
    number: int = arguments.concurrency or own or default
    if pool == "processes" and (arguments.pool or arguments.concurrency or builder._processes is None):
        builder._workers = None  # a child runs one job at a time
        own_limits = builder._limits
        builder.processes(
            number,
            max_jobs_per_child=arguments.max_jobs_per_child or own_limits.max_jobs,
            max_rss_mb=arguments.max_rss_mb or own_limits.max_rss_mb,
        )
    elif pool != "processes":
        for name in ("max_jobs_per_child", "max_rss_mb"):
            if getattr(arguments, name) is not None:
                raise Usage(f"--{name.replace('_', '-')} is for --pool processes, and this is {pool}")
        builder.workers(number)
    if arguments.shutdown_timeout is not None:
        builder.shutdown_timeout(arguments.shutdown_timeout)
    if arguments.label:
        builder.add_labels(*arguments.label)
    if arguments.wid:
        builder.wid(arguments.wid)
    return Plan(
        builder,
        pool,
        number,
        queues,
        url=arguments.url,
        is_burst=bool(arguments.burst),
        max_jobs=arguments.max_jobs,
        waits_for_server=bool(arguments.wait_server),
        as_json=arguments.json,
    )


def _example(found: App | ConsumerBuilder) -> str:
    """Return what to type to see a job run under `dev`; empty elsewhere, and without a job that is easy to call."""
    push = os.environ.get("FAKTORY_DEV_PUSH")
    if push is None or not isinstance(found, App):
        return ""
    calls = (banner.example_of(jobtype, typed.function, typed.signature) for jobtype, typed in found.jobs.items())
    call = next((call for call in calls if call is not None), None)
    return "" if call is None else f"{push} {call}"


def _check_text(arguments: argparse.Namespace, plan: Plan, told: Told) -> str:
    if arguments.json:
        names = [job.partition("(")[0] for job in told.jobs]
        document: dict[str, Any] = {"jobs": names, "queues": plan.queues, "pool": plan.pool, "concurrency": plan.number}
        return json.dumps(document)
    lines = [f"{'jobs' if number == 0 else '':<6}  {job}" for number, job in enumerate(told.jobs)]
    lines += [f"queues  {banner.queues_text(plan.queues)}", f"pool    {plan.pool}, {plan.number} at a time"]
    return "\n".join(lines)


def set_environment(arguments: argparse.Namespace) -> None:
    """Have the app, its client and its children follow what the command was told."""
    if arguments.url is not None:
        Address.parse(arguments.url)
        os.environ.pop("FAKTORY_PROVIDER", None)
        os.environ["FAKTORY_URL"] = arguments.url
    if arguments.ca is not None:
        if not Address.resolve().tls:
            raise Usage("--ca is for servers with TLS, and this one is without; write tcp+tls://")
        os.environ["SSL_CERT_FILE"] = arguments.ca
    mode = getattr(arguments, "mode", None)
    if mode is not None:
        os.environ.setdefault("FAKTORY_MODE", mode)


def _configure_logging(arguments: argparse.Namespace, output: Output, *, is_terminal: bool, shows_jobs: bool) -> None:
    """Set logging up before the app is imported: its own `basicConfig` then changes nothing, its `dictConfig` wins."""
    if arguments.no_configure_logging or arguments.check:
        return
    kind = arguments.log_format or "text"
    handler = joblog.handler_for(output, kind, is_terminal=is_terminal, shows_jobs=shows_jobs)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel((arguments.log_level or "info").upper())


def _tell_of_threads() -> None:
    """Say which threads of the app keep the process from ending."""
    names = [
        thread.name for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]
    if names:
        _log.warning("WARNING waiting for the app's own threads to end: %s", ", ".join(names))
