"""The seam: contexts around work, and observers that raise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import NoReturn, cast

import pytest

import faktory.observe
from faktory import ConfigurationError, Job, JobCancelled, JobTimeout
from faktory.core.failure import Report, ReportedFailure
from faktory.observe import Observer, Outcome, Pushing
from faktory.observe.observer import ConnectionEvent, Place, Watch, checked, install, installed, uninstall, watch_of

JOB = Job("resize")


class Recorder(Observer):
    """Notes all that it is told."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name = name
        self.told = told

    @contextmanager
    def pushing(self, jobs: Pushing) -> Generator[None, None, None]:
        self.told.append(f"{self.name} pushing {len(jobs)}")
        try:
            yield
        finally:
            self.told.append(f"{self.name} pushed, {len(jobs.refused)} refused")

    @contextmanager
    def working(self, job: Job) -> Generator[None, None, None]:
        self.told.append(f"{self.name} enters")
        try:
            yield
        except BaseException as exc:
            self.told.append(f"{self.name} sees {type(exc).__name__}")
            raise
        finally:
            self.told.append(f"{self.name} leaves")

    def settled(
        self, job: Job, outcome: Outcome, seconds: float, waited: float | None, exc: BaseException | None
    ) -> None:
        self.told.append(f"{self.name} {outcome}")

    def connection(self, event: ConnectionEvent) -> None:
        self.told.append(f"{self.name} {event}")


class Bad(Observer):
    """Raises wherever it can."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def pushing(self, jobs: Pushing) -> AbstractContextManager[object]:
        raise self.error

    def working(self, job: Job) -> AbstractContextManager[object]:
        raise self.error

    def settled(
        self, job: Job, outcome: Outcome, seconds: float, waited: float | None, exc: BaseException | None
    ) -> None:
        raise self.error

    def connection(self, event: ConnectionEvent) -> None:
        raise self.error

    def attached(self, place: Place) -> None:
        raise self.error

    def flush(self) -> None:
        raise self.error


class BadInside(Observer):
    """Raises when its contexts are entered, or left."""

    def __init__(self, error: BaseException, *, at_start: bool) -> None:
        self.error = error
        self.at_start = at_start

    @contextmanager
    def working(self, job: Job) -> Generator[None, None, None]:
        if self.at_start:
            raise self.error
        yield
        raise self.error


class Swallowing(Observer):
    @contextmanager
    def working(self, job: Job) -> Generator[None, None, None]:
        try:
            yield
        except ValueError:
            return


def test_an_observer_that_overrides_nothing_sees_nothing_and_harms_nothing() -> None:
    watch = Watch([Observer()])
    with watch.pushing(Pushing([JOB])), watch.working(JOB):
        pass
    watch.settled(JOB, "succeeded", 1.0, None, None)
    watch.connection("lost")
    watch.attached(Place("localhost", 7419, "0123456789abcdef"))
    watch.flush()


def test_the_first_observer_is_the_outermost() -> None:
    told: list[str] = []
    watch = Watch([Recorder("a", told), Recorder("b", told)])
    with watch.working(JOB):
        told.append("work")
    assert told == ["a enters", "b enters", "work", "b leaves", "a leaves"]
    del told[:]
    watch.settled(JOB, "failed", 1.0, 2.0, ValueError())
    watch.connection("lost")
    with watch.pushing(Pushing([JOB, JOB])) as _:
        pass
    assert told == [
        *("a failed", "b failed", "a lost", "b lost"),
        *("a pushing 2", "b pushing 2", "b pushed, 0 refused", "a pushed, 0 refused"),
    ]


def test_an_exception_passes_through_all_contexts() -> None:
    told: list[str] = []
    watch = Watch([Recorder("a", told), Swallowing(), Recorder("b", told)])
    with pytest.raises(ValueError, match="the handler's"), watch.working(JOB):
        raise ValueError("the handler's")
    assert told == ["a enters", "b enters", "b sees ValueError", "b leaves", "a sees ValueError", "a leaves"]


def test_a_context_that_raises_the_handlers_exception_once_more_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    class Again:
        def __enter__(self) -> None: ...

        def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
            if exc is not None:
                raise exc

    class Raising(Observer):
        def working(self, job: Job) -> AbstractContextManager[None]:
            return Again()

    told: list[str] = []
    with pytest.raises(ValueError, match="the handler's"), Watch([Recorder("a", told), Raising()]).working(JOB):
        raise ValueError("the handler's")
    assert told == ["a enters", "a sees ValueError", "a leaves"]
    assert caplog.records == []


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=repr)
def test_an_observer_that_raises_is_logged_and_the_others_are_told(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    watch = Watch([Recorder("a", told), Bad(error), Recorder("b", told)])
    calls: list[Callable[[], object]] = [
        lambda: watch.settled(JOB, "dead", 1.0, None, None),
        lambda: watch.connection("connected"),
        lambda: watch.attached(Place("localhost", 7419)),
        watch.flush,
        lambda: watch.working(JOB).__enter__(),
        lambda: watch.pushing(Pushing([JOB])).__enter__(),
    ]
    for call in calls:
        call()
    assert told == [
        *("a dead", "b dead", "a connected", "b connected", "a enters", "b enters"),
        *("a pushing 1", "b pushing 1"),
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"the observer Bad raised in {name}"
        for name in ("settled", "connection", "attached", "flush", "working", "pushing")
    ]
    assert all(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


@pytest.mark.parametrize("at_start", [True, False])
def test_a_context_that_raises_changes_nothing_for_the_job(at_start: bool, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    watch = Watch([Recorder("a", told), BadInside(KeyError("x"), at_start=at_start), Recorder("b", told)])
    with watch.working(JOB):
        told.append("work")
    assert told == ["a enters", "b enters", "work", "b leaves", "a leaves"]
    assert "the observer BadInside raised in working" in caplog.text


@pytest.mark.parametrize("at_start", [True, False])
def test_an_interrupt_that_strikes_in_an_observer_is_the_jobs(at_start: bool, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    watch = Watch([Recorder("a", told), BadInside(JobTimeout("late"), at_start=at_start)])
    with pytest.raises(JobTimeout), watch.working(JOB):
        told.append("work")
    assert told[0] == "a enters"
    assert told[-1] == "a leaves"
    assert ("work" in told) is not at_start
    assert caplog.text == ""


def test_an_exception_that_cannot_be_told_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Untellable(Exception):
        def __str__(self) -> str:
            raise ValueError

    caplog.handler.handleError = lambda record: (_ for _ in ()).throw(OSError())  # type: ignore[method-assign]
    caplog.handler.setFormatter(logging.Formatter("%(message)s"))
    Watch([Bad(Untellable())]).connection("lost")


def test_what_is_no_observer_is_refused() -> None:
    for wrong, word in ((object(), "got object"), (Observer, "the class Observer"), (None, "got NoneType")):
        with pytest.raises(ConfigurationError, match=word):
            checked(wrong)
    observer = Observer()
    watch = Watch([observer])
    with pytest.raises(ConfigurationError, match="there already"):
        watch.add(observer)
    assert watch.observers == (observer,)


def test_only_what_works_goes_to_children() -> None:
    assert Observer().for_children() is None
    assert Swallowing().for_children() == (Swallowing, {})


def test_an_installed_observer_sees_all_that_is_made_later() -> None:
    mine, other = Observer(), Observer()
    assert watch_of([]) is None
    install(mine)
    try:
        with pytest.raises(ConfigurationError, match="there already"):
            install(mine)
        watch = watch_of([other, mine])
        assert watch is not None
        assert watch.observers == (mine, other)
    finally:
        uninstall(mine)
    assert watch_of([]) is None


def test_every_installed_observer_can_be_asked_for() -> None:
    mine = Observer()
    install(mine)
    assert installed() == (mine,)
    uninstall(mine)
    assert installed() == ()


def test_those_that_go_around_handlers_are_known() -> None:
    assert not Watch([Observer()]).has_workers
    assert Watch([Observer(), Swallowing()]).has_workers


def test_a_job_whose_custom_was_replaced_is_encoded_anew() -> None:
    plain, marked = Job("plain"), Job("marked")
    jobs = Pushing([plain, marked])
    marked.custom = {"trace": "1"}
    assert jobs.encoded([b"plain as it was", b"marked as it was"], lambda job: str(job.custom).encode()) == [
        b"plain as it was",
        b"{'trace': '1'}",
    ]


# -- around a handler -----------------------------------------------------------------------------------------------


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def work() -> NoReturn:
        raise error

    return work


def test_a_plain_handler_runs_within_the_observers() -> None:
    told: list[str] = []

    def work() -> int:
        told.append("work")
        return 7

    assert Watch([Recorder("a", told)]).around(JOB, work) == 7
    assert told == ["a enters", "work", "a leaves"]
    del told[:]
    with pytest.raises(KeyError):
        Watch([Recorder("a", told)]).around(JOB, raising(KeyError("x")))
    assert told == ["a enters", "a sees KeyError", "a leaves"]


def test_an_async_handler_is_awaited_within_the_observers() -> None:
    told: list[str] = []

    async def work(error: BaseException | None) -> int:
        await asyncio.sleep(0)
        told.append("work")
        if error is not None:
            raise error
        return 7

    async def main(error: BaseException | None) -> int:
        found = Watch([Recorder("a", told)]).around(JOB, lambda: work(error))
        assert "a leaves" not in told
        return cast(int, await found)

    assert asyncio.run(main(None)) == 7
    assert told == ["a enters", "work", "a leaves"]
    del told[:]
    with pytest.raises(KeyError):
        asyncio.run(main(KeyError("x")))
    assert told == ["a enters", "work", "a sees KeyError", "a leaves"]


# -- what became of a job -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry", "error", "settled_as", "outcome"),
    [
        (25, None, None, "succeeded"),
        (25, None, "retried", "retried"),
        (25, None, "discarded", "discarded"),
        (25, ValueError("no"), None, "failed"),
        (0, ValueError("no"), None, "dead"),
        (0, JobTimeout("late"), None, "dead"),
        (0, JobCancelled("cut off"), None, "cut_off"),
        (25, ReportedFailure(Report("JobCancelled", "cut off")), None, "cut_off"),
        (25, ReportedFailure(Report("ValueError", "no")), None, "failed"),
        (0, ReportedFailure(Report("ValueError", "no")), None, "dead"),
    ],
)
def test_observers_are_told_what_became_of_a_job(
    retry: int, error: BaseException | None, settled_as: str | None, outcome: Outcome
) -> None:
    told: list[str] = []
    Watch([Recorder("a", told)]).ended(Job("work", retry=retry), 1.0, error, settled_as=settled_as)
    assert told == [f"a {outcome}"]


@pytest.mark.parametrize(("ago", "ran", "expected"), [(None, 1.0, None), (10.0, 4.0, 6.0), (10.0, 40.0, 0.0)])
def test_observers_are_told_how_long_a_job_has_waited(ago: float | None, ran: float, expected: float | None) -> None:
    class Clock(Observer):
        def settled(
            self, job: Job, outcome: Outcome, seconds: float, waited: float | None, exc: BaseException | None
        ) -> None:
            told.append((seconds, waited))

    told: list[tuple[float, float | None]] = []
    document: dict[str, object] = {"jid": "job-00001", "jobtype": "work", "args": []}
    if ago is not None:
        document["enqueued_at"] = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
    Watch([Clock()]).ended(Job.from_document(document), ran, None)
    ((seconds, waited),) = told
    assert seconds == ran
    assert waited == (None if expected is None else pytest.approx(expected, abs=1.0))


def test_an_observer_whose_exception_cannot_be_logged_is_named_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if record.exc_info:
                raise OSError("no room on the disk")
            return True

    log, failing = logging.getLogger("faktory.observe"), Failing()
    log.addFilter(failing)
    try:
        Watch([Bad(ValueError("no"))]).connection("lost")
    finally:
        log.removeFilter(failing)
    assert caplog.messages == ["the observer Bad raised what cannot be told"]


def test_the_public_names_are_found_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(faktory.observe.__all__) <= set(dir(faktory.observe))
    for name in faktory.observe.__all__:
        monkeypatch.delitem(vars(faktory.observe), name, raising=False)  # as it is before somebody asks for it
        assert getattr(faktory.observe, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Observers'"):
        _ = faktory.observe.Observers
