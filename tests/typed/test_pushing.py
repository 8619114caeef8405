"""`faktory.typed.pushing`: a jid is returned only for a job that was delivered, and for one delivery."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from faktory.core.callables import place_of
from faktory.errors import ConfigurationError, ConnectionLost, InvalidJob, PushDropped, ServerError
from faktory.job import Job
from faktory.typed.pushing import PushFunction, push_all, push_through

Next = Callable[..., str]


class Sink:
    """Takes jobs, or raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.jobs: list[Job] = []
        self._error = error

    def __call__(self, job: Job) -> str:
        if self._error is not None:
            raise self._error
        self.jobs.append(job)
        return job.jid


def go_on(job: Job, call_next: Next) -> str:
    return call_next()


def forget_to_return(job: Job, call_next: Next) -> Any:
    call_next()


def make_something_up(job: Job, call_next: Next) -> str:
    call_next()
    return "another-jid"


@pytest.mark.parametrize("functions", [[], [go_on], [forget_to_return], [go_on, make_something_up, go_on]])
def test_the_jid_is_that_of_the_job_delivered(functions: list[PushFunction]) -> None:
    sink, job = Sink(), Job("work")
    assert push_through(functions, job, sink) == job.jid
    assert sink.jobs == [job]


def test_a_function_may_push_another_job_in_its_place() -> None:
    sink, other = Sink(), Job("other")
    assert push_through([go_on, lambda job, call_next: call_next(other), go_on], Job("work"), sink) == other.jid
    assert sink.jobs == [other]


def test_what_takes_the_place_of_a_job_is_a_job() -> None:
    bad: Any = lambda job, call_next: call_next("other")  # noqa: E731
    sink = Sink()
    with pytest.raises(InvalidJob, match="call_next takes the Job to push in its place, got str"):
        push_through([bad], Job("work"), sink)
    assert sink.jobs == []


def test_a_push_that_goes_on_in_another_thread_has_no_jid_yet() -> None:
    may_end, entered = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def deliver(job: Job) -> str:
        entered.set()
        may_end.wait(5)
        return job.jid

    def elsewhere(job: Job, call_next: Next) -> str:
        threads.append(threading.Thread(target=call_next))
        threads[0].start()
        entered.wait(5)
        return job.jid

    try:
        with pytest.raises(ConfigurationError, match=r"did not wait for call_next\(\).* is stored or not") as failed:
            push_through([elsewhere], Job("work"), deliver)
    finally:
        may_end.set()
        threads[0].join()
    assert place_of(elsewhere) in str(failed.value)


@pytest.mark.parametrize("bad", [lambda job, call_next: job.jid, lambda job, call_next: iter([call_next])])
def test_a_function_that_does_not_go_on_is_an_error_that_names_it(bad: Any) -> None:
    sink = Sink()
    with pytest.raises(
        ConfigurationError, match=r"did not call call_next\(\), so that the job .* was not pushed"
    ) as no:
        push_through([go_on, bad, go_on], Job("work"), sink)
    assert place_of(bad) in str(no.value)
    assert sink.jobs == []


def test_a_second_call_is_an_error_and_stores_nothing_more() -> None:
    sink = Sink()

    def twice(job: Job, call_next: Next) -> str:
        call_next()
        return call_next()

    with pytest.raises(ConfigurationError, match="good for one call within the on_push function"):
        push_through([go_on, twice, go_on], Job("work"), sink)
    assert len(sink.jobs) == 1


def test_a_call_that_comes_later_is_an_error() -> None:
    sink = Sink()
    kept: list[Next] = []

    def later(job: Job, call_next: Next) -> Any:
        kept.append(call_next)

    with pytest.raises(ConfigurationError, match="did not call"):
        push_through([later], Job("work"), sink)
    with pytest.raises(ConfigurationError, match="good for one call"):
        kept[0]()
    assert sink.jobs == []


def drop(job: Job, call_next: Next) -> str:
    raise PushDropped("the feature is off")


def swallow(job: Job, call_next: Next) -> str:
    try:
        return call_next()
    except Exception:
        return job.jid


@pytest.mark.parametrize("functions", [[drop], [go_on, drop], [swallow, drop]])
def test_a_job_dropped_on_purpose_is_told_to_the_caller(functions: list[PushFunction]) -> None:
    sink = Sink()
    with pytest.raises(PushDropped, match="the job was dropped by an on_push function: the feature is off") as dropped:
        push_through(functions, Job("work"), sink)
    assert dropped.value.reason == "the feature is off"
    assert sink.jobs == []


def test_an_error_that_was_swallowed_is_raised_all_the_same() -> None:
    """There is no jid of a job that may be nowhere."""
    with pytest.raises(ConnectionLost, match="gone"):
        push_through([go_on, swallow], Job("work"), Sink(ConnectionLost("gone")))


def test_a_function_may_raise_another_error_in_its_place() -> None:
    def told(job: Job, call_next: Next) -> str:
        try:
            return call_next()
        except ConnectionLost as exc:
            raise PushDropped("kept in a table") from exc

    with pytest.raises(PushDropped, match="kept in a table"):
        push_through([told], Job("work"), Sink(ConnectionLost("gone")))


# -- many -----------------------------------------------------------------------------------------------------------


def through(job: Job, deliver: Callable[[Job], str]) -> str:
    if job.args == ["drop"]:
        raise PushDropped("unlucky")
    if job.args == ["break"]:
        raise OSError("no more")
    return deliver(job)


def test_many_jobs_are_sent_a_thousand_at_a_time_without_those_dropped() -> None:
    sent: list[int] = []

    def send(chunk: list[Job]) -> dict[str, str]:
        sent.append(len(chunk))
        return {}

    jobs = [Job("work", [n]) for n in range(2500)]
    assert push_all([*jobs, Job("work", ["drop"])], through, send) == [job.jid for job in jobs]
    assert push_all(iter(jobs[:5]), through, send) == [job.jid for job in jobs[:5]]
    assert sent == [1000, 1000, 500, 5]


def test_what_ends_it_tells_what_was_stored() -> None:
    def send(chunk: list[Job]) -> dict[str, str]:
        return {job.jid: "no" for job in chunk if job.args == [1]}

    jobs = [Job("work", [n]) for n in range(1003)]
    with pytest.raises(ServerError, match="1 of 1003 jobs were refused") as refused:
        push_all(jobs, through, send)
    assert len(refused.value.stored) == 1002  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="no more") as broken:
        push_all([*jobs, Job("work", ["break"])], through, send)
    assert broken.value.stored == ()  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="no more") as broken:
        push_all(iter([*jobs, Job("work", ["break"])]), through, send)
    assert len(broken.value.stored) == 999  # type: ignore[attr-defined]
