from __future__ import annotations

import os
from pathlib import Path

import pytest

from faktory.cli.parsing import Usage
from faktory.cli.queues import available_cpus, concurrency_of, queues_of


def test_queues_are_strict_or_all_have_weights() -> None:
    assert queues_of(["a,b", "c"]) == ["a", "b", "c"]
    assert queues_of(["critical=3, default=1"]) == {"critical": 3.0, "default": 1.0}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a=3,b", "give all queues a weight or none: 'b' has none; write b=1"),
        ("a,,b", "expected names, like critical,default"),
        ("a,a", "the queue 'a' comes twice"),
        ("a=x", "the weight of 'a' must be a number, got 'x'"),
        ("a=0", "the weight of queue 'a' must be above 0"),
    ],
)
def test_other_queues_are_refused(words: str, expected: str) -> None:
    with pytest.raises(Usage) as caught:
        queues_of([words])
    assert str(caught.value).startswith(f"--queues: {expected}")


def test_concurrency_is_a_number_or_the_processors() -> None:
    assert concurrency_of("7") == 7
    assert 1 <= concurrency_of("auto") <= (os.cpu_count() or 1)
    for text in ("0", "-1", "many", "10001"):
        with pytest.raises(ValueError, match="from 1 to 10,000"):
            concurrency_of(text)


def test_a_cgroup_limits_the_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert available_cpus(tmp_path) == 8
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path) == 8
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("300000\n")
    assert available_cpus(tmp_path) == 3
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cpus(tmp_path) == 8
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert available_cpus(tmp_path) == 2
