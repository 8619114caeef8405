"""Handlers, hooks and factories for child processes, which import them by name.

They leave traces in the journal, a file whose path is the job's first argument: each line is written in one go.
"""

from __future__ import annotations

import atexit
import collections
import concurrent.futures
import contextlib
import ctypes
import gc
import itertools
import logging
import multiprocessing
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from faktory import Job, JobCancelled, JobTimeout, current_job
from faktory.core.run import Run, running

log = logging.getLogger("tests.jobs")
_lock = threading.Lock()


def note(path: str, *words: object) -> None:
    with Path(path).open("ab", buffering=0) as file:
        file.write((" ".join(map(str, words)) + "\n").encode())


def measure(job: Job) -> None:
    note(job.args[0], "measured", len(job.args[1]))


def work(job: Job) -> None:
    note(job.args[0], "work", job.jid, os.getpid())


def nothing(job: Job) -> None:
    pass


def adorned(job: Job) -> None:
    """A handler with attributes of its own, as decorators hang them on functions."""
    note(job.args[0], "adorned", job.jid)
    raise ValueError("no good")


for _name in ("managed", "needs", "settle", "seen", "take_server"):
    setattr(adorned, _name, "of the user")


def burn(job: Job) -> None:
    limit = time.process_time() + job.args[0]
    while time.process_time() < limit:
        pass


def nap(job: Job) -> None:
    note(job.args[0], "start", job.jid, os.getpid())
    time.sleep(job.args[1])
    note(job.args[0], "done", job.jid)


def perhaps_die(job: Job) -> None:
    note(job.args[0], "work", job.jid, job.attempt)
    if job.args[1] % 10 == 0:
        os.kill(os.getpid(), signal.SIGKILL)


class OddError(Exception):
    pass


def deeper(job: Job) -> NoReturn:
    raise OddError("no good")


def odd(job: Job) -> None:
    deeper(job)


def wrong(job: Job, more: int = 0) -> None:
    len(5)  # type: ignore[arg-type]


def leave(job: Job) -> None:
    sys.exit(3)


def talkative(job: Job) -> None:
    raise OddError("x" * 10_000_000)


def kill_itself(job: Job) -> None:
    print("these are my last words", file=sys.stderr)
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(job: Job) -> None:
    ctypes.string_at(0)


def end(job: Job) -> None:
    os._exit(7)


def eat_memory(job: Job) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000, resource.RLIM_INFINITY))
    bytearray(2_000_000_000)


def grow(job: Job) -> None:
    globals()["kept"] = bytearray(b"x" * 60_000_000)
    note(job.args[0], "work", job.jid, os.getpid())


def sleep(job: Job) -> None:
    try:
        time.sleep(60)
    finally:
        note(job.args[0], "cleaned", job.jid)


def lock(job: Job) -> None:
    _lock.acquire()
    _lock.acquire()


def spin(job: Job) -> None:
    while True:
        pass


def stubborn(job: Job) -> None:
    while True:
        try:
            time.sleep(60)
        except JobTimeout:
            note(job.args[0], "stubborn", job.jid)


def hold_in_c(job: Job) -> None:
    collections.deque(itertools.repeat(None), maxlen=0)  # for ever, with the interpreter's lock, and deaf to signals


def beget(job: Job) -> None:
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    note(job.args[0], "grandchild", grandchild.pid)
    if job.args[1] == "crash":
        os._exit(9)
    time.sleep(60)


def fork(job: Job) -> None:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        note(job.args[0], "work", job.jid, os.getpid())


def close_everything(job: Job) -> None:
    os.closerange(0, 1000)


def say(job: Job) -> None:
    print("a line on stdout from", job.jid)
    print("a line on stderr", file=sys.stderr)
    sys.stdout.write("two ")
    sys.stdout.write("halves\n")
    log.info("at work on %s", job.args[0], extra={"colour": "blue", "odd": {(1, 2): Value}})
    try:
        deeper(job)
    except OddError:
        log.exception("caught")


def look_around(job: Job) -> None:
    run, current = running.get(), current_job()
    assert run is not None
    assert current is job
    value = run.managed.get(Value)
    note(job.args[0], "left", round(run.deadline - time.monotonic()), "value", value.pid == os.getpid())


class Value:
    """A managed value that leaves a trace when it is closed."""

    def __init__(self, pid: int, path: str) -> None:
        self.pid = pid
        self.path = path

    def close(self) -> None:
        note(self.path, "closed", self.pid)


def make_value() -> Value:
    return Value(os.getpid(), os.environ["TEST_JOURNAL"])


def timed(job: Job, call_next: Callable[..., Any]) -> Any:
    note(os.environ["TEST_JOURNAL"], "in", job.jid)
    try:
        return call_next()
    finally:
        note(os.environ["TEST_JOURNAL"], "out", job.jid)


def tell_failure(job: Job, exc: BaseException) -> None:
    note(os.environ["TEST_JOURNAL"], "failure", job.jid, type(exc).__name__, os.getpid())
    note(os.environ["TEST_JOURNAL"], "text", exc)


def tell_death(job: Job, exc: BaseException) -> None:
    note(os.environ["TEST_JOURNAL"], "death", job.jid, type(exc).__name__, os.getpid())


def child_start() -> None:
    note(os.environ["TEST_JOURNAL"], "child-start", os.getpid())


def child_stop() -> None:
    note(os.environ["TEST_JOURNAL"], "child-stop", os.getpid())


def exit_at_first_start() -> None:
    path = os.environ["TEST_JOURNAL"]
    note(path, "child-start", os.getpid())
    if Path(path).read_text().count("child-start") == 1:
        print("no database today", file=sys.stderr)
        os._exit(3)


def forbid(job: Job) -> None:
    """Have no child start from now on."""
    note(job.args[0], "forbidden")


def start_when_allowed() -> None:
    """Start while the last word in the journal that says so allows it."""
    lines = Path(os.environ["TEST_JOURNAL"]).read_text().splitlines()
    if [line for line in lines if line in ("allowed", "forbidden")][-1:] != ["allowed"]:
        raise OddError("not yet")


def slow_start() -> None:
    time.sleep(0.5)


def pool(job: Job) -> None:
    """What a process pool does at its end is to terminate its workers by SIGTERM."""
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as workers:
        assert workers.map(abs, [-1, -2]) == [1, 2]


def log_for_ever(job: Job) -> None:
    while True:
        log.debug("still at it")
        log.info("on and on")


def fork_and(job: Job) -> None:
    """Fork; the copy ends in the way the job says, the original waits for that and notes the exit code."""
    path, how = job.args
    pid = os.fork()
    if pid:
        note(path, "copy", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    elif how == "raises":
        raise OddError("in the copy")
    elif how == "exits":
        sys.exit(7)
    elif how == "says":
        sys.exit("no luck in the copy")


def list_descriptors(job: Job) -> None:
    """Note what descriptors a program gets that a job starts without closing any."""
    code = "import os; print(sorted(set(os.listdir('/proc/self/fd')) - {str(os.open('/proc/self/fd', os.O_RDONLY))}))"
    done = subprocess.run([sys.executable, "-c", code], close_fds=False, stdout=subprocess.PIPE, check=True)
    note(job.args[0], "descriptors", done.stdout.decode().strip())
    os.system(f'{sys.executable} -c "{code}" >> {job.args[0]}')


def leave_work_behind(job: Job) -> None:
    """Start what goes on after the job, and leave something to do at the end."""
    path = job.args[0]
    atexit.register(note, path, "at-exit", os.getpid())

    def later() -> None:
        limit = time.monotonic() + 4
        while "child-stop" not in Path(path).read_text() and time.monotonic() < limit:
            time.sleep(0.01)
        note(path, "later", os.getpid())

    kept = globals()["executor"] = concurrent.futures.ThreadPoolExecutor(1)
    kept.submit(later)
    threading.Thread(target=later).start()


def present_run() -> Run:
    run = running.get()
    assert run is not None
    return run


def wait_for_the_end(job: Job) -> None:
    """Return when the worker is about to end."""
    note(job.args[0], "start", job.jid, os.getpid())
    run = present_run()
    while not run.stopping:
        time.sleep(0.01)
    note(job.args[0], "saw-stopping", run.is_cancelled)


def poll_slowly(job: Job) -> None:
    """Look each 50 ms whether the job is cut off, and return when it is."""
    note(job.args[0], "start", job.jid, os.getpid())
    run = present_run()
    while not run.is_cancelled:
        time.sleep(0.05)
    note(job.args[0], "saw-cancelled")


def clean_up(job: Job) -> None:
    note(job.args[0], "start", job.jid, os.getpid())
    try:
        time.sleep(60)
    finally:
        note(job.args[0], "cleaned", present_run().is_cancelled)


def raise_another(job: Job) -> None:
    note(job.args[0], "start", job.jid, os.getpid())
    try:
        time.sleep(60)
    except JobCancelled:
        raise OddError("in the cleaning up") from None


def swallow(job: Job) -> None:
    with contextlib.suppress(JobTimeout):
        time.sleep(60)


def stubborn_for_ever(job: Job) -> None:
    note(job.args[0], "start", job.jid, os.getpid())
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(60)


def hold_in_c_for_ever(job: Job) -> None:
    note(job.args[0], "start", job.jid, os.getpid())
    collections.deque(itertools.repeat(None), maxlen=0)


class Hostile(Exception):
    """Does harm to whoever looks at it."""

    @property
    def __traceback__(self) -> None:  # type: ignore[override]
        raise SystemExit(3)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise SystemExit(4)

    def __str__(self) -> str:
        raise SystemExit(5)


def be_hostile(job: Job) -> None:
    raise Hostile


class Big:
    """A value of a job that leaves a trace when it is let go."""

    def __init__(self, path: str, how: str) -> None:
        self.path = path
        self.how = how

    def __del__(self) -> None:
        note(self.path, "let-go", self.how)


def hold_and(job: Job) -> None:
    """Fail, in one of several ways, with a value in hand, while the collector is off."""
    gc.disable()
    path, how = job.args
    big = Big(path, how)
    log.info("holding", extra={"big": big.how})
    if how == "chained":
        try:
            deeper(job)
        except OddError as exc:
            raise LookupError("chained") from exc
    elif how == "swallowed":
        with contextlib.suppress(JobTimeout):
            time.sleep(60)
    elif how == "logged":
        try:
            deeper(job)
        except OddError:
            log.exception("caught")
    elif how == "raised":
        deeper(job)
    else:
        time.sleep(60)


def fail_beside(job: Job, exc: BaseException) -> None:
    raise OddError("in the hook")


def fork_and_terminate(job: Job) -> None:
    """Send SIGTERM to copies that have just been made, and wait for their ends."""
    for _ in range(job.args[0]):
        pid = os.fork()
        if pid == 0:
            signal.pause()
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM


def wait_for_event(job: Job) -> None:
    threading.Event().wait()


def wait_for_queue(job: Job) -> None:
    queue.Queue[int]().get()


def wait_for_future(job: Job) -> None:
    concurrent.futures.Future[int]().result()


def wait_for_thread(job: Job) -> None:
    thread = threading.Thread(target=time.sleep, args=[60], daemon=True)
    thread.start()
    thread.join()


_quiet = logging.getLogger("tests.quiet")


def log_all_the_time(job: Job) -> None:
    """Work, and log to a handler of the job's own."""
    if not _quiet.handlers:
        _quiet.setLevel(logging.INFO)
        _quiet.propagate = False
        _quiet.addHandler(logging.FileHandler(os.devnull))
    while True:
        sum(range(5_000))
        _quiet.info("x")


def log_from_a_thread(job: Job, exc: BaseException) -> None:
    """Log where the lock of a handler, or of logging itself, would hold it up that the job has left taken."""

    def log_once() -> None:
        _quiet.info("logged")
        logging.getLogger(f"new.{job.jid}").warning("logged")

    thread = threading.Thread(target=log_once, daemon=True)
    thread.start()
    thread.join(1)
    note(os.environ["TEST_JOURNAL"], "stuck" if thread.is_alive() else "free", job.jid)
