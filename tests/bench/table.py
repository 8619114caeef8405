"""From results to a table, a comparison and a plot. Pure but for the plot's file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Self


@dataclass(frozen=True)
class Figure:
    """One number of a result, what it should be, and which way is better."""

    key: str
    unit: str
    more_is_better: bool = False
    target: float | None = None
    kind: str = "ratio"
    """What the target is about: the `ratio` of ours to bare, our `value`, or the `difference`."""

    def at_least(self, ratio: float) -> Self:
        return replace(self, target=ratio)

    def at_most(self, ratio: float) -> Self:
        return replace(self, target=ratio)

    def below(self, value: float) -> Self:
        return replace(self, target=value, kind="value")

    def over_by_at_most(self, difference: float) -> Self:
        return replace(self, target=difference, kind="difference")

    def verdict(self, ours: float, bare: float | None, ratio: float | None) -> str:
        """Return the target and whether it is met."""
        if self.target is None:
            return ""
        if self.kind == "value":
            found, text = ours, f"≤ {self.target:g} {self.unit}"
        elif self.kind == "difference":
            found, text = ours - (bare or 0.0), f"≤ bare + {self.target:g} {self.unit}"
        else:
            found, text = ratio or 0.0, f"{'≥' if self.more_is_better else '≤'} {self.target:g}"
        is_met = found >= self.target if self.more_is_better else found <= self.target
        return f"{text}: {'met' if is_met else 'missed'}"


def table(rows: dict[str, Any], *, head: bool = True) -> str:
    """Return the rows as Markdown: medians, and the median and spread of the ratios made round by round."""
    lines = ["| what | figure | ours | bare | ratio (spread) | target |", "|---|---|---|---|---|---|"] if head else []
    for name, row in rows.items():
        if row.get("skipped"):
            lines.append(f"| {name} | | | | | skipped: {row['skipped']} |")
            continue
        for figure in (Figure(**each) for each in row["figures"]):
            ours, bare = values(row, "ours", figure.key), values(row, "bare", figure.key)
            ratios = sorted(mine / other for mine, other in zip(ours, bare, strict=False) if other)
            ratio = median(ratios) if ratios else None
            shown = "" if ratio is None else f"{ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            other = median(bare) if bare else None
            verdict = figure.verdict(median(ours), other, ratio)
            lines.append(
                f"| {name} | {figure.unit} | {number(median(ours))} | {'' if other is None else number(other)} "
                f"| {shown} | {verdict} |"
            )
    return "\n".join(lines)


def compare(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return two results side by side, each as its ratio to the control of its own run."""
    lines = [f"| what | figure | {before['commit']} | {after['commit']} | change |", "|---|---|---|---|---|"]
    for name, row in after["rows"].items():
        if name not in before["rows"] or any(run["rows"][name].get("skipped") for run in (before, after)):
            continue
        for figure in (Figure(**each) for each in row["figures"]):
            old, new = _normal(before["rows"][name], figure.key), _normal(row, figure.key)
            change = f"{new / old - 1:+.0%}" if old else ""
            lines.append(f"| {name} | {figure.unit} | {number(old)} | {number(new)} | {change} |")
    return "\n".join(lines)


def _normal(row: dict[str, Any], key: str) -> float:
    ours, bare = values(row, "ours", key), values(row, "bare", key)
    return median(mine / other for mine, other in zip(ours, bare, strict=True)) if bare and all(bare) else median(ours)


def values(row: dict[str, Any], side: str, key: str) -> list[float]:
    return [result[key] for result in row[side] if key in result]


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw the drains by number of threads, ours beside the control."""
    from matplotlib.figure import Figure as Drawing

    names = [name for name in results["rows"] if name.startswith("drain, ") and "thread" in name]
    drawing = Drawing(figsize=(8, 3), layout="constrained")
    for place, (key, title) in enumerate((("jobs_per_s", "jobs per second"), ("cpu_us", "µs of CPU per job")), 1):
        axes = drawing.add_subplot(1, 2, place)
        for offset, (side, colour) in enumerate((("ours", "tab:blue"), ("bare", "lightgrey"))):
            heights = [median(values(results["rows"][name], side, key)) for name in names]
            axes.bar([x + offset * 0.4 for x in range(len(names))], heights, 0.4, label=side, color=colour)
        axes.set_xticks([x + 0.2 for x in range(len(names))], [name.split()[1] for name in names])
        axes.set_xlabel("threads")
        axes.set_title(title)
        if place == 1:
            axes.legend(["faktory-sdk", "bare socket"])
    drawing.savefig(path)
