"""Checksum every file under a folder with Faktory jobs: `python -m examples.quickstart [folder]`.

Uses the server at FAKTORY_URL when that is set, else one of its own inside this process.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from typing import TextIO

import faktory
from faktory import Client, ConsumerBuilder, Job, JobFilter

THREADS = 4


class Progress:
    """How far it is: one line that renews itself on a terminal, a line now and then elsewhere."""

    def __init__(self, total: int, out: TextIO = sys.stdout) -> None:
        self.total = total
        self.done = 0
        self.last = time.perf_counter()
        self._out = out
        self._lock = threading.Lock()

    def step(self) -> None:
        with self._lock:
            self.done += 1
            self.last = time.perf_counter()
            if self._out.isatty():
                width = 30 * self.done // self.total
                bar = "#" * width + "." * (30 - width)
                print(f"\r[{bar}] {self.done}/{self.total}", end="", file=self._out, flush=True)
            elif self.done == self.total or self.done % max(1, self.total // 4) == 0:
                print(f"{self.done}/{self.total} jobs done", file=self._out, flush=True)


def files_under(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path for path in found if is_text(str(path)))  # a file's name can be bytes that are no text


def is_text(name: str) -> bool:
    return name.encode("utf-8", "replace").decode() == name


def main(folder: Path) -> int:
    logging.basicConfig(level=logging.ERROR)  # the job that fails is shown in the table
    with ExitStack() as stack:
        url = os.environ.get("FAKTORY_URL") or None
        if url is None and not os.environ.get("FAKTORY_PROVIDER"):
            from faktory.server import Server

            url = stack.enter_context(Server(fetch_wait=0.1)).url
            print(f"FAKTORY_URL is not set: running an in-memory server at {url}")
        run(folder, stack.enter_context(Client(url)), url)
    return 0


def run(folder: Path, client: Client, url: str | None) -> None:
    queue = f"quickstart-{token_hex(4)}"  # a shared server may hold other people's jobs
    paths = files_under(folder)
    print(f"pushing {len(paths)} checksum jobs, and one that fails, to {client.address}")
    refused = client.push_bulk(Job("checksum", [str(path)], queue=queue) for path in paths)
    if refused:
        raise SystemExit(f"the server refused {len(refused)} jobs: {refused}")
    doomed = client.push(Job("checksum", [str(folder / "no-such-file")], queue=queue, retry=3))

    digests: dict[str, tuple[int, str]] = {}
    failures: list[tuple[Job, BaseException]] = []
    progress = Progress(len(paths) + 1)

    def checksum(job: Job) -> None:
        (path,) = job.args
        try:
            data = Path(path).read_bytes()
            digests[path] = (len(data), hashlib.sha256(data).hexdigest())
        finally:
            progress.step()

    consumer = (
        ConsumerBuilder()
        .register("checksum", checksum)
        .labels("python", "quickstart")
        .workers(THREADS)
        .on_failure(lambda job, exc: failures.append((job, exc)))
        .connect(url)
    )
    started = time.perf_counter()
    with consumer:
        summary = consumer.drain([queue])
    client.discard("retries", JobFilter(jids=(doomed,)))  # nobody would be there to run it
    client.remove_queues(queue)

    print(f"\n{'file':<44} {'bytes':>9}  sha256")
    for path, (size, digest) in sorted(digests.items()):
        print(f"{shortened(path, folder):<44} {size:>9,}  {digest[:16]}…")
    for job, exc in failures:
        print(f"\nfailed: {job.jid}, {type(exc).__name__}: {exc}")
        print(f"        attempt {job.attempt}: the server would run it again in 15 to 45 s, {job.retry} times in all;")
        print("        this example has discarded it")
    rate = summary.total / (progress.last - started)
    print(
        f"\n{summary.succeeded} succeeded, {summary.failed} failed, {rate:,.0f} jobs/s "
        f"with {THREADS} threads (faktory-sdk {faktory.__version__})"
    )
    if not any(job.jid == doomed for job, _ in failures):
        raise SystemExit(f"expected the job {doomed} to fail")


def shortened(path: str, folder: Path) -> str:
    name = str(Path(path).relative_to(folder))
    return name if len(name) <= 44 else "…" + name[-43:]


if __name__ == "__main__":
    start = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(faktory.__file__).parent
    if not start.is_dir():
        raise SystemExit(f"expected a folder to read, got {start}\n\n{__doc__}")
    try:
        raise SystemExit(main(start.resolve()))
    except faktory.FaktoryError as exc:
        raise SystemExit(f"quickstart: {exc}") from None
