"""The consumer's side of its children: starts the fork server, passes on what they print, notes their ends."""

from __future__ import annotations

import logging
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import count
from typing import Any

from ..errors import ThreadStartFailed
from ..options import CHILD_STOP_LIMIT, CHILD_TAIL, CUT_OFF_GRACE, CUT_OFF_HURRY
from ..runtime.launch import launch
from ..runtime.memory import resident_kb
from ..runtime.ticking import monotonic
from .child_output import Lines, log_records, print_lines, print_on_stdout
from .frames import NEWS, ORDER, News, Order
from .spawn import spawn
from .starts import Starts

log: logging.Logger = logging.getLogger("faktory.fork_server")


class ChildProcess:
    """One child, as its parent knows it. `jobs` is the socket to it, for the one thread that uses the child."""

    def __init__(self, number: int, jobs: socket.socket, signal_child: Callable[[int, int], None]) -> None:
        self.number = number
        self.jobs = jobs
        self.begun: float = monotonic()
        """When it was asked for."""
        self.is_ready = False
        """True once it has said that it can take jobs."""
        self.pid = 0
        """0 until the fork server has told."""
        self.exit_code: int | None = None
        """Negative is the number of the signal that killed it; None while it lives."""
        self.has_ended: threading.Event = threading.Event()
        self.tail: deque[str] = deque(maxlen=CHILD_TAIL)
        """The last lines it wrote to stderr."""
        self.tail_is_whole: threading.Event = threading.Event()
        self.received: bytearray = bytearray()
        """What came through `jobs` and is not a whole answer yet."""
        self._signal = signal_child
        # Python waits by a poll of its own before each send and recv of a socket with a timeout, and setting that is a
        # system call, too: without it a job takes three of them instead of six.
        jobs.setblocking(False)
        self._poll = select.poll()
        self._poll.register(jobs, select.POLLIN)

    def send(self, data: bytes, limit: float) -> None:
        """Send it a job. Raises `TimeoutError` when it does not take it within `limit` seconds, and `OSError`."""
        try:
            sent = self.jobs.send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return
        self.jobs.settimeout(limit)
        try:
            self.jobs.sendall(memoryview(data)[sent:])
        finally:
            self.jobs.setblocking(False)

    def receive(self, limit: float) -> bytes:
        """Return what has come from it, b"" at its end. Raises `TimeoutError` after `limit` seconds, and `OSError`."""
        while self._poll.poll(limit * 1000):
            try:
                return self.jobs.recv(65536)
            except BlockingIOError:  # a kernel may say too much
                pass
        raise TimeoutError

    def signal(self, signum: int) -> None:
        """Send a signal, unless it has ended. SIGKILL goes to all that it started, too."""
        self._signal(self.number, signum)

    def kill_directly(self) -> None:
        """Kill it without the fork server, which tells of no end: so it is not reaped, and its pid is its own."""
        if self.pid and not self.has_ended.is_set():
            for kill in (os.killpg, os.kill):  # it may have left its group
                with suppress(OSError):
                    kill(self.pid, signal.SIGKILL)

    def retire(self) -> None:
        """Let it end after what it has in hand."""
        with suppress(OSError):
            self.jobs.shutdown(socket.SHUT_WR)

    def note_end(self, exit_code: int) -> None:
        """Note that it is gone, and wake the thread that waits for its answer."""
        self.exit_code = exit_code
        self.has_ended.set()
        with suppress(OSError):
            self.jobs.shutdown(socket.SHUT_RDWR)  # what it said before can still be read


class ForkServer:
    """The process that forks the children, and the thread that listens to all of them. Thread-safe."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.starts: Starts = Starts()
        self.ends: dict[str, int] = {}
        """How many children have ended, by reason; one more is told of by `note_end`."""
        self._ends_lock = threading.Lock()
        self._document = document
        self._lock = threading.Lock()  # for starting and forking, one at a time
        self._numbers = count(1)
        self._to_listen: deque[tuple[int | socket.socket, Callable[[bytes], None]]] = deque()
        self.is_closing: bool = False
        """True once children are told to end."""
        self._is_stopping = False
        self._grace = CUT_OFF_GRACE
        self._start()  # first: when it raises, there is nothing to close
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        _remember(self)
        try:
            self._thread = launch("faktory-children", self._listen)
        except ThreadStartFailed:
            self._process.kill()
            self._process.wait()
            for end in (self._control, self._woken, self._waker, self._selector):
                end.close()
            raise

    # -- starting and ending ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the process, and wait until it has imported the application."""
        self._process, self._control = spawn(self._document | {"levels": _levels()})
        self._children = _Living()
        self._to_listen.append((self._control, _News(self._children)))
        if self._is_stopping:
            self._order(Order.STOPPING)

    @property
    def can_run_jobs(self) -> bool:
        """True while children start as they should, or one is ready all the same."""
        if not self.starts.rounds:
            return self.starts.have_succeeded
        return any(child.is_ready for child in self._children.all())

    def note_end(self, reason: str) -> None:
        """Note that a child ends: "limit" (it has served its time), "timeout", "crashed", "start" or "cut_off"."""
        with self._ends_lock:
            self.ends = {**self.ends, reason: self.ends.get(reason, 0) + 1}

    def resident_kb(self) -> int | None:
        """Return how much memory this process, the fork server and the children hold, in kB; None when nobody tells."""
        return resident_kb([self._process.pid, *(child.pid for child in self._children.all() if child.pid)])

    def close(self) -> None:
        """Let the children end after what they have in hand, kill those that do not, and end the fork server."""
        self.is_closing = True
        limit = monotonic() + CHILD_STOP_LIMIT
        children = self._children.all()
        for child in children:
            child.retire()
        for child in children:
            child.has_ended.wait(max(0.0, limit - monotonic()))
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)  # at this it kills the rest
        try:
            self._process.wait(CHILD_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.replace()
            self._process.wait()
        self._wake()
        self._thread.join(CHILD_STOP_LIMIT)
        self._woken.close()
        self._waker.close()

    # -- children ---------------------------------------------------------------------------------------------------

    def fork(self) -> ChildProcess:
        """Ask for a child, and return at once. A child that cannot be forked has ended.

        Raises `OSError` without descriptors for one, and `ConfigurationError` when a new fork server cannot be started.
        """
        with self._lock:
            if self._process.poll() is not None and not self.is_closing:
                code = self._process.returncode
                log.error("the process that forks children ended with exit code %d; it is started anew", code)
                self._start()  # the thread that listens sees the end of the old one, and to its children
                self._wake()
            control, living = self._control, self._children
        with ExitStack() as theirs:
            ours, end = socket.socketpair()
            theirs.enter_context(end)
            child = ChildProcess(next(self._numbers), ours, self._signal)
            sinks: list[Callable[[bytes], None]] = [
                Lines(print_on_stdout),
                Lines(lambda lines: _note_errors(child, lines)),
                Lines(log_records),
            ]
            reading: list[int] = []
            writing: list[int] = []
            try:
                for _ in sinks:
                    pipe = os.pipe()
                    reading.append(pipe[0])
                    writing.append(pipe[1])
                    theirs.callback(os.close, pipe[1])
            except OSError:
                ours.close()
                for descriptor in reading:
                    os.close(descriptor)
                raise
            living.add(child)
            self._to_listen.extend(zip(reading, sinks, strict=True))
            try:
                order = ORDER.pack(Order.FORK, child.number, 0)
                socket.send_fds(control, [order], [end.fileno(), *writing])
            except OSError:  # the fork server has just ended
                living.bury(child.number, 1)
                self._wake()
        # Else the thread that listens is woken soon enough, by what the fork server tells of the child.
        return child

    def replace(self) -> None:
        """Kill the fork server, and its children with it: it does not answer. The next `fork` starts another."""
        log.error("the process that forks children does not answer and is killed")
        self._process.kill()

    def tell_stopping(self, *, in_a_hurry: bool = False) -> None:
        """Have jobs know that their worker is ending, soon or now. Any thread may call it."""
        self._is_stopping = True
        if in_a_hurry:
            self._grace = CUT_OFF_HURRY
        self._order(Order.STOPPING)

    def cut_off(self, child: ChildProcess) -> None:
        """Have a child's job end within the grace, then kill it. Any thread may call it."""
        self._order(Order.CUT_OFF, child.number, round(self._grace * 1000))

    def forget(self) -> None:
        """Let go of everything in the child of a fork: as long as it held the sockets, no child would see their end."""
        with suppress(OSError):
            self._control.close()
        for child in self._children._found.values():
            with suppress(OSError):
                child.jobs.close()

    def _signal(self, number: int, signum: int) -> None:
        self._order(Order.SIGNAL, number, signum)

    def _order(self, order: Order, number: int = 0, value: int = 0) -> None:
        with suppress(OSError):  # without a fork server there are no children either
            self._control.sendall(ORDER.pack(order, number, value))

    # -- listening: the thread's own ----------------------------------------------------------------------------------

    def _wake(self) -> None:
        with suppress(OSError):
            self._waker.send(b"\0")

    def _listen(self) -> None:
        """Pass on what comes, until the fork server is closed and all that children wrote is read."""
        while True:
            while self._to_listen:
                descriptor, sink = self._to_listen.popleft()
                self._selector.register(descriptor, selectors.EVENT_READ, sink)
            if self.is_closing and len(self._selector.get_map()) == 1:
                break
            for key, _ in self._selector.select():
                try:
                    self._pass_on(key.fileobj, key.data)
                except Exception:
                    log.exception("listening to the children failed")
        self._selector.close()

    def _pass_on(self, source: Any, sink: Callable[[bytes], None]) -> None:
        if source is self._woken:
            self._woken.recv(4096)
            return
        try:
            data = source.recv(65536) if isinstance(source, socket.socket) else os.read(source, 65536)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(source)
            source.close() if isinstance(source, socket.socket) else os.close(source)
        sink(data)


class _Living:
    """The living children of one fork server, by number. Thread-safe; its lock is never held while somebody waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[int, ChildProcess] = {}

    def add(self, child: ChildProcess) -> None:
        with self._lock:
            self._found[child.number] = child

    def all(self) -> list[ChildProcess]:
        with self._lock:
            return list(self._found.values())

    def name(self, number: int, pid: int) -> None:
        """Note a child's pid."""
        with self._lock:
            if number in self._found:
                self._found[number].pid = pid

    def bury(self, number: int, exit_code: int) -> None:
        """Note a child's end."""
        with self._lock:
            child = self._found.pop(number, None)
        if child is not None:
            child.note_end(exit_code)


class _News:
    """Notes what a fork server tells of its children."""

    def __init__(self, living: _Living) -> None:
        self._living = living
        self._rest = b""

    def __call__(self, data: bytes) -> None:
        is_end = not data
        data = self._rest + data
        whole = len(data) // NEWS.size * NEWS.size
        self._rest = data[whole:]
        for news, number, value in NEWS.iter_unpack(data[:whole]):
            if news == News.FORKED:
                self._living.name(number, value)
            else:
                self._living.bury(number, value)
        if is_end:
            self._lose_them()

    def _lose_them(self) -> None:
        """Note that the fork server has ended: on Linux its children have with it, elsewhere they are killed now."""
        for child in self._living.all():
            if child.pid:
                with suppress(OSError):
                    os.killpg(child.pid, signal.SIGKILL)
            self._living.bury(child.number, -signal.SIGKILL)


def _note_errors(child: ChildProcess, lines: list[bytes]) -> None:
    print_lines(sys.stderr, lines)
    if lines:
        child.tail.extend(line.decode("utf-8", "replace")[:1000] for line in lines)
    else:
        child.tail_is_whole.set()


def _levels() -> dict[str, int]:
    """Return the levels that loggers have been given here, by name: children keep to them."""
    found = {"": logging.root.level}
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and logger.level:
            found[name] = logger.level
    return found


# -- fork -------------------------------------------------------------------------------------------------------------

_nurseries: weakref.WeakSet[ForkServer] | None = None


def _remember(fork_server: ForkServer) -> None:
    global _nurseries
    if _nurseries is None:
        _nurseries = weakref.WeakSet()
        os.register_at_fork(after_in_child=_forget_all)
    _nurseries.add(fork_server)


def _forget_all() -> None:
    for fork_server in list(_nurseries or ()):
        fork_server.forget()
