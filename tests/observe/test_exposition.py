"""The text that Prometheus reads."""

from __future__ import annotations

from math import inf, nan

import pytest

from faktory.observe.exposition import Family, Sample, gauge, histogram_samples, number, text_of


def test_a_page_has_help_type_and_samples() -> None:
    family = Family("jobs_total", "counter", "What\nbecame \\ of jobs.", (Sample("", (("queue", 'a"b\\c\nd'),), 3),))
    assert text_of([family, gauge("empty", "Nothing.", None), gauge("ready", "Ready.", 1, {"pool": "x"})]) == (
        "# HELP jobs_total What\\nbecame \\\\ of jobs.\n"
        "# TYPE jobs_total counter\n"
        'jobs_total{queue="a\\"b\\\\c\\nd"} 3\n'
        "# HELP ready Ready.\n"
        "# TYPE ready gauge\n"
        'ready{pool="x"} 1\n'
    )


def test_a_histogram_counts_up_to_each_bound() -> None:
    samples = histogram_samples((("jobtype", "a"),), (0.5, 1.0), [1, 0, 2], 7.5)
    assert [(sample.suffix, dict(sample.labels).get("le"), sample.value) for sample in samples] == [
        ("_bucket", "0.5", 1),
        ("_bucket", "1", 1),
        ("_bucket", "+Inf", 3),
        ("_sum", None, 7.5),
        ("_count", None, 3),
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (2.5, "2.5"), (inf, "+Inf"), (-inf, "-Inf"), (nan, "NaN"), (1e300, "1e+300")]
)
def test_numbers_are_written_as_the_format_has_them(value: float, text: str) -> None:
    assert number(value) == text


def test_a_label_that_is_no_utf8_is_escaped() -> None:
    assert text_of([gauge("a", "b", 1, {"q": "\ud800"})]).encode().endswith(b'a{q="\\ud800"} 1\n')


def test_the_parser_of_prometheus_client_reads_the_same() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    labels = (("jobtype", 'a"b\\c\nd é'),)
    families = [
        Family("jobs_total", "counter", "Jobs.", (Sample("", labels, 3),)),
        Family("took_seconds", "histogram", "Took.", tuple(histogram_samples(labels, (0.5,), [1, 1], 2.5))),
    ]
    read = {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text_of(families))
        for sample in family.samples
    }
    assert read == {
        ("jobs_total", labels): 3.0,
        ("took_seconds_bucket", (*labels, ("le", "0.5"))): 1.0,
        ("took_seconds_bucket", (*labels, ("le", "+Inf"))): 2.0,
        ("took_seconds_sum", labels): 2.5,
        ("took_seconds_count", labels): 2.0,
    }
