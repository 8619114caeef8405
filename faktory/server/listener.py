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
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Final

from ..errors import ProtocolError
from ..protocol.wire import NEED_DATA, encode_error
from .broker import Broker
from .clock import Clock, monotonic
from .faults import Faults, Kind
from .peer import MAX_UNSENT, Peer, end_listening, listen
from .session import Session

if TYPE_CHECKING:
    import ssl

HANDSHAKE_WITHIN: Final = 2.0
"""Seconds from the accept to the end of HELLO (server/server.go `startConnection`)."""
STOP_WITHIN: Final = 0.1
"""Seconds that open connections get to hear of a shutdown (server/server.go `Stop`)."""
_TURN: Final = 200  # commands of one connection before the others have theirs
_LONGEST_SLEEP: Final = 5.0  # the shortest interval of a sweep: somebody may put the clock back, or stop it

_log = logging.getLogger("faktory.server")


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
        self._peers: set[Peer] = set()
        # Those with a reply to send, or None when there may be more to read; under the lock.
        self._ready: list[tuple[Peer, bytes | None]] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._thread: threading.Thread | None = None
        self._cut_all: bool | None = None  # True: with a reset; under the lock
        self._stop_by: float | None = None
        self._is_killed = False
        self.crash: Exception | None = None
        """What ended the loop against its will; None again after the next start."""

    # -- from outside ---------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """True while the loop's thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, hosts: Sequence[str], port: int) -> tuple[str, int]:
        """Listen on the first of `hosts` there is, and serve; return which, and the port. Raises `OSError`."""
        self.stop()  # after a crash of the thread: frees what it held
        with contextlib.ExitStack() as undo:  # no descriptors, or threads, to be had: the port is not kept
            self._listening, host = listen(hosts, port)
            undo.callback(end_listening, self._listening)
            self._selector = undo.enter_context(contextlib.closing(selectors.DefaultSelector()))
            self._waker, self._woken = socket.socketpair()
            for sock in (self._waker, self._woken):
                undo.enter_context(sock)
                sock.setblocking(False)
            self._selector.register(self._woken, selectors.EVENT_READ)
            self._selector.register(self._listening, selectors.EVENT_READ)
            with self._lock:
                self._broker.restart(self._clock.now())
            self._stop_by = None
            self._is_killed = False
            self._cut_all = None
            self.crash = None
            bound: int = self._listening.getsockname()[1]
            thread = threading.Thread(target=self._main, name="faktory-server", daemon=True)
            thread.start()
            undo.pop_all()
        self._thread = thread
        return host, bound

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

    def abandon(self) -> None:
        """End the loop without waiting for it or for a lock: whom it served is gone."""
        self._is_killed = True
        self._broker.is_stopping = True
        self.wake()

    def join(self, timeout: float | None) -> bool:
        """Wait until the loop has ended; False when `timeout` seconds pass first."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def after_fork(self) -> None:
        """Close our copies of what the loop in the parent uses, which goes on there: in the child of a fork."""
        if self._thread is None:
            return
        self._thread = None
        for peer in list(self._peers):
            peer.let_go()
        self._peers.clear()
        for sock in (self._listening, self._waker, self._woken):
            sock.close()
        self._selector.close()

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
        except Exception as exc:  # the top of the thread: nobody else would hear of it
            self.crash = exc
            _log.exception("the embedded server has crashed")
        finally:
            self._end()

    def _loop(self) -> None:
        while True:
            for key, events in self._selector.select(self._sleep()):
                peer = key.data
                if peer is not None:
                    self._attend(peer, events)
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
                for peer in list(self._peers):
                    self._close(peer, reset=cut_all)
            self._go_on()
            if self._broker.is_stopping and self._is_over():
                return

    def _sleep(self) -> float:
        """Return how long nothing can happen by itself, in seconds."""
        now = monotonic()
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
        if self._broker.is_sweep_due(now):
            self._broker.sweep(now)
            self._changed()
        self._broker.end_waits(self._clock.monotonic())

    def _run_timers(self) -> None:
        now = monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (monotonic() + seconds, next(self._order), act))

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
            peer = Peer(sock, self._max_line, self._ssl_context)
        except OSError:  # it has gone already
            sock.close()
            return
        with self._lock:
            peer.session = Session(self._broker, lambda reply: self._answered(peer, reply))
        self._peers.add(peer)
        self._later(HANDSHAKE_WITHIN, lambda: self._end_handshake(peer))
        if peer.is_shaking_hands:
            self._shake_hands(peer)
        else:
            self._greet(peer)

    def _shake_hands(self, peer: Peer) -> None:
        try:
            mask = peer.shake_hands()
        except OSError:
            self._close(peer)
            return
        if mask:
            peer.watch(self._selector, mask)
        else:
            self._greet(peer)

    def _greet(self, peer: Peer) -> None:
        peer.fault = self._faults.strike("HI")
        self._reply(peer, peer.session.greeting)
        self._flush(peer)

    def _end_handshake(self, peer: Peer) -> None:
        if not peer.is_closed and not peer.session.is_greeted:
            self._close(peer)

    def _attend(self, peer: Peer, events: int) -> None:
        """Do what the selector found possible."""
        if peer.is_closed:
            return
        if peer.is_shaking_hands:
            self._shake_hands(peer)
            return
        if events & selectors.EVENT_WRITE:
            self._flush(peer)
            if not peer.unsent:
                self._converse(peer)  # lines that had to wait until the client reads
        if events & selectors.EVENT_READ and not peer.is_closed:
            self._read(peer)

    def _read(self, peer: Peer) -> None:
        try:
            data = peer.receive()
        except OSError:
            self._close(peer)
            return
        if data is None:
            return
        if not data:  # the client may only have finished sending: what it is owed still goes out
            peer.is_closing = True
            self._flush(peer)
            return
        peer.parser.feed(data)
        self._converse(peer)
        if not peer.is_closed and peer.has_more:
            with self._lock:
                self._ready.append((peer, None))

    def _converse(self, peer: Peer) -> None:
        """Execute the lines that have come, as far as they may be executed now, and send the replies."""
        session, parser = peer.session, peer.parser
        left = _TURN
        while not (peer.is_waiting or peer.is_closing or peer.is_closed):
            if len(peer.unsent) > MAX_UNSENT:
                break
            if not left:
                peer.is_waiting = True
                with self._lock:
                    self._ready.append((peer, b""))
                break
            left -= 1
            try:
                line = parser.next_line()
            except ProtocolError:
                self._reply(peer, encode_error(f"command too long: the limit is {parser.max_line} bytes"))
                peer.is_closing = True
                break
            if line is NEED_DATA:
                break
            self._execute(peer, line)
            if session.is_greeted:
                parser.max_line = self._max_line
        self._flush(peer)

    def _execute(self, peer: Peer, line: bytes) -> None:
        if not self._faults.is_empty:
            fault = peer.fault = self._faults.strike(line.partition(b" ")[0].decode("utf-8", "replace"))
            if fault is not None and not fault.executed:
                self._reply(peer, b"")
                return
        with self._lock:
            now = self._clock.now()
            try:
                reply = peer.session.receive(line, now, self._clock.monotonic())
            except Exception:  # ours to mend, but no reason to fail everybody else (server/server.go `safeDispatch`)
                _log.exception("a command broke the embedded server: %.20r", line.partition(b" ")[0])
                reply = encode_error("internal error")
            peer.is_waiting = reply is None
            self._broker.serve(now)
            self._changed()
        if reply is not None:
            self._reply(peer, reply)

    def _answered(self, peer: Peer, reply: bytes) -> None:
        """Take the reply to a FETCH that had to wait. Called under the lock, by any thread."""
        self._ready.append((peer, reply))

    def _go_on(self) -> None:
        """Send what has become ready, and execute the lines that had to wait for it."""
        with self._lock:
            ready, self._ready = self._ready, []
        for peer, reply in ready:
            if peer.is_closed:
                continue  # a FETCH whose client has gone: its job stays reserved
            if reply is None:
                self._read(peer)
            else:
                peer.is_waiting = False
                self._reply(peer, reply)
                self._converse(peer)

    def _reply(self, peer: Peer, reply: bytes) -> None:
        """Queue a reply for sending, harmed by the fault that struck its command."""
        fault, peer.fault = peer.fault, None
        if fault is None:
            peer.unsent += reply
        elif fault.kind is Kind.DELAY:
            peer.is_waiting = True
            self._later(fault.amount, lambda: self._delayed(peer, reply))
            return
        elif fault.kind is Kind.GARBLE:
            peer.unsent += self._faults.garbled(reply)
        elif fault.kind is Kind.REFUSE:
            peer.unsent += encode_error(fault.text)
        else:
            peer.unsent += reply[: int(fault.amount)] if fault.kind is Kind.CUT else b""
            peer.is_closing = True
        peer.is_closing |= peer.session.is_over

    def _delayed(self, peer: Peer, reply: bytes) -> None:
        with self._lock:
            self._ready.append((peer, reply))

    # -- sending and closing --------------------------------------------------------------------------------

    def _flush(self, peer: Peer) -> None:
        """Send what can be sent, watch for what is left to do, and close what is done."""
        if peer.is_closed:
            return
        try:
            peer.send()
        except OSError:
            self._close(peer)
            return
        if peer.is_closing and not peer.unsent:
            self._close(peer)
        else:
            peer.watch(self._selector, peer.wanted)

    def _close(self, peer: Peer, *, reset: bool = False) -> None:
        if peer.is_closed:
            return
        self._peers.discard(peer)
        peer.watch(self._selector, 0)
        peer.close(reset=reset)
        with self._lock:
            peer.session.leave()
            self._changed()

    def _evict(self, session: object) -> None:
        for peer in self._peers:
            if peer.session is session:
                self._close(peer)
                return

    # -- ending ---------------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        """Go on with a shutdown; True when the loop may end."""
        if self._stop_by is None:
            self._stop_by = monotonic() + (0.0 if self._is_killed else STOP_WITHIN)
            with contextlib.suppress(KeyError):  # accepting may be paused
                self._selector.unregister(self._listening)
            end_listening(self._listening)
            for peer in [each for each in self._peers if not each.session.is_greeted]:
                self._close(peer, reset=self._is_killed)
        if self._peers and monotonic() < self._stop_by:
            return False
        for peer in list(self._peers):
            if peer.is_waiting and not self._is_killed:
                peer.unsent += encode_error("redis: client is closed")  # what a waiting FETCH gets to hear
                peer.is_closing = True
                self._flush(peer)
            self._close(peer, reset=self._is_killed)
        return True

    def _end(self) -> None:
        for peer in list(self._peers):
            self._close(peer)
        end_listening(self._listening)
        self._selector.close()
        self._woken.close()
        self._waker.close()
        self._timers.clear()
        with self._lock:
            self._ready.clear()
            self._broker.waiters.pop_all()
            self._changed()
