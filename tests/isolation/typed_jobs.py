"""Typed jobs that child processes import."""

from __future__ import annotations

import os
from dataclasses import dataclass

from faktory import App, JobContext
from tests.isolation.jobs import note

app = App()


class Database:
    """Notes its end in the journal."""

    def __init__(self) -> None:
        self.path = ""

    def close(self) -> None:
        note(self.path, "closed", os.getpid())


@dataclass
class Place:
    path: str
    line: int


app.manage(Database, lambda: Database())


@app.job(needs=(Database,))
def typed(ctx: JobContext, place: Place) -> None:
    ctx.get(Database).path = place.path
    note(place.path, "typed", ctx.jid, place.line, os.getpid())


class Cache(Database):
    """Managed by a consumer of the app, not by the app."""


layered = App()  # of its own, as an app stays with the server that its first consumer was told
layered.manage(Database, lambda: Database())


@layered.job
def both(ctx: JobContext, path: str) -> None:
    ctx.get(Database).path = ctx.get(Cache).path = path
    note(path, "both", type(ctx.get(Cache)).__name__)
