"""Every block of the README and of the guides does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guides.conftest import RunPage
from tests.guides.running import PAGES, ROOT


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path, run_page: RunPage) -> None:
    run_page(page)
