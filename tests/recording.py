"""What a client and a server say to each other: a proxy between the two that writes everything down.

Outcomes alone do not tell a worker that sends one FETCH from one that sends ten. Here a test can count them, see what
left in one write, on how many connections, and what waits for its answer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from faktory.protocol.wire import NEED_DATA, CommandParser, Reply, ReplyParser
from tests.lines import next_command
from tests.proxy import Proxy


@dataclass(slots=True, eq=False)
class Exchange:
    """One command and its answer."""

    connection: int
    """Counted from 1 in the order of connecting."""
    write: int
    """Which of all pieces that came from clients it was in: commands of one number left together."""
    verb: str
    payload: bytes
    at: float
    """Monotonic seconds."""
    answered_at: float | None = None
    reply: Reply = None

    @property
    def is_waiting(self) -> bool:
        """True while the answer has not come."""
        return self.answered_at is None


@dataclass(slots=True)
class _Conversation:
    commands: CommandParser = field(default_factory=CommandParser)
    replies: ReplyParser = field(default_factory=ReplyParser)
    unanswered: deque[Exchange] = field(default_factory=deque)
    has_greeted: bool = False


class Recording:
    """Records all that goes to the server on `port` and back by way of `url`. A context manager; thread-safe."""

    def __init__(self, port: int) -> None:
        self.proxy: Proxy = Proxy(port)
        self._exchanges: list[Exchange] = []
        self._conversations: dict[int, _Conversation] = {}
        self._writes = 0
        self._changed = threading.Condition()
        self._most_waiting = 0
        self.proxy.watch = self._note

    @property
    def url(self) -> str:
        """Where the client under test connects."""
        return self.proxy.url

    def exchanges(self, *verbs: str) -> list[Exchange]:
        """Return the exchanges so far, of these commands or of all."""
        with self._changed:
            return [each for each in self._exchanges if not verbs or each.verb in verbs]

    def count(self, *verbs: str) -> int:
        """Return how many commands were sent."""
        return len(self.exchanges(*verbs))

    def writes(self, *verbs: str) -> list[tuple[str, ...]]:
        """Return the commands that left together, in order: `[("FETCH",), ("ACK", "FETCH")]`."""
        together: dict[int, list[str]] = {}
        for each in self.exchanges(*verbs):
            together.setdefault(each.write, []).append(each.verb)
        return [tuple(group) for group in together.values()]

    def connections(self, *verbs: str) -> set[int]:
        """Return the connections on which these commands went."""
        return {each.connection for each in self.exchanges(*verbs)}

    def waiting(self, verb: str) -> list[Exchange]:
        """Return the commands whose answers have not come."""
        return [each for each in self.exchanges(verb) if each.is_waiting]

    def most_waiting_fetches(self) -> int:
        """Return the largest number of FETCHes that waited at one time."""
        with self._changed:
            return self._most_waiting

    def until(self, condition: Callable[[Recording], object], patience: float = 5.0) -> None:
        """Wait until something is so; asked again at each piece that passes."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), patience), f"only {self.writes()[-40:]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.proxy.close()

    def _note(self, connection: int, is_client: bool, data: bytes) -> None:
        with self._changed:
            conversation = self._conversations.setdefault(connection, _Conversation())
            if is_client:
                self._note_commands(conversation, connection, data)
            else:
                self._note_replies(conversation, data)
            self._changed.notify_all()

    def _note_commands(self, conversation: _Conversation, connection: int, data: bytes) -> None:
        self._writes += 1
        conversation.commands.feed(data)
        while (command := next_command(conversation.commands)) is not None:
            exchange = Exchange(connection, self._writes, *command, at=time.monotonic())
            self._exchanges.append(exchange)
            if exchange.verb != "END":  # which has no reply
                conversation.unanswered.append(exchange)
        fetches = sum(each.verb == "FETCH" and each.is_waiting for each in self._exchanges)
        self._most_waiting = max(self._most_waiting, fetches)

    def _note_replies(self, conversation: _Conversation, data: bytes) -> None:
        conversation.replies.feed(data)
        while (reply := conversation.replies.next_reply()) is not NEED_DATA:
            if not conversation.has_greeted:
                conversation.has_greeted = True
                continue
            exchange = conversation.unanswered.popleft()
            exchange.answered_at = time.monotonic()
            exchange.reply = reply
