"""Sockets around sessions: one thread, one selector, any number of connections.

The broker's state is touched under `lock` only, by the thread of the loop and by whoever inspects the server; reading
and writing sockets happens outside of it, in the loop's thread alone. Others who change the state call `wake`.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Final

from ..errors import ProtocolError
from ..wire import NEED_DATA, CommandParser, encode_error
from .broker import Broker
from .clock import Clock
from .faults import Fault, Faults, Kind
from .session import Session

if TYPE_CHECKING:
    import ssl

HANDSHAKE_WITHIN: Final = 2.0
"""Seconds from the accept to the end of HELLO (server/server.go `startConnection`)."""
STOP_WITHIN: Final = 0.1
"""Seconds that open connections get to hear of a shutdown (server/server.go `Stop`)."""
_MAX_HELLO: Final = 64 * 1024
_READ_SIZE: Final = 64 * 1024
_READ_MORE: Final = 1024 * 1024
_MAX_UNSENT: Final = 4 * 1024 * 1024  # a client that does not read gets no more commands executed
_LONGEST_SLEEP: Final = 3_600.0
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: close() sends RST

_log = logging.getLogger("faktory.server")


class Connection:
    """One client's socket with its session. Belongs to the loop's thread."""

    __slots__ = (
        "fault",
        "handshake",
        "is_closed",
        "is_closing",
        "is_waiting",
        "mask",
        "parser",
        "read_size",
        "session",
        "sock",
        "unsent",
    )

    def __init__(self, sock: socket.socket, max_line: int) -> None:
        self.sock = sock
        self.session: Session
        self.parser = CommandParser(min(max_line, _MAX_HELLO))
        self.unsent = bytearray()
        self.mask = 0  # what the selector watches
        self.is_waiting = False  # for a job, or for a delayed reply: no further line is looked at
        self.is_closing = False  # once all is sent
        self.is_closed = False
        self.handshake = False  # of TLS, still going on
        self.fault: Fault | None = None
        self.read_size = _READ_SIZE


class Listener:
    """The loop. `start` and `stop` are called by one thread, from outside."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        faults: Faults,
        lock: threading.RLock,
        *,
        max_line: int,
        ssl_context: ssl.SSLContext | None,
        changed: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._faults = faults
        self._lock = lock
        self._max_line = max_line
        self._ssl_context = ssl_context
        self._changed = changed
        self._not_now: tuple[type[OSError], ...] = (BlockingIOError,)
        if ssl_context is not None:
            import ssl

            self._not_now = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self._connections: set[Connection] = set()
        # Connections with a reply to send, or None when there may be more to read; under the lock.
        self._ready: list[tuple[Connection, bytes | None]] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._thread: threading.Thread | None = None
        self._cut_all: bool | None = None  # True: with a reset; under the lock
        self._stop_by: float | None = None
        self._is_killed = False

    # -- from outside ---------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """True while the loop's thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, sock: socket.socket) -> None:
        """Serve on a listening socket, which from now on is the loop's."""
        sock.setblocking(False)
        self._listening = sock
        self._stop_by = None
        self._is_killed = False
        self._cut_all = None
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(sock, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._main, name="faktory-server", daemon=True)
        self._thread.start()

    def stop(self, *, kill: bool = False) -> None:
        """End the loop and wait for it: gracefully, or by resetting every connection at once."""
        thread = self._thread
        if thread is None:
            return
        with self._lock:
            self._is_killed = kill
            self._broker.is_stopping = True
        self.wake()
        thread.join()
        self._thread = None
        self._waker.close()

    def cut_all(self, *, reset: bool) -> None:
        """Close every connection; their clients' FETCHes still wait, as those of lost clients do."""
        with self._lock:
            self._cut_all = reset
        self.wake()

    def wake(self) -> None:
        """Make the loop look at the state again."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: it has ended
            self._waker.send(b"\0")

    # -- the loop -------------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self._loop()
        except Exception:  # the top of the thread: nobody else would hear of it
            _log.exception("the embedded server has crashed")
        finally:
            self._end()

    def _loop(self) -> None:
        while True:
            for key, events in self._selector.select(self._sleep()):
                connection = key.data
                if connection is not None:
                    self._attend(connection, events)
                elif key.fileobj is self._listening:
                    self._accept()
                else:
                    self._drain_wakeups()
            self._run_timers()
            with self._lock:
                self._keep_time()
                evicted = self._broker.take_evicted()
                cut_all, self._cut_all = self._cut_all, None
            if evicted:
                self._go_on()  # a jump of the clock may give a worker a job and cut it off: the job goes out first
                for session in evicted:
                    self._evict(session)
            if cut_all is not None:
                for connection in list(self._connections):
                    self._close(connection, reset=cut_all)
            self._go_on()
            if self._broker.is_stopping and self._is_over():
                return

    def _sleep(self) -> float:
        """Return how long nothing can happen by itself, in seconds."""
        now = time.monotonic()
        longest = _LONGEST_SLEEP
        if self._ready:
            return 0.0
        if self._stop_by is not None:
            longest = min(longest, self._stop_by - now)
        if self._timers:
            longest = min(longest, self._timers[0][0] - now)
        with self._lock:
            due = self._broker.waiters.next_due
            if due is not None:
                longest = min(longest, due - self._clock.monotonic())
            longest = min(longest, self._broker.next_sweep - self._clock.now())
        return max(0.0, longest)

    def _keep_time(self) -> None:
        now = self._clock.now()
        if self._broker.next_sweep <= now:
            self._broker.sweep(now)
            self._changed()
        self._broker.end_waits(self._clock.monotonic())

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), act))

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(self._woken.recv(4096)) == 4096:
                pass

    # -- connections ----------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as exc:  # no file descriptors left, most likely: let some close first
                _log.warning("cannot accept a connection: %s", exc)
                self._selector.unregister(self._listening)
                self._later(0.1, self._accept_again)
                return
            self._welcome(sock)

    def _accept_again(self) -> None:
        if self._stop_by is None:
            self._selector.register(self._listening, selectors.EVENT_READ)

    def _welcome(self, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._ssl_context is not None:
                sock = self._ssl_context.wrap_socket(
                    sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
                )
        except OSError:
            sock.close()
            return
        connection = Connection(sock, self._max_line)
        with self._lock:
            connection.session = Session(self._broker, lambda reply: self._answered(connection, reply))
        self._connections.add(connection)
        self._later(HANDSHAKE_WITHIN, lambda: self._end_handshake(connection))
        if self._ssl_context is not None:
            connection.handshake = True
            self._watch(connection, selectors.EVENT_READ)
            self._shake_hands(connection)
        else:
            self._greet(connection)

    def _greet(self, connection: Connection) -> None:
        connection.fault = self._faults.strike("HI")
        self._reply(connection, connection.session.greeting)
        self._flush(connection)

    def _shake_hands(self, connection: Connection) -> None:
        import ssl

        try:
            connection.sock.do_handshake()  # type: ignore[attr-defined]
        except ssl.SSLWantReadError:
            self._watch(connection, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._watch(connection, selectors.EVENT_WRITE)
        except OSError:
            self._close(connection)
        else:
            connection.handshake = False
            self._greet(connection)

    def _end_handshake(self, connection: Connection) -> None:
        if not connection.is_closed and not connection.session.is_greeted:
            self._close(connection)

    def _attend(self, connection: Connection, events: int) -> None:
        """Do what the selector found possible."""
        if connection.is_closed:
            return
        if connection.handshake:
            self._shake_hands(connection)
            return
        if events & selectors.EVENT_WRITE:
            self._flush(connection)
        if events & selectors.EVENT_READ and not connection.is_closed:
            self._read(connection)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(connection.read_size)
        except self._not_now:
            return
        except OSError:
            self._close(connection)
            return
        if not data:
            self._close(connection)
            return
        connection.read_size = _READ_MORE if len(data) == connection.read_size else _READ_SIZE
        connection.parser.feed(data)
        self._converse(connection)
        if self._ssl_context is not None and not connection.is_closed and connection.sock.pending():  # type: ignore[attr-defined]
            # TLS has read more from the socket than it gave, and the selector cannot know.
            with self._lock:
                self._ready.append((connection, None))

    def _converse(self, connection: Connection) -> None:
        """Execute the lines that have come, as far as they may be executed now, and send the replies."""
        session, parser = connection.session, connection.parser
        while not (connection.is_waiting or connection.is_closing or connection.is_closed):
            if len(connection.unsent) > _MAX_UNSENT:
                break
            try:
                line = parser.next_line()
            except ProtocolError:
                self._reply(connection, encode_error(f"command too long: the limit is {parser.max_line} bytes"))
                connection.is_closing = True
                break
            if line is NEED_DATA:
                break
            self._execute(connection, line)
            if session.is_greeted:
                parser.max_line = self._max_line
        self._flush(connection)

    def _execute(self, connection: Connection, line: bytes) -> None:
        if not self._faults.is_empty:
            fault = connection.fault = self._faults.strike(line.partition(b" ")[0].decode("utf-8", "replace"))
            if fault is not None and not fault.executed:
                self._reply(connection, b"")
                return
        with self._lock:
            now = self._clock.now()
            reply = connection.session.receive(line, now, self._clock.monotonic())
            connection.is_waiting = reply is None
            self._broker.serve(now)
            self._changed()
        if reply is not None:
            self._reply(connection, reply)

    def _answered(self, connection: Connection, reply: bytes) -> None:
        """Take the reply to a FETCH that had to wait. Called under the lock, by any thread."""
        self._ready.append((connection, reply))

    def _go_on(self) -> None:
        """Send what has become ready, and execute the lines that had to wait for it."""
        with self._lock:
            ready, self._ready = self._ready, []
        for connection, reply in ready:
            if connection.is_closed:
                continue  # a FETCH whose client has gone: its job stays reserved
            if reply is None:
                self._read(connection)
            else:
                connection.is_waiting = False
                self._reply(connection, reply)
                self._converse(connection)

    def _reply(self, connection: Connection, reply: bytes) -> None:
        """Queue a reply for sending, harmed by the fault that struck its command."""
        fault, connection.fault = connection.fault, None
        if fault is None:
            connection.unsent += reply
        elif fault.kind is Kind.DELAY:
            connection.is_waiting = True
            self._later(fault.amount, lambda: self._delayed(connection, reply))
            return
        elif fault.kind is Kind.GARBLE:
            connection.unsent += self._faults.garbled(reply)
        elif fault.kind is Kind.REFUSE:
            connection.unsent += encode_error(fault.text)
        else:
            connection.unsent += reply[: int(fault.amount)] if fault.kind is Kind.CUT else b""
            connection.is_closing = True
        connection.is_closing |= connection.session.is_over

    def _delayed(self, connection: Connection, reply: bytes) -> None:
        with self._lock:
            self._ready.append((connection, reply))

    # -- sending and closing --------------------------------------------------------------------------------

    def _flush(self, connection: Connection) -> None:
        """Send what can be sent, watch for what is left to do, and close what is done."""
        if connection.is_closed:
            return
        unsent = connection.unsent
        try:
            while unsent:
                del unsent[: connection.sock.send(unsent)]
        except self._not_now:
            pass
        except OSError:
            self._close(connection)
            return
        if not unsent and connection.is_closing:
            self._close(connection)
            return
        mask = selectors.EVENT_WRITE if unsent else 0
        if not (connection.is_waiting or connection.is_closing or len(unsent) > _MAX_UNSENT):
            mask |= selectors.EVENT_READ
        self._watch(connection, mask)

    def _watch(self, connection: Connection, mask: int) -> None:
        before, connection.mask = connection.mask, mask
        if before == mask:
            return
        if not before:
            self._selector.register(connection.sock, mask, connection)
        elif mask:
            self._selector.modify(connection.sock, mask, connection)
        else:
            # Nobody looks at a socket while its FETCH waits: that its client has gone shows only afterwards.
            self._selector.unregister(connection.sock)

    def _close(self, connection: Connection, *, reset: bool = False) -> None:
        if connection.is_closed:
            return
        connection.is_closed = True
        self._connections.discard(connection)
        if connection.mask:
            self._selector.unregister(connection.sock)
        with contextlib.suppress(OSError, ValueError):
            if reset:
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            elif self._ssl_context is not None and not connection.handshake:
                connection.sock.unwrap()  # type: ignore[attr-defined]  # tells the end; never waits for the answer
        connection.sock.close()
        with self._lock:
            connection.session.leave()
            self._changed()

    def _evict(self, session: object) -> None:
        for connection in self._connections:
            if connection.session is session:
                self._close(connection)
                return

    # -- ending ---------------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        """Go on with a shutdown; True when the loop may end."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + (0.0 if self._is_killed else STOP_WITHIN)
            with contextlib.suppress(KeyError):  # accepting may be paused
                self._selector.unregister(self._listening)
            self._listening.close()
            for connection in [each for each in self._connections if not each.session.is_greeted]:
                self._close(connection, reset=self._is_killed)
        if self._connections and time.monotonic() < self._stop_by:
            return False
        for connection in list(self._connections):
            if connection.is_waiting and not self._is_killed:
                connection.unsent += encode_error("redis: client is closed")  # what a waiting FETCH gets to hear
                connection.is_closing = True
                self._flush(connection)
            self._close(connection, reset=self._is_killed)
        return True

    def _end(self) -> None:
        for connection in list(self._connections):
            self._close(connection)
        self._listening.close()
        self._selector.close()
        self._woken.close()
        self._timers.clear()
        with self._lock:
            self._ready.clear()
            self._broker.waiters.pop_all()
