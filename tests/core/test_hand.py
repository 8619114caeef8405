"""`faktory.core.hand`: the job that runs is not pushed again."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from faktory import InvalidJob, Job
from faktory.core.hand import in_hand, refuse_in_hand


@pytest.fixture
def job() -> Iterator[Job]:
    job = Job("work", [1])
    token = in_hand.set(SimpleNamespace(job=job))
    yield job
    in_hand.reset(token)


def test_the_job_that_runs_and_its_likes_are_refused_with_what_to_write(job: Job) -> None:
    for again in (job, Job("work", [2], jid=job.jid)):
        with pytest.raises(
            InvalidJob, match=r"runs just now.*raise faktory\.Retry.*Job\(job\.jobtype, job\.args"
        ) as caught:
            refuse_in_hand(again)
        assert caught.value.jid == job.jid


def test_others_are_not(job: Job) -> None:
    refuse_in_hand(Job(job.jobtype, job.args))


def test_outside_of_jobs_nothing_is() -> None:
    refuse_in_hand(Job("work", [1]))
