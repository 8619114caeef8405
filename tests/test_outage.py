"""The memory of losses: delays, and one log line per change."""

from __future__ import annotations

from time import monotonic

import pytest

from faktory.errors import AuthenticationError, ConnectFailed, ConnectionLost
from faktory.outage import Outage


def test_a_loss_is_told_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    outage = Outage()
    for _ in range(3):
        outage.note_loss(ConnectionLost("gone"), is_proven=True)
    outage.note_success()
    outage.note_success()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert (outage.reconnects, outage.is_down) == (3, False)


def test_a_connection_that_has_worked_is_replaced_at_once() -> None:
    outage = Outage()
    outage.note_loss(ConnectionLost("gone"), is_proven=True)
    assert outage.not_before == 0.0


@pytest.mark.parametrize(
    ("error", "least"),
    [(ConnectFailed("no"), 0.0), (ConnectFailed("full", retry_after=1.0), 1.0), (AuthenticationError("no"), 5.0)],
)
def test_one_that_never_worked_puts_off_the_next(error: Exception, least: float) -> None:
    outage = Outage()
    now = monotonic()
    outage.note_loss(error, is_proven=False)
    assert outage.not_before >= now + least
    assert outage.not_before > now
    outage.note_success()
    assert outage.not_before == 0.0


def test_complaints_are_rare_and_their_memory_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    for n in range(1_500):
        outage.log_rarely("same", "the same")
        outage.log_rarely(f"key {n}", "other %d", n)
    assert sum("the same" in record.message for record in caplog.records) == 2  # forgotten once, with the others
    assert len(outage._said) <= 1_001
