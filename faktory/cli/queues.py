"""Which queues a worker fetches from, and how many jobs at a time: what the options mean. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Final

from ..core.queues import order_of
from ..errors import ConfigurationError
from .parsing import Usage

Queues = Sequence[str] | Mapping[str, float]
CGROUP: Final = Path("/sys/fs/cgroup")


def queues_of(words: Iterable[str]) -> Queues:
    """Read `critical=3,default`: weights when all have one, a strict order when none has. Raises `Usage`."""
    parts = [part.strip() for word in words for part in word.split(",")]
    if not parts or not all(parts):
        raise Usage("--queues: expected names, like critical,default or critical=3,default=1, got an empty one")
    named = [part.partition("=") for part in parts]
    names = [name for name, _, _ in named]
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise Usage(f"--queues: the queue {twice[:40]!a} comes twice")
    weighted = [name for name, equals, _ in named if equals]
    if not weighted:
        return names
    if len(weighted) < len(names):
        bare = next(name for name, equals, _ in named if not equals)
        raise Usage(f"--queues: give all queues a weight or none: {bare[:40]!a} has none; write {bare[:40]}=1")
    weights: dict[str, float] = {}
    for name, _, text in named:
        try:
            weights[name] = float(text)
        except ValueError:
            raise Usage(f"--queues: the weight of {name[:40]!a} must be a number, got {text[:40]!a}") from None
    try:
        order_of(weights)
    except ConfigurationError as exc:
        raise Usage(f"--queues: {exc}") from None
    return weights


def concurrency_of(text: str) -> int:
    """Read a number of jobs at a time, or "auto". Raises ValueError."""
    if text == "auto":
        return available_cpus()
    if not text.isdecimal() or not 1 <= int(text[:6]) <= 10_000:
        raise ValueError(f'expected a number from 1 to 10,000, or "auto", got {text!a:.42}')
    return int(text)


def available_cpus(root: Path = CGROUP) -> int:
    """Return the processors that this process may use: its affinity, and the quota of its cgroup."""
    affinity = getattr(os, "sched_getaffinity", None)
    most = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min(most, _quota(root) or most))


def _quota(root: Path) -> int | None:
    with suppress(OSError, ValueError):
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else ceil(int(quota) / int(period))
    with suppress(OSError, ValueError):
        quota = (root / "cpu/cpu.cfs_quota_us").read_text()
        period = (root / "cpu/cpu.cfs_period_us").read_text()
        return ceil(int(quota) / int(period)) if int(quota) > 0 else None
    return None
