"""What every consumer owes its users, whatever it runs jobs with, against every server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from faktory import App, ConsumerBuilder, ConsumerTerminated, Job, JobFilter, JobTimeout, current_job
from faktory.blocking.connection import Connection
from faktory.commands import Ack, Beat, Fetch
from faktory.core.run import running
from faktory.runtime.logs import close as close_log
from tests.contract.conftest import Backend
from tests.contract.fronts import PATIENCE, Front
from tests.recording import Recording


class Recorder:
    """A handler that keeps its jobs and can be waited for."""

    def __init__(self, act: Callable[[Job], Any] = lambda job: None) -> None:
        self.jobs: list[Job] = []
        self._act = act
        self._changed = threading.Condition()

    def __call__(self, job: Job) -> Any:
        with self._changed:
            self.jobs.append(job)
            self._changed.notify_all()
        return self._act(job)

    def wait(self, count: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.jobs) >= count, PATIENCE), f"only {len(self.jobs)} jobs"


def run_jobs(front: Front, backend: Backend, builder: ConsumerBuilder, until: Callable[[], bool]) -> None:
    """Run until something is so, then end."""
    run = front.start(builder.stop_when(until), backend.url, [backend.queue])
    deadline = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)
    run.consumer.terminate()
    backend.hurry()
    assert run.wait() == 0


def failure_of(backend: Backend, jid: str) -> Any:
    """Return what the server has recorded of a failed job that is in the retries."""
    backend.client.requeue("retries", JobFilter(jids=[jid]))
    with Connection(backend.url) as connection:
        while True:
            job = connection.call(Fetch([backend.queue]))
            assert job is not None
            connection.call(Ack(job.jid))
            if job.jid == jid:  # others are `hurry`'s
                return job.failure


def test_a_job_that_returns_is_acknowledged(front: Front, backend: Backend) -> None:
    handler = Recorder()
    jid = backend.push("work", 1, "two", [3.5, None], custom={"tenant": "a<b>&c"})
    run_jobs(front, backend, ConsumerBuilder().register("work", handler), lambda: len(handler.jobs) == 1)
    (job,) = handler.jobs
    assert (job.jid, job.args, job.queue, job.attempt) == (jid, [1, "two", [3.5, None]], backend.queue, 1)
    assert job.custom == {"tenant": "a<b>&c"}
    assert job.enqueued_at is not None
    assert job.failure is None
    assert backend.sets()["working"] == 0
    assert backend.sets()["retries"] == 0


def test_many_jobs_run_once_each_in_many_threads(front: Front, backend: Backend) -> None:
    handler = Recorder()
    jobs = [Job("work", [n], queue=backend.queue) for n in range(300)]
    assert backend.client.push_bulk(jobs) == {}
    run_jobs(front, backend, ConsumerBuilder().register("work", handler).workers(8), lambda: len(handler.jobs) >= 300)
    assert sorted(job.jid for job in handler.jobs) == sorted(job.jid for job in jobs)
    assert backend.sets()["working"] == 0


class OddError(Exception):
    pass


def raise_odd(job: Job) -> None:
    raise OddError("no good")


def test_a_job_that_raises_is_failed_with_what_and_where(front: Front, backend: Backend) -> None:
    handler = Recorder(raise_odd)
    jid = backend.push("work", retry=3)
    run_jobs(front, backend, ConsumerBuilder().register("work", handler), lambda: backend.sets()["retries"] == 1)
    failure = failure_of(backend, jid)
    assert (failure.errtype, failure.message, failure.retry_count) == ("OddError", "no good", 0)
    assert "test_contract.py" in failure.backtrace[0]  # it starts at the user's code
    assert any("raise_odd" in line for line in failure.backtrace)
    assert not any("worker.py" in line for line in failure.backtrace)


def test_the_backtrace_has_as_many_lines_as_the_job_asks_for(front: Front, backend: Backend) -> None:
    jid = backend.push("work", retry=3, backtrace=2)
    builder = ConsumerBuilder().register("work", raise_odd)
    run_jobs(front, backend, builder, lambda: backend.sets()["retries"] == 1)
    assert len(failure_of(backend, jid).backtrace) == 2


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("and so does its text")


def leave(job: Job) -> None:
    raise {
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "generator": GeneratorExit(),
        "unspeakable": Unspeakable(),
        "huge": ValueError("x" * 10_000_000),
        "surrogate": ValueError("\ud800"),
    }[job.args[0]]


def test_nothing_that_a_handler_raises_ends_the_worker(front: Front, backend: Backend) -> None:
    """W2, W3."""
    kinds = ["exit", "interrupt", "generator", "unspeakable", "huge", "surrogate"]
    for kind in kinds:
        backend.push("leave", kind, retry=3)
    after = Recorder()
    backend.push("after")
    builder = ConsumerBuilder().register("leave", leave).register("after", after)
    run_jobs(front, backend, builder, lambda: len(after.jobs) == 1 and backend.sets()["retries"] == len(kinds))
    assert backend.sets()["working"] == 0


def test_a_job_without_a_handler_is_failed_with_names_that_come_near(front: Front, backend: Backend) -> None:
    """W8."""
    jid = backend.push("resise", retry=3)
    told: list[tuple[str, str, str]] = []

    def tell(job: Job, error: BaseException) -> None:
        current = current_job()
        assert current is not None
        told.append((job.jid, current.jid, type(error).__name__))

    builder = ConsumerBuilder().register("resize", lambda job: None).on_failure(tell)
    run_jobs(front, backend, builder, lambda: backend.sets()["retries"] == 1)
    assert told[0] == (jid, jid, "UnknownJobType")  # others are `hurry`'s
    failure = failure_of(backend, jid)
    assert failure.errtype == "UnknownJobType"
    assert "'resize'" in failure.message


def test_queues_of_the_apps_jobs_that_are_not_fetched_from_are_told_at_the_start(
    front: Front, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(backend.url)
    app.job(name="resize", queue=backend.queue)(leave_it)
    app.job(name="mail", queue="mails")(leave_it)
    run_jobs(front, backend, app.consumer(), lambda: True)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "this worker does not fetch from queues that its app's jobs go to, so that others have to: mails, with 'mail'"
    ]


def leave_it() -> None: ...


def test_queues_are_served_in_strict_order(front: Front, backend: Backend) -> None:
    handler = Recorder()
    low, high = f"{backend.queue}-low", f"{backend.queue}-high"
    for n in range(5):
        backend.client.push(Job("work", ["low", n], queue=low))
        backend.client.push(Job("work", ["high", n], queue=high))
    builder = ConsumerBuilder().register("work", handler).stop_when(lambda: len(handler.jobs) >= 10)
    assert front.start(builder, backend.url, [high, low]).wait() == 0
    assert [job.args[0] for job in handler.jobs] == ["high"] * 5 + ["low"] * 5


def test_weighted_queues_are_all_served(front: Front, backend: Backend) -> None:
    handler = Recorder()
    names = [f"{backend.queue}-{n}" for n in range(3)]
    for name in names * 20:
        backend.client.push(Job("work", queue=name))
    builder = ConsumerBuilder().register("work", handler).stop_when(lambda: len(handler.jobs) >= 60)
    assert front.start(builder, backend.url, dict.fromkeys(names, 2)).wait() == 0
    assert {job.queue for job in handler.jobs[:30]} == set(names)


def test_run_one_runs_one(front: Front, backend: Backend) -> None:
    handler = Recorder()
    backend.push("work", 1)
    backend.push("work", 2)
    builder = ConsumerBuilder().register("work", handler)
    assert front.run_one(builder, backend.url, [backend.queue])
    assert [job.args for job in handler.jobs] == [[1]]
    assert front.run_one(builder, backend.url, [backend.queue])
    assert not front.run_one(builder, backend.url, [backend.queue])
    assert backend.sets()["working"] == 0


def test_drain_runs_what_is_there_and_what_that_pushes(front: Front, backend: Backend) -> None:
    def work(job: Job) -> None:
        if job.args[0] > 0:
            backend.push("work", job.args[0] - 1)

    backend.push("work", 3)
    backend.client.push(Job("doomed", queue=backend.queue, retry=2))
    builder = ConsumerBuilder().register("work", work).register("doomed", raise_odd).workers(3)
    summary = front.drain(builder, backend.url, [backend.queue])
    assert (summary.succeeded, summary.failed, summary.total) == (4, 1, 5)
    assert backend.fetch_wait * 0.95 < summary.seconds < 8
    assert backend.sets()["working"] == 0


def test_each_line_is_logged_under_the_room_that_an_operator_would_look_in(
    front: Front, ours: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    handler = Recorder(act=lambda job: job.args[0])
    ours.push("work")
    run = front.start(ConsumerBuilder().register("work", handler), ours.url, [ours.queue])
    handler.wait()
    run.consumer.terminate()
    assert run.wait() == 0
    close_log(PATIENCE)
    rooms = {(record.name, record.getMessage().split()[0]) for record in caplog.records}
    assert rooms == {
        ("faktory.consumer", "working"),
        ("faktory.worker", "job"),
        ("faktory.lifecycle", "terminating:"),
        ("faktory.consumer", "ended:"),
    }


def test_quiet_lets_running_jobs_end_and_takes_no_more(front: Front, backend: Backend) -> None:
    go_on = threading.Event()
    handler = Recorder(lambda job: go_on.wait(PATIENCE))
    backend.push("work", 1)
    run = front.start(ConsumerBuilder().register("work", handler).workers(2), backend.url, [backend.queue])
    handler.wait()
    backend.settle()
    run.consumer.quiet()
    backend.end_fetch()
    backend.push("work", 2)
    go_on.set()
    time.sleep(0.3)
    assert len(handler.jobs) == 1
    assert run.consumer.state == "quiet"
    run.consumer.terminate()
    assert run.wait() == 0
    assert backend.sets()["working"] == 0
    assert run.consumer.state == "terminated"


@pytest.mark.parametrize("wanted", ["quiet", "terminate"])
def test_the_server_ends_a_worker_by_its_beat(front: Front, backend: Backend, wanted: Any) -> None:
    """J13: the server enforces it on one connection only, so only we can make all our connections stop fetching."""
    go_on = threading.Event()
    handler = Recorder(lambda job: go_on.wait(PATIENCE))
    backend.push("work", 1)
    quiets: list[str] = []
    builder = (
        ConsumerBuilder()
        .register("work", handler)
        .workers(4)
        .heartbeat_interval(0.05)
        .on_quiet(lambda: quiets.append("quiet"))
    )
    with Recording(int(backend.url.rsplit(":", 1)[1])) as said:
        run = front.start(builder, said.url, [backend.queue])
        handler.wait()
        backend.settle()
        with Connection(backend.url) as connection:
            connection.call(Beat(run.consumer.wid, current_state=wanted))  # what the Web UI's buttons do
        deadline = time.monotonic() + PATIENCE
        while run.consumer.state == "running":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        while said.waiting("FETCH"):  # more than one, perhaps
            assert time.monotonic() < deadline
            backend.hurry()
            time.sleep(0.05)
        backend.push("work", 2)
        go_on.set()
        if wanted == "quiet":
            time.sleep(0.2)
            assert run.consumer.state == "quiet"
            run.consumer.terminate()
        assert run.wait() == 0
        assert len(handler.jobs) == 1
        assert quiets == ["quiet"]
        assert backend.sets()["working"] == 0


def test_terminate_lets_running_jobs_end(front: Front, backend: Backend) -> None:
    """P1."""
    go_on = threading.Event()
    handler = Recorder(lambda job: go_on.wait(PATIENCE))
    for n in range(4):
        backend.push("work", n)
    run = front.start(ConsumerBuilder().register("work", handler).workers(4), backend.url, [backend.queue])
    handler.wait(4)
    run.consumer.terminate()
    assert run.consumer.state == "terminating"
    threading.Timer(0.2, go_on.set).start()
    assert run.wait() == 0
    assert backend.sets() == {"dead": 0, "retries": 0, "scheduled": 0, "working": 0}
    with pytest.raises(ConsumerTerminated):
        front.again(run.consumer, [backend.queue])


@pytest.mark.usefixtures("brief_wind_down")
def test_a_job_that_outlasts_the_shutdown_is_failed_and_its_result_discarded(front: Front, backend: Backend) -> None:
    """P6, P7."""
    go_on = threading.Event()
    handler = Recorder(lambda job: go_on.wait(PATIENCE))
    jid = backend.push("work", retry=5)
    builder = ConsumerBuilder().register("work", handler).shutdown_timeout(0.2)
    run = front.start(builder, backend.url, [backend.queue])
    handler.wait()
    run.consumer.terminate()
    assert run.wait() == 1
    assert backend.sets() == {"dead": 0, "retries": 1, "scheduled": 0, "working": 0}
    go_on.set()
    time.sleep(0.1)
    assert backend.sets()["retries"] == 1
    failure = failure_of(backend, jid)
    assert failure.errtype == "JobCancelled"
    assert "had to stop" in failure.message


def test_a_running_job_learns_from_terminate_on_that_its_worker_ends(front: Front, ours: Backend) -> None:
    """P1."""
    before: list[bool] = []

    def work(job: Job) -> None:
        found = running.get()
        assert found is not None
        before.append(found.stopping)
        limit = time.monotonic() + PATIENCE
        while not found.stopping:
            assert time.monotonic() < limit
            time.sleep(0.005)

    handler = Recorder(work)
    ours.push("work", retry=0)
    run = front.start(ConsumerBuilder().register("work", handler), ours.url, [ours.queue])
    handler.wait()
    run.consumer.terminate()
    assert run.wait() == 0
    assert before == [False]
    assert ours.sets() == {"dead": 0, "retries": 0, "scheduled": 0, "working": 0}


def test_a_job_past_its_time_limit_is_interrupted(front: Front, backend: Backend) -> None:
    cleaned: list[str] = []

    def spin(job: Job) -> None:
        try:
            while True:
                time.sleep(0.001)
        finally:
            cleaned.append(job.jid)

    jid = backend.push("spin", retry=3)
    after = Recorder()
    backend.push("after")
    builder = ConsumerBuilder().register("spin", spin, timeout=0.2).register("after", after)
    run_jobs(front, backend, builder, lambda: len(after.jobs) == 1)
    assert cleaned == [jid]
    failure = failure_of(backend, jid)
    assert failure.errtype == "JobTimeout"
    assert "0.2 s" in failure.message


def test_a_time_limit_that_the_handler_swallows_fails_the_job_all_the_same(front: Front, ours: Backend) -> None:
    """W4."""

    def spin(job: Job) -> None:
        try:
            while True:
                time.sleep(0.001)
        except JobTimeout:
            return

    jid = ours.push("spin", retry=3)
    builder = ConsumerBuilder().register("spin", spin, timeout=0.1)
    summary = front.drain(builder, ours.url, [ours.queue])
    assert (summary.succeeded, summary.failed) == (0, 1)
    assert ours.sets()["working"] == 0
    failure = failure_of(ours, jid)
    assert (failure.errtype, failure.message) == ("JobTimeout", "the job ran past its time limit of 0.1 s")


def test_hooks_are_called_in_their_order_and_may_raise(front: Front, ours: Backend) -> None:
    seen: list[Any] = []

    def broken(*args: Any) -> None:
        raise SystemExit("a hook must not end the worker")

    def work(job: Job) -> None:
        seen.append("job")
        raise OddError("no good")

    ours.push("work", retry=0)
    builder = (
        ConsumerBuilder()
        .register("work", work)
        .on_startup(lambda: seen.append("startup"))
        .on_quiet(broken)
        .on_quiet(lambda: seen.append("quiet"))
        .on_shutdown(broken)
        .on_shutdown(lambda: seen.append("shutdown"))
        .on_failure(broken)
        .on_failure(lambda job, exc: seen.append(("failure", job.attempt, type(exc).__name__)))
        .on_death(broken)
        .on_death(lambda job, exc: seen.append(("death", type(exc).__name__)))
        .stop_when(broken)
        .stop_when(lambda: "job" in seen)
    )
    assert front.start(builder, ours.url, [ours.queue]).wait() == 0
    assert seen == ["startup", "job", ("failure", 1, "OddError"), ("death", "OddError"), "quiet", "shutdown"]


def test_death_is_told_only_after_the_last_retry(front: Front, backend: Backend) -> None:
    deaths: list[int] = []
    failures: list[int] = []
    backend.push("work", retry=1)
    builder = (
        ConsumerBuilder()
        .register("work", raise_odd)
        .on_failure(lambda job, exc: failures.append(job.attempt))
        .on_death(lambda job, exc: deaths.append(job.attempt))
    )
    run = front.start(builder.stop_when(lambda: len(failures) == 2), backend.url, [backend.queue])
    deadline = time.monotonic() + PATIENCE
    while backend.sets()["retries"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert deaths == []
    backend.client.requeue("retries", JobFilter.everything())
    assert run.wait() == 0
    assert (failures, deaths) == ([1, 2], [2])
    assert backend.sets()["dead"] == 1


def test_middleware_wraps_the_handler_outermost_first(front: Front, ours: Backend) -> None:
    seen: list[str] = []

    def wrap(name: str) -> Callable[..., Any]:
        def middleware(job: Job, call_next: Callable[..., Any]) -> Any:
            seen.append(f"{name} in")
            try:
                return call_next()
            finally:
                seen.append(f"{name} out")

        return middleware

    ours.push("work")
    builder = (
        ConsumerBuilder()
        .register("work", lambda job: seen.append("job"))
        .middleware(wrap("outer"))
        .middleware(wrap("inner"))
        .stop_when(lambda: "outer out" in seen)
    )
    assert front.start(builder, ours.url, [ours.queue]).wait() == 0
    assert seen == ["outer in", "inner in", "job", "inner out", "outer out"]


def test_stop_when_is_asked_after_a_fetch_without_a_job_too(front: Front, ours: Backend) -> None:
    """An idle worker may be told to end."""
    wanted = threading.Event()
    run = front.start(ConsumerBuilder().register("work", raise_odd).stop_when(wanted.is_set), ours.url, [ours.queue])
    ours.settle()
    wanted.set()
    ours.hurry()
    started = time.monotonic()
    assert run.wait() == 0
    assert time.monotonic() - started < 6
