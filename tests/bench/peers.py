"""Other workers beside ours, where there are any: in these rows "bare" is the peer.

* `pyfaktory` and `faktory` of PyPI, where the interpreter has them. The latter is called as our package: have it in an
  environment without ours, and start the benchmark from the source, which comes first.
* The official worker, in Go: a program named by FAKTORY_BENCH_GO, or `faktory-bench-go` on PATH. It is called with URL,
  QUEUE and `{"count": N, "threads": N}`; it drains N jobs of the type `nop` with so many goroutines, and prints
  `{"jobs_per_s": ..., "cpu_us": ...}`, timed once all goroutines have begun.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from tests.bench.contest import CPU, JOBS, Contest
from tests.bench.subjects import Meter, Result, main, nothing

GO = os.environ.get("FAKTORY_BENCH_GO") or shutil.which("faktory-bench-go")


def contests(jobs: int) -> list[Contest]:
    """Return the contests, also those that must be skipped here."""
    few = max(20, jobs // 100)
    children, threads = {"count": jobs // 5, "processes": 4}, {"count": jobs // 2, "threads": 4}
    no_go = "" if GO else "neither FAKTORY_BENCH_GO nor `faktory-bench-go` on PATH"
    return [
        Contest(
            "our 4 children beside pyfaktory's", "isolated_drain", "peers:pyfaktory_drain", children,
            (JOBS,), jobs // 2, bare_parameters={"count": few, "workers": 4}, skipped=_lack_of("pyfaktory"),
        ),
        Contest(
            "our 4 children beside faktory's", "isolated_drain", "peers:faktory_drain", children,
            (JOBS,), jobs // 2, bare_parameters={"count": few, "workers": 4, "use_threads": False},
            skipped=_lack_of("faktory"),
        ),
        Contest(
            "our 4 threads beside faktory's", "drain", "peers:faktory_drain", threads, (JOBS,), jobs // 2,
            bare_parameters={"count": few, "workers": 4, "use_threads": True}, skipped=_lack_of("faktory"),
        ),
        *(
            Contest(
                f"our {workers} threads beside goroutines of the Go worker", "drain", GO or "",
                {"count": jobs // 2, "threads": workers}, (JOBS, CPU), jobs // 2, skipped=no_go,
            )
            for workers in (4, 20)
        ),
    ]  # fmt: skip


def _lack_of(name: str) -> str:
    try:
        distribution(name)
    except PackageNotFoundError:
        return f"{name} is not installed"
    return ""


def pyfaktory_drain(url: str, queue: str, count: int, workers: int) -> Result:
    peer = importlib.import_module("pyfaktory")
    meter = Meter(count)

    class Consumer(peer.Consumer):  # type: ignore[misc, name-defined]
        def task_done(self, future: Any) -> None:
            super().task_done(future)
            meter(None)

    client = peer.Client(url, role="consumer")
    client.connect()
    consumer = Consumer(client=client, queues=[queue], concurrency=workers)
    consumer.register("nop", nothing)
    return _until_enough(consumer.run, meter)


def faktory_drain(url: str, queue: str, count: int, workers: int, *, use_threads: bool) -> Result:
    sys.path.insert(0, str(distribution("faktory").locate_file("")))  # ahead of ours, which this process does not use
    peer = importlib.import_module("faktory.worker")
    meter = Meter(count)

    class Worker(peer.Worker):  # type: ignore[misc, name-defined]
        def _ack(self, jid: str) -> None:
            super()._ack(jid)
            meter(None)

    worker = Worker(url, queues=[queue], concurrency=workers, use_threads=use_threads)
    worker.register("nop", nothing)
    return _until_enough(worker.run, meter)


def _until_enough(run: Callable[[], object], meter: Meter) -> Result:
    """Run a peer in a thread that ends with the process: their own ends take long."""
    threading.Thread(target=run, daemon=True).start()
    meter.enough.wait()
    return meter.result()


if __name__ == "__main__":
    main(globals())
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(0)  # whatever of the peer still runs
