"""The memory of losses: delays, and one log line per change."""

from __future__ import annotations

from time import monotonic

import pytest

from faktory.core import outage as module
from faktory.core.outage import Outage, least_delay
from faktory.errors import AuthenticationError, ConnectFailed, ConnectionLost, ProtocolError, VersionMismatch
from faktory.options import OUTAGE_AGAIN, REFUSED_DELAY


def nothing() -> None:
    pass


def test_a_loss_is_told_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    outage = Outage(nothing)
    for _ in range(3):
        outage.note_loss(ConnectionLost("gone"), is_proven=True)
    outage.note_success()
    outage.note_success()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert (outage.reconnects, outage.is_down) == (3, False)


def test_whoever_asks_is_told_of_losses_and_new_connections() -> None:
    told: list[str] = []
    outage = Outage(nothing)
    outage.note_loss(ConnectionLost("nobody has asked yet"), is_proven=True)
    outage.report_to(told.append)
    outage.note_success()
    outage.note_loss(ConnectionLost("gone"), is_proven=True)
    outage.note_loss(ConnectFailed("refused"), is_proven=False)
    outage.note_reached()  # by somebody who is no worker
    assert told == ["connected", "lost", "lost"]


def test_a_connection_that_has_worked_is_replaced_at_once() -> None:
    outage = Outage(nothing)
    outage.note_loss(ConnectionLost("gone"), is_proven=True)
    assert outage.not_before == 0.0


@pytest.mark.parametrize(
    ("error", "least"),
    [(ConnectFailed("no"), 0.0), (ConnectFailed("full", retry_after=1.0), 1.0), (AuthenticationError("no"), 5.0)],
)
def test_one_that_never_worked_puts_off_the_next(error: Exception, least: float) -> None:
    outage = Outage(nothing)
    now = monotonic()
    outage.note_loss(error, is_proven=False)
    assert outage.not_before >= now + least
    assert outage.not_before > now
    outage.note_success()
    assert outage.not_before == 0.0


def test_complaints_are_rare_and_their_memory_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(nothing)
    for n in range(1_500):
        outage.log_rarely("same", "the same")
        outage.log_rarely(f"key {n}", "other %d", n)
    assert sum("the same" in record.message for record in caplog.records) == 2  # forgotten once, with the others
    assert len(outage._said) <= 1_001


def test_why_the_server_cannot_be_used_is_told_when_it_is_met_and_when_it_changes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N9, N12: the password is rotated while the worker runs; later the server is another."""
    now = monotonic()
    monkeypatch.setattr(module, "monotonic", lambda: now)
    outage = Outage(nothing)
    outage.note_loss(ConnectionLost("gone"), is_proven=True)
    for _ in range(3):
        outage.note_loss(ConnectFailed("refused at port 1"), is_proven=False)
        outage.note_loss(ConnectFailed("refused at port 2"), is_proven=False)
    for _ in range(3):
        outage.note_loss(AuthenticationError("wrong password"), is_proven=False)
        outage.note_unreachable(AuthenticationError("wrong password"))  # the heartbeat's
    outage.note_loss(VersionMismatch("version 3"), is_proven=False)
    outage.note_loss(ConnectFailed("refused at port 1"), is_proven=False)
    assert caplog.messages == [
        "lost the server, reconnecting: gone",
        "the server cannot be used, trying again: wrong password",
        "the server cannot be used, trying again: version 3",
        "the server still cannot be reached, trying again: refused at port 1",
    ]
    caplog.clear()
    now += OUTAGE_AGAIN + 1
    outage.note_loss(ConnectFailed("refused at port 1"), is_proven=False)
    outage.note_loss(ConnectFailed("refused at port 1"), is_proven=False)
    assert len(caplog.messages) == 1


def test_an_unreachable_server_is_the_heartbeats_to_tell() -> None:
    outage = Outage(nothing)
    outage.note_unreachable(ConnectFailed("refused"))
    assert (outage.is_down, outage.refused_until) == (False, 0.0)


def test_a_refusal_is_told_again_after_it_was_over(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(nothing)
    for _ in range(2):
        outage.note_unreachable(AuthenticationError("wrong password"))
        outage.note_reached()
    assert caplog.messages == ["the server cannot be used, trying again: wrong password"] * 2


def test_a_refusal_holds_for_everybody() -> None:
    """N9: the heartbeat does not try four times a second what the workers may try each five seconds."""
    outage = Outage(nothing)
    now = monotonic()
    outage.note_loss(AuthenticationError("wrong password"), is_proven=False)
    assert outage.refused_until >= now + REFUSED_DELAY


def test_whoever_reaches_the_server_ends_the_waiting_of_all() -> None:
    """N1."""
    woken: list[int] = []
    outage = Outage(lambda: woken.append(1))
    outage.note_reached()
    assert woken == []  # nobody waits
    outage.note_loss(ConnectFailed("refused"), is_proven=False)
    outage.note_unreachable(AuthenticationError("wrong password"))
    outage.note_reached()
    assert woken == [1]
    assert (outage.not_before, outage.refused_until) == (0.0, 0.0)
    assert outage.is_down  # the workers' own connections are another matter
    outage.note_loss(ConnectFailed("refused"), is_proven=False)
    outage.note_success()
    assert woken == [1, 1]
    assert not outage.is_down


def test_a_broken_reply_puts_off_workers_that_have_never_got_one_and_nobody_else() -> None:
    outage = Outage(nothing)
    now = monotonic()
    outage.note_loss(ProtocolError("garbage"), is_proven=False)
    assert outage.not_before >= now + REFUSED_DELAY
    outage.note_unreachable(ProtocolError("garbage"))
    assert outage.refused_until == 0.0
    assert least_delay(ProtocolError("garbage")) == 0.0  # the heartbeat's
    assert least_delay(AuthenticationError("no")) == REFUSED_DELAY
