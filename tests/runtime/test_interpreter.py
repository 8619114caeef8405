"""`faktory.runtime.interpreter`: what CPython documents nowhere does on this Python what we take it for."""

from __future__ import annotations

import asyncio
import atexit
import json
import json.encoder
import re
import subprocess
import sys
import threading
import time
from collections import deque
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import faktory
from faktory.runtime import interpreter

DOCUMENT: Any = {"jid": "a\u00e9\u2028", "args": [1, -2.5, None, True, {"deep": [[]]}]}
ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def test_one_value_is_read_from_within_a_text() -> None:
    text = f"xx{json.dumps(DOCUMENT)},yy"
    value, end = interpreter.json_scan(text, 2)
    assert (value, text[end:]) == (DOCUMENT, ",yy")
    with pytest.raises(StopIteration):
        interpreter.json_scan("", 0)


@pytest.mark.parametrize("has_c", [True, False])
def test_parts_are_what_the_encoder_writes(has_c: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_c:
        monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    parts = interpreter.json_parts(ENCODER)
    assert "".join(parts(DOCUMENT, 0)) == ENCODER.encode(DOCUMENT)
    with pytest.raises(ValueError, match="JSON compliant"):
        "".join(parts([float("nan")], 0))
    with pytest.raises(TypeError, match="not JSON serializable"):
        "".join(parts([object()], 0))


def test_an_exception_is_raised_in_another_thread() -> None:
    raise_in, _ = interpreter.async_exc_functions()
    begun, gone = threading.Event(), threading.Event()
    raised: list[type[BaseException]] = []

    def work() -> None:
        begun.set()
        try:
            while not gone.is_set():
                time.sleep(0.001)
        except BaseException as exc:
            raised.append(type(exc))

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(10)
    assert thread.ident is not None
    assert raise_in(thread.ident, KeyError) == 1
    thread.join(10)
    assert raised == [KeyError]
    assert raise_in(2**31 - 7, KeyError) == 0


def test_an_exception_is_taken_back_before_it_is_raised() -> None:
    raise_in, take_back = interpreter.async_exc_functions()
    own, found = [threading.get_ident()], list[int]()
    # In C alone, where nothing is raised in between; the last one takes down the flag, at which a traced thread would
    # stand still on 3.11: see `strike`.
    steps = chain(map(raise_in, own, [KeyError]), map(take_back, own, [None]), map(raise_in, own, [OverflowError]))
    with pytest.raises(OverflowError):
        deque(map(found.append, steps), maxlen=0)
    assert found == [1, 1, 1]
    assert take_back(2**31 - 7, None) == 0


def test_another_python_is_started_as_this_one_was() -> None:
    code = "from faktory.runtime.interpreter import own_flags; print(own_flags())"
    run = [sys.executable, "-B", "-X", "dev", "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=Path(faktory.__file__).parent.parent)
    assert "-B" in done.stdout
    assert "dev" in done.stdout
    assert isinstance(interpreter.own_flags(), list)


def test_a_running_asyncio_loop_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def inside() -> bool:
        return interpreter.is_asyncio_running()

    assert asyncio.run(inside())
    assert not interpreter.is_asyncio_running()
    monkeypatch.delitem(sys.modules, "asyncio")
    assert not interpreter.is_asyncio_running()


def test_threads_are_waited_for_and_exit_functions_called(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import atexit, threading, time
from faktory.runtime.interpreter import end_threads, run_exit_functions
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
end_threads()
print("ended")
run_exit_functions()
print("done")
"""
    root = Path(faktory.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split("\n") == ["thread", "ended", "at exit", "done", ""]
    called: list[str] = []
    monkeypatch.setattr(threading, "_shutdown", lambda: called.append("threads"))
    monkeypatch.setattr(atexit, "_run_exitfuncs", lambda: called.append("exit"))
    interpreter.end_threads()
    interpreter.run_exit_functions()
    assert called == ["threads", "exit"]


PRIVATE = re.compile(r"c_make_encoder|scan_once|SetAsyncExc|_args_from_interpreter_flags|_get_running_loop")


def test_no_other_module_knows_these_names() -> None:
    root = Path(faktory.__file__).parent
    users = {path.stem for path in root.rglob("*.py") if PRIVATE.search(path.read_text())}
    assert users == {"interpreter"}
