"""One thing measured, and how one side of it is run: in a process of its own, that prints its result."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from tests.bench.bare import fill, flush, push_steadily
from tests.bench.distance import Distance
from tests.bench.table import Figure
from tests.program import ROOT

Result = dict[str, float]

JOBS = Figure("jobs_per_s", "jobs/s", more_is_better=True)
CPU = Figure("cpu_us", "µs CPU a job")
PATIENCE = 120.0
"""Seconds that a subject may take. Those here take less than ten."""


@dataclass(frozen=True)
class Contest:
    """One thing measured: our subject and the control, in turns."""

    name: str
    ours: str
    bare: str | None
    parameters: dict[str, Any]
    figures: tuple[Figure, ...]
    count: int = 0
    """Jobs stored before, or pushed meanwhile."""
    pause: float | None = None
    """Seconds between the pushes while it runs; None to store all jobs before."""
    bare_parameters: dict[str, Any] | None = None
    """Instead of `parameters`, for the control."""
    spare: int = 100
    """Jobs stored beyond those that count, so that nobody waits at an empty queue for the last of them."""
    size: int = 0
    """Bytes that each job stored is larger by."""
    latency: float = 0.0
    """Seconds that the server's replies are late; see `Distance`."""
    is_dear: bool = False
    """Left out of a smoke test, as it takes long: others there run the same code."""
    skipped: str = ""
    """Why it cannot be measured here."""

    def run(self, url: str, subject: str) -> Result:
        """Run one side of it once."""
        queue = f"bench-{token_hex(4)}"
        parameters = self.parameters if subject == self.ours else self.bare_parameters or self.parameters
        if self.pause is None and self.count:
            fill(url, queue, self.count + self.spare, self.size)
        with Distance(url, self.latency) if self.latency else contextlib.nullcontext() as distance:
            process = start_subject(subject, distance.url if distance else url, queue, parameters)
            pusher = None
            if self.pause is not None:
                assert process.stdout is not None
                process.stdout.readline()  # it is ready
                pusher = threading.Thread(target=push_steadily, args=[url, queue, self.count, self.pause])
                pusher.start()
            try:
                out, err = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
            if pusher is not None:
                pusher.join()
        flush(url)
        if process.returncode:
            raise RuntimeError(f"{subject} ended with {process.returncode}:\n{err}")
        result: Result = json.loads(out.splitlines()[-1])
        return result | {"connections": distance.peak} if distance else result


def start_subject(subject: str, url: str, queue: str, parameters: dict[str, Any]) -> subprocess.Popen[str]:
    """Start a function of `subjects`, one of another module here (`module:function`), or a program (`/path`)."""
    module, _, name = subject.rpartition(":")
    command = [subject] if "/" in subject else [sys.executable, "-m", f"tests.bench.{module or 'subjects'}", name]
    return subprocess.Popen(
        [*command, url, queue, json.dumps(parameters)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
