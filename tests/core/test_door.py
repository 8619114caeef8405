"""`faktory.core.door`: whoever asks for a change, everybody who has to know is told, once the change is made."""

from __future__ import annotations

import threading

import pytest

from faktory.core.door import Door
from faktory.core.lifecycle import Lifecycle, State
from faktory.runtime.logs import close


class Children:
    def __init__(self) -> None:
        self.told: list[bool] = []

    def tell_stopping(self, *, in_a_hurry: bool = False) -> None:
        self.told.append(in_a_hurry)


class House:
    def __init__(self) -> None:
        self.lifecycle = Lifecycle(shutdown_timeout=25.0, heartbeat_interval=15.0, now=0.0)
        self.children = Children()
        self.seen: list[State] = []
        self.door = Door(self.lifecycle, threading.RLock(), self.look, self.children)

    def look(self) -> None:
        self.seen.append(self.lifecycle.state)


def test_each_change_is_announced_when_it_is_made(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    house = House()
    house.door.quiet()
    house.door.terminate("signal")
    house.door.terminate()
    house.door.force("signal")
    close(10)
    assert house.seen == [State.QUIET, State.TERMINATING, State.TERMINATING, State.TERMINATING]
    assert house.children.told == [False, False, True]
    assert house.lifecycle.stopped_by == "signal"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "quiet: no new jobs are taken"),
        ("INFO", "terminating: running jobs have 25 s to end"),
        ("WARNING", "terminating now: running jobs are cut off"),
    ]


def test_what_the_server_says_comes_through_the_same_door(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.door.server_says(None)
    assert house.seen == []
    house.door.server_says("confused")
    house.door.server_says("quiet")
    assert house.children.told == []
    house.door.server_says("terminate")
    close(10)
    assert (house.lifecycle.stopped_by, house.children.told) == ("server", [False])
    assert caplog.messages[0] == "the server wants the unknown state 'confused'; going on"


def test_a_consumer_without_children_tells_none() -> None:
    house = House()
    Door(house.lifecycle, threading.RLock(), house.look, None).terminate()
    assert house.lifecycle.is_ending
