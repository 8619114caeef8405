"""In which order a FETCH names its queues: always the same, or by chance and weight. Pure but for chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import log
from typing import Protocol

from ..errors import ConfigurationError

Queues = Sequence[str] | Mapping[str, float]
"""Queues to fetch from: a list in strict order, or a mapping from queue to weight."""


class Order(Protocol):
    """A source of queue orders; the server serves the first queue that has a job (manager/fetch.go)."""

    def next_names(self) -> tuple[str, ...]: ...


class StrictOrder:
    """The same order for every FETCH: later queues are served only while the earlier ones are empty."""

    __slots__ = ("_names",)

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)

    def next_names(self) -> tuple[str, ...]:
        """Return the queues, in order."""
        return self._names


class WeightedOrder:
    """A random order for each FETCH: a queue of weight 3 comes before one of weight 1 three times out of four."""

    __slots__ = ("_chance", "_weights")

    def __init__(self, weights: Mapping[str, float], chance: Callable[[], float] = random.random) -> None:
        for name, weight in weights.items():
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight <= 1e6:
                raise ConfigurationError(f"the weight of queue {name!a} must be above 0, at most 1e6, got {weight!a}")
        self._weights = list(weights.items())
        self._chance = chance

    def next_names(self) -> tuple[str, ...]:
        """Return the queues in a new order."""
        # Efraimidis and Spirakis: sorting by chance ** (1 / weight) draws without replacement in proportion to weight.
        # By its logarithm here, as the power of a small weight is 0 for most draws. Chance is below 1: no log of 0.
        chance = self._chance
        keyed = [(log(1.0 - chance()) / weight, name) for name, weight in self._weights]
        keyed.sort(reverse=True)
        return tuple([name for _, name in keyed])


def unserved(homes: Iterable[tuple[str, str]], names: Iterable[str]) -> str | None:
    """Return a warning of queues, each with a job type that is pushed there, that are not among `names`; or None."""
    served = set(names)
    found: dict[str, list[str]] = {}
    for queue, jobtype in homes:
        if queue not in served:
            found.setdefault(queue, []).append(jobtype)
    if not found:
        return None
    told = "; ".join(f"{queue}, with {', '.join(map(ascii, jobtypes[:20]))}" for queue, jobtypes in found.items())
    return f"this worker does not fetch from queues that its app's jobs go to, so that others have to: {told}"


def order_of(queues: Sequence[str] | Mapping[str, float] | None, otherwise: Sequence[str] = ()) -> Order:
    """Return the order that a user's queues stand for: a list is strict, a mapping is weighted, None is `otherwise`."""
    if queues is None and otherwise:
        queues = otherwise
    if isinstance(queues, (list, tuple, Mapping)):
        for name in queues:
            if not isinstance(name, str):
                raise ConfigurationError(f"expected queue names as text, got {name!a:.60}")
    if isinstance(queues, Mapping):
        order: Order = WeightedOrder(queues)
    elif isinstance(queues, (list, tuple)):
        if len(set(queues)) != len(queues):
            raise ConfigurationError(f"expected each queue once, got {list(queues)!a}")
        order = StrictOrder(queues)
    else:
        raise ConfigurationError(
            f'expected queues as a list (["critical", "default"]) or a mapping of weights, got {queues!a:.60}'
        )
    if not queues:
        raise ConfigurationError('expected at least one queue, got none; pass ["default"]')
    return order
