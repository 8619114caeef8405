"""`faktory.core.outbox`: outcomes are kept until the server has answered, and never sent when they would harm."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from faktory.commands import Ack, Fail
from faktory.core.outbox import Outbox, Outcome, Verdict
from tests.share import share_of


def done(jid: str = "job-00001", deadline: float = 100.0) -> Outcome:
    return Outcome(Ack(jid), deadline)


def failed(jid: str = "job-00001", deadline: float = 100.0) -> Outcome:
    return Outcome(Fail(jid, "ValueError", "no"), deadline)


# -- may an outcome still be sent? ----------------------------------------------------------------------------------


def test_a_failure_is_sent_until_the_reservation_ends() -> None:
    """J7, fact 7: later the job may be another worker's, whom the FAIL would hit."""
    assert failed(deadline=100.0).may_be_sent(99.999)
    assert not failed(deadline=100.0).may_be_sent(100.0)


def test_a_success_is_sent_even_late() -> None:
    """J7: an ACK is true whoever gets it."""
    assert done(deadline=100.0).may_be_sent(99.0)
    assert done(deadline=100.0).may_be_sent(100_000.0)


def test_an_outcome_knows_its_job() -> None:
    assert done("job-00007").jid == "job-00007"
    assert failed("job-00008").jid == "job-00008"


def test_outcomes_of_the_same_job_are_not_the_same() -> None:
    """J9: a second run's outcome is another one, whatever the texts."""
    command = Ack("job-00001")
    assert Outcome(command, 1.0) != Outcome(command, 1.0)


# -- keeping --------------------------------------------------------------------------------------------------------


def test_outcomes_wait_in_the_order_they_came() -> None:
    outbox = Outbox()
    outcomes = [done(f"job-{number:05}") for number in (3, 1, 2)]
    for outcome in outcomes:
        outbox.add(outcome)
    assert outbox.waiting() == outcomes
    assert len(outbox) == 3


def test_what_is_returned_as_waiting_can_be_settled_while_it_is_gone_through() -> None:
    outbox = Outbox()
    for number in range(3):
        outbox.add(done(f"job-{number:05}"))
    for outcome in outbox.waiting():
        outbox.settle(outcome)
    assert outbox.waiting() == []


def test_settling_forgets_one_outcome() -> None:
    """J3, J4."""
    outbox, first, second = Outbox(), done("job-00001"), done("job-00002")
    outbox.add(first)
    outbox.add(second)
    outbox.settle(first)
    assert outbox.waiting() == [second]


def test_settling_twice_is_harmless() -> None:
    outbox, outcome = Outbox(), done()
    outbox.add(outcome)
    outbox.settle(outcome)
    outbox.settle(outcome)
    assert len(outbox) == 0


def test_settling_an_earlier_outcome_of_a_job_keeps_the_later_one() -> None:
    """J9: the same jid came twice."""
    outbox, earlier, later = Outbox(), failed(), done()
    outbox.add(earlier)
    outbox.add(later)
    assert outbox.waiting() == [later]
    outbox.settle(earlier)
    assert outbox.waiting() == [later]
    outbox.settle(later)
    assert outbox.waiting() == []


# -- refusals -------------------------------------------------------------------------------------------------------

BUSY = "context deadline exceeded"


def test_a_refused_outcome_is_kept_and_sent_again_with_growing_delays() -> None:
    """J5: a storage that fails for 0.3 s gives no job up."""
    outbox, outcome = Outbox(), done(deadline=1000.0)
    outbox.add(outcome)
    now, waits = 0.0, []
    for _ in range(10):
        assert outbox.refuse(outcome, BUSY, now) is not Verdict.FINAL
        waits.append(outcome.not_before - now)
        now = outcome.not_before
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0])
    assert outbox.waiting() == [outcome]
    assert (outbox.given_up, outbox.unreported) == (0, 1)


@pytest.mark.parametrize(
    "text", ["Job not found job-00001", "invalid ACK {}", "Invalid job", "unknown command ACK", "Unknown command"]
)
def test_an_answer_about_the_command_itself_is_final(text: str) -> None:
    """J5."""
    outbox, outcome = Outbox(), done()
    outbox.add(outcome)
    assert outbox.refuse(outcome, text, 0.0) is Verdict.FINAL
    assert outbox.waiting() == []
    assert (outbox.given_up, outbox.unreported) == (1, 1)


@pytest.mark.parametrize("make", [done, failed])
def test_the_end_of_the_reservation_is_final(make: Callable[..., Outcome]) -> None:
    """J5: then the job may be another worker's."""
    outbox, outcome = Outbox(), make(deadline=100.0)
    outbox.add(outcome)
    assert outbox.refuse(outcome, BUSY, 99.0) is not Verdict.FINAL
    assert outbox.refuse(outcome, BUSY, 100.0) is Verdict.FINAL
    assert outbox.given_up == 1


def test_refusals_are_news_once_a_minute() -> None:
    outbox, first, second = Outbox(), done("job-00001", 1000.0), done("job-00002", 1000.0)
    outbox.add(first)
    outbox.add(second)
    assert outbox.refuse(first, BUSY, 5.0) is Verdict.NEWS
    assert outbox.refuse(second, BUSY, 5.0) is Verdict.AGAIN
    assert outbox.refuse(first, BUSY, 64.9) is Verdict.AGAIN
    assert outbox.refuse(first, BUSY, 65.0) is Verdict.NEWS


def test_an_outcome_given_up_is_counted_and_forgotten() -> None:
    outbox, first, second = Outbox(), done("job-00001"), done("job-00002")
    outbox.add(first)
    outbox.add(second)
    outbox.give_up(first)
    assert outbox.waiting() == [second]
    assert (outbox.given_up, outbox.unreported) == (1, 2)


# -- a model --------------------------------------------------------------------------------------------------------


class OutboxMachine(RuleBasedStateMachine):
    """An outcome leaves only by being settled, refused for good, or replaced by a later one of its jid."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.kept: list[Outcome] = []
        self.made: list[Outcome] = []

    @rule(number=st.integers(0, 3), deadline=st.floats(0, 100), is_failure=st.booleans())
    def add(self, number: int, deadline: float, is_failure: bool) -> None:
        outcome = (failed if is_failure else done)(f"job-{number:05}", deadline)
        self.made.append(outcome)
        jids = [other.jid for other in self.kept]
        if outcome.jid in jids:
            self.kept[jids.index(outcome.jid)] = outcome
        else:
            self.kept.append(outcome)
        self.outbox.add(outcome)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        if self.made:
            outcome = data.draw(st.sampled_from(self.made))
            self.outbox.settle(outcome)
            self.kept = [other for other in self.kept if other is not outcome]

    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        if self.kept:
            outcome = data.draw(st.sampled_from(self.kept))
            text = data.draw(st.sampled_from([BUSY, "invalid ACK"]))
            now = data.draw(st.floats(0, 110))
            is_final = self.outbox.refuse(outcome, text, now) is Verdict.FINAL
            assert is_final == (text != BUSY or now >= outcome.deadline)
            if is_final:
                self.kept.remove(outcome)

    @invariant()
    def the_rest_is_kept_oldest_first(self) -> None:
        assert self.outbox.waiting() == self.kept
        assert len(self.outbox) == len(self.kept)


TestOutboxModel = pytest.mark.slow(OutboxMachine.TestCase)
TestOutboxModel.settings = settings(max_examples=share_of(60), stateful_step_count=30, deadline=None)
