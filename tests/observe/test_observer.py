"""The seam: contexts around work, and observers that raise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

import pytest

from faktory import ConfigurationError, Job, JobTimeout
from faktory.observe import Observer, Outcome, Pushing
from faktory.observe.observer import ConnectionEvent, Place, Watch, checked, install, uninstall, watch_of

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
