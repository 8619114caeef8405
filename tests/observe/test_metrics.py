"""What is counted of jobs and pushes."""

from __future__ import annotations

import os
from typing import Any

import pytest

from faktory import ConnectionLost, Job, NotUnique, PushOutcomeUnknown
from faktory.observe import Metrics, Pushing
from faktory.observe.metrics import MOST_SERIES, OTHER, UNREGISTERED


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample of its page: name and values of labels to value."""
    return {
        (family.name + sample.suffix, *(value for _, value in sample.labels)): sample.value
        for family in metrics.families()
        for sample in family.samples
    }


def test_a_job_is_counted_with_its_times() -> None:
    metrics = Metrics()
    metrics.settled(Job("resize", queue="images"), "succeeded", 0.02, 3.0, None)
    metrics.settled(Job("resize", queue="images"), "failed", 2.0, -1.0, ValueError())
    found = samples(metrics)
    assert found["faktory_worker_jobs_total", "resize", "images", "succeeded"] == 1
    assert found["faktory_worker_jobs_total", "resize", "images", "failed"] == 1
    duration = "faktory_worker_job_duration_seconds"
    assert found[f"{duration}_bucket", "resize", "0.01"] == 0
    assert found[f"{duration}_bucket", "resize", "0.025"] == 1
    assert found[f"{duration}_bucket", "resize", "1800"] == 2
    assert found[f"{duration}_sum", "resize"] == pytest.approx(2.02)
    assert found["faktory_worker_job_wait_seconds_sum", "images"] == 3.0  # never below 0
    assert found["faktory_worker_job_wait_seconds_bucket", "images", "0.005"] == 1


def test_a_value_on_a_bound_is_within_it() -> None:
    metrics = Metrics()
    metrics.settled(Job("a"), "succeeded", 0.005, None, None)
    assert samples(metrics)["faktory_worker_job_duration_seconds_bucket", "a", "0.005"] == 1


def test_types_that_nothing_is_registered_for_share_a_label() -> None:
    metrics = Metrics()
    metrics.know({"known"}.__contains__)
    for jobtype in ("known", "x", "y"):
        metrics.settled(Job(jobtype), "dead", 0.0, None, None)
    found = samples(metrics)
    assert found["faktory_worker_jobs_total", UNREGISTERED, "default", "dead"] == 2
    assert found["faktory_worker_jobs_total", "known", "default", "dead"] == 1
    assert not [key for key in found if key[0].startswith("faktory_worker_job_duration")]  # none of them ran


def test_pushes_are_counted_by_result() -> None:
    metrics = Metrics()
    jobs = Pushing([Job("a", jid="12345678"), Job("a", jid="12345679"), Job("b")])
    with metrics.pushing(jobs):
        jobs.refused["12345678"] = "no"
    errors: list[tuple[Exception, str]] = [
        (NotUnique("NOTUNIQUE", "x"), "refused"),
        (PushOutcomeUnknown("x", ["12345678"]), "unknown"),
        (ConnectionLost("x", maybe_executed=True), "unknown"),
        (ConnectionLost("x", maybe_executed=False), "failed"),
    ]
    for error, _ in errors:
        with pytest.raises(type(error)), metrics.pushing(Pushing([Job("c")])):
            raise error
    found = {key[1:]: value for key, value in samples(metrics).items()}
    assert found == {
        ("a", "default", "stored"): 1,
        ("a", "default", "refused"): 1,
        ("b", "default", "stored"): 1,
        ("c", "default", "refused"): 1,
        ("c", "default", "unknown"): 2,
        ("c", "default", "failed"): 1,
    }


@pytest.mark.slow
def test_the_number_of_label_sets_is_bounded() -> None:
    metrics = Metrics()
    for number in range(MOST_SERIES + 10):
        job = Job(f"t{number}", queue=f"q{number}")
        metrics.settled(job, "succeeded", 1.0, 1.0, None)
        with metrics.pushing(Pushing([job])):
            pass
    found = samples(metrics)
    assert found["faktory_worker_jobs_total", OTHER, OTHER, "succeeded"] == 10
    assert found["faktory_client_pushed_total", OTHER, OTHER, "stored"] == 10
    assert found["faktory_worker_job_duration_seconds_count", OTHER] == 10
    assert found["faktory_worker_job_wait_seconds_count", OTHER] == 10


def test_a_fork_counts_on_though_a_thread_held_the_lock() -> None:
    metrics = Metrics()
    with metrics._locked():
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                metrics.settled(Job("a"), "succeeded", 1.0, None, None)
                code = 0 if "succeeded" in metrics.text() else 2
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_its_repr_tells_how_much_was_counted() -> None:
    metrics: Any = Metrics()
    metrics.settled(Job("a"), "succeeded", 1.0, None, None)
    assert repr(metrics) == "<Metrics of 1 jobs, 0 pushes>"
