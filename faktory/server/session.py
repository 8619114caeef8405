"""One connection's conversation: command lines in, reply bytes out. Pure: no socket, no clock.

The owner sends `greeting`, then gives each line to `receive` and sends what it returns. None means that the session is
parked in FETCH: its reply comes through `answer`, and until then it gets no other line. When `is_over` is set the
connection is to be closed after the reply. `leave` must be called once, when the connection is gone.

`now` is seconds since 1970 by the server's clock, `clock` the time that waits are measured on, in seconds.

Sources: server/commands.go, server/server.go and server/workers.go of contribsys/faktory.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import ClassVar, Final, TypeGuard

from ..protocol.wire import NIL, OK, encode_bulk, encode_error, encode_status
from .broker import Broker
from .documents import JobDocument
from .gojson import DocumentError, encode, is_object, parse, read_fields, read_list
from .mutate import mutate
from .peek import peek
from .rules import Refusal
from .workers import Worker, WorkerState

_HELLO: Final = {
    "hostname": "string",
    "wid": "string",
    "pwdhash": "string",
    "username": "string",
    "labels": "[]string",
    "pid": "int",
    "rss_kb": "int",
    "v": "uint8",
}
_FAIL: Final = {"jid": "string", "message": "string", "errtype": "string", "backtrace": "[]string"}
_BEAT: Final = {"current_state": "string", "wid": "string", "rss_kb": "int"}
_INTERNAL: Final = encode_error("internal error")
_MUST_NAME_QUEUE: Final = encode_error("must call fetch with at least one queue")


class Session:
    """One client's connection to a broker."""

    def __init__(self, broker: Broker, answer: Callable[[bytes], None]) -> None:
        self.is_over: bool = False
        self.is_greeted: bool = False
        self._broker = broker
        self._answer = answer
        self._worker = Worker("")
        self._salt = f"{broker.random.getrandbits(63):x}"
        self._iterations = broker.random.randrange(4000, 8096)

    # -- handshake ------------------------------------------------------------------------------------------

    @property
    def greeting(self) -> bytes:
        """What the server says first."""
        if self._broker.password is None:
            return encode_status('HI {"v":2}')
        return encode_status(f'HI {{"v":2,"i":{self._iterations},"s":"{self._salt}"}}')

    def _hello(self, line: bytes, now: float) -> bytes:
        # Anything but "HELLO {" is answered by closing, which also stops a browser's cross-protocol POST.
        self.is_over = True
        if not line.startswith(b"HELLO {"):
            return b""
        try:
            hello = read_fields(parse(line[6:]), _HELLO, "ClientData", "server.ClientData")
        except DocumentError:
            return b""
        if not self._knows_password(hello.get("pwdhash", ""), hello.get("v", 0)):
            return encode_error("Invalid password")
        broker = self._broker
        self.is_over, self.is_greeted = False, True
        self._worker = Worker(
            hello.get("wid", ""), hello.get("hostname", ""), hello.get("pid", 0), tuple(hello.get("labels", ()))
        )
        if self._worker.wid:
            broker.workers.join(self._worker, self, now)
        broker.connections += 1
        if broker.connections > broker.max_connections:
            self.is_over = True
            return OK + encode_error(f"too many connections: {broker.connections}")
        return OK

    def _knows_password(self, answer: str, version: int) -> bool:
        password = self._broker.password
        if password is None:
            return True
        digest = hashlib.sha256((password + self._salt).encode()).digest()
        for _ in range(1, self._iterations if version >= 2 else 1):
            digest = hashlib.sha256(digest).digest()
        return hmac.compare_digest(answer.encode(), digest.hex().encode())

    def leave(self) -> None:
        """Take leave of the broker: the connection is closed."""
        if self.is_greeted:
            self.is_greeted = False
            self.is_over = True
            self._broker.connections -= 1
            if self._worker.wid:
                self._broker.workers.leave(self._worker.wid, self)

    # -- commands -------------------------------------------------------------------------------------------

    def receive(self, line: bytes, now: float, clock: float) -> bytes | None:
        """Carry out one line, without its end, and return the reply; None when it comes later."""
        if not self.is_greeted:
            return self._hello(line, now)
        broker = self._broker
        if broker.is_stopping:
            self.is_over = True
            return encode_error("shutdown in progress")
        verb, _, payload = line.partition(b" ")
        command = self._COMMANDS.get(verb)
        if command is None:
            return encode_error(f"unknown command {_text(verb)}")
        broker.commands += 1
        if verb == b"FETCH":
            return self._fetch(line, now, clock)
        try:
            return command(self, payload if len(verb) < len(line) else None, now)
        except Refusal as exc:
            return encode_error(exc.text, exc.code)

    def _end(self, _payload: bytes | None, _now: float) -> bytes:
        self.is_over = True
        return b""

    def _push(self, payload: bytes | None, now: float) -> bytes:
        if payload is None:
            return _INTERNAL
        try:
            self._broker.store.push(JobDocument.read(parse(payload)), now)
        except DocumentError as exc:
            raise Refusal(f"invalid JSON: {exc}") from None
        return OK

    def _push_bulk(self, payload: bytes | None, now: float) -> bytes:
        if payload is None:
            return _INTERNAL
        refused: dict[str, str] = {}
        store = self._broker.store
        try:
            values = parse(payload)
            jobs = [
                JobDocument.read(value, f".{index}") for index, value in enumerate(read_list(values, "[]client.Job"))
            ]
            for job in jobs:
                try:
                    store.push(job, now)
                except Refusal as exc:
                    refused[job.jid] = exc.in_bulk
        except DocumentError as exc:
            raise Refusal(f"invalid JSON: {exc}") from None
        return encode_bulk(encode(refused).encode())

    def _fetch(self, line: bytes, now: float, clock: float) -> bytes | None:
        queues = _text(line).split(" ")[1:]
        if self._worker.state is not WorkerState.RUNNING:  # known only on the first connection of a wid
            self._broker.rest([], self._worker.wid, clock, self._fetched)
            return None
        if not queues:
            return _MUST_NAME_QUEUE
        text = self._broker.fetch(queues, self._worker.wid, now, clock, self._fetched)
        return None if text is None else encode_bulk(text)

    def _fetched(self, text: bytes | None) -> None:
        self._answer(NIL if text is None else encode_bulk(text))

    def _acknowledge(self, payload: bytes | None, now: float) -> bytes:
        if payload is None:
            return _INTERNAL
        try:
            told = parse(payload)
        except DocumentError:
            told = None
        if not _is_text_only(told) or "jid" not in told:
            raise Refusal(f"invalid ACK {_text(payload)}")
        self._broker.store.acknowledge(told["jid"] or "", now)
        return OK

    def _fail(self, payload: bytes | None, now: float) -> bytes:
        if payload is None:
            return _INTERNAL
        try:
            told = read_fields(parse(payload), _FAIL, "FailPayload", "manager.FailPayload")
        except DocumentError:
            raise Refusal(f"invalid FAIL {_text(payload)}") from None
        get = told.get
        self._broker.store.fail(get("jid", ""), get("errtype", ""), get("message", ""), get("backtrace") or [], now)
        return OK

    def _beat(self, payload: bytes | None, now: float) -> bytes:
        if payload is None:
            return _INTERNAL
        try:
            told = read_fields(parse(payload), _BEAT, "ClientBeat", "server.ClientBeat")
        except DocumentError:
            raise Refusal(f"invalid BEAT {_text(payload)}") from None
        wid = told.get("wid", "")
        worker = self._broker.workers.beat(wid, told.get("current_state", ""), told.get("rss_kb", 0), now)
        if worker is None:
            raise Refusal(f"unknown worker {wid}")
        if worker.state is WorkerState.RUNNING:
            return OK
        return encode_bulk(b'{"state":"%b"}' % worker.state.name.lower().encode())

    def _info(self, _payload: bytes | None, now: float) -> bytes:
        return encode_bulk(json.dumps(self._broker.info(now), separators=(",", ":"), ensure_ascii=False).encode())

    def _flush(self, _payload: bytes | None, _now: float) -> bytes:
        self._broker.store.flush()
        return OK

    def _mutate(self, payload: bytes | None, now: float) -> bytes:
        if payload is None or b" " in payload:
            raise Refusal("invalid format")
        try:
            mutate(self._broker.store, payload, now)
        except DocumentError as exc:
            raise Refusal(str(exc)) from None
        return OK

    def _peek(self, payload: bytes | None, _now: float) -> bytes:
        if payload is None:
            return _INTERNAL
        try:
            return encode_bulk(peek(self._broker.store, payload).encode())
        except DocumentError as exc:
            raise Refusal(f"invalid JSON: {exc}") from None

    def _queue(self, payload: bytes | None, now: float) -> bytes:
        if payload is None:
            return _INTERNAL
        store = self._broker.store
        word, *names = _text(payload).split(" ")
        word = word.upper()
        if word == "LATENCY":
            if names == ["*"]:
                raise Refusal("QUEUE LATENCY does not support wildcards")
            return encode_bulk(encode({name: store.latency(name, now) or 0 for name in names}).encode())
        acts: dict[str, Callable[[str], None]] = {
            "PAUSE": store.pause,
            "RESUME": store.resume,
            "REMOVE": lambda name: store.remove_queue(name, now),
        }
        act = acts.get(word)
        if act is None:
            raise Refusal(f"no such QUEUE subcommand: {word}")
        if not names:
            return _INTERNAL
        for name in list(store.sizes) if names[0] == "*" else names:
            act(name)
        return OK

    def _batch(self, payload: bytes | None, now: float) -> bytes:
        if self._broker.enterprise is None:
            raise Refusal("batch subsystem is only available in Faktory Enterprise")
        return self._special(self._broker.enterprise.batch, payload, now)

    def _track(self, payload: bytes | None, now: float) -> bytes:
        if self._broker.enterprise is None:
            raise Refusal("tracking subsystem is only available in Faktory Enterprise")
        return self._special(self._broker.enterprise.track, payload, now)

    def _special(
        self, command: Callable[[bytes, bytes, float], str | None], payload: bytes | None, now: float
    ) -> bytes:
        if payload is None:
            return _INTERNAL
        word, _, rest = payload.partition(b" ")
        try:
            answer = command(word.upper(), rest, now)
        except DocumentError as exc:
            raise Refusal(f"invalid JSON: {exc}") from None
        return OK if answer is None else encode_bulk(answer.encode())

    _COMMANDS: ClassVar[dict[bytes, Callable[[Session, bytes | None, float], bytes]]] = {
        b"END": _end,
        b"PUSH": _push,
        b"PUSHB": _push_bulk,
        b"FETCH": _end,  # never called: FETCH may have to wait
        b"ACK": _acknowledge,
        b"FAIL": _fail,
        b"BEAT": _beat,
        b"INFO": _info,
        b"FLUSH": _flush,
        b"MUTATE": _mutate,
        b"QUEUE": _queue,
        b"PEEK": _peek,  # ours
        b"BATCH": _batch,
        b"TRACK": _track,
    }


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _is_text_only(told: object) -> TypeGuard[dict[str, str | None]]:
    return is_object(told) and all(value is None or isinstance(value, str) for value in told.values())
