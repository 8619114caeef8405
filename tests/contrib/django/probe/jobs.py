"""Typed jobs."""

from datetime import date
from typing import Any

from faktory.contrib.django import app_from_settings
from tests.contrib.django.probe.models import note

app = app_from_settings()
calls: list[Any] = []


@app.job(queue="typed")
def close(until: date) -> None:
    calls.append(until)
    note("closed")


@app.job(name="typed_row", queue="typed")
def typed_row(what: str) -> None:
    note(what)
