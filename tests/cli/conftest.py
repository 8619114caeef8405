"""A project of a test's own, and how to call the command in it."""

from __future__ import annotations

import importlib
import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pexpect
import pytest

from faktory.cli import main
from faktory.server import Server

ROOT = Path(__file__).parents[2]
APP = """
import time
from dataclasses import dataclass
from datetime import date
from faktory import App, Job, JobContext

app = App()

@dataclass
class Address:
    text: str

@app.job
def add(a: int, b: int) -> int:
    print(a, "+", b, "=", a + b, flush=True)
    return a + b

@app.job
def boom() -> None:
    raise ValueError("no such cat")

@app.job(queue="slow")
def nap(seconds: float = 0.5) -> None:
    print("napping", flush=True)
    time.sleep(seconds)

@app.job
def welcome(ctx: JobContext, to: Address, since: date | None = None) -> None: ...
"""
ASYNC = """
from faktory import App
app = App()

@app.job
async def hello(name: str) -> None:
    print("hello", name, flush=True)

@app.job
def plain() -> None:
    print("plain", flush=True)
"""


@pytest.fixture
def server() -> Iterator[Server]:
    """A server whose FETCHes wait a moment only, so that bursts end soon."""
    with Server(seed=7, fetch_wait=0.1) as server:
        yield server


class Project:
    """A folder with an app, and the command called in it."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("FAKTORY")}
        self.environment |= {"FAKTORY_URL": server.url, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "xterm"}
        self.write("app.py", APP)
        self._started: list[subprocess.Popen[str]] = []

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "faktory", *words],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def call(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Return what `run` does, from this process: for calls that end before they run a job."""
        out, err = io.StringIO(), io.StringIO()
        before = set(sys.modules)
        told = mock.patch.dict(os.environ, self.environment | environment, clear=True)  # a command adds to it, too
        with pytest.MonkeyPatch.context() as patch, told, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.folder)
            patch.setattr(sys, "path", list(sys.path))
            patch.setattr(logging.getLogger(), "handlers", [])
            importlib.invalidate_caches()
            code = main(words)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(self.folder)):
                del sys.modules[name]
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "faktory", *words],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def terminal(self, *words: str, **environment: str) -> pexpect.spawn[str]:
        return pexpect.spawn(
            sys.executable,
            ["-m", "faktory", *words],
            cwd=self.folder,
            env=self.environment | environment,
            encoding="utf-8",
            timeout=20,
            dimensions=(24, 120),
        )

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Iterator[Project]:
    project = Project(tmp_path, server)
    yield project
    project.close()


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """Read lines of a process until one has the word in it; returns all of them."""
    assert process.stdout is not None
    found = ""
    for line in process.stdout:
        found += line
        if word in line:
            return found
    raise AssertionError(f"{word!r} never came: {found}")
