import pytest
from newsletter.jobs import confirmed


@pytest.fixture(autouse=True)
def nobody_is_confirmed() -> None:
    confirmed.clear()
