"""The README here is true: every row has a test, or says how it is shown by hand; and every id in a test is a row."""

from __future__ import annotations

from tests.faults.ids import proofs_by_id, rows


def test_every_row_has_a_test_or_is_shown_by_hand() -> None:
    """T20."""
    found = proofs_by_id()
    assert len(rows()) > 90
    assert [row for row, is_by_hand in rows().items() if row not in found and not is_by_hand] == []


def test_every_id_in_a_test_is_a_row() -> None:
    assert set(proofs_by_id()) <= set(rows())
