"""How much memory processes hold, where the system tells."""

from __future__ import annotations

import os
from collections.abc import Iterable


def resident_kb(others: Iterable[int] = ()) -> int | None:
    """Return the resident memory of this process, and of others by their pids, in kB; None where nobody tells.

    What several of them share counts for each. One that has ended counts for nothing.
    """
    own = _pages("self")
    if own is None:
        return None
    return (own + sum(_pages(pid) or 0 for pid in others)) * os.sysconf("SC_PAGE_SIZE") // 1024


def _pages(pid: int | str) -> int | None:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123  # pathlib is slow to import
            return int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return None
