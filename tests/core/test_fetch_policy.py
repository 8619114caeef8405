"""`faktory.core.fetch_policy`: who may FETCH, who parks, who ends, and how few FETCHes wait on empty queues."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from faktory.core.fetch_policy import FetchPolicy, Step
from faktory.core.lifecycle import Lifecycle
from faktory.options import IDLE_FETCH_PATIENCE, IDLE_FETCH_PATIENCE_LIMIT
from tests.share import share_of


@dataclass
class Aim:
    is_stopping: bool = False
    until_empty: bool = False


RUN = Aim()
DRAIN = Aim(until_empty=True)


def life() -> Lifecycle:
    return Lifecycle(shutdown_timeout=25.0, heartbeat_interval=15.0, now=0.0)


def policy(slots: int = 4, limit: int = 1, lifecycle: Lifecycle | None = None) -> FetchPolicy[int]:
    made: FetchPolicy[int] = FetchPolicy(lifecycle or life(), limit, 30.0)
    made.begin(range(slots), 0.0)
    return made


def idle(since: float = 0.0, limit: int = 1, lifecycle: Lifecycle | None = None) -> FetchPolicy[int]:
    """Return a policy whose slots 90, 91, ... wait at the server already."""
    made = policy(limit=limit, lifecycle=lifecycle)
    for slot in range(90, 90 + limit):
        assert made.next_step(slot, RUN, since) is Step.FETCH
        made.leaves(slot, since)
    return made


def after_a_job(made: FetchPolicy[int], slot: int, at: float, waited: float = 0.0) -> None:
    """Have a slot just done with a job for which its FETCH had waited."""
    made._asked[slot] = at - waited
    made.got_job(slot, at)


# -- the next step --------------------------------------------------------------------------------------------------


def test_a_free_slot_fetches_while_nobody_waits() -> None:
    assert policy().next_step(0, RUN, 0.0) is Step.FETCH


def test_a_free_slot_parks_while_another_waits() -> None:
    """Fact 3: every FETCH that waits can hide a job when its client dies."""
    assert idle().next_step(0, RUN, 1.0) is Step.PARK


@pytest.mark.parametrize("limit", [1, 2])
def test_so_many_fetches_wait_and_no_more(limit: int) -> None:
    made = policy(limit=limit)
    assert [made.next_step(slot, RUN, 0.0) for slot in range(4)] == [Step.FETCH] * limit + [Step.PARK] * (4 - limit)
    assert made.fetching == limit


def test_a_woken_slot_fetches_although_another_waits() -> None:
    made = idle()
    made.next_step(0, RUN, 1.0)
    assert made.got_job(90, 2.0) == 0
    made.next_step(91, RUN, 2.0)
    assert made.may_get_job(0)
    assert made.next_step(0, RUN, 2.0) is Step.FETCH


def test_no_slot_fetches_when_no_jobs_are_wanted() -> None:
    """J13, fact 8: quiet is ours to keep, also for one that was woken before."""
    lifecycle = life()
    made = idle(lifecycle=lifecycle)
    made.next_step(0, RUN, 1.0)
    made.got_job(90, 2.0)
    lifecycle.quiet(2.5)
    assert made.next_step(0, RUN, 3.0) is Step.PARK
    assert not made.may_get_job(0)


@pytest.mark.parametrize("is_session", [False, True])
def test_a_free_slot_ends_with_the_consumer_or_its_session(is_session: bool) -> None:
    lifecycle = life()
    made = policy(lifecycle=lifecycle)
    if not is_session:
        lifecycle.terminate(1.0)
    assert made.next_step(0, Aim(is_stopping=is_session), 1.0) is Step.END


def test_an_outcome_is_reported_with_the_next_fetch_behind_it() -> None:
    """One write, one round trip."""
    assert policy().next_step(0, RUN, 0.0, has_outcome=True) is Step.REPORT_AND_FETCH


def test_an_outcome_is_reported_before_the_end() -> None:
    """P1, P14: the drain does not end with a report owed."""
    lifecycle = life()
    made = policy(lifecycle=lifecycle)
    lifecycle.terminate(1.0)
    assert made.next_step(0, RUN, 1.0, has_outcome=True) is Step.REPORT
    assert made.next_step(0, RUN, 1.0) is Step.END


def test_after_a_cut_the_outcome_goes_alone() -> None:
    """J3, J4: a FETCH behind it would be another job to lose."""
    assert policy().next_step(0, RUN, 0.0, has_outcome=True, is_cut=True) is Step.REPORT


def test_a_drain_asks_one_at_a_time_whether_the_queues_are_empty() -> None:
    """One more FETCH would put the end off by 2 s; under load each slot fetches for itself all the same."""
    made = policy(limit=2)
    assert made.next_step(0, DRAIN, 0.0) is Step.FETCH
    assert made.next_step(1, DRAIN, 0.0) is Step.PARK
    made._waited[2] = 0.0
    assert made.next_step(2, DRAIN, 0.001) is Step.FETCH
    assert made.got_job(0, 0.1) == 1
    assert made.next_step(1, DRAIN, 0.1) is Step.FETCH


def test_a_slot_without_room_for_a_job_waits_for_that() -> None:
    made = policy()
    after_a_job(made, 0, 0.0)
    assert made.next_step(0, RUN, 0.0, has_room=False) is Step.PARK
    assert made.has_place() == 0
    assert made.has_place() is None
    assert made.next_step(0, RUN, 0.001) is Step.FETCH


def test_a_slot_that_waits_for_room_fetches_as_one_that_has_just_done_a_job() -> None:
    """On an event loop: under load all fetchers wait for room, and each goes on when a job ends."""
    made = idle(since=10.0)
    after_a_job(made, 0, 10.0)
    made.next_step(0, RUN, 10.001, has_room=False)
    made.has_place()
    assert made.next_step(0, RUN, 10.002) is Step.FETCH


# -- under load, and idle ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "waited", "is_allowed"),
    [
        (10.0 + IDLE_FETCH_PATIENCE * 0.9, 0.0, True),
        (10.0 + IDLE_FETCH_PATIENCE, 0.0, False),
        (10.0, IDLE_FETCH_PATIENCE * 0.9, True),
        (10.0, IDLE_FETCH_PATIENCE, False),
    ],
)
def test_a_slot_fetches_for_itself_while_the_queues_are_not_known_to_be_empty(
    at: float, waited: float, is_allowed: bool
) -> None:
    """Under load: that one was not answered yet means nothing, unless it waits, or its own has waited, for long."""
    made = idle(since=10.0)
    after_a_job(made, 0, at, waited)
    assert (made.next_step(0, RUN, at, has_outcome=True) is Step.REPORT_AND_FETCH) is is_allowed


def test_the_fetch_that_has_waited_longest_tells_that_the_queues_are_empty() -> None:
    made = policy(limit=2)
    made.next_step(1, RUN, 0.0)
    made.next_step(0, RUN, 9.999)
    after_a_job(made, 2, 10.0)
    assert made.next_step(2, RUN, 10.0, has_outcome=True) is Step.REPORT


def test_a_slot_just_woken_keeps_the_place_of_the_one_that_has_its_job() -> None:
    """A quick job is over before another thread has got going: both would fetch."""
    made = policy()
    assert made.next_step(0, RUN, 10.0) is Step.FETCH
    assert made.next_step(1, RUN, 10.0) is Step.PARK
    assert made.got_job(0, 11.0) == 1
    assert made.next_step(0, RUN, 11.001, has_outcome=True) is Step.REPORT
    assert made.next_step(0, RUN, 11.002) is Step.PARK
    assert made.next_step(1, RUN, 11.003) is Step.FETCH


def test_a_woken_slot_that_sends_none_gives_its_place_back() -> None:
    lifecycle = life()
    made = policy(lifecycle=lifecycle)
    made.next_step(0, RUN, 0.0)
    made.next_step(1, RUN, 0.0)
    made.got_job(0, 1.0)
    assert made._idle
    assert made.next_step(1, Aim(is_stopping=True), 1.0) is Step.END
    assert not made._idle


def test_nobody_is_woken_when_there_is_no_room_for_a_job() -> None:
    made = idle()
    made.next_step(0, RUN, 1.0)
    assert made.got_job(90, 2.0, has_room=False) is None
    assert made.got_job(91, 2.0) == 0


@pytest.mark.parametrize(
    ("round_trip", "patience"),
    [(0.0001, IDLE_FETCH_PATIENCE), (0.02, 0.08), (0.1, 0.4), (3.0, IDLE_FETCH_PATIENCE_LIMIT)],
)
def test_patience_is_four_round_trips_within_its_bounds(round_trip: float, patience: float) -> None:
    """A report sent alone measures them."""
    made = idle(since=0.0)
    assert made.next_step(0, RUN, 10.0, has_outcome=True) is Step.REPORT
    assert made.next_step(0, RUN, 10.0 + round_trip) is Step.PARK
    made.next_step(0, RUN, 20.0)  # the time it was parked is no round trip
    assert made._patience == pytest.approx(patience)


def test_patience_follows_the_network_both_ways() -> None:
    made = idle()
    for round_trip, patience in ((0.05, 0.2), (0.0005, IDLE_FETCH_PATIENCE)):
        made.next_step(0, RUN, 10.0, has_outcome=True)
        made.next_step(0, RUN, 10.0 + round_trip)
        assert made._patience == pytest.approx(patience)


def test_a_report_that_was_cut_off_measures_nothing() -> None:
    """J3: the time to connect again is no round trip."""
    made = idle()
    made.next_step(0, RUN, 10.0, has_outcome=True)
    made.next_step(0, RUN, 10.1, has_outcome=True, is_cut=True)
    made.next_step(0, RUN, 10.4)
    assert made._patience == IDLE_FETCH_PATIENCE
    made.next_step(0, RUN, 20.0, has_outcome=True)
    made.next_step(0, RUN, 20.4, is_cut=True)  # it was given up
    assert made._patience == IDLE_FETCH_PATIENCE


# -- what befalls a FETCH ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["got_nothing", "lost", "withdraw", "ended", "yielded"])
def test_the_end_of_a_fetch_makes_room_for_another(how: str) -> None:
    made = idle()
    match how:
        case "got_nothing":
            made.got_nothing(90, 1.0)
            assert made.answered_at == 1.0
        case "lost":
            made.lost(90)
        case "withdraw":
            made.withdraw(90)
        case "ended":
            made.has_ended(90)
        case _:
            made.yield_place(90)
    assert made.fetching == (1 if how == "yielded" else 0)  # that one keeps its place for a job
    assert made.next_step(0, RUN, 1.0) is Step.FETCH


def test_a_loss_forgets_that_a_job_was_just_done() -> None:
    made = idle(since=10.0)
    after_a_job(made, 0, 10.0)
    made.lost(0)
    assert made.next_step(0, RUN, 10.0, has_outcome=True) is Step.REPORT


def test_one_that_can_takes_the_place_of_one_that_cannot_connect() -> None:
    """P13."""
    made = idle()
    for slot in range(3):
        made.next_step(slot, RUN, 1.0)
    assert made.successor(1.0, lambda slot: True) is None  # there is no place
    made.withdraw(90)
    assert made.successor(1.0, lambda slot: False) is None
    assert made.successor(1.0, lambda slot: slot == 1) == 1
    assert made.next_step(1, RUN, 1.0) is Step.FETCH
    assert made.wake_all() == [0, 2]


def test_all_who_wait_look_at_what_has_changed() -> None:
    made = idle()
    made.next_step(0, RUN, 1.0)
    made.next_step(1, RUN, 1.0, has_room=False)
    assert made.wake_all() == [0, 1]
    assert made.wake_all() == []
    assert not made.may_get_job(0)


def test_a_session_has_left_when_its_slots_have_ended_or_only_try_to_connect() -> None:
    made = policy(slots=2)
    assert not made.has_all_left
    made.reconnects(0)
    assert made.is_reconnecting(0)
    made.has_ended(1)
    assert made.has_all_left
    made.has_reconnected(0)
    assert (made.has_all_left, made.living) == (False, {0})
    made.reconnects(0)
    made.begin([5], 7.0)
    assert (made.living, made.is_reconnecting(0), made.answered_at) == ({5}, False, 7.0)


# -- the watch over it ------------------------------------------------------------------------------------------------


def test_a_fetch_that_was_sent_and_hangs_is_found() -> None:
    """P13: at the second look; one that has not left yet is none."""
    lifecycle = life()
    made = idle(since=100.0, lifecycle=lifecycle)
    made._asked[1] = 100.0
    assert made.next_look() == 130.0
    assert made.next_look(cuts=False) == inf
    assert made.overdue(130.0) == []
    assert made.overdue(131.0) == [(90, 31.0)]
    lifecycle.quiet(140.0)
    assert made.overdue(140.0) == []


def test_parked_slots_that_nobody_would_wake_are_neglected() -> None:
    """P13: what a lost wake-up would look like."""
    made = idle()
    made.next_step(0, RUN, 1.0)
    assert made.neglected(2.0) is None
    made._asked.clear()
    assert made.neglected(100.0) is None
    assert not made.is_neglected(130.0, has_room=False)
    assert made.neglected(200.0) is None
    assert made.neglected(230.0) == 0
    assert made.next_step(0, RUN, 230.0) is Step.FETCH


def test_a_consumer_consumes_while_a_fetch_is_fresh_or_nobody_is_free() -> None:
    made = idle()
    assert made.is_consuming(100.0)  # nobody is free
    made.next_step(0, RUN, 1.0)
    assert made.is_consuming(29.0)
    assert not made.is_consuming(31.0)
    made.got_nothing(90, 31.0)
    assert made.is_consuming(60.0)
    made.wake_all()
    made.reconnects(0)
    assert not made.is_consuming(62.0)


# -- all together, over a modelled network --------------------------------------------------------------------------


class Trial:
    """Slots that work off a queue which is never empty, as a consumer would run them. Times in seconds."""

    def __init__(self, slots: int, round_trip: float, work: float) -> None:
        self.round_trip = round_trip
        self.work = work
        self.policy = policy(slots)
        self.events: list[tuple[float, int, Callable[[float, int], None], int]] = []
        self.done = 0
        self.number = count()
        self.owing: set[int] = set()
        for slot in range(slots):
            self.decide(0.0, slot)

    def jobs_a_second(self, seconds: float) -> float:
        while self.events[0][0] < seconds:
            now, _, act, slot = heapq.heappop(self.events)
            act(now, slot)
        return self.done / seconds

    def later(self, now: float, act: Callable[[float, int], None], slot: int) -> None:
        heapq.heappush(self.events, (now, next(self.number), act, slot))

    def decide(self, now: float, slot: int) -> None:
        step = self.policy.next_step(slot, RUN, now, has_outcome=slot in self.owing)
        if step is Step.REPORT:
            self.later(now + self.round_trip, self.confirm, slot)
        elif step is not Step.PARK:
            self.policy.leaves(slot, now)
            self.later(now + self.round_trip, self.arrive, slot)

    def confirm(self, now: float, slot: int) -> None:
        self.owing.discard(slot)
        self.decide(now, slot)

    def arrive(self, now: float, slot: int) -> None:
        self.owing.discard(slot)
        woken = self.policy.got_job(slot, now)
        if woken is not None:
            self.decide(now, woken)
        self.later(now + self.work, self.finish, slot)

    def finish(self, now: float, slot: int) -> None:
        self.done += 1
        self.owing.add(slot)
        self.decide(now, slot)


@pytest.mark.parametrize(
    ("slots", "round_trip", "work"),
    [(10, 0.0002, 0.001), (10, 0.001, 0.02), (10, 0.006, 0.01), (10, 0.02, 0.01), (50, 0.02, 0.1), (50, 0.08, 0.2)],
)
def test_under_load_every_slot_works_however_far_the_server_is(slots: int, round_trip: float, work: float) -> None:
    """With a fixed patience, a server 20 ms away would get one FETCH a round trip from all slots together."""
    possible = slots / (round_trip + work)
    assert Trial(slots, round_trip, work).jobs_a_second(seconds=100 * (round_trip + work)) > 0.85 * possible


@pytest.mark.parametrize("limit", [1, 2])
def test_a_trickle_of_quick_jobs_does_not_add_fetches(limit: int) -> None:
    """Fact 3: or every slot would end up waiting, one more with each job."""
    made, fetching = policy(20, limit), deque[int]()

    def decide(slot: int, now: float, *, has_outcome: bool = False) -> None:
        step = made.next_step(slot, RUN, now, has_outcome=has_outcome)
        if step is Step.REPORT:
            decide(slot, now + 0.0002)
        elif step is not Step.PARK:
            fetching.append(slot)

    for slot in range(20):
        decide(slot, 0.0)
    for number in range(1, 100):
        now = number * 0.05
        assert len(fetching) == limit
        slot = fetching.popleft()  # the server serves who has waited longest
        woken = made.got_job(slot, now)
        assert woken is not None
        decide(woken, now)
        decide(slot, now + 0.0001, has_outcome=True)


class Floor(RuleBasedStateMachine):
    """Any number of slots, doing in any order what a consumer's threads may do, over a network that may fail.

    * At most `limit` FETCHes wait that nothing but the hope for a job has sent.
    * While jobs are wanted and a slot is free, a FETCH is in flight once every slot has had its turn.
    * No slot ends while it owes an outcome.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.limit = self.number = 1
        self.lifecycle = life()
        self.policy = policy(1)
        self.deciding: list[int] = []
        self.parked: set[int] = set()
        self.reporting: list[int] = []
        self.fetching: list[int] = []
        self.running: list[int] = []
        self.hopeful: set[int] = set()  # slots whose FETCH was sent because there was room
        self.owing: set[int] = set()
        self.cut: set[int] = set()

    @initialize(slots=st.integers(1, 6), limit=st.integers(1, 3))
    def open(self, slots: int, limit: int) -> None:
        self.limit, self.number = limit, slots
        self.policy = policy(slots, limit, self.lifecycle)
        self.deciding = list(range(slots))

    # -- what the parts do

    def decide(self, slot: int) -> Step:
        self.deciding.remove(slot)
        was_woken = self.policy.may_get_job(slot)
        has_outcome, is_cut = slot in self.owing, slot in self.cut
        step = self.policy.next_step(slot, RUN, self.now, has_outcome=has_outcome, is_cut=is_cut)
        assert (step in (Step.REPORT, Step.REPORT_AND_FETCH)) is has_outcome
        if has_outcome:
            self.reporting.append(slot)
        if step in (Step.FETCH, Step.REPORT_AND_FETCH):
            assert self.lifecycle.may_fetch
            assert not (is_cut and has_outcome)
            if step is Step.FETCH and not was_woken:
                self.hopeful.add(slot)
            self.policy.leaves(slot, self.now)
            self.fetching.append(slot)
        elif step is Step.PARK:
            self.parked.add(slot)
        return step

    def confirm(self, slot: int) -> None:
        self.reporting.remove(slot)
        self.cut.discard(slot)
        self.owing.discard(slot)
        if slot not in self.fetching:
            self.deciding.append(slot)

    def end_fetch(self, slot: int) -> None:
        self.fetching.remove(slot)
        self.hopeful.discard(slot)

    def answerable(self) -> list[int]:
        """Return the slots whose FETCH is the next command that the server answers."""
        return [slot for slot in self.fetching if slot not in self.reporting]

    def finish(self, slot: int) -> None:
        self.running.remove(slot)
        self.owing.add(slot)
        self.cut.discard(slot)
        self.deciding.append(slot)

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

    @precondition(lambda self: self.answerable())
    @rule(data=st.data())
    def a_job_arrives(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.answerable()))
        self.end_fetch(slot)
        woken = self.policy.got_job(slot, self.now)
        self.running.append(slot)
        assert (woken is None) is (not self.parked)
        if woken is not None:
            self.parked.remove(woken)
            self.deciding.append(woken)

    @precondition(lambda self: self.answerable())
    @rule(data=st.data())
    def a_fetch_brings_nothing(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.answerable()))
        self.end_fetch(slot)
        self.policy.got_nothing(slot, self.now)
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
        self.policy.lost(slot)
        self.cut.add(slot)
        self.deciding.append(slot)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_job_ends(self, data: st.DataObject) -> None:
        self.finish(data.draw(st.sampled_from(self.running)))

    @rule()
    def everybody_has_a_turn(self) -> None:
        while self.deciding or self.reporting:
            for slot in list(self.deciding):
                self.decide(slot)
            for slot in list(self.reporting):
                self.confirm(slot)
        free = self.number - len(self.running)
        assert len(self.fetching) >= min(self.limit, free)
        assert len(self.parked) + len(self.fetching) == free

    @rule()
    def the_queues_stay_empty(self) -> None:
        """However many FETCHes were in flight under load, few come back for more."""
        self.everybody_has_a_turn()
        self.now += 2.0
        for slot in self.answerable():
            self.end_fetch(slot)
            self.policy.got_nothing(slot, self.now)
            self.deciding.append(slot)
        self.everybody_has_a_turn()
        assert len(self.fetching) == min(self.limit, self.number - len(self.running))
        self.now += 1.0
        while self.running and len(self.fetching) == self.limit:
            self.finish(self.running[-1])
            self.everybody_has_a_turn()
            assert len(self.fetching) == self.limit

    @invariant()
    def few_fetch_on_mere_hope(self) -> None:
        assert len(self.hopeful) <= self.limit

    def teardown(self) -> None:
        """Terminate: what is in flight is waited for, what runs ends, and nobody ends owing an outcome."""
        self.lifecycle.terminate(self.now)
        for slot in list(self.running):
            self.finish(slot)
        self.deciding += self.policy.wake_all()
        ended = 0
        while self.deciding or self.reporting or self.fetching:
            for slot in list(self.deciding):
                if self.decide(slot) is Step.END:
                    ended += 1
            for slot in list(self.reporting):
                self.confirm(slot)
            for slot in self.answerable():
                self.end_fetch(slot)
                self.policy.got_nothing(slot, self.now)
                self.deciding.append(slot)
        assert ended == self.number
        assert not self.owing


TestFloor = pytest.mark.slow(Floor.TestCase)
TestFloor.settings = settings(max_examples=share_of(120), stateful_step_count=50, deadline=None)
