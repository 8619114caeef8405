"""Programs that tests run as processes of their own, by `tests.program`. `brief_wind_down` shortens their end, too."""

from __future__ import annotations

import os

if "FAKTORY_TEST_WIND_DOWN" in os.environ:
    from faktory.aio import guard
    from faktory.core import ending

    for module in (ending, guard):
        setattr(module, "WIND_DOWN", float(os.environ["FAKTORY_TEST_WIND_DOWN"]))  # noqa: B010 (it is final)
