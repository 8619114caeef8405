"""`faktory.aio.outgoing`: the order and the pieces in which outcomes leave. Pure."""

from __future__ import annotations

from faktory.aio.outgoing import Outgoing
from faktory.commands import Ack, Fail
from faktory.core.outbox import Outbox, Outcome, Verdict

JID = "jid-of-{:06}"


def ack(number: int, deadline: float = 100.0) -> Outcome:
    return Outcome(Ack(JID.format(number)), deadline)


def fail(number: int, deadline: float = 100.0, message: str = "no good") -> Outcome:
    return Outcome(Fail(JID.format(number), "ValueError", message), deadline)


def filled(outcomes: list[Outcome]) -> Outgoing:
    outgoing = Outgoing(Outbox())
    for outcome in outcomes:
        outgoing.outbox.add(outcome)
        outgoing.add(outcome)
    return outgoing


def test_what_was_never_sent_leaves_in_its_order() -> None:
    outcomes = [ack(1), fail(2), ack(3)]
    outgoing = filled(outcomes)
    assert outgoing.has_fresh
    assert outgoing.take_fresh(0.0) == (outcomes, [])
    assert not outgoing.has_fresh
    assert outgoing.take_fresh(0.0) == ([], [])


def test_what_was_sent_already_goes_first_and_never_ahead_of_a_fetch() -> None:
    outgoing = filled([ack(2)])
    lost = ack(1)
    outgoing.add_again([lost])
    assert [each.jid for each in outgoing.take_fresh(0.0)[0]] == [JID.format(2)]
    assert outgoing.take_any(0.0) == ([lost], [])
    assert outgoing.take_any(0.0) == ([], [])


def test_what_is_fresh_goes_by_itself_when_nothing_else_waits() -> None:
    outcomes = [ack(1)]
    assert filled(outcomes).take_any(0.0) == (outcomes, [])


def test_a_batch_ends_by_number() -> None:
    outcomes = [ack(number) for number in range(250)]
    outgoing = filled(outcomes)
    assert [len(outgoing.take_fresh(0.0)[0]) for _ in range(4)] == [100, 100, 50, 0]


def test_a_batch_ends_by_bytes() -> None:
    outcomes = [fail(number, message="x" * 1_000) for number in range(90)]
    outgoing = filled(outcomes)
    first, _ = outgoing.take_any(0.0)
    second, _ = outgoing.take_any(0.0)
    assert first + second == outcomes
    sizes = [len(outcome.command.line) for outcome in first]
    assert sum(sizes[:-1]) < 64 * 1024 <= sum(sizes)


def test_a_failure_past_its_reservation_is_given_up_and_a_success_is_sent() -> None:
    late, done = fail(1, deadline=5.0), ack(2, deadline=5.0)
    outgoing = filled([late, done])
    assert outgoing.take_any(5.0) == ([done], [late])
    assert outgoing.outbox.given_up == 1


def test_a_success_whose_answer_was_lost_is_not_tried_past_its_reservation() -> None:
    lost, fresh = ack(1, deadline=5.0), ack(2)
    outgoing = filled([fresh])
    outgoing.outbox.add(lost)
    outgoing.add_again([lost])
    assert outgoing.take_any(6.0) == ([fresh], [lost])


def test_a_refused_one_waits_for_its_next_try() -> None:
    outcome = ack(1)
    outgoing = filled([outcome])
    assert not outgoing.is_idle
    outgoing.take_any(0.0)
    assert outgoing.next_in(0.0) == float("inf")
    assert outgoing.refuse(outcome, "timed out", 0.0) is Verdict.NEWS
    assert outgoing.has_refused
    assert outgoing.is_idle
    wait = outgoing.next_in(0.0)
    assert wait > 0
    assert outgoing.take_any(wait / 2) == ([], [])
    assert outgoing.next_in(wait + 1) == 0.0
    assert outgoing.take_any(wait) == ([outcome], [])
    assert not outgoing.has_refused


def test_a_final_refusal_is_given_up() -> None:
    outcome = ack(1)
    outgoing = filled([outcome])
    outgoing.take_any(0.0)
    assert outgoing.refuse(outcome, "Job not found", 0.0) is Verdict.FINAL
    assert outgoing.is_idle
    assert outgoing.next_in(0.0) == float("inf")
    assert len(outgoing.outbox) == 0


def test_the_next_shift_begins_with_what_was_not_confirmed() -> None:
    sent, refused, fresh = ack(1), ack(2), ack(3)
    outgoing = filled([sent, refused])
    outgoing.take_any(0.0)
    outgoing.refuse(refused, "timed out", 0.0)
    outgoing.outbox.add(fresh)
    outgoing.add(fresh)
    outgoing.carry_over()
    assert not outgoing.has_fresh
    assert not outgoing.has_refused
    assert outgoing.take_any(0.0) == ([sent, refused, fresh], [])
