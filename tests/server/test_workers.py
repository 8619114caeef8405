from __future__ import annotations

from faktory.server.workers import Worker, Workers, WorkerState


def test_only_the_first_connection_describes_a_worker() -> None:
    workers = Workers()
    first, second = Worker("w", "host-1"), Worker("w", "host-2")
    workers.join(first, "c1", 1.0)
    workers.join(second, "c2", 2.0)
    assert workers.get("w") is first
    assert first.connections == {"c1", "c2"}
    assert not second.connections


def test_a_worker_is_forgotten_with_its_last_connection() -> None:
    workers = Workers()
    workers.join(Worker("w"), "c1", 1.0)
    workers.join(Worker("w"), "c2", 1.0)
    workers.leave("w", "c1")
    assert len(workers) == 1
    workers.leave("w", "c2")
    assert workers.beat("w", "", 0, 2.0) is None
    workers.leave("w", "c2")
    workers.clear()


def test_states_only_go_up() -> None:
    workers = Workers()
    workers.join(Worker("w"), "c", 1.0)
    worker = workers.beat("w", "quiet", 5, 2.0)
    assert worker is not None
    assert (worker.state, worker.rss_kb, worker.last_beat) == (WorkerState.QUIET, 5, 2.0)
    assert workers.beat("w", "running", 5, 3.0) is worker
    assert worker.state.name == "QUIET"
    worker.signal(WorkerState.TERMINATE)
    workers.beat("w", "quiet", 5, 3.0)
    assert worker.state.name == "TERMINATE"


def test_workers_silent_for_more_than_a_minute_are_reaped() -> None:
    workers = Workers()
    workers.join(Worker("old"), "c1", 0.0)
    workers.join(Worker("new"), "c2", 0.0)
    workers.beat("new", "", 0, 30.0)
    assert workers.reap(60.0) == []
    assert [worker.wid for worker in workers.reap(60.5)] == ["old"]
    workers.beat_all(100.0)
    assert workers.reap(160.0) == []
