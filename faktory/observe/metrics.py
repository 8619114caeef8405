"""Counts of jobs and pushes, kept by an observer and read by a scrape, under one lock that neither holds for long.

What a worker is doing just now is not counted but asked of it, when the page is made: see `collecting`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from os import getpid
from types import TracebackType
from typing import Final

from ..errors import ConnectionLost, PushOutcomeUnknown, ServerError
from ..job import Job
from .exposition import Family, Sample, histogram_samples, text_of
from .observer import Observer, Outcome, Pushing

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds of the histograms, in seconds."""
UNREGISTERED: Final = "(unregistered)"
"""The label of job types that nothing is registered for: anybody may push any number of them."""
OTHER: Final = "(other)"
"""The label of what comes after the first `MOST_SERIES`."""
MOST_SERIES: Final = 1_000
"""Sets of labels that one metric may have: each costs memory here, and at Prometheus."""


class _Histogram:
    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(BUCKETS) + 1)
        self.total: float = 0.0


class Metrics(Observer):
    """Counts what becomes of jobs and of pushes; `text()` is the page for Prometheus. Thread-safe, safe after a fork.

    A worker with `serve_health` or `--http` has one. For a program that only pushes::

        metrics = faktory.observe.Metrics()
        client = faktory.Client(observers=[metrics])
        ...
        metrics.text()
    """

    def __init__(self) -> None:
        self._is_registered: Callable[[str], bool] = lambda _: True
        self._reset_lock()
        self._jobs: dict[tuple[str, str, str], int] = {}
        self._pushed: dict[tuple[str, str, str], int] = {}
        self._durations: dict[str, _Histogram] = {}
        self._waits: dict[str, _Histogram] = {}

    def know(self, is_registered: Callable[[str], bool]) -> None:
        """Tell job types apart: those for which this is False share one label."""
        self._is_registered = is_registered

    def _reset_lock(self) -> None:
        self._pid = getpid()
        self._lock = threading.Lock()

    def _locked(self) -> threading.Lock:
        if self._pid != getpid():
            self._reset_lock()  # a thread that the fork has not taken along may have held it
        return self._lock

    # -- what is told ------------------------------------------------------------------------------------------------

    def pushing(self, jobs: Pushing) -> AbstractContextManager[object]:
        """Count the jobs of an exchange when it is over."""
        return _Exchange(self, jobs)

    def settled(
        self,
        job: Job,
        outcome: Outcome,
        seconds: float,
        waited: float | None,
        exc: BaseException | None,  # noqa: ARG002
    ) -> None:
        """Count a job, how long it ran, and how long it had waited."""
        jobtype, queue = job.jobtype, job.queue
        if not self._is_registered(jobtype):
            jobtype = UNREGISTERED
        with self._lock if self._pid == getpid() else self._locked():
            key = (jobtype, queue, outcome)
            count = self._jobs.get(key)
            if count is None:
                key = key if len(self._jobs) < MOST_SERIES else (OTHER, OTHER, outcome)
                count = self._jobs.get(key, 0)
            self._jobs[key] = count + 1
            # Without a call for each: this is most of what a job costs more.
            if seconds > 0:
                histogram = self._durations.get(jobtype) or _histogram(self._durations, jobtype)
                histogram.counts[bisect_left(BUCKETS, seconds)] += 1
                histogram.total += seconds
            if waited is not None:
                waited = waited if waited > 0 else 0.0
                histogram = self._waits.get(queue) or _histogram(self._waits, queue)
                histogram.counts[bisect_left(BUCKETS, waited)] += 1
                histogram.total += waited

    def count_pushed(self, jobs: Pushing, result: str) -> None:
        """Count the jobs of an exchange: those refused as such, the rest by how the exchange went."""
        with self._locked():
            for job in jobs:
                key = (job.jobtype, job.queue, "refused" if job.jid in jobs.refused else result)
                if key not in self._pushed and len(self._pushed) >= MOST_SERIES:
                    key = (OTHER, OTHER, key[2])
                self._pushed[key] = self._pushed.get(key, 0) + 1

    # -- what is read ------------------------------------------------------------------------------------------------

    def families(self) -> list[Family]:
        """Return a copy of what was counted so far."""
        with self._locked():
            jobs, pushed = list(self._jobs.items()), list(self._pushed.items())
            durations = [(name, list(each.counts), each.total) for name, each in self._durations.items()]
            waits = [(name, list(each.counts), each.total) for name, each in self._waits.items()]
        counted = ("jobtype", "queue", "outcome")
        return [
            _counter("faktory_worker_jobs_total", "Jobs by what became of them.", counted, jobs),
            _family("faktory_worker_job_duration_seconds", "How long handlers ran.", "jobtype", durations),
            _family("faktory_worker_job_wait_seconds", "How long jobs waited in their queue.", "queue", waits),
            _counter("faktory_client_pushed_total", "Pushed jobs by result.", ("jobtype", "queue", "result"), pushed),
        ]

    def text(self) -> str:
        """Return what was counted in Prometheus' text format."""
        return text_of(self.families())

    def __repr__(self) -> str:
        return f"<Metrics of {sum(self._jobs.values())} jobs, {sum(self._pushed.values())} pushes>"


class _Exchange:
    """One push, from before it is sent until its result is known."""

    __slots__ = ("_jobs", "_metrics")

    def __init__(self, metrics: Metrics, jobs: Pushing) -> None:
        self._metrics = metrics
        self._jobs = jobs

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None) -> None:
        self._metrics.count_pushed(self._jobs, result_of(exc))


def result_of(exc: BaseException | None) -> str:
    """Return what a push has come to, by what it raised: "stored", "refused", "unknown" or "failed"."""
    if exc is None:
        return "stored"
    if isinstance(exc, ServerError):
        return "refused"
    if isinstance(exc, PushOutcomeUnknown) or (isinstance(exc, ConnectionLost) and exc.maybe_executed):
        return "unknown"
    return "failed"


def _histogram(found: dict[str, _Histogram], label: str) -> _Histogram:
    """Return the histogram of a label that has none yet: one of its own, or that of all the others."""
    return found.setdefault(label if len(found) < MOST_SERIES else OTHER, _Histogram())


def _counter(name: str, what: str, labels: tuple[str, ...], counts: Iterable[tuple[tuple[str, ...], int]]) -> Family:
    samples = (Sample("", tuple(zip(labels, key, strict=True)), count) for key, count in counts)
    return Family(name, "counter", what, tuple(samples))


def _family(name: str, what: str, label: str, found: list[tuple[str, list[int], float]]) -> Family:
    samples = (
        sample for key, counts, total in found for sample in histogram_samples(((label, key),), BUCKETS, counts, total)
    )
    return Family(name, "histogram", what, tuple(samples))
