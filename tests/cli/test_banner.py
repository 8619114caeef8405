"""How jobs are shown at the start of a worker, and which call is proposed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from faktory import App, JobContext
from faktory.cli.banner import Facts, block, example_of, lines, signature_text


def simple(a: int, b: str, c: float, d: bool) -> None: ...
def with_default(a: int, b: int = 2) -> None: ...
def with_context(ctx: JobContext, a: int) -> None: ...
def with_date(day: date) -> None: ...
def with_several(a: int, *others: int) -> None: ...
def without_types(a, b=5):  # type: ignore[no-untyped-def]
    ...


@pytest.mark.parametrize(
    ("function", "shown", "example"),
    [
        (simple, "simple(a: int, b: str, c: float, d: bool)", "simple 1 text2 3.5 true"),
        (with_default, "with_default(a: int, b: int = 2)", "with_default 1"),
        (with_context, "with_context(a: int)", "with_context 1"),
        (with_date, "with_date(day: date)", None),
        (with_several, "with_several(a: int, *others: int)", "with_several 1"),
        (without_types, "without_types(a, b=5)", None),
    ],
)
def test_a_job_is_shown_as_it_is_called(function: Callable[..., Any], shown: str, example: str | None) -> None:
    signature = App().job(function).signature
    assert signature_text(function.__name__, function, signature) == shown
    assert example_of(function.__name__, function, signature) == example


def test_what_cannot_be_pushed_by_words_alone_is_not_proposed() -> None:
    assert example_of("shop.charge", with_default, App().job(with_default).signature) is None
    assert example_of("by_name", with_default, App().job(by_name=True)(with_default).signature) is None


def test_the_block_shows_a_dozen_jobs_and_the_log_all() -> None:
    jobs = tuple(f"job{number}()" for number in range(14))
    facts = Facts("1.0", "3.12", 7, "tcp://h:1", "default", "1 thread", jobs, "push job0")
    shown = block(facts)
    assert "job11() · 2 more: see --check" in shown
    assert "job12" not in shown
    assert "  try     push job0" in shown
    assert lines(facts)[-2:] == [f"jobs {', '.join(jobs)}", "try push job0"]
