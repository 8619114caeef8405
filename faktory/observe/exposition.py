"""Prometheus' text format, version 0.0.4: families of samples to text. Pure.

A family is a name, a kind, a help text, and samples: a suffix of the name, labels, and a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isinf, isnan
from typing import Final, Literal

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: what follows the family's name, the labels in order, and the value."""

    suffix: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name. A counter's name ends in `_total`."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]


def gauge(name: str, help: str, value: float | None, labels: Mapping[str, str] | None = None) -> Family:  # noqa: A002
    """Return a family of one value; of none for None."""
    pairs = tuple((labels or {}).items())
    return Family(name, "gauge", help, () if value is None else (Sample("", pairs, value),))


def histogram_samples(
    labels: tuple[tuple[str, str], ...], bounds: Sequence[float], counts: Sequence[int], total: float
) -> list[Sample]:
    """Return a histogram's samples: `counts` has one more than `bounds`, for what is above them all."""
    samples: list[Sample] = []
    seen = 0
    for bound, count in zip((*bounds, inf), counts, strict=True):
        seen += count
        samples.append(Sample("_bucket", (*labels, ("le", number(bound))), seen))
    return [*samples, Sample("_sum", labels, total), Sample("_count", labels, seen)]


def text_of(families: Iterable[Family]) -> str:
    """Return the page that Prometheus reads. Families without samples are left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for sample in family.samples:
            inner = ",".join(f'{name}="{_quoted(value)}"' for name, value in sample.labels)
            labels = f"{{{inner}}}" if inner else ""
            lines.append(f"{family.name}{sample.suffix}{labels} {number(sample.value)}")
    return "".join(f"{line}\n" for line in lines)


def number(value: float) -> str:
    """Return a value as the format has it; whole numbers without a fraction."""
    if isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    # Lone surrogates, which JSON can carry, are no UTF-8.
    return _escaped(text).replace('"', r"\"").encode("utf-8", "backslashreplace").decode()
