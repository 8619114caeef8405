from __future__ import annotations

from faktory.server.waiters import Waiter, Waiters


def waiter(*queues: str, until: float = 2.0) -> Waiter:
    return Waiter(queues, "w", until, lambda _: None)


def test_the_earliest_waiter_of_a_queue_is_first() -> None:
    waiters = Waiters()
    first, second = waiter("a", "b"), waiter("b")
    waiters.park(first)
    waiters.park(second)
    assert waiters.first("b") is first
    waiters.leave(first)
    assert waiters.first("a") is None
    assert waiters.first("b") is second
    waiters.leave(first)
    assert len(waiters) == 1


def test_waits_end_in_order_of_arrival() -> None:
    waiters = Waiters()
    early, late = waiter("a", "a"), waiter(until=3.0)
    assert waiters.next_due is None
    waiters.park(early)
    waiters.park(late)
    assert waiters.next_due == 2.0
    assert waiters.pop_due(2.5) == [early]
    assert waiters.pop_all() == [late]
    assert len(waiters) == 0
