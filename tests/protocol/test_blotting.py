"""Passwords do not leave the process in what is told of a failure."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from faktory.protocol import blotting
from faktory.protocol.blotting import BLOT, blot, keep_secret, pattern_of


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(blotting, "_patterns", {})
    yield
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.removeFilter(blotting._blot_record)


@given(st.text(min_size=4, max_size=20))
@example("00'\"")
def test_a_password_is_found_however_it_is_written(password: str) -> None:
    pattern = pattern_of(password)
    written = [password, ascii(password)[1:-1], json.dumps(password)[1:-1]]
    if not any("\ud800" <= character <= "\udfff" for character in password):
        encoded = quote(password, safe="")
        lower = re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)
        written += [encoded, lower, quote(password), quote_plus(password)]
    for text in written:
        assert pattern.sub(BLOT, text) == BLOT


def test_octets_that_are_no_text_are_found_too() -> None:
    assert pattern_of("pass\udcff").sub(BLOT, "tcp://:pass%FF@host") == f"tcp://:{BLOT}@host"


def test_a_mixture_is_found() -> None:
    assert pattern_of("p@ss/ö").sub(BLOT, "a p%40ss/%c3%B6 b p@ss%2F\\xf6 c") == f"a {BLOT} b {BLOT} c"


def test_a_short_password_is_found_in_a_url_only() -> None:
    """Else a password "a" would leave no report that can be read."""
    keep_secret("a")
    assert blot("a bad day: tcp://:a@faraway") == f"a bad day: tcp://:{BLOT}@faraway"


def test_nothing_is_blotted_without_a_password() -> None:
    keep_secret(None)
    keep_secret("")
    assert blot("tcp://:secret@host") == "tcp://:secret@host"


def test_every_kept_password_is_blotted() -> None:
    keep_secret("first-one")
    keep_secret("other-one")
    keep_secret("first-one")
    assert blot("first-one, other-one") == f"{BLOT}, {BLOT}"


def test_a_password_that_begins_another_leaves_nothing_of_it() -> None:
    keep_secret("begins")
    keep_secret("begins-and-goes-on")
    keep_secret("begins-and")
    assert blot("begins-and-goes-on, begins, begins-and") == f"{BLOT}, {BLOT}, {BLOT}"


def test_the_lines_of_our_loggers_are_blotted_and_no_others(caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = logging.getLogger("faktory.blotted"), logging.getLogger("other")
    keep_secret("s3cret")
    keep_secret("s3cret")
    assert len(ours.filters) == 1
    ours.warning("no way to %s", "tcp://:s3cret@host")
    ours.warning("all is %s", "well")
    theirs.warning("s3cret")
    assert [record.getMessage() for record in caplog.records] == [
        f"no way to tcp://:{BLOT}@host",
        "all is well",
        "s3cret",
    ]


def test_tracebacks_in_log_lines_are_blotted(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("faktory.blotted")
    keep_secret("s3cret")
    for text in ("tcp://:s3cret@host", "harmless"):
        try:
            raise ValueError(text)
        except ValueError:
            log.exception("it failed")
    assert f"ValueError: tcp://:{BLOT}@host" in caplog.text
    assert "ValueError: harmless" in caplog.text
    assert "tcp://:s3cret@" not in caplog.text


def test_a_line_that_cannot_be_written_is_left_to_its_handler() -> None:
    keep_secret("s3cret")
    record = logging.LogRecord("faktory.x", logging.INFO, "file", 1, "%d", ("no number",), None)
    assert blotting._blot_record(record)
