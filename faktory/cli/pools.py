"""Running a worker on one of the four pools: connect, tell of it, work, end."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from .. import __version__
from ..builder import ConsumerBuilder
from ..client import Client
from ..core.lifecycle import State
from ..core.standing import Summary
from ..errors import ConnectFailed, ConnectionLost, FaktoryError, ServerError
from ..job import Job
from ..observe.observer import Observer, Outcome
from ..protocol.address import Address
from ..runtime.ticking import monotonic
from . import joblog
from .banner import Facts, pool_text, queues_text
from .observed import Observed
from .output import OK, Output
from .parsing import Usage
from .queues import Queues

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_log: logging.Logger = logging.getLogger(joblog.COMMAND)
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, and how."""

    builder: ConsumerBuilder
    pool: str
    number: int
    queues: Queues
    url: str | None = None
    is_burst: bool = False
    max_jobs: int | None = None
    waits_for_server: bool = False
    as_json: bool = False

    def facts(self, jobs: tuple[str, ...], server: str, example: str) -> Facts:
        """Return what is told at the start."""
        return Facts(
            __version__,
            platform.python_version(),
            os.getpid(),
            server,
            queues_text(self.queues),
            pool_text(self.pool, self.number, self.builder._shutdown_timeout),
            jobs,
            example,
        )


def run(plan: Plan, output: Output, tell: Tell, observed: Observed, *, asks_version: bool) -> int:
    """Connect and work. Ends the process by `SystemExit`, as `run_to_completion` does, but for a burst."""
    watch = _Watch(plan)
    plan.builder.on_quiet(watch.tell_of_the_end)
    if plan.max_jobs is not None:
        plan.builder.observer(watch).stop_when(watch.has_done_enough)
    _wait_for_server(plan, output)

    def begin(consumer: Any) -> None:
        watch.consumer = consumer
        observed.begin(consumer, output)
        tell(_server_text(plan, asks_version=asks_version))

    with _one_signal(is_burst=plan.is_burst) as came:
        try:
            if plan.pool == "asyncio":
                import asyncio  # slow to import, and only needed here

                summary = asyncio.run(_work_async(plan, begin))
            elif plan.pool == "trio":
                summary = _trio().run(_work_async, plan, begin)
            else:
                summary = _work(plan, begin)
        except KeyboardInterrupt:
            if came:
                return 128 + came[0]
            raise
    if plan.as_json:
        counts = ("succeeded", "failed", "skipped", "unreported")
        output.result(json.dumps({name: getattr(summary, name) for name in counts}))
    else:
        skipped = f", {summary.skipped} skipped" if summary.skipped else ""
        output.result(f"{summary.succeeded} succeeded, {summary.failed} failed{skipped} in {summary.seconds:.1f} s")
    return 1 if summary.unreported else OK


def _work(plan: Plan, begin: Callable[[Any], None]) -> Summary:
    with plan.builder.connect(plan.url) as consumer:
        begin(consumer)
        return consumer.drain(plan.queues) if plan.is_burst else consumer.run_to_completion(plan.queues)


async def _work_async(plan: Plan, begin: Callable[[Any], None]) -> Summary:
    connect: Callable[[str | None], Any] = plan.builder.connect_asyncio
    if plan.pool == "trio":
        connect = plan.builder.connect_trio
    async with await connect(plan.url) as consumer:
        begin(consumer)
        summary: Summary = await (consumer.drain if plan.is_burst else consumer.run_to_completion)(plan.queues)
        return summary


def _trio() -> Any:
    try:
        import trio
    except ImportError:
        raise Usage("--pool trio needs trio: pip install 'faktory-sdk[trio]'") from None
    return trio


@contextmanager
def _one_signal(*, is_burst: bool) -> Generator[list[int], None, None]:
    """Have TERM end a burst as Ctrl-C does; yields the signals that came. Else leave the signals to the consumer."""
    came: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        came.append(number)
        signal.raise_signal(signal.SIGINT)

    if not is_burst or threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_for_server(plan: Plan, output: Output) -> None:
    """Try until the server is there. A wrong password or certificate will not heal, and is raised."""
    if not plan.waits_for_server:
        return
    address = plan.builder._locate(plan.url)
    pause = _FIRST_PAUSE
    while True:
        try:
            with Client(address) as client:
                client.queue_latency("default")
        except (ConnectFailed, ConnectionLost) as exc:
            if pause == _FIRST_PAUSE:
                output.tell(f"waiting for the server: {exc}")
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)
        except ServerError:
            return  # an answer
        else:
            return


def _server_text(plan: Plan, *, asks_version: bool) -> str:
    """Return where the server is; with its version, for which it must be asked once: INFO is no question for often."""
    address: Address = plan.builder._locate(plan.url)
    with suppress(FaktoryError, AttributeError):
        if asks_version:
            with Client(address) as client:
                server = client.info().get("server", {})
            return f"{address} (Faktory {server.get('faktory_version', '?')})"
    return str(address)


class _Watch(Observer):
    """Counts jobs, and says what is waited for at the end."""

    def __init__(self, plan: Plan) -> None:
        self.consumer: Any = None
        self._most = plan.max_jobs
        self._done = 0
        self._lock = threading.Lock()
        self._timeout = plan.builder._shutdown_timeout

    def has_done_enough(self) -> bool:
        """Tell whether as many jobs are done as were wanted."""
        return self._done >= (self._most or 0)

    def settled(
        self,
        job: Job,  # noqa: ARG002
        outcome: Outcome,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
        waited: float | None,  # noqa: ARG002
        exc: BaseException | None,  # noqa: ARG002
    ) -> None:
        """Count a job."""
        with self._lock:
            self._done += 1

    def tell_of_the_end(self) -> None:
        """Say what is waited for, now that no new jobs are taken."""
        state, now = self.consumer._state, monotonic()
        timers = [holder.timer for holder in state.jobs.holders]
        running = [(timer.job, now - timer.started_at) for timer in timers if timer.job is not None]
        names = ", ".join(f"{joblog.named(job.jobtype, job.jid)} ({joblog.duration(age)})" for job, age in running[:5])
        more = f" and {len(running) - 5} more" if len(running) > 5 else ""
        count = f"{len(running)} {'job' if len(running) == 1 else 'jobs'}"
        if self.consumer.state is State.QUIET:
            _log.info("quiet no new jobs are taken; %s still run%s", count, f": {names}{more}" if names else "")
        elif not running:
            _log.info("ending no job runs")
        else:
            has = "has" if len(running) == 1 else "have"
            _log.info("ending %s %s %g s to end: %s%s", count, has, self._timeout, names, more)
