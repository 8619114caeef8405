"""`faktoryctl worker`: import an app and run its jobs."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..address import Address
from ..app import App
from ..builder import ConsumerBuilder
from ..callables import is_async
from . import banner, joblog
from .config import variable_of
from .offspring import heed_supervisor
from .output import INTERRUPTED, OK, Output
from .parsing import Parser, Usage, seconds, whole_number
from .queues import Queues, concurrency_of, queues_of
from .target import load

if TYPE_CHECKING:
    from .pools import Plan

WORDS: Final = "[TARGET]"
EPILOG: Final = """\
TARGET is pkg.mod[:attr] or path/file.py[:attr]; default: app in [tool.faktory] of pyproject.toml. It holds a
faktory.App, a ConsumerBuilder, or a function that makes one.

Each option is looked for on the command line, then in the environment as FAKTORY_WORKER_<OPTION>
(FAKTORY_WORKER_QUEUES), then in [tool.faktory.env.NAME] of the nearest pyproject.toml (--env NAME, or FAKTORY_ENV),
then in its [tool.faktory]; keys are the long names.

exit status:
  0    ended as it was told to; with --burst: the queues are empty, whatever became of the jobs
  1    jobs were cut off, or their outcomes could not be reported, or on_startup failed
  2    called wrongly, or the target cannot be imported
  3    no server, a wrong password, or no TLS
  130  interrupted before it was ready, or by a second Ctrl-C; 143: by TERM"""
SETTINGS: Final = (
    *("url", "ca", "app", "app-dir", "mode", "queues", "concurrency", "pool", "workers", "max-jobs"),
    *("max-jobs-per-child", "max-rss-mb", "shutdown-timeout", "burst", "reload", "reload-dir", "log-level"),
    *("log-format", "log-jobs", "label", "wid", "wait-server"),
)
POOLS: Final = ("threads", "processes", "asyncio", "trio")
TERMINATED: Final = 143
CONCURRENCY: Final = 10
_log: logging.Logger = logging.getLogger(joblog.COMMAND)


class Terminated(BaseException):
    """TERM has come before there was a worker to end."""


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_server_options()
    add_options(parser)
    ends = parser.add_argument_group("when it ends")
    ends.add_argument("-b", "--burst", action="store_true", default=None, help="end when the queues are empty")
    ends.add_argument("--max-jobs", type=_positive, metavar="N", help="end after N jobs, and those that run then")
    ends.add_argument("--check", action="store_true", help="import, print jobs and queues, and end")
    where = parser.add_argument_group("how it runs")
    where.add_argument("-p", "--workers", type=_positive, metavar="N", help="so many worker processes under one")
    where.add_argument("--wait-server", action="store_true", default=None, help="try until the server is there")
    where.add_argument("--wid", help="the worker's id at the server; default: a random one")
    where.add_argument("--reload", action="store_true", default=None, help="start anew when the code changes")
    where.add_argument("--reload-dir", action="append", metavar="DIR", help="watch this folder; repeatable")


def add_options(parser: Parser) -> None:
    """Add what `dev` takes, too."""
    work = parser.add_argument_group("what it works on")
    work.add_argument("--app-dir", metavar="DIR", help="where modules are looked for first; default: here")
    work.add_argument("--env", metavar="NAME", help="use [tool.faktory.env.NAME]; default: FAKTORY_ENV")
    work.add_argument(
        "-q",
        "--queues",
        action="append",
        metavar="Q[=N],...",
        help="in strict order, or all with a weight =N; default: the queues of the app's jobs",
    )
    how = parser.add_argument_group("how it works")
    how.add_argument(
        "-c", "--concurrency", type=concurrency_of, metavar="N|auto", help="jobs at a time; 10; auto: the CPUs"
    )
    how.add_argument("-P", "--pool", choices=POOLS, help="default: threads; asyncio for async jobs")
    how.add_argument("--max-jobs-per-child", type=_positive, metavar="N", help="-P processes: replace a child then")
    how.add_argument("--max-rss-mb", type=_positive, metavar="N", help="-P processes: replace a child above it")
    how.add_argument("-t", "--shutdown-timeout", type=seconds, metavar="SECONDS", help="for running jobs to end; 25")
    how.add_argument("--label", action="append", metavar="L", help="shown in the Web UI; repeatable")
    tell = parser.add_argument_group("what it tells")
    tell.add_argument("-l", "--log-level", choices=("debug", "info", "warning", "error"), help="default: info")
    tell.add_argument("--log-format", choices=("text", "json"), help="default: text")
    tell.add_argument(
        "--log-jobs", choices=("auto", "always", "never"), help="a line for each job; auto: on a terminal"
    )
    tell.add_argument("--no-configure-logging", action="store_true", help="leave logging to the app")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Run jobs until told to end."""
    if len(arguments.words) > 1:
        raise Usage(f"expected one TARGET, got {len(arguments.words)} words")
    start = heed_supervisor(os.environ)
    if not start and not arguments.check:
        if arguments.reload and arguments.workers is not None:
            raise Usage("--reload has one worker process; leave --workers out")
        if arguments.reload_dir and not arguments.reload:
            raise Usage("--reload-dir is for --reload")
        if arguments.reload:
            return _reload(arguments, output)
        if arguments.workers is not None and arguments.workers > 1:
            return _supervise(arguments, output)
    target = arguments.words[0] if arguments.words else getattr(arguments, "app", None)
    if not target:
        raise Usage(f"expected a TARGET, like shop.jobs:app or app.py; or set {variable_of('worker', 'app')}")
    queues = None if arguments.queues is None else queues_of(arguments.queues)
    with _ending_early():
        try:
            return _work(arguments, output, target, queues, start)
        except Terminated:
            return TERMINATED
        except KeyboardInterrupt:
            return INTERRUPTED


def _reload(arguments: argparse.Namespace, output: Output) -> int:
    from .reload import reload

    return reload(arguments, output, _environment(arguments))


def _supervise(arguments: argparse.Namespace, output: Output) -> int:
    from .supervise import supervise

    if arguments.wid:
        raise Usage("--wid names one worker, and --workers makes several; leave one of them out")
    return supervise(arguments, output, _environment(arguments))


def _environment(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the environment of a supervised worker: a URL may have a password, which a call would show to others."""
    told = {"FAKTORY_WORKER_URL": arguments.url, "FAKTORY_WORKER_CA": arguments.ca}
    return dict(os.environ) | {name: value for name, value in told.items() if value is not None}


def _work(arguments: argparse.Namespace, output: Output, target: str, queues: Queues | None, start: int) -> int:
    _set_environment(arguments)
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    shows_jobs = arguments.log_jobs == "always" or (arguments.log_jobs in (None, "auto") and is_terminal)
    _configure_logging(arguments, output, is_terminal=is_terminal, shows_jobs=shows_jobs)
    found = load(target, arguments.app_dir)
    told = Told.of(found)
    queues = told.queues if queues is None else queues
    plan = _planned(arguments, found, queues)
    if arguments.check:
        output.result(_check_text(arguments, plan, told))
        return OK
    if shows_jobs:
        plan.builder.middleware(joblog.ran).on_failure(joblog.failed)
    mode = os.environ.get("FAKTORY_MODE") or "queue"
    if mode != "queue":
        _log.warning("WARNING the mode is %s: jobs run where they are pushed, and none of them comes here", mode)
    from . import pools

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
        return pools.run(plan, output, tell, asks_version=is_terminal)
    finally:
        _tell_of_threads()


@dataclass(frozen=True, slots=True)
class Told:
    """What a target says of itself: its jobs as they are called, and the queues that they are pushed to."""

    jobs: tuple[str, ...]
    used: dict[str, list[str]]
    """Each queue, with the jobs that are pushed to it; empty for a builder, which does not say."""

    @property
    def queues(self) -> list[str]:
        """What to fetch from when nothing else is said."""
        return list(self.used) or ["default"]

    @classmethod
    def of(cls, target: App | ConsumerBuilder) -> Told:
        """Look at a target."""
        if isinstance(target, ConsumerBuilder):
            return cls(tuple(f"{jobtype}(job)" for jobtype, _, _ in target._registry.entries()), {})
        used: dict[str, list[str]] = {}
        for jobtype, typed in target.jobs.items():
            used.setdefault(typed.options.queue, []).append(jobtype)
        jobs = [
            banner.signature_text(jobtype, typed.function, typed.signature) for jobtype, typed in target.jobs.items()
        ]
        return cls(tuple(jobs), used)


def _planned(arguments: argparse.Namespace, found: App | ConsumerBuilder, queues: Queues) -> Plan:
    """Return the builder with the options in it, and how to run it."""
    from .pools import Plan

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


def _set_environment(arguments: argparse.Namespace) -> None:
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


@contextmanager
def _ending_early() -> Generator[None, None, None]:
    """Have TERM end what comes before the worker takes it, also as process 1, for which it does nothing by default."""

    def end(_number: int, _frame: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell_of_threads() -> None:
    """Say which threads of the app keep the process from ending."""
    names = [
        thread.name for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]
    if names:
        _log.warning("WARNING waiting for the app's own threads to end: %s", ", ".join(names))


def _positive(text: str) -> int:
    number = whole_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {number}")
    return number
