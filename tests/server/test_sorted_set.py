from __future__ import annotations

from faktory.server.sorted_set import SortedSet


def pop_due(jobs: SortedSet, now: float) -> list[bytes]:
    return list(iter(lambda: jobs.pop_due(now) or b"", b""))


def test_due_texts_come_out_lowest_first_and_are_gone() -> None:
    jobs = SortedSet()
    for text, score in ((b"c", 3.0), (b"a", 1.0), (b"b", 2.0)):
        jobs.add(text, score)
    assert list(jobs) == [b"a", b"b", b"c"]
    assert pop_due(jobs, 2.0) == [b"a", b"b"]
    assert len(jobs) == 1


def test_adding_a_text_again_moves_it() -> None:
    jobs = SortedSet()
    jobs.add(b"a", 1.0)
    jobs.add(b"a", 9.0)
    assert len(jobs) == 1
    assert pop_due(jobs, 5.0) == []
    assert pop_due(jobs, 9.0) == [b"a"]


def test_removed_texts_are_not_due() -> None:
    jobs = SortedSet()
    jobs.add(b"a", 1.0)
    assert jobs.remove(b"a")
    assert not jobs.remove(b"a")
    assert pop_due(jobs, 5.0) == []
    jobs.add(b"b", 1.0)
    jobs.clear()
    assert pop_due(jobs, 5.0) == []


def test_memory_does_not_grow_with_what_was_removed() -> None:
    jobs = SortedSet()
    for number in range(10_000):
        jobs.add(b"%d" % number, float(number))
        jobs.remove(b"%d" % number)
    assert len(jobs._heap) < 200
