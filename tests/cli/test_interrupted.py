"""Ctrl-C on a terminal, which goes to supervisor and worker at once; and under `uv run`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pexpect
import pytest

from faktory import Client, Job

from .conftest import Project

SLEEPY_IMPORT = "import time\nprint('importing', flush=True)\ntime.sleep(20)\n"


def push(project: Project, job: Job) -> None:
    with Client(project.server.url) as client:
        client.push(job)


def ends_by_ctrl_c(child: pexpect.spawn[str], within: float) -> tuple[int | None, int | None]:
    """Press Ctrl-C, and return the exit status and the signal that ended the supervisor, with no child left behind."""
    group = os.getpgid(child.pid)
    began = time.monotonic()
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert time.monotonic() - began < within
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    return child.exitstatus, child.signalstatus


@pytest.mark.slow
def test_ctrl_c_while_the_worker_imports_ends_both_at_once(project: Project) -> None:
    """The worker gets INT from the terminal and TERM from its supervisor in one moment; one of two hung before."""
    project.write("slow_app.py", SLEEPY_IMPORT)
    for _ in range(4):
        with project.terminal("worker", "slow_app", "--reload") as child:
            child.expect("importing")
            assert ends_by_ctrl_c(child, 5)[1] is None
            assert "Traceback" not in str(child.before)


@pytest.mark.slow
def test_ctrl_c_while_a_job_runs_lets_it_end(project: Project) -> None:
    with project.terminal("worker", "app.py", "--reload", "-q", "slow") as child:
        child.expect("ready")
        push(project, Job("nap", [1.0], queue="slow"))
        child.expect("napping")
        assert ends_by_ctrl_c(child, 8) == (0, None)
    assert (len(project.server.queue("slow")), len(project.server.working), len(project.server.retries)) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not on PATH")
def test_under_uv_run_one_ctrl_c_is_one(project: Project) -> None:
    """`uv run` passes on the signal that its group got as well: a second one within a moment is no hurry."""
    command = ["uv", "run", "--no-project", "--python", sys.executable, sys.executable, "-m", "faktory"]
    process = subprocess.Popen(
        [*command, "worker", "app.py", "-q", "slow"],
        cwd=project.folder,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if "working as" in line:
                push(project, Job("nap", [1.0], queue="slow"))
            if "napping" in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(10) == 0, rest
    assert "0 were cut off" in rest
