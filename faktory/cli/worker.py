"""`faktoryctl worker`: import an app and run its jobs."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from .config import variable_of
from .observed import add_options as add_observed
from .observed import check_for_one
from .offspring import heed_supervisor
from .output import INTERRUPTED, Output
from .parsing import Parser, Usage, seconds, whole_number
from .queues import concurrency_of, queues_of

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
    *("log-format", "log-jobs", "label", "wid", "wait-server", "http", "health-file"),
)
POOLS: Final = ("threads", "processes", "asyncio", "trio")
TERMINATED: Final = 143


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
    add_observed(parser)
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
    try:
        with ending_early():
            from .work import work

            return work(arguments, output, target, queues, start)
    except Terminated:  # out here, as TERM may come while Ctrl-C is seen to
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
    check_for_one(arguments)
    return supervise(arguments, output, _environment(arguments))


def _environment(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the environment of a supervised worker: a URL may have a password, which a call would show to others."""
    told = {"FAKTORY_WORKER_URL": arguments.url, "FAKTORY_WORKER_CA": arguments.ca}
    return dict(os.environ) | {name: value for name, value in told.items() if value is not None}


@contextmanager
def ending_early() -> Generator[None, None, None]:
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


def _positive(text: str) -> int:
    number = whole_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {number}")
    return number
