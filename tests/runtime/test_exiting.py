"""`faktory.runtime.exiting`: a process ends with its code, and at once where something cannot be ended."""

from __future__ import annotations

import subprocess
import sys

import pytest

from faktory.runtime.exiting import end_process

PROGRAM = """
import atexit, sys, threading
from faktory.runtime.exiting import end_process
atexit.register(print, "cleaned up")
print("said")
try:
    {call}
finally:
    print("left")
"""


def outcome_of(call: str) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(call=call)], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    return done.returncode, done.stdout.split("\n")[:-1]


def test_the_main_thread_ends_it_as_python_does() -> None:
    with pytest.raises(SystemExit) as ended:
        end_process(3, at_once=False)
    assert ended.value.code == 3


def test_at_once_is_without_cleaning_up_but_what_was_said_is_written() -> None:
    assert outcome_of("end_process(3, at_once=True)") == (3, ["said"])


def test_another_thread_ends_the_whole_process() -> None:
    thread = "threading.Thread(target=end_process, args=[4], kwargs={'at_once': False})"
    assert outcome_of(f"thread = {thread}; thread.start(); thread.join()") == (4, ["said"])
