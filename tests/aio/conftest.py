"""Each test of the async shell runs on asyncio and on trio."""

from __future__ import annotations

import pytest

from tests.loops import LOOPS, Loop


@pytest.fixture(params=LOOPS, ids=lambda loop: loop.name)
def loop(request: pytest.FixtureRequest) -> Loop:
    return request.param  # type: ignore[no-any-return]
