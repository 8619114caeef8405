"""The chaos run in short; `python -m tests.chaos` is the long one."""

from __future__ import annotations

import pytest

from tests.chaos import main
from tests.real_server import needs_own_server
from tests.share import share_of

JOBS = str(share_of(400))
FRONTS = pytest.mark.parametrize("front", ["threads", "asyncio", "trio"])


@FRONTS
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_t1_t2_t3_nothing_is_lost_in_a_short_storm(front: str, capsys: pytest.CaptureFixture[str]) -> None:
    """T1, T2, T3."""
    storm = ["--jobs", JOBS, "--cuts", "10", "--kills", "2", "--restarts", "2", "--crashes", "1", "--seed", "11"]
    code = main(["--front", front, *storm])
    out = capsys.readouterr().out
    assert code == 0, out
    assert "lost 0, unexpected 0" in out
    assert "all explained" in out


@FRONTS
@pytest.mark.slow
@pytest.mark.timeout(240)
@needs_own_server
def test_t1_t3_nothing_is_lost_by_the_real_server_either(front: str, capsys: pytest.CaptureFixture[str]) -> None:
    """T1, T3: no kills, whose jobs the real server gives back after a minute and more."""
    code = main(
        ["--front", front, "--real", "--jobs", JOBS, "--cuts", "0", "--kills", "0", "--restarts", "3", "--seed", "12"]
    )
    out = capsys.readouterr().out
    assert code == 0, out
    assert "lost 0, unexpected 0" in out
