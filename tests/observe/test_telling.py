"""A health file and a service manager, told of only while the worker lives."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from faktory import ThreadStartFailed
from faktory.core.lifecycle import State
from faktory.observe.healthfile import HealthFile
from faktory.observe.notify import Notifier
from faktory.observe.telling import Teller
from faktory.runtime.ticking import monotonic
from tests.observe.manager import heard
from tests.observe.subjects import FakeConsumer
from tests.waiting import until


def test_the_file_is_written_each_5_s_while_the_worker_lives(tmp_path: Path) -> None:
    consumer, file = FakeConsumer(), HealthFile(str(tmp_path / "health"))
    teller = Teller(consumer.subject(), file, Notifier())
    consumer.pulse.ticked_at = 100.0
    teller.look(100.0)
    (tmp_path / "health").unlink()
    teller.look(104.0)
    assert not (tmp_path / "health").exists()  # too soon
    teller.look(105.0)
    assert (tmp_path / "health").exists()
    (tmp_path / "health").unlink()
    teller.look(131.0)  # the main loop hangs
    assert not (tmp_path / "health").exists()
    consumer.pulse.ticked_at = 132.0
    teller.look(132.0)
    assert (tmp_path / "health").exists()
    teller.close()
    assert not (tmp_path / "health").exists()


def test_the_manager_is_told_when_it_is_ready_and_how_it_ends(manager: socket.socket) -> None:
    consumer = FakeConsumer(is_ready=False)
    teller = Teller(consumer.subject(), None, Notifier(manager.getsockname()))
    teller.look(0.0)
    assert heard(manager) == ["STATUS=running: 0 of 4 busy, 3 outcomes to report"]
    consumer.is_ready, consumer.busy = True, 1
    teller.look(1.0)
    teller.look(2.0)
    assert heard(manager) == ["READY=1", "STATUS=running: 1 of 4 busy, 3 outcomes to report"]
    consumer.state, consumer.is_ready = State.TERMINATING, False
    teller.look(3.0)
    teller.look(4.0)
    assert heard(manager) == [
        "STOPPING=1",
        "EXTEND_TIMEOUT_USEC=10000000",
        "STATUS=terminating: 1 of 4 busy, 3 outcomes to report",
        "EXTEND_TIMEOUT_USEC=10000000",
    ]
    teller.close()
    assert heard(manager) == []


def test_the_watchdog_gets_a_sign_only_when_the_main_loop_has_gone_round(manager: socket.socket) -> None:
    consumer = FakeConsumer()
    teller = Teller(consumer.subject(), None, Notifier(manager.getsockname(), watchdog=10.0))
    assert consumer.pulse.every == 1.0

    def signs(now: float) -> int:
        teller.look(now)
        return heard(manager).count("WATCHDOG=1")

    assert signs(0.0) == 0  # nothing goes round yet
    consumer.pulse.ticked_at = 1.0
    assert [signs(1.0), signs(2.0), signs(3.0)] == [1, 0, 0]
    consumer.pulse.ticked_at = 4.0
    assert [signs(4.0), signs(5.0)] == [1, 0]
    consumer.pulse.ticked_at, consumer.pulse.rounded_at = 100.0, 4.0
    assert signs(100.0) == 0  # the heartbeat hangs
    teller.close()


@pytest.mark.parametrize("watchdog", [0.4, 0.001])
def test_an_impatient_watchdog_makes_the_loop_tick_sooner(watchdog: float) -> None:
    consumer = FakeConsumer()
    Teller(consumer.subject(), None, Notifier("/nowhere", watchdog=watchdog))
    assert consumer.pulse.every == max(0.05, watchdog / 4)


def test_its_thread_goes_on_after_an_error_which_it_logs_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer, rounds = FakeConsumer(), 0

    def fail(self: HealthFile, document: object) -> None:
        nonlocal rounds
        rounds += 1
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(HealthFile, "write", fail)
    teller = Teller(consumer.subject(), HealthFile(str(tmp_path / "health")), Notifier("/nowhere", 0.01))
    consumer.is_ready = False
    consumer.pulse.ticked_at = monotonic()
    teller.start()
    until(lambda: rounds >= 2)
    teller.close()
    assert len([record for record in caplog.records if "No space left" in record.getMessage()]) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "faktory-tell"]


def test_without_room_for_its_thread_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(ThreadStartFailed):
        Teller(FakeConsumer().subject(), None, Notifier()).start()
