"""The process that imports the application once, and forks a child from that state whenever the consumer asks.

It has one thread, none of the consumer's sockets, and no work of its own; it reaps what it forked, and what that left
behind. When the consumer is gone, however that came, all children are killed. Runs on POSIX systems.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn

from ..options import CUT_OFF_NOTICE, STACK_PATIENCE
from ..runtime.ticking import monotonic
from . import threads
from .child import Life, Unborn, live, prepare
from .frames import CUT_OFF_SIGNAL, DUMP, GROUP_SIGNALS, NEWS, ORDER, SOFT_LIMIT, News, Order, pauses
from .program import load

_DESCRIPTORS: Final = 4
"""Sent along with each order to fork: the job socket, stdout, stderr and the log pipe of the child."""
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


def main(descriptor: int) -> NoReturn:
    """Read what to import, import it, say how that went, and serve until the consumer is gone."""
    threads.is_child = True
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    _let_the_consumer_decide()
    life = Life()
    try:
        with control.makefile("rwb") as stream:
            line = stream.readline()
            unborn, error = _load(json.loads(line), control, life) if line else (None, None)
            stream.write(json.dumps(error).encode() + b"\n")
    except OSError:
        unborn = None  # the consumer is gone, and nobody wants to know
    if unborn is None:
        os._exit(1)
    _flush()
    gc.collect()
    gc.freeze()  # the children share these pages as long as nobody writes to them
    try:
        ForkServer(control, unborn, life).serve()
    finally:
        os._exit(0)


def _load(document: dict[str, Any], control: socket.socket, life: Life) -> tuple[Unborn | None, str | None]:
    """Return what the children run, or the traceback of what the application's import raised."""
    try:
        with _ending_with_the_consumer(control):
            return prepare(load(document), life), None
    except BaseException:
        return None, traceback.format_exc()


@contextmanager
def _ending_with_the_consumer(control: socket.socket) -> Generator[None, None, None]:
    """End this process when the consumer does, whatever an import waits for meanwhile.

    By a thread, which is gone before anything is forked. The kernel's signal for the death of a parent would come at
    the end of the thread that has started this process, too.
    """
    woken, waker = os.pipe()

    def watch() -> None:
        poll = select.poll()
        poll.register(control, select.POLLIN)  # it says nothing now, so that this is its end
        poll.register(woken, select.POLLIN)
        if any(descriptor != woken for descriptor, _ in poll.poll()):
            os._exit(1)

    thread = threading.Thread(target=watch, name="faktory-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(waker, b"\0")
        thread.join()
        os.close(woken)
        os.close(waker)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):  # closed, or something else by now
            stream.flush()


def _let_the_consumer_decide() -> None:
    """Do nothing at the signals that a terminal or a supervisor sends to a whole group of processes.

    By a handler, not by SIG_IGN: programs that a job starts must not inherit it. Nor at those that are for a child,
    before it has handlers of its own.
    """
    for signum in (*GROUP_SIGNALS, SOFT_LIMIT, CUT_OFF_SIGNAL, DUMP):
        signal.signal(signum, _do_nothing)


def _do_nothing(*_: object) -> None:
    pass


class ForkServer:
    """Forks and reaps children by the numbers that the consumer has given them."""

    def __init__(self, control: socket.socket, unborn: Unborn, life: Life) -> None:
        self._control = control
        self._pids: dict[int, int] = {}  # the living, by number
        self._orders = bytearray()
        self._descriptors: list[int] = []
        self._wake_pipe: tuple[int, int]
        self._life = life
        self._unborn = unborn
        self._ends: list[tuple[float, int, int]] = []  # of children that are cut off: when, number, which signal
        self._prctl = _find_prctl()
        if self._prctl is not None:
            self._prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def serve(self) -> None:
        """Obey until the consumer's end of the control socket is closed."""
        woken, waker = self._wake_pipe = os.pipe()
        for end in self._wake_pipe:
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, _do_nothing)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(woken, select.POLLIN)
        try:
            while True:
                for descriptor, _ in poll.poll(self._next_end_ms()):
                    if descriptor == woken:
                        with suppress(BlockingIOError):
                            os.read(woken, 4096)
                        self._reap()
                    elif not self._obey():
                        return
                self._send_ends()
        finally:
            for pid in self._pids.values():
                _kill_group(pid)

    def _obey(self) -> bool:
        """Carry out the orders that have come. Returns False at the end."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 64 * ORDER.size, 64 * _DESCRIPTORS)
        except OSError:
            return False
        self._orders += data
        self._descriptors += descriptors
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # they are no business of programs that jobs start
        while len(self._orders) >= ORDER.size:
            order, number, signum = ORDER.unpack(self._orders[: ORDER.size])
            del self._orders[: ORDER.size]
            if order == Order.FORK:
                mine, self._descriptors = self._descriptors[:_DESCRIPTORS], self._descriptors[_DESCRIPTORS:]
                self._fork(number, mine)
            elif order == Order.STOPPING:
                self._life.end()
            elif order == Order.CUT_OFF:
                self._ends += cut_off_plan(number, monotonic(), signum / 1000)
            elif number in self._pids:  # else it has ended, and its pid may be another's by now
                self._signal(self._pids[number], signum)
        return bool(data)

    def _next_end_ms(self) -> float | None:
        return max(0.0, min(self._ends)[0] - monotonic()) * 1000 if self._ends else None

    def _send_ends(self) -> None:
        """Send the signals that are due to children that are cut off."""
        now = monotonic()
        for moment, number, signum in sorted(self._ends):
            if moment <= now and number in self._pids:
                self._signal(self._pids[number], signum)
        self._ends = [end for end in self._ends if end[0] > now and end[1] in self._pids]

    def _signal(self, pid: int, signum: int) -> None:
        if signum == signal.SIGKILL:
            _kill_group(pid)
        else:
            os.kill(pid, signum)

    def _fork(self, number: int, descriptors: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as exc:
            os.write(descriptors[2], f"cannot fork: {exc}\n".encode())
            for descriptor in descriptors:
                os.close(descriptor)
            self._tell(News.EXITED, number, 1)
            return
        if pid == 0:
            self._be_born(descriptors)
        with suppress(OSError):
            os.setpgid(pid, pid)  # both do it: whichever comes first, it is done before anybody needs it
        for descriptor in descriptors:
            os.close(descriptor)
        self._pids[number] = pid
        self._tell(News.FORKED, number, pid)

    def _be_born(self, descriptors: list[int]) -> NoReturn:
        """Turn this copy of the fork server into a child. Never returns."""
        code = 1
        try:
            fork_server = os.getppid()
            os.setpgid(0, 0)
            if self._prctl is not None:
                self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != fork_server:  # it died before that was arranged
                    os._exit(1)
            atexit._clear()  # what the application's import has registered there is for this process's parent
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            jobs, out, err, log = descriptors
            os.dup2(out, 1)
            os.dup2(err, 2)
            for descriptor in (out, err, *self._wake_pipe, *self._descriptors):
                os.close(descriptor)
            code = live(self._unborn, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, jobs), log)
        except BaseException:
            traceback.print_exc()
        finally:
            _flush()
            os._exit(code)

    def _reap(self) -> None:
        """Take note of the dead: children, and orphans of theirs that were left to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = next((number for number, living in self._pids.items() if living == pid), None)
            if number is not None:
                with suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)  # what it leaves behind goes with it
                del self._pids[number]
                self._tell(News.EXITED, number, os.waitstatus_to_exitcode(status))

    def _tell(self, news: News, number: int, value: int) -> None:
        with suppress(OSError):  # the consumer is gone: the end of the control socket comes next
            self._control.sendall(NEWS.pack(news, number, value))


def cut_off_plan(number: int, now: float, grace: float) -> list[tuple[float, int, int]]:
    """Return when a child that is cut off gets which signal. Pure."""
    moment, last = now + CUT_OFF_NOTICE, now + grace - STACK_PATIENCE
    plan: list[tuple[float, int, int]] = [(now, number, CUT_OFF_SIGNAL)]
    for pause in pauses(last - moment):
        plan.append((moment, number, SOFT_LIMIT))
        moment += pause
    return [*plan, (last, number, DUMP), (now + grace, number, signal.SIGKILL)]


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # it may have left its group
        with suppress(OSError):
            kill(pid, signal.SIGKILL)


def _find_prctl() -> Callable[[int, int], int] | None:
    """Return Linux's prctl, None elsewhere: children outlive a killed fork server there, until their consumer ends."""
    if sys.platform != "linux":
        return None
    from ctypes import CDLL

    prctl: Callable[[int, int], int] = CDLL(None).prctl
    return prctl
