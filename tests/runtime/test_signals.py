"""`faktory.runtime.signals`: what a signal asks for, by its kind and its moment, and which are taken."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from signal import SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGTTIN

import pytest

from faktory.runtime.signals import Signals, Wish, taking
from tests.waiting import until


@pytest.mark.parametrize("number", [SIGTERM, SIGINT, SIGHUP])
def test_the_first_that_ends_terminates(number: signal.Signals) -> None:
    """P1."""
    signals = Signals()
    assert signals.meaning(number, 5.0) is Wish.TERMINATE
    assert signals.forced_by == 0


@pytest.mark.parametrize("second", [SIGTERM, SIGINT, SIGHUP])
def test_another_within_a_second_is_the_same_one(second: signal.Signals) -> None:
    """P2."""
    signals = Signals()
    signals.meaning(SIGTERM, 5.0)
    assert signals.meaning(second, 5.0) is Wish.NOTHING
    assert signals.meaning(second, 5.999) is Wish.NOTHING
    assert signals.forced_by == 0


@pytest.mark.parametrize("second", [SIGTERM, SIGINT, SIGHUP])
def test_another_a_second_later_ends_at_once(second: signal.Signals) -> None:
    """P2: counted from the first, however many came in between."""
    signals = Signals()
    signals.meaning(SIGTERM, 5.0)
    signals.meaning(SIGTERM, 5.9)
    assert signals.meaning(second, 6.0) is Wish.FORCE
    assert signals.meaning(SIGINT, 7.0) is Wish.FORCE
    assert signals.forced_by == second


def test_others_ask_for_quiet_and_for_stacks() -> None:
    """P3."""
    signals = Signals()
    assert signals.meaning(SIGTSTP, 0.0) is Wish.QUIET
    assert signals.meaning(SIGTTIN, 0.0) is Wish.DUMP
    assert signals.meaning(SIGTERM, 9.0) is Wish.TERMINATE
    assert signals.meaning(SIGTSTP, 11.0) is Wish.QUIET


@pytest.fixture
def no_hup_ignored() -> Iterator[None]:
    """Have HUP end the process, as it does unless the tests run under nohup."""
    before = signal.signal(SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(SIGHUP, before)


@pytest.mark.usefixtures("no_hup_ignored")
def test_signals_are_noted_with_their_moment_and_given_back() -> None:
    noted: list[tuple[int, float]] = []
    woken = threading.Event()
    before = {number: signal.getsignal(number) for number in (SIGTERM, SIGINT, SIGHUP, SIGTSTP, SIGTTIN)}
    with taking(lambda number, at: noted.append((number, at)), lambda number, at: woken.set()):
        for number in before:
            signal.raise_signal(number)
        until(lambda: len(noted) == 5)
        assert woken.wait(10)
    assert [number for number, _ in noted] == list(before)
    assert sorted(at for _, at in noted) == [at for _, at in noted]
    assert {number: signal.getsignal(number) for number in before} == before


def nothing(number: int, at: float) -> None:
    pass


def test_a_loop_that_is_woken_by_signals_is_woken_on() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    noted: list[int] = []
    woken: list[int] = []
    signal.set_wakeup_fd(writer)
    try:
        with taking(lambda number, at: noted.append(number), lambda number, at: woken.append(number)):
            signal.raise_signal(SIGTERM)
            assert os.read(reader, 10) == bytes([SIGTERM])
            until(lambda: woken == [SIGTERM])
    finally:
        assert signal.set_wakeup_fd(-1) == writer
        os.close(reader)
        os.close(writer)
    assert noted == [SIGTERM]


def test_a_wake_up_that_was_closed_meanwhile_harms_nobody() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    woken: list[int] = []
    signal.set_wakeup_fd(writer)
    with taking(nothing, lambda number, at: woken.append(number)):
        os.close(reader)
        os.close(writer)
        signal.raise_signal(SIGTERM)
        until(lambda: woken == [SIGTERM])


def test_a_wake_up_that_others_set_meanwhile_is_left_to_them() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with taking(lambda number, at: None, nothing):
        signal.set_wakeup_fd(writer)
    assert signal.set_wakeup_fd(-1) == writer
    os.close(reader)
    os.close(writer)


def _mine(*_: object) -> None:
    pass


@pytest.mark.parametrize("handler", [signal.SIG_IGN, _mine])
def test_a_hup_that_would_not_kill_is_left_alone(handler: signal.Handlers) -> None:
    before = signal.signal(SIGHUP, handler)
    try:
        with taking(lambda number, at: None, nothing):
            assert signal.getsignal(SIGHUP) is handler
        assert signal.getsignal(SIGHUP) is handler
    finally:
        signal.signal(SIGHUP, before)


def test_systems_without_a_signal_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGTTIN")
    with taking(lambda number, at: None, nothing):
        assert signal.getsignal(SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(SIGTERM) is signal.SIG_DFL


def test_no_signal_is_taken_outside_of_the_main_thread(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[object] = []

    def run() -> None:
        with taking(lambda number, at: None, nothing):
            seen.append(signal.getsignal(SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
    assert "not in the main thread" in caplog.text
