"""When the main loop and the heartbeat last went round."""

from __future__ import annotations

from faktory.core.pulse import Ages, Pulse


def test_a_pulse_counts_only_while_somebody_looks_and_something_runs() -> None:
    pulse = Pulse()
    assert pulse.ages(100.0) == Ages(None, None)
    pulse.watch(5.0, 100.0)
    assert pulse.ages(100.0) == Ages(None, None)  # nothing is run yet
    pulse.tick(100.0)
    pulse.round(100.0)
    assert pulse.ages(103.0) == Ages(3.0, 3.0)
    assert pulse.ages(99.0) == Ages(0.0, 0.0)
    pulse.rest()
    assert pulse.ages(200.0) == Ages(None, None)


def test_who_begins_to_look_late_does_not_see_an_old_tick() -> None:
    pulse = Pulse()
    pulse.tick(0.0)
    assert pulse.ages(1000.0).tick is None  # the main loop waits for as long as it likes
    pulse.watch(5.0, 1000.0)
    pulse.watch(60.0, 1000.0)
    assert (pulse.every, pulse.ages(1001.0).tick) == (5.0, 1.0)
