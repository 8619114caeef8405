"""The benchmark runs: once, small, so that it cannot rot."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from faktory.server import Server
from tests.bench import __main__ as bench
from tests.bench.bare import Bare
from tests.bench.contest import JOBS, Contest
from tests.bench.distance import Distance
from tests.bench.table import Figure, compare, plot, table


@pytest.mark.slow
@pytest.mark.timeout(180)  # a set is up to thirty processes, one after another
@pytest.mark.parametrize(("chosen", "at_least"), [("base", 15), ("distant", 3), ("growth", 8), ("peers", 5)])
def test_everything_is_measured_and_told(
    chosen: str, at_least: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, drawing = tmp_path / "results.json", tmp_path / "drains.svg"
    assert bench.main(["--smoke", "--set", chosen, "--json", str(kept)]) == 0
    out = capsys.readouterr().out
    results = json.loads(kept.read_text())
    assert len(results["rows"]) >= at_least
    for name, row in results["rows"].items():
        assert f"| {name} | " in out
        assert all(value > 0 for side in ("ours", "bare") for result in row[side] for value in result.values() if value)
    assert bench.main(["compare", str(kept), str(kept)]) == 0
    told = capsys.readouterr().out
    assert "| +0% |" in told or all(row["skipped"] for row in results["rows"].values())
    if chosen != "base":
        return
    pytest.importorskip("matplotlib")
    plot(results, drawing)
    assert "<svg" in drawing.read_text()


def test_a_distance_delays_replies_and_nothing_else() -> None:
    with Server() as server, Distance(server.url, 0.05) as distance:
        started = time.monotonic()
        bare, other = Bare(distance.url), Bare(distance.url)  # two round trips each: the greeting comes late, too
        assert time.monotonic() - started >= 4 * 0.05
        started = time.monotonic()
        for _ in range(100):
            bare.sock.sendall(b"INFO\r\n")
        assert all(bare.receive() for _ in range(100))
        assert 0.05 <= time.monotonic() - started < 100 * 0.05  # all are on their way at once
        assert distance.peak == 2
        other.close()
        bare.call(b"FLUSH\r\n")  # the one goes on without the other
        bare.sock.sendall(b"END\r\n")
        with pytest.raises(ConnectionError):
            bare.receive()
        bare.close()


def test_a_program_can_be_the_other_side(tmp_path: Path) -> None:
    program = tmp_path / "peer"
    program.write_text("#!/bin/sh\necho it starts\necho '{\"jobs_per_s\": 7, \"arguments\": '$#'}'\n")
    program.chmod(0o755)
    contest = Contest("drain", "drain", str(program), {"count": 3, "threads": 1}, (JOBS,), 3)
    with Server(fetch_wait=0.05) as server:
        assert contest.run(server.url, str(program)) == {"jobs_per_s": 7, "arguments": 3}
        assert contest.run(server.url, "drain")["jobs_per_s"] > 0
        program.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
        with pytest.raises(RuntimeError, match=r"peer ended with 3:\nbroken"):
            contest.run(server.url, str(program))


def test_what_cannot_be_measured_says_why() -> None:
    row: dict[str, object] = {"figures": [vars(JOBS)], "ours": [], "bare": [], "skipped": "it is not installed"}
    assert table({"a peer": row}, head=False) == "| a peer | | | | | skipped: it is not installed |"
    results = {"commit": "a", "rows": {"a peer": row}}
    assert "a peer" not in compare(results, results)


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
