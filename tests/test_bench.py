"""The benchmark runs: once, small, so that it cannot rot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench.table import Figure, compare, plot, table


@pytest.mark.slow
@pytest.mark.timeout(180)  # some thirty processes, one after another
def test_everything_is_measured_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, drawing = tmp_path / "results.json", tmp_path / "drains.svg"
    assert bench.main(["--smoke", "--json", str(kept)]) == 0
    out = capsys.readouterr().out
    results = json.loads(kept.read_text())
    assert len(results["rows"]) >= 15
    for name, row in results["rows"].items():
        assert f"| {name} | " in out
        assert all(value > 0 for side in ("ours", "bare") for result in row[side] for value in result.values() if value)
    assert bench.main(["compare", str(kept), str(kept)]) == 0
    assert "| +0% |" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    plot(results, drawing)
    assert "<svg" in drawing.read_text()


def test_ratios_are_made_round_by_round() -> None:
    rate = Figure("jobs_per_s", "jobs/s", more_is_better=True).at_least(0.95)
    rows = {
        "drain": {
            "figures": [vars(rate)],
            "ours": [{"jobs_per_s": 90.0}, {"jobs_per_s": 300.0}, {"jobs_per_s": 200.0}],
            "bare": [{"jobs_per_s": 100.0}, {"jobs_per_s": 100.0}, {"jobs_per_s": 200.0}],
        }
    }
    assert "| drain | jobs/s | 200 | 100 | 1.00 (0.90 to 3.00) | ≥ 0.95: met |" in table(rows)
    assert "-10%" in compare({"commit": "a", "rows": rows}, {"commit": "b", "rows": _scaled(rows, 0.9)})


def _scaled(rows: dict[str, dict[str, list[dict[str, float]]]], factor: float) -> dict[str, object]:
    ours = [{key: value * factor for key, value in result.items()} for result in rows["drain"]["ours"]]
    return {"drain": rows["drain"] | {"ours": ours}}


@pytest.mark.parametrize(
    ("figure", "ours", "bare", "verdict"),
    [
        (Figure("x", "ms").below(15), 14.0, None, "≤ 15 ms: met"),
        (Figure("x", "ms").below(15), 16.0, None, "≤ 15 ms: missed"),
        (Figure("x", "MB").over_by_at_most(4), 13.0, 10.0, "≤ bare + 4 MB: met"),
        (Figure("x", "MB").over_by_at_most(4), 15.0, 10.0, "≤ bare + 4 MB: missed"),
        (Figure("x", "us").at_most(1.2), 12.0, 10.0, "≤ 1.2: met"),
        (Figure("x", "us"), 12.0, 10.0, ""),
    ],
)
def test_a_target_is_met_or_missed(figure: Figure, ours: float, bare: float | None, verdict: str) -> None:
    assert figure.verdict(ours, bare, None if bare is None else ours / bare) == verdict
