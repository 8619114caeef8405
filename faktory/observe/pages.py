"""The pages that a worker serves: `/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

from collections.abc import Callable

from ..runtime.ticking import monotonic
from .collecting import Subject, page_of
from .exposition import CONTENT_TYPE, text_of
from .health import TICK_EVERY, document_of, reason_not_live, reason_not_ready
from .health import text_of as line_of
from .http import Answer, Page, Server, place_of


def pages_of(subject: Subject, clock: Callable[[], float] = monotonic) -> dict[str, Page]:
    """Return the pages about a worker by their paths."""

    def answer(reason: str | None, well: str, query: str) -> Answer:
        status = 200 if reason is None else 503
        if "verbose" in query.split("&"):
            is_live = reason_not_live(subject.pulse.ages(clock())) is None
            return Answer(status, line_of(document_of(subject.health(), is_live=is_live)), "application/json")
        return Answer(status, f"{reason or well}\n")

    def livez(query: str) -> Answer:
        return answer(reason_not_live(subject.pulse.ages(clock())), "live", query)

    def readyz(query: str) -> Answer:
        return answer(reason_not_ready(subject.health()), "ready", query)

    def metrics(_: str) -> Answer:
        return Answer(200, text_of(page_of(subject)), CONTENT_TYPE)

    return {"/livez": livez, "/readyz": readyz, "/metrics": metrics}


def serve(subject: Subject, where: str) -> Server:
    """Serve the pages about a worker on `HOST:PORT`. Raises `ConfigurationError`, `ThreadStartFailed`."""
    host, port = place_of(where)
    subject.pulse.watch(TICK_EVERY, monotonic())
    return Server(host, port, pages_of(subject))
