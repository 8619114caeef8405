"""The README here is true: every row has a test, or a reason."""

from __future__ import annotations

from .ids import LATER, README, ROWS, proofs_by_id, table


def test_every_row_has_a_test_or_a_reason() -> None:
    """T20."""
    found = proofs_by_id()
    rows = [f"{letter}{number}" for letter, (_, numbers) in ROWS.items() for number in numbers]
    assert [row for row in rows if row not in found and row not in LATER] == []


def test_the_page_is_up_to_date() -> None:
    assert README.read_text().endswith(table()), "run `python -m tests.faults.ids`"
