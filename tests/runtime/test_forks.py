"""What a copy of a worker does that a job or a hook has forked: it ends, and touches nothing."""

from __future__ import annotations

import multiprocessing.process
import multiprocessing.util
import os

import pytest

from faktory.runtime.forks import call_at_end, end_copy

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]


def code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit(9)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (SystemExit(), 0),
        (SystemExit(4), 4),
        (SystemExit("text"), 1),
        (ValueError("why"), 1),
        (Unspeakable(), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_a_copy_ends_as_a_program_would(error: BaseException | None, code: int) -> None:
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        end_copy(error)
    assert code_of(pid) == code


def test_a_child_of_multiprocessing_calls_at_its_end_what_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """27.7: whole children are tested in `test_app`."""
    seen: list[str] = []
    call_at_end(lambda: seen.append("not a child"))()
    monkeypatch.setattr(multiprocessing.process, "parent_process", object)
    registry = multiprocessing.util._finalizer_registry  # type: ignore[attr-defined]
    before = set(registry)
    call_at_end(lambda: seen.append("called"))
    call_at_end(lambda: seen.append("taken back"))()
    for key in set(registry) - before:
        registry[key]()  # as such a child does at its end
    assert seen == ["called"]
