"""`faktory.core.slot`: what a worker does next, when its job is late, and how few idle FETCHes wait at the server."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from faktory.commands import Ack, Fail
from faktory.core.outbox import Outcome
from faktory.core.slot import Alarm, Lookouts, Naps, Slot, Step, fitting_reservation, time_limit, untold
from faktory.errors import ConfigurationError
from faktory.job import Job
from faktory.options import IDLE_FETCH_PATIENCE, IDLE_FETCH_PATIENCE_LIMIT


def job(reserve_for: int | None = None) -> Job:
    return Job("resize", [], reserve_for=reserve_for)


def outcome() -> Outcome:
    return Outcome(Ack("job-00001"), 1e9)


def ask(
    slot: Slot, lookouts: Lookouts | None = None, *, wants_jobs: bool = True, is_ending: bool = False, now: float = 0.0
) -> Step:
    lookouts = Lookouts(1) if lookouts is None else lookouts
    return slot.next_step(wants_jobs=wants_jobs, is_ending=is_ending, lookouts=lookouts, now=now)


def watched(*, since: float = 0.0, limit: int = 1) -> Lookouts:
    """Return lookouts without room: slots 90, 91, ... wait already."""
    lookouts = Lookouts(limit)
    for index in range(limit):
        lookouts.sent(90 + index, since)
    return lookouts


# -- the next step --------------------------------------------------------------------------------------------------


def test_a_free_slot_fetches_while_nobody_is_on_the_lookout() -> None:
    assert ask(Slot(0)) is Step.FETCH


def test_a_free_slot_parks_while_another_is_on_the_lookout() -> None:
    """Fact 3: every FETCH that waits can hide a job when its client dies."""
    assert ask(Slot(0), watched()) is Step.PARK


def test_a_woken_slot_fetches_although_another_is_on_the_lookout() -> None:
    slot = Slot(0)
    slot.is_woken = True
    assert ask(slot, watched()) is Step.FETCH


@pytest.mark.parametrize("is_woken", [False, True])
def test_no_slot_fetches_when_no_jobs_are_wanted(is_woken: bool) -> None:
    """J13, fact 8: quiet is ours to keep."""
    slot = Slot(0)
    slot.is_woken = is_woken
    assert ask(slot, wants_jobs=False) is Step.PARK


def test_a_free_slot_ends_when_the_consumer_does() -> None:
    assert ask(Slot(0), wants_jobs=False, is_ending=True) is Step.END


def test_an_outcome_is_reported_with_the_next_fetch_behind_it() -> None:
    """One write, one round trip."""
    slot = Slot(0)
    slot.outcome = outcome()
    assert ask(slot) is Step.REPORT_AND_FETCH


def test_an_outcome_is_reported_alone_when_no_jobs_are_wanted() -> None:
    slot = Slot(0)
    slot.outcome = outcome()
    assert ask(slot, wants_jobs=False) is Step.REPORT


def test_an_outcome_is_reported_before_the_end() -> None:
    """P1, P14: the drain does not end with a report owed."""
    slot = Slot(0)
    slot.outcome = outcome()
    assert ask(slot, wants_jobs=False, is_ending=True) is Step.REPORT
    slot.outcome = None
    assert ask(slot, wants_jobs=False, is_ending=True) is Step.END


def test_after_a_cut_the_outcome_goes_alone() -> None:
    """J3, J4: a FETCH behind it would be another job to lose."""
    slot = Slot(0)
    slot.outcome = outcome()
    slot.is_cut = True
    assert ask(slot) is Step.REPORT


def test_an_outcome_is_reported_alone_when_the_queues_are_known_to_be_empty() -> None:
    slot = Slot(0)
    slot.outcome = outcome()
    assert ask(slot, watched(since=0.0), now=1.0) is Step.REPORT


def test_a_new_job_leaves_an_outcome_that_was_refused_to_others() -> None:
    """J5: its second try must not wait until this job ends, nor be mistaken for this job's outcome."""
    slot = Slot(0)
    slot.outcome = outcome()
    slot.is_cut = True
    slot.begin(job(), None, 0.0)
    assert slot.outcome is None
    assert not slot.is_cut


# -- the limits of a job --------------------------------------------------------------------------------------------


def test_a_job_begins_with_a_clean_slate() -> None:
    slot, running = Slot(3), job(reserve_for=600)
    slot.is_cancelled = True
    slot.begin(running, None, 50.0)
    assert slot.job is running
    assert not slot.is_cancelled
    assert slot.started_at == 50.0
    assert slot.expires_at == 650.0
    assert slot.index == 3


def test_the_server_raises_short_reservations_to_a_minute() -> None:
    """PROTOCOL 8."""
    slot = Slot(0)
    slot.begin(job(reserve_for=5), None, 0.0)
    assert slot.expires_at == 60.0


def test_a_job_is_warned_of_and_then_stopped_before_its_reservation_ends() -> None:
    """J7: at 80 %, and 20 s before the end of 600 s."""
    slot = Slot(0)
    slot.begin(job(reserve_for=600), None, 1000.0)
    assert slot.alarm_at == 1480.0
    assert slot.next_alarm(1479.9) is None
    assert slot.next_alarm(1480.0) is Alarm.WARNING
    assert slot.alarm_at == 1580.0
    assert slot.next_alarm(1579.9) is None
    assert slot.next_alarm(1580.0) is Alarm.LIMIT
    assert slot.alarm_at == inf
    assert slot.next_alarm(1e9) is None


def test_a_job_of_a_minute_is_stopped_before_it_would_be_warned_of() -> None:
    slot = Slot(0)
    slot.begin(job(reserve_for=60), None, 0.0)
    assert slot.alarm_at == 40.0
    assert slot.next_alarm(40.0) is Alarm.LIMIT
    assert slot.alarm_at == 48.0
    assert slot.next_alarm(48.0) is Alarm.WARNING
    assert slot.alarm_at == inf


def test_a_time_limit_of_its_own_stops_a_job_earlier() -> None:
    slot = Slot(0)
    slot.begin(job(), 2.5, 10.0)
    assert slot.alarm_at == 12.5
    assert slot.next_alarm(12.5) is Alarm.LIMIT


def test_alarms_that_are_due_together_come_one_by_one_the_limit_first() -> None:
    """J11: the thread that asks may have been held up for long."""
    slot = Slot(0)
    slot.begin(job(), None, 0.0)
    assert slot.next_alarm(10_000.0) is Alarm.LIMIT
    assert slot.alarm_at <= 10_000.0
    assert slot.next_alarm(10_000.0) is Alarm.WARNING
    assert slot.next_alarm(10_000.0) is None


def test_a_job_that_has_ended_is_not_late() -> None:
    slot = Slot(0)
    slot.begin(job(), 1.0, 0.0)
    slot.finish()
    assert slot.job is None
    assert slot.alarm_at == inf
    assert slot.next_alarm(1e9) is None


def test_a_reservation_counts_from_when_its_fetch_left() -> None:
    """J17: a process that was frozen for 50 s reads a job of a minute; the server knows nothing of the freeze."""
    slot = Slot(0)
    slot.fetch_leaves(1000.0, 5000.0)
    slot.begin(job(reserve_for=60), None, 1050.0, 5050.0)
    assert slot.expires_at == 5060.0
    assert slot.left == 10.0
    assert slot.limit == pytest.approx(10 - 10 / 3)
    assert slot.ends_at == pytest.approx(1056.667, abs=0.001)
    assert slot.next_alarm(1050.0) is Alarm.WARNING  # 48 s of the 60 are over


def test_a_reservation_that_is_over_leaves_no_time() -> None:
    """J17: the job is another worker's."""
    slot = Slot(0)
    slot.fetch_leaves(1000.0, 5000.0)
    slot.begin(job(reserve_for=60), 30.0, 1070.0, 5070.0)
    assert slot.left < 0
    assert (slot.limit, slot.expires_at) == (0.0, 5060.0)


def test_a_time_limit_of_its_own_counts_from_when_the_job_was_received() -> None:
    slot = Slot(0)
    slot.fetch_leaves(1000.0, 5000.0)
    slot.begin(job(reserve_for=60), 20.0, 1002.0, 5002.0)
    assert (slot.ends_at, slot.limit, slot.is_shortened) == (1022.0, 20.0, False)


@pytest.mark.parametrize("timeout", [60.0, 61.0, 3600.0])
def test_a_time_limit_that_its_reservation_does_not_hold_is_the_reservations(timeout: float) -> None:
    """J18: it would run beside the copy that the server hands out."""
    slot = Slot(0)
    slot.begin(job(reserve_for=60), timeout, 0.0)
    assert (slot.limit, slot.is_shortened) == (40.0, True)


def test_what_a_machine_has_slept_is_gone_from_the_reservation() -> None:
    """J17: the clock of limits stands still meanwhile, the server's goes on."""
    slot = Slot(0)
    slot.sleep(5.0)  # no job, no matter
    slot.begin(job(reserve_for=600), None, 0.0)
    assert slot.alarm_at == 480.0
    slot.sleep(300.0)
    assert slot.alarm_at == 180.0
    assert slot.next_alarm(180.0) is Alarm.WARNING
    assert slot.alarm_at == 280.0  # 20 s before the end, as the server sees it
    assert slot.next_alarm(280.0) is Alarm.LIMIT
    slot.sleep(10.0)
    assert slot.next_alarm(400.0) is None  # each once


def test_a_sleep_leaves_a_time_limit_of_its_own_that_still_fits() -> None:
    slot = Slot(0)
    slot.begin(job(reserve_for=600), 100.0, 0.0)
    slot.sleep(300.0)
    assert slot.next_alarm(99.9) is None
    assert slot.next_alarm(100.0) is Alarm.LIMIT


def test_naps_are_found_by_two_clocks() -> None:
    naps = Naps(100.0, 5000.0)
    assert naps.since(110.0, 5010.01) == 0.0
    assert naps.since(120.0, 5320.0) == pytest.approx(300.0)
    assert naps.since(121.0, 5321.0) == 0.0


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


def test_a_new_slot_holds_nothing() -> None:
    slot = Slot(5)
    assert slot.index == 5
    assert slot.job is None
    assert slot.outcome is None
    assert not any([slot.is_fetching, slot.is_woken, slot.is_cut, slot.is_cancelled])


def test_a_slot_without_a_job_has_no_alarm() -> None:
    slot = Slot(0)
    assert slot.alarm_at == inf
    assert slot.next_alarm(1e9) is None


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
    slot, now = Slot(0), 100.0
    slot.begin(job(reserve_for), timeout, now)
    heard: list[Alarm] = []
    for wait in waits:
        now += wait
        due = slot.alarm_at
        alarm = slot.next_alarm(now)
        assert (alarm is not None) is (now >= due)
        if alarm is not None:
            heard.append(alarm)
            assert slot.alarm_at >= due
            assert slot.alarm_at == inf or len(heard) == 1
        else:
            assert slot.alarm_at == due
    assert len(set(heard)) == len(heard)


# -- lookouts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2])
def test_there_is_room_for_so_many_lookouts(limit: int) -> None:
    lookouts = Lookouts(limit)
    for index in range(limit):
        assert lookouts.has_room
        lookouts.sent(index, 0.0)
    assert not lookouts.has_room


def test_a_fetch_too_many_does_not_become_a_lookout() -> None:
    lookouts = Lookouts(1)
    lookouts.sent(0, 0.0)
    lookouts.sent(1, 0.0)
    lookouts.answered(0)
    assert lookouts.has_room
    lookouts.sent(2, 0.0)
    lookouts.answered(1)
    assert not lookouts.has_room


def test_a_slot_just_woken_keeps_the_place_of_the_one_that_has_its_job() -> None:
    """A quick job is over before another thread has got going: both would fetch."""
    lookouts, quick, woken = Lookouts(1), Slot(0), Slot(1)
    assert ask(quick, lookouts, now=10.0) is Step.FETCH
    lookouts.sent(0, 10.0)
    lookouts.answered(0)
    quick.begin(job(), None, 11.0)
    woken.is_woken = True
    lookouts.sent(1, 11.0)
    quick.outcome = outcome()
    assert ask(quick, lookouts, now=11.001) is Step.REPORT
    quick.outcome = None
    assert ask(quick, lookouts, now=11.002) is Step.PARK
    assert ask(woken, lookouts, now=11.003) is Step.FETCH


def test_an_answer_to_a_slot_that_was_no_lookout_changes_nothing() -> None:
    lookouts = Lookouts(1)
    lookouts.answered(7)
    lookouts.sent(0, 0.0)
    lookouts.answered(7)
    assert not lookouts.has_room


def test_a_report_takes_a_fetch_along_while_the_lookouts_have_just_left() -> None:
    """Under load every slot fetches for itself: that one has not been answered yet means nothing."""
    lookouts = Lookouts(1)
    lookouts.sent(0, 10.0)
    assert lookouts.grant(10.0 + IDLE_FETCH_PATIENCE * 0.9, waited=0.0)
    assert not lookouts.grant(10.0 + IDLE_FETCH_PATIENCE, waited=0.0)


def test_a_report_takes_a_fetch_along_while_there_is_room() -> None:
    lookouts = Lookouts(2)
    lookouts.sent(0, 0.0)
    assert lookouts.grant(100.0, waited=0.0)
    lookouts.sent(1, 100.0)
    assert not lookouts.grant(100.0, waited=0.0)


def test_the_lookout_that_has_waited_longest_tells_that_the_queues_are_empty() -> None:
    lookouts = Lookouts(2)
    lookouts.sent(1, 0.0)
    lookouts.sent(0, 9.999)
    assert not lookouts.grant(10.0, waited=0.0)
    lookouts.answered(1)
    lookouts.sent(1, 10.0)
    assert lookouts.grant(10.0, waited=0.0)


def test_a_fetch_that_waited_for_its_job_is_not_followed_by_another() -> None:
    """The queues were empty: the slot that this job has woken waits for the next one."""
    lookouts = watched(since=10.0)
    assert lookouts.grant(10.0, waited=IDLE_FETCH_PATIENCE * 0.9)
    assert not lookouts.grant(10.0, waited=IDLE_FETCH_PATIENCE)


@pytest.mark.parametrize("limit", [1, 2])
def test_a_trickle_of_quick_jobs_does_not_add_fetches(limit: int) -> None:
    """Fact 3: or every slot would end up waiting, one more with each job."""
    lookouts, slots = Lookouts(limit), [Slot(index) for index in range(20)]
    fetching: deque[Slot] = deque()
    parked: deque[Slot] = deque()

    def decide(slot: Slot, now: float) -> None:
        step = ask(slot, lookouts, now=now)
        if step in (Step.REPORT, Step.REPORT_AND_FETCH):
            slot.outcome = None
        if step is Step.REPORT:
            decide(slot, now + 0.0002)
        elif step is Step.PARK:
            parked.append(slot)
        else:
            lookouts.sent(slot.index, now)
            slot.is_woken = False
            fetching.append(slot)

    for slot in slots:
        decide(slot, 0.0)
    for number in range(1, 100):
        now = number * 0.05
        assert len(fetching) == limit
        slot = fetching.popleft()  # the server serves who has waited longest
        lookouts.answered(slot.index)
        slot.begin(job(), None, now)
        parked[0].is_woken = True
        decide(parked.popleft(), now)
        slot.finish()
        slot.outcome = outcome()
        decide(slot, now + 0.0001)


@pytest.mark.parametrize(
    ("round_trip", "patience"),
    [(0.0001, IDLE_FETCH_PATIENCE), (0.02, 0.08), (0.1, 0.4), (3.0, IDLE_FETCH_PATIENCE_LIMIT)],
)
def test_patience_is_four_round_trips_within_its_bounds(round_trip: float, patience: float) -> None:
    lookouts = watched(since=0.0)
    lookouts.measured(round_trip)
    assert lookouts.grant(patience * 0.999, waited=0.0)
    assert not lookouts.grant(patience, waited=0.0)


def test_patience_follows_the_network_both_ways() -> None:
    lookouts = watched(since=0.0)
    lookouts.measured(0.05)
    assert lookouts.grant(0.1, waited=0.0)
    lookouts.measured(0.0005)
    assert not lookouts.grant(0.1, waited=0.0)


def denied_at(slot: Slot, lookouts: Lookouts, now: float) -> None:
    slot.outcome = outcome()
    assert ask(slot, lookouts, now=now) is Step.REPORT


def test_a_report_sent_alone_measures_the_round_trip() -> None:
    slot, lookouts = Slot(0), watched(since=0.0)
    denied_at(slot, lookouts, 10.0)
    slot.outcome = None
    assert ask(slot, lookouts, now=10.05) is Step.PARK
    assert lookouts.grant(0.199, waited=0.0)
    assert not lookouts.grant(0.201, waited=0.0)


def test_the_time_a_slot_is_parked_is_no_round_trip() -> None:
    slot, lookouts = Slot(0), watched(since=0.0)
    denied_at(slot, lookouts, 10.0)
    slot.outcome = None
    ask(slot, lookouts, now=10.001)
    ask(slot, lookouts, now=10.4)
    assert not lookouts.grant(0.1, waited=0.0)


def test_a_report_that_was_cut_off_measures_nothing() -> None:
    """J3: the time to connect again is no round trip."""
    slot, lookouts = Slot(0), watched(since=0.0)
    denied_at(slot, lookouts, 10.0)
    slot.is_cut = True
    assert ask(slot, lookouts, now=10.1) is Step.REPORT
    slot.outcome = None
    slot.is_cut = False
    ask(slot, lookouts, now=10.4)
    assert not lookouts.grant(IDLE_FETCH_PATIENCE, waited=0.0)


def test_an_outcome_that_was_given_up_measures_nothing() -> None:
    slot, lookouts = Slot(0), watched(since=0.0)
    denied_at(slot, lookouts, 10.0)
    slot.is_cut = True
    slot.outcome = None
    ask(slot, lookouts, now=10.4)
    assert not lookouts.grant(IDLE_FETCH_PATIENCE, waited=0.0)


# -- late outcomes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "is_cut", "now", "is_dropped"),
    [
        (Fail("job-00001", "E", "m"), False, 99.9, False),
        (Fail("job-00001", "E", "m"), True, 99.9, False),
        (Fail("job-00001", "E", "m"), False, 100.0, True),
        (Ack("job-00001"), True, 99.9, False),
        (Ack("job-00001"), False, 100.0, False),
        (Ack("job-00001"), True, 100.0, True),
    ],
)
def test_a_late_outcome_is_dropped_when_it_would_do_harm_or_has_been_tried(
    command: Ack | Fail, is_cut: bool, now: float, is_dropped: bool
) -> None:
    """J3, J7, fact 7: an ACK past the reservation is still sent, once; a FAIL is not."""
    slot = Slot(0)
    outcome = slot.outcome = Outcome(command, 100.0)
    slot.is_cut = is_cut
    assert slot.drop_late(now) is (outcome if is_dropped else None)
    assert (slot.outcome is None) is is_dropped


def test_without_an_outcome_nothing_is_late() -> None:
    assert Slot(0).drop_late(1e9) is None


# -- slots and lookouts together, over a modelled network -----------------------------------------------------------


class Trial:
    """Slots that work off a queue which is never empty, as a consumer would run them. Times in seconds."""

    def __init__(self, slots: int, round_trip: float, work: float) -> None:
        self.round_trip = round_trip
        self.work = work
        self.lookouts = Lookouts(1)
        self.parked: deque[Slot] = deque()
        self.events: list[tuple[float, int, Callable[[float, Slot], None], Slot]] = []
        self.done = 0
        self.number = count()
        for index in range(slots):
            self.decide(0.0, Slot(index))

    def jobs_a_second(self, seconds: float) -> float:
        while self.events[0][0] < seconds:
            now, _, act, slot = heapq.heappop(self.events)
            act(now, slot)
        return self.done / seconds

    def later(self, now: float, act: Callable[[float, Slot], None], slot: Slot) -> None:
        heapq.heappush(self.events, (now, next(self.number), act, slot))

    def decide(self, now: float, slot: Slot) -> None:
        step = ask(slot, self.lookouts, now=now)
        if step is Step.PARK:
            self.parked.append(slot)
        elif step is Step.REPORT:
            self.later(now + self.round_trip, self.confirm, slot)
        else:
            self.lookouts.sent(slot.index, now)
            slot.is_woken = False
            self.later(now + self.round_trip, self.arrive, slot)

    def confirm(self, now: float, slot: Slot) -> None:
        slot.outcome = None
        self.decide(now, slot)

    def arrive(self, now: float, slot: Slot) -> None:
        self.lookouts.answered(slot.index)
        slot.begin(job(), None, now)
        if self.parked:
            self.parked[0].is_woken = True
            self.decide(now, self.parked.popleft())
        self.later(now + self.work, self.finish, slot)

    def finish(self, now: float, slot: Slot) -> None:
        self.done += 1
        slot.finish()
        slot.outcome = outcome()
        self.decide(now, slot)


@pytest.mark.parametrize(
    ("slots", "round_trip", "work"),
    [(10, 0.0002, 0.001), (10, 0.001, 0.02), (10, 0.006, 0.01), (10, 0.02, 0.01), (50, 0.02, 0.1), (50, 0.08, 0.2)],
)
def test_under_load_every_slot_works_however_far_the_server_is(slots: int, round_trip: float, work: float) -> None:
    """With a fixed patience, a server 20 ms away would get one FETCH a round trip from all slots together."""
    possible = slots / (round_trip + work)
    assert Trial(slots, round_trip, work).jobs_a_second(seconds=100 * (round_trip + work)) > 0.85 * possible


class Floor(RuleBasedStateMachine):
    """Any number of slots, doing in any order what a consumer's threads may do, over a network that may fail.

    * At most `limit` FETCHes wait that nothing but the hope for a job has sent.
    * While jobs are wanted and a slot is free, a FETCH is in flight once every slot has had its turn.
    * No outcome gets lost, and no slot ends while it owes one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.limit = 1
        self.is_reserving = False
        self.slots: list[Slot] = []
        self.lookouts = Lookouts(1)
        self.deciding: list[Slot] = []
        self.parked: deque[Slot] = deque()
        self.reporting: list[Slot] = []
        self.fetching: list[Slot] = []
        self.running: list[Slot] = []
        self.hopeful: set[int] = set()  # slots whose FETCH was sent because there was room
        self.owed: dict[int, Outcome] = {}

    @initialize(slots=st.integers(1, 6), limit=st.integers(1, 3), is_reserving=st.booleans())
    def open(self, slots: int, limit: int, is_reserving: bool) -> None:
        self.limit = limit
        self.is_reserving = is_reserving  # whether a place is noted when waking, or when fetching
        self.lookouts = Lookouts(limit)
        self.slots = [Slot(index) for index in range(slots)]
        self.deciding = list(self.slots)

    # -- what the parts do

    def decide(self, slot: Slot, *, wants_jobs: bool = True, is_ending: bool = False) -> Step:
        self.deciding.remove(slot)
        was_woken = slot.is_woken
        step = ask(slot, self.lookouts, wants_jobs=wants_jobs, is_ending=is_ending, now=self.now)
        assert (step in (Step.REPORT, Step.REPORT_AND_FETCH)) is (slot.index in self.owed)
        if step in (Step.REPORT, Step.REPORT_AND_FETCH):
            self.reporting.append(slot)
        if step in (Step.FETCH, Step.REPORT_AND_FETCH):
            assert wants_jobs
            assert not (slot.is_cut and slot.outcome)
            if step is Step.FETCH and not was_woken:
                self.hopeful.add(slot.index)
            self.lookouts.sent(slot.index, self.now)
            slot.is_woken = False
            self.fetching.append(slot)
        elif step is Step.PARK:
            self.parked.append(slot)
        return step

    def confirm(self, slot: Slot) -> None:
        self.reporting.remove(slot)
        slot.outcome = None
        slot.is_cut = False
        del self.owed[slot.index]
        if slot not in self.fetching:
            self.deciding.append(slot)

    def end_fetch(self, slot: Slot) -> None:
        self.fetching.remove(slot)
        self.hopeful.discard(slot.index)
        self.lookouts.answered(slot.index)

    def answerable(self) -> list[Slot]:
        """Return the slots whose FETCH is the next command that the server answers."""
        return [slot for slot in self.fetching if slot not in self.reporting]

    # -- what may happen

    @rule(seconds=st.sampled_from([0.0005, 0.003, 0.006, 0.1, 1.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.deciding)
    @rule(data=st.data())
    def somebody_decides(self, data: st.DataObject) -> None:
        self.decide(data.draw(st.sampled_from(self.deciding)))

    @precondition(lambda self: self.reporting)
    @rule(data=st.data())
    def a_report_is_confirmed(self, data: st.DataObject) -> None:
        self.confirm(data.draw(st.sampled_from(self.reporting)))

    @precondition(lambda self: self.reporting)
    @rule(data=st.data())
    def a_report_is_refused(self, data: st.DataObject) -> None:
        """J5: the FETCH behind it runs all the same."""
        slot = data.draw(st.sampled_from(self.reporting))
        self.reporting.remove(slot)
        slot.is_cut = True
        if slot not in self.fetching:
            self.deciding.append(slot)

    @precondition(lambda self: self.answerable())
    @rule(data=st.data())
    def a_job_arrives(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.answerable()))
        self.end_fetch(slot)
        slot.begin(job(), None, self.now)
        self.owed.pop(slot.index, None)  # one that was refused is left to others
        self.running.append(slot)
        if self.parked:
            woken = self.parked.popleft()
            woken.is_woken = True
            if self.is_reserving:
                self.lookouts.sent(woken.index, self.now)
            self.deciding.append(woken)

    @precondition(lambda self: self.answerable())
    @rule(data=st.data())
    def a_fetch_brings_nothing(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.answerable()))
        self.end_fetch(slot)
        self.deciding.append(slot)

    @precondition(lambda self: self.fetching or self.reporting)
    @rule(data=st.data())
    def a_connection_is_lost(self, data: st.DataObject) -> None:
        """J1, J2, J3, J4."""
        slot = data.draw(st.sampled_from([*self.fetching, *self.reporting]))
        if slot in self.reporting:
            self.reporting.remove(slot)
        if slot in self.fetching:
            self.end_fetch(slot)
        slot.is_cut = True
        self.deciding.append(slot)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_job_ends(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.running))
        self.running.remove(slot)
        slot.finish()
        slot.outcome = self.owed[slot.index] = outcome()
        slot.is_cut = False
        self.deciding.append(slot)

    @rule()
    def everybody_has_a_turn(self) -> None:
        while self.deciding or self.reporting:
            for slot in list(self.deciding):
                self.decide(slot)
            for slot in list(self.reporting):
                self.confirm(slot)
        free = len(self.slots) - len(self.running)
        assert len(self.fetching) >= min(self.limit, free)
        assert len(self.parked) + len(self.fetching) == free

    @rule()
    def the_queues_stay_empty(self) -> None:
        """However many FETCHes were in flight under load, few come back for more."""
        self.everybody_has_a_turn()
        self.now += 2.0
        for slot in self.answerable():
            self.end_fetch(slot)
            self.deciding.append(slot)
        self.everybody_has_a_turn()
        assert len(self.fetching) == min(self.limit, len(self.slots) - len(self.running))
        self.now += 1.0
        while self.running and len(self.fetching) == self.limit:
            slot = self.running.pop()
            slot.finish()
            slot.outcome = self.owed[slot.index] = outcome()
            self.deciding.append(slot)
            self.everybody_has_a_turn()
            assert len(self.fetching) == self.limit

    @invariant()
    def few_fetch_on_mere_hope(self) -> None:
        assert len(self.hopeful) <= self.limit

    @invariant()
    def what_is_owed_is_kept(self) -> None:
        assert {slot.index: slot.outcome for slot in self.slots if slot.outcome is not None} == self.owed

    def teardown(self) -> None:
        """Terminate: what is in flight is waited for, what runs ends, and nobody ends owing an outcome."""
        for slot in list(self.running):
            self.running.remove(slot)
            slot.finish()
            slot.outcome = self.owed[slot.index] = outcome()
            self.deciding.append(slot)
        while self.parked:
            self.deciding.append(self.parked.pop())
        ended = 0
        while self.deciding or self.reporting or self.fetching:
            for slot in list(self.deciding):
                if self.decide(slot, wants_jobs=False, is_ending=True) is Step.END:
                    ended += 1
            for slot in list(self.reporting):
                self.confirm(slot)
            for slot in self.answerable():
                self.end_fetch(slot)
                self.deciding.append(slot)
        assert ended == len(self.slots)
        assert self.owed == {}


TestFloor = pytest.mark.slow(Floor.TestCase)
TestFloor.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)


def test_jobs_that_were_cut_off_and_go_on_are_told_of_once() -> None:
    running, cut, done = Slot(0), Slot(1), Slot(2)
    for slot in (running, cut, done):
        slot.begin(Job("work"), None, 0.0, 0.0)
    cut.is_cancelled = done.is_cancelled = True
    done.finish()
    job = cut.job
    assert untold([running, cut, done]) == [job]
    assert untold([running, cut, done]) == []
