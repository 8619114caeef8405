"""`faktory.core.job_timer`: when a job has to end, what is due before, and which were cut off."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faktory.core.job_timer import Alarm, JobTimer, Late, RunningJobs, fitting_reservation, time_limit
from faktory.errors import ConfigurationError
from faktory.job import Job


def job(reserve_for: int | None = None) -> Job:
    return Job("resize", [], reserve_for=reserve_for)


# -- the limits of a job --------------------------------------------------------------------------------------------


def test_a_job_begins_with_a_clean_slate() -> None:
    timer, running = JobTimer(), job(reserve_for=600)
    timer.cut_off()
    timer.begin(running, None, 50.0, 50.0, 50.0)
    assert timer.job is running
    assert not timer.is_cut_off
    assert timer.started_at == 50.0
    assert timer.expires_at == 650.0


def test_the_server_raises_short_reservations_to_a_minute() -> None:
    """PROTOCOL 8."""
    timer = JobTimer()
    timer.begin(job(reserve_for=5), None, 0.0, 0.0, 0.0)
    assert timer.expires_at == 60.0


def test_a_job_is_warned_of_and_then_stopped_before_its_reservation_ends() -> None:
    """J7: at 80 %, and 20 s before the end of 600 s."""
    timer = JobTimer()
    timer.begin(job(reserve_for=600), None, 1000.0, 1000.0, 1000.0)
    assert timer.alarm_at == 1480.0
    assert timer.next_alarm(1479.9) is None
    assert timer.next_alarm(1480.0) is Alarm.WARNING
    assert timer.alarm_at == 1580.0
    assert timer.next_alarm(1579.9) is None
    assert timer.next_alarm(1580.0) is Alarm.LIMIT
    assert timer.alarm_at == inf
    assert timer.next_alarm(1e9) is None


def test_a_job_of_a_minute_is_stopped_before_it_would_be_warned_of() -> None:
    timer = JobTimer()
    timer.begin(job(reserve_for=60), None, 0.0, 0.0, 0.0)
    assert timer.alarm_at == 40.0
    assert timer.next_alarm(40.0) is Alarm.LIMIT
    assert timer.alarm_at == 48.0
    assert timer.next_alarm(48.0) is Alarm.WARNING
    assert timer.alarm_at == inf


def test_a_time_limit_of_its_own_stops_a_job_earlier() -> None:
    timer = JobTimer()
    timer.begin(job(), 2.5, 10.0, 10.0, 10.0)
    assert timer.alarm_at == 12.5
    assert timer.next_alarm(12.5) is Alarm.LIMIT


def test_alarms_that_are_due_together_come_one_by_one_the_limit_first() -> None:
    """J11: the thread that asks may have been held up for long."""
    timer = JobTimer()
    timer.begin(job(), None, 0.0, 0.0, 0.0)
    assert timer.next_alarm(10_000.0) is Alarm.LIMIT
    assert timer.alarm_at <= 10_000.0
    assert timer.next_alarm(10_000.0) is Alarm.WARNING
    assert timer.next_alarm(10_000.0) is None


def test_a_job_that_has_ended_is_not_late() -> None:
    timer = JobTimer()
    timer.begin(job(), 1.0, 0.0, 0.0, 0.0)
    timer.finish()
    assert timer.job is None
    assert timer.alarm_at == inf
    assert timer.next_alarm(1e9) is None


def test_a_reservation_counts_from_when_its_fetch_left() -> None:
    """J17: a process that was frozen for 50 s reads a job of a minute; the server knows nothing of the freeze."""
    timer = JobTimer()
    timer.begin(job(reserve_for=60), None, 1050.0, 5050.0, 5000.0)
    assert timer.expires_at == 5060.0
    assert timer.left == 10.0
    assert timer.limit == pytest.approx(10 - 10 / 3)
    assert timer.ends_at == pytest.approx(1056.667, abs=0.001)
    assert timer.next_alarm(1050.0) is Alarm.WARNING  # 48 s of the 60 are over


def test_a_reservation_that_is_over_leaves_no_time() -> None:
    """J17: the job is another worker's."""
    timer = JobTimer()
    timer.begin(job(reserve_for=60), 30.0, 1070.0, 5070.0, 5000.0)
    assert timer.left < 0
    assert (timer.limit, timer.expires_at) == (0.0, 5060.0)


def test_a_time_limit_of_its_own_counts_from_when_the_job_was_received() -> None:
    timer = JobTimer()
    timer.begin(job(reserve_for=60), 20.0, 1002.0, 5002.0, 5000.0)
    assert (timer.ends_at, timer.limit, timer.is_shortened) == (1022.0, 20.0, False)


@pytest.mark.parametrize("timeout", [60.0, 61.0, 3600.0])
def test_a_time_limit_that_its_reservation_does_not_hold_is_the_reservations(timeout: float) -> None:
    """J18: it would run beside the copy that the server hands out."""
    timer = JobTimer()
    timer.begin(job(reserve_for=60), timeout, 0.0, 0.0, 0.0)
    assert (timer.limit, timer.is_shortened) == (40.0, True)


def test_what_a_machine_has_slept_is_gone_from_the_reservation() -> None:
    """J17: the clock of limits stands still meanwhile, the server's goes on."""
    timer = JobTimer()
    timer.sleep(5.0)  # no job, no matter
    timer.begin(job(reserve_for=600), None, 0.0, 0.0, 0.0)
    assert timer.alarm_at == 480.0
    timer.sleep(300.0)
    assert timer.alarm_at == 180.0
    assert timer.next_alarm(180.0) is Alarm.WARNING
    assert timer.alarm_at == 280.0  # 20 s before the end, as the server sees it
    assert timer.next_alarm(280.0) is Alarm.LIMIT
    timer.sleep(10.0)
    assert timer.next_alarm(400.0) is None  # each once


def test_a_sleep_leaves_a_time_limit_of_its_own_that_still_fits() -> None:
    timer = JobTimer()
    timer.begin(job(reserve_for=600), 100.0, 0.0, 0.0, 0.0)
    timer.sleep(300.0)
    assert timer.next_alarm(99.9) is None
    assert timer.next_alarm(100.0) is Alarm.LIMIT


class Holder:
    """Somebody who has a job in hand."""

    def __init__(self) -> None:
        self.timer = JobTimer()


def running(*reservations: int) -> tuple[RunningJobs[Holder], list[Holder]]:
    jobs: RunningJobs[Holder] = RunningJobs(100.0, 5000.0)
    holders = [Holder() for _ in reservations]
    for holder, reservation in zip(holders, reservations, strict=True):
        holder.timer.begin(job(reservation), None, 100.0, 5000.0, 5000.0)
        jobs.add(holder)
    return jobs, holders


def test_somebody_looks_when_the_first_alarm_is_due_or_before() -> None:
    jobs, (_, short) = running(1800, 60)
    assert jobs.wakes_at == inf
    assert jobs.next_look(130.0) == 130.0
    assert jobs.next_look(1e9) == 140.0
    assert jobs.wakes_at == short.timer.alarm_at == 140.0


def test_each_job_has_its_alarm_when_that_is_due() -> None:
    jobs, (long, short) = running(600, 60)
    assert jobs.due(139.9, 5039.9) == []
    late = jobs.due(140.0, 5040.0)
    assert short.timer.job is not None
    assert late == [Late(Alarm.LIMIT, short, short.timer.job, 40.0)]
    assert jobs.due(141.0, 5041.0) == []
    assert [(each.alarm, each.holder) for each in jobs.due(580.0, 5480.0)] == [
        (Alarm.WARNING, long),
        (Alarm.WARNING, short),
    ]


def test_a_machine_that_slept_has_its_jobs_end_the_earlier() -> None:
    """J17: found by two clocks, once; less than a tenth of a second is nothing."""
    jobs, (holder,) = running(600)
    assert jobs.due(110.0, 5010.01) == []
    assert jobs.due(120.0, 5320.0) == []
    assert holder.timer.alarm_at == pytest.approx(280.0)
    assert jobs.due(121.0, 5321.0) == []
    assert holder.timer.alarm_at == pytest.approx(280.0)


def test_who_has_no_job_is_neither_busy_nor_late() -> None:
    jobs, (done, busy) = running(60, 60)
    done.timer.finish()
    assert (len(jobs), jobs.busy(), done in jobs) == (2, 1, True)
    assert [each.holder for each in jobs.due(150.0, 5050.0)] == [busy]
    jobs.remove(busy)
    jobs.remove(busy)
    assert (jobs.holders, jobs.busy()) == ([done], 0)
    jobs.clear()
    assert len(jobs) == 0


def test_jobs_that_were_cut_off_and_go_on_are_told_of_once() -> None:
    jobs, (_, cut, done) = running(60, 60, 60)
    cut.timer.cut_off()
    done.timer.cut_off()
    done.timer.finish()
    assert jobs.untold() == [cut.timer.job]
    assert jobs.untold() == []
    assert not cut.timer.tell()


@pytest.mark.parametrize(
    ("reserve_for", "timeout", "fitting"),
    [
        (None, None, None),
        (600, None, 600),
        (None, 30.0, None),
        (None, 1780.0, None),
        (None, 1780.5, 1801),
        (None, 3600, 3620),
        (None, 86_400, 86_400),
        (600, 30.0, 600),
        (20, 59.0, 20),  # the server makes it 60
    ],
)
def test_a_reservation_is_long_enough_for_its_time_limit(
    reserve_for: int | None, timeout: float | None, fitting: int | None
) -> None:
    """J18."""
    assert fitting_reservation(reserve_for, timeout) == fitting


@pytest.mark.parametrize(("reserve_for", "timeout"), [(600, 600.0), (600, 3600.0), (20, 60.0)])
def test_a_reservation_that_contradicts_its_time_limit_is_refused(reserve_for: int, timeout: float) -> None:
    """J18."""
    with pytest.raises(ConfigurationError, match=f"contradicts a reservation of {reserve_for} s"):
        fitting_reservation(reserve_for, timeout)


def test_a_timer_without_a_job_has_no_alarm() -> None:
    timer = JobTimer()
    assert timer.alarm_at == inf
    assert timer.next_alarm(1e9) is None


@pytest.mark.parametrize(
    ("reservation", "timeout", "limit"),
    [(1800, None, 1780.0), (60, None, 40.0), (30, None, 20.0), (1800, 5.0, 5.0), (60, 3600.0, 40.0)],
)
def test_the_margin_is_20_seconds_or_a_third(reservation: float, timeout: float | None, limit: float) -> None:
    """J7; a limit of the handler's own is taken as it is."""
    assert time_limit(reservation, timeout) == pytest.approx(limit)


@given(
    st.integers(1, 86_400),
    st.none() | st.floats(0.001, 86_400),
    st.lists(st.floats(0, 50_000), max_size=10),
)
def test_each_alarm_of_a_job_sounds_once_and_never_early(
    reserve_for: int, timeout: float | None, waits: list[float]
) -> None:
    timer, now = JobTimer(), 100.0
    timer.begin(job(reserve_for), timeout, now, now, now)
    heard: list[Alarm] = []
    for wait in waits:
        now += wait
        due = timer.alarm_at
        alarm = timer.next_alarm(now)
        assert (alarm is not None) is (now >= due)
        if alarm is not None:
            heard.append(alarm)
            assert timer.alarm_at >= due
            assert timer.alarm_at == inf or len(heard) == 1
        else:
            assert timer.alarm_at == due
    assert len(set(heard)) == len(heard)


def test_clocks_that_disagree_make_no_reservation_longer() -> None:
    timer = JobTimer()
    timer.begin(job(reserve_for=60), None, 100.0, 5000.0, 5000.5)
    assert (timer.left, timer.expires_at) == (60.0, 5060.0)
