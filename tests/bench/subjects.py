"""What is measured, each in a process of its own: `python -m tests.bench.subjects NAME URL QUEUE JSON`.

Prints one JSON object. A drain is timed from its first job to its last, so that starting and ending do not count.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

Result = dict[str, float]


class Meter:
    """A handler that does nothing but count, from the first job to the last.

    `warm` jobs come before the first, so that all workers have begun.
    """

    def __init__(self, count: int, warm: int = 0) -> None:
        self.enough = threading.Event()
        self._first = warm + 1
        self._last = warm + count
        self._count = count
        self._done = 0
        self._start = self._end = (0.0, 0.0)

    def __call__(self, job: object) -> None:
        # Two threads may share a number: at the end one more job, or one less, is no difference.
        self._done = done = self._done + 1
        if done == self._first:
            self._start = (time.monotonic(), time.process_time())
        elif done == self._last:
            self._end = (time.monotonic(), time.process_time())
            self.enough.set()

    def result(self) -> Result:
        seconds, cpu = (end - start for start, end in zip(self._start, self._end, strict=True))
        return {"jobs_per_s": (self._count - 1) / seconds, "cpu_us": cpu / (self._count - 1) * 1e6}


def resident_mb() -> float:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


# -- draining ---------------------------------------------------------------------------------------------------------


def listed(queue: str, queues: int) -> list[str]:
    """Return so many queues: the one with the jobs, behind those that are empty."""
    return [*(f"{queue}-{number}" for number in range(queues - 1)), queue]


def drain(url: str, queue: str, count: int, threads: int, warm: int = 0, queues: int = 1) -> Result:
    from faktory import ConsumerBuilder

    meter = Meter(count, warm)
    consumer = ConsumerBuilder().register("nop", meter).workers(threads).connect(url)
    runner = threading.Thread(target=consumer.run, args=[listed(queue, queues)])
    runner.start()
    meter.enough.wait()
    consumer.terminate()
    runner.join()
    return meter.result()


def bare_drain(
    url: str, queue: str, count: int, threads: int, warm: int = 0, queues: int = 1, nap: float = 0.0
) -> Result:
    from tests.bench.bare import consume

    meter = Meter(count, warm)

    def handle_slowly(job: object) -> None:
        time.sleep(nap)
        meter(job)

    consume(url, listed(queue, queues), threads, handle_slowly if nap else meter, meter.enough)
    return meter.result()


def asyncio_drain(url: str, queue: str, count: int, threads: int, warm: int = 0, nap: float = 0.0) -> Result:
    import asyncio

    return asyncio.run(_async_drain("connect_asyncio", url, queue, Meter(count, warm), threads, nap))


def trio_drain(url: str, queue: str, count: int, threads: int) -> Result:
    import trio

    return trio.run(_async_drain, "connect_trio", url, queue, Meter(count), threads)


async def _async_drain(connect: str, url: str, queue: str, meter: Meter, workers: int, nap: float = 0.0) -> Result:
    import asyncio

    from faktory import ConsumerBuilder

    async def handle(job: object) -> None:
        if nap:
            await asyncio.sleep(nap)
        meter(job)
        if meter.enough.is_set():
            consumer.terminate()

    builder = ConsumerBuilder().register("nop", handle).workers(workers)
    async with await getattr(builder, connect)(url) as consumer:
        await consumer.run([queue])
    return meter.result()


def isolated_drain(url: str, queue: str, count: int, processes: int, max_jobs: int | None = None) -> Result:
    from faktory import ConsumerBuilder

    meter = Meter(count)

    def is_enough() -> bool:  # asked here after each job, though that ran in a child
        meter(None)
        return meter.enough.is_set()

    builder = ConsumerBuilder().register("nop", nothing).processes(processes, max_jobs_per_child=max_jobs)
    with builder.stop_when(is_enough).connect(url) as consumer:
        consumer.run([queue])
    return meter.result()


def nothing(job: object) -> None:
    pass


# -- pushing ----------------------------------------------------------------------------------------------------------


def push(url: str, queue: str, count: int, size: int = 0) -> Result:
    from faktory import Client, Job

    more = ["x" * size] if size else []
    with Client(url) as client:
        client.push(Job("nop", [0], queue=queue, retry=0))
        return _timed(count, lambda n: client.push(Job("nop", [n, *more], queue=queue, retry=0)))


def bare_push(url: str, queue: str, count: int, size: int = 0) -> Result:
    from tests.bench.bare import Bare, document

    bare = Bare(url)

    def one(number: int) -> None:
        job = document(queue, number, os.urandom(12).hex(), size)
        bare.call(b"PUSHB [" + json.dumps(job, separators=(",", ":")).encode() + b"]\r\n")

    one(0)
    return _timed(count, one)


def bulk(url: str, queue: str, count: int) -> Result:
    from faktory import Client, Job

    with Client(url) as client:
        client.push(Job("nop", [0], queue=queue, retry=0))
        before, started, cpu = resident_mb(), time.monotonic(), time.process_time()
        refused = client.push_bulk(Job("nop", [n], queue=queue, retry=0) for n in range(count))
        assert not refused
        return _rate(count, started, cpu) | {"growth_mb": resident_mb() - before}


def bare_bulk(url: str, queue: str, count: int) -> Result:
    from tests.bench.bare import Bare, document

    bare = Bare(url)
    before, started, cpu = resident_mb(), time.monotonic(), time.process_time()
    for start in range(0, count, 1000):
        jobs = [document(queue, n, os.urandom(12).hex()) for n in range(start, start + 1000)]
        bare.call(b"PUSHB " + json.dumps(jobs, separators=(",", ":")).encode() + b"\r\n")
    return _rate(count, started, cpu) | {"growth_mb": resident_mb() - before}


def _timed(count: int, act: Any) -> Result:
    started, cpu = time.monotonic(), time.process_time()
    for number in range(count):
        act(number)
    return _rate(count, started, cpu)


def _rate(count: int, started: float, cpu: float) -> Result:
    seconds, busy = time.monotonic() - started, time.process_time() - cpu
    return {"jobs_per_s": count / seconds, "cpu_us": busy / count * 1e6}


# -- waiting ----------------------------------------------------------------------------------------------------------


class Clock:
    """A handler that notes how long each job was on its way."""

    def __init__(self, count: int) -> None:
        self.enough = threading.Event()
        self._count = count
        self._waits: list[int] = []

    def note(self, pushed_at: int) -> None:
        self._waits.append(time.monotonic_ns() - pushed_at)
        if len(self._waits) == self._count:
            self.enough.set()

    def result(self) -> Result:
        waits = sorted(self._waits[len(self._waits) // 10 :])  # the first ones warm up
        return {"p50_us": waits[len(waits) // 2] / 1e3, "p99_us": waits[len(waits) * 99 // 100] / 1e3}


def latency(url: str, queue: str, count: int, threads: int) -> Result:
    from faktory import ConsumerBuilder

    clock = Clock(count)
    consumer = ConsumerBuilder().register("nop", lambda job: clock.note(job.args[0])).workers(threads).connect(url)
    runner = threading.Thread(target=consumer.run, args=[[queue]])
    runner.start()
    _ready()
    clock.enough.wait()
    consumer.terminate()
    runner.join()
    return clock.result()


def bare_latency(url: str, queue: str, count: int, threads: int) -> Result:
    from tests.bench.bare import consume

    clock = Clock(count)
    threading.Timer(0.3, _ready).start()
    consume(url, [queue], threads, lambda job: clock.note(job["args"][0]), clock.enough)
    return clock.result()


def idle(url: str, queue: str, threads: int) -> Result:
    from faktory import ConsumerBuilder

    consumer = ConsumerBuilder().register("nop", nothing).workers(threads).connect(url)
    runner = threading.Thread(target=consumer.run, args=[[queue]])
    runner.start()
    time.sleep(1.0)
    memory = resident_mb()
    consumer.terminate()
    runner.join()
    return {"resident_mb": memory}


def bare_idle(url: str, queue: str, threads: int) -> Result:
    import logging  # noqa: F401  # a worker has it

    from tests.bench.bare import consume

    enough = threading.Event()
    runner = threading.Thread(target=consume, args=[url, [queue], threads, nothing, enough])
    runner.start()
    time.sleep(1.0)
    memory = resident_mb()
    enough.set()
    runner.join()
    return {"resident_mb": memory}


def _ready() -> None:
    print("ready", flush=True)


# -- alone ------------------------------------------------------------------------------------------------------------


def imports(url: str, queue: str) -> Result:
    import logging  # noqa: F401
    import socket  # noqa: F401

    started = time.perf_counter()
    import faktory

    imported = time.perf_counter()
    _ = faktory.Client, faktory.ConsumerBuilder
    return {"ms": (imported - started) * 1e3, "all_ms": (time.perf_counter() - started) * 1e3}


def parser(url: str, queue: str, count: int) -> Result:
    from faktory.protocol.wire import NEED_DATA, ReplyParser

    job = b'{"jid":"0123456789ab","queue":"default","jobtype":"nop","args":[1],"retry":25}'
    data = (b"+OK\r\n$%d\r\n%b\r\n" % (len(job), job)) * 20

    def replies() -> Iterator[object]:
        replies = ReplyParser()
        for _ in range(count // 40):
            replies.feed(data)
            while (reply := replies.next_reply()) is not NEED_DATA:
                yield reply

    started = time.process_time()
    parsed = sum(1 for _ in replies())
    return {"cpu_us": (time.process_time() - started) / parsed * 1e6}


def peak_mb() -> float:
    """Return the most memory that was resident; the one of `getrusage` may be that of the process that started us."""
    with open("/proc/self/status") as file:  # noqa: PTH123
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1e3


def main(functions: dict[str, Any]) -> None:
    name, url, queue, parameters = sys.argv[1:5]
    result: Result = functions[name](url, queue, **json.loads(parameters))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps(result | {"total_cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": peak_mb()}), flush=True)


if __name__ == "__main__":
    main(globals())
