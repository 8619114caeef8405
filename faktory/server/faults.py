"""Faults on demand: what a server does wrong, by command, next time or every so often. No I/O: the listener asks.

A rule counts the exchanges of its command, and strikes at the ones it was made for. The first rule that strikes wins.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ..errors import ConfigurationError
from .forks import elsewhere, remember

VERBS: Final = frozenset(
    {"HI", "HELLO", "PUSH", "PUSHB", "FETCH", "ACK", "FAIL", "BEAT", "INFO", "FLUSH", "END", "MUTATE", "PEEK", "QUEUE"}
    | {"BATCH", "TRACK"}
)
"""What a rule can be made for; one for anything else would never strike, and its test prove nothing."""


class Kind(Enum):
    """What happens to an exchange that is struck."""

    DROP = "drop"
    CUT = "cut"
    DELAY = "delay"
    GARBLE = "garble"
    REFUSE = "refuse"


@dataclass(slots=True, eq=False)
class Fault:
    """One rule. `seen` exchanges of its command were looked at, `struck` of them were harmed.

    >>> fault = server.faults.drop("PUSHB", times=2)
    >>> assert fault.struck == 0
    """

    kind: Kind
    command: str | None
    times: int | None
    every: int
    executed: bool = True
    amount: float = 0.0
    text: str = ""
    seen: int = 0
    struck: int = 0


class Faults:
    """The rules of one server. Thread-safe.

    Common to all: `command` is a verb like "PUSHB", "HELLO", or "HI" for the greeting; None means every command. A rule
    strikes the next `times` exchanges (None: for ever), or with `every=n` each n-th of them. Each method returns its
    `Fault`, whose `struck` counts.

    >>> server.faults.drop("ACK")
    >>> server.faults.delay("FETCH", seconds=1.5, every=10)
    """

    def __init__(self, randomness: random.Random) -> None:
        self._random = randomness
        self._rules: list[Fault] = []
        self._lock = threading.Lock()
        self._is_elsewhere = False
        remember(self)

    def drop(
        self, command: str | None = None, *, times: int | None = 1, every: int = 1, executed: bool = True
    ) -> Fault:
        """Close the connection instead of replying, after the command was executed or, if not `executed`, before."""
        return self._add(Fault(Kind.DROP, command, times, every, executed))

    def cut(self, command: str | None = None, *, after: int, times: int | None = 1, every: int = 1) -> Fault:
        """Send the first `after` bytes of the reply, then close."""
        return self._add(Fault(Kind.CUT, command, times, every, amount=after))

    def delay(self, command: str | None = None, *, seconds: float, times: int | None = 1, every: int = 1) -> Fault:
        """Execute at once and reply `seconds` later, real time; the connection's next command waits for that."""
        return self._add(Fault(Kind.DELAY, command, times, every, amount=seconds))

    def garble(self, command: str | None = None, *, times: int | None = 1, every: int = 1) -> Fault:
        """Change bytes of the reply, at places and to values that the server's seed decides."""
        return self._add(Fault(Kind.GARBLE, command, times, every))

    def refuse(
        self,
        command: str | None = None,
        *,
        text: str = "context deadline exceeded",
        times: int | None = 1,
        every: int = 1,
    ) -> Fault:
        """Reply `-ERR text` without executing the command."""
        return self._add(Fault(Kind.REFUSE, command, times, every, executed=False, text=text))

    def remove(self, fault: Fault) -> None:
        """Take one rule back; one that is used up is gone already."""
        with self._lock:
            if fault in self._rules:
                self._rules.remove(fault)

    def clear(self) -> None:
        """Take all rules back."""
        with self._lock:
            self._rules.clear()

    @property
    def is_empty(self) -> bool:
        """True when no rule is left."""
        return not self._rules

    def strike(self, command: str) -> Fault | None:
        """Count one exchange of `command` and return the fault it suffers, or None. Called by the listener."""
        if not self._rules:
            return None
        with self._lock:
            for fault in self._rules:
                if fault.command is not None and fault.command != command:
                    continue
                fault.seen += 1
                if fault.seen % fault.every == 0:
                    fault.struck += 1
                    if fault.times is not None and fault.struck >= fault.times:
                        self._rules.remove(fault)
                    return fault
        return None

    def garbled(self, reply: bytes) -> bytes:
        """Return `reply` with one byte in eight, and at least one, replaced."""
        changed = bytearray(reply)
        for _ in range(max(1, len(changed) // 8) if changed else 0):
            changed[self._random.randrange(len(changed))] = self._random.randrange(256)
        return bytes(changed)

    def after_fork(self) -> None:
        """Forget the rules, which are the parent's."""
        self._rules = []
        self._lock = threading.Lock()
        self._is_elsewhere = True

    def _add(self, fault: Fault) -> Fault:
        if self._is_elsewhere:
            raise elsewhere("the server of these faults")
        if fault.every < 1 or (fault.times is not None and fault.times < 1) or fault.amount < 0:
            raise ConfigurationError(f"every and times must be at least 1, and amounts not negative, got {fault}")
        if fault.command is not None and fault.command not in VERBS:
            raise ConfigurationError(f"command must be None or one of {' '.join(sorted(VERBS))}, got {fault.command!a}")
        with self._lock:
            self._rules.append(fault)
        return fault

    def __repr__(self) -> str:
        return f"<Faults {[(fault.kind.value, fault.command) for fault in self._rules]}>"
