"""Delays between attempts: exponential, with full jitter. Pure but for its source of chance, which can be passed in."""

from __future__ import annotations

import random
from collections.abc import Callable

from ..options import BACKOFF_FIRST, BACKOFF_LIMIT


class Backoff:
    """A growing series of random delays, in seconds: each is between a tenth and all of first, 2 first, 4 first, ...

    Never more than `limit`, but for `at_least`. `reset` begins again after a success.
    `chance` gives numbers from 0 to below 1.
    """

    __slots__ = ("_attempt", "_chance", "_first", "_limit")

    def __init__(
        self,
        first: float = BACKOFF_FIRST,
        limit: float = BACKOFF_LIMIT,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._first = first
        self._limit = limit
        self._chance = chance
        self._attempt = 0

    def next_delay(self, at_least: float = 0.0) -> float:
        """Return the seconds to wait before the next attempt, `at_least` so many."""
        # The exponent is bounded: a float has none above 1,024, and an outage can last for weeks.
        most = min(self._limit, self._first * 2.0 ** min(self._attempt, 60))
        self._attempt += 1
        return max(at_least, most * (0.1 + 0.9 * self._chance()))

    def reset(self) -> None:
        """Begin again with the first delay."""
        self._attempt = 0
