"""Probes of a worker."""

from __future__ import annotations

import json
from urllib.request import urlopen

from faktory.core.lifecycle import State
from faktory.observe.exposition import CONTENT_TYPE
from faktory.observe.pages import pages_of, serve
from tests.observe.subjects import FakeConsumer


def test_livez_and_readyz_answer_200_or_503_and_say_why() -> None:
    consumer = FakeConsumer()
    pages = pages_of(consumer.subject(), lambda: 100.0)
    assert [(pages[path]("").status, pages[path]("").body) for path in ("/livez", "/readyz")] == [
        (200, "live\n"),
        (200, "ready\n"),
    ]
    consumer.state, consumer.is_ready = State.TERMINATING, False
    consumer.pulse.every, consumer.pulse.ticked_at = 5.0, 10.0
    assert pages["/livez"]("").status == pages["/readyz"]("").status == 503
    assert pages["/livez"]("").body == "the main loop has not gone round for 90 s (at most 30 s)\n"
    assert pages["/readyz"]("").body == "the worker is terminating\n"
    document = json.loads(pages["/livez"]("verbose").body)
    assert (document["is_live"], document["state"]) == (False, "terminating")


def test_a_worker_that_drains_lives_and_is_not_ready() -> None:
    pages = pages_of(FakeConsumer(State.QUIET, is_ready=False).subject())
    assert (pages["/livez"]("").status, pages["/readyz"]("").status) == (200, 503)


def test_metrics_are_served_as_prometheus_wants_them() -> None:
    consumer = FakeConsumer()
    with serve(consumer.subject(), "127.0.0.1:0") as server, urlopen(f"{server.url}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        assert b"faktory_worker_ready 1\n" in answer.read()
    assert consumer.pulse.every == 5.0  # the main loop has to tick from now on
