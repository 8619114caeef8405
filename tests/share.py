"""How much a run tries of what is drawn at random: two fifths; tox sets FAKTORY_TEST_SHARE to 1 on one Python,
and tries it all there.

Each run draws anew, so that many short ones see what a long one sees.
"""

from __future__ import annotations

import math
import os
from typing import Final

SHARE: Final = float(os.environ.get("FAKTORY_TEST_SHARE", "0.4"))


def share_of(count: int) -> int:
    """Return how many of so many examples, cases or rounds this run tries; at least one."""
    return math.ceil(count * SHARE)
