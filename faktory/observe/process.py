"""What the system says of this process: processor time, memory, start, file descriptors. Absent where it says nothing.

The names are those that all Prometheus clients share.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from .exposition import Family, Sample, gauge

_START_FIELD: Final = 19
"""In /proc/PID/stat, counted behind the name: ticks since the boot (proc(5))."""


def families() -> list[Family]:
    """Return the figures as they are now."""
    times = os.times()
    cpu = Family(
        "process_cpu_seconds_total",
        "counter",
        "Processor time, user and system, in seconds.",
        (Sample("", (), times.user + times.system),),
    )
    return [
        cpu,
        gauge("process_resident_memory_bytes", "Resident memory in bytes.", _resident()),
        gauge("process_start_time_seconds", "When the process began, in seconds since 1970.", _started()),
        gauge("process_open_fds", "Open file descriptors.", _descriptors()),
    ]


def _resident() -> float | None:
    with suppress(OSError, ValueError, IndexError):
        return float(int(_read("/proc/self/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    return None


def _started() -> float | None:
    with suppress(OSError, ValueError, IndexError):
        # The name may have blanks and brackets of its own.
        ticks = int(_read("/proc/self/stat").rpartition(") ")[2].split()[_START_FIELD])
        boot = next(line for line in _read("/proc/stat").splitlines() if line.startswith("btime "))
        return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    return None


def _descriptors() -> float | None:
    with suppress(OSError):
        return float(len(os.listdir("/proc/self/fd")))  # noqa: PTH208  # pathlib is slow to import
    return None


def _read(path: str) -> str:
    with open(path, encoding="latin-1") as file:  # noqa: PTH123  # pathlib is slow to import
        return file.read()
