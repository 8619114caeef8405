"""Tasks."""

from __future__ import annotations

import time
from typing import Any

from django.db import transaction

from faktory import Discard, Retry
from tests.contrib.django.probe.framework import task
from tests.contrib.django.probe.models import Seen, note

calls: list[Any] = []


@task
def add(a: int, b: int = 0) -> int:
    calls.append((a, b))
    return a + b


@task(queue_name="mail", retry=2, timeout=3600)
def send(to: str) -> None:
    calls.append(to)


@task(takes_context=True)
def about(context: Any, word: str) -> str:
    result = context.task_result
    calls.append((word, context.attempt, result.id, result.args, result.kwargs, result.backend))
    return word


@task
async def later(word: str) -> str:
    await Seen.objects.acreate(what=word)
    return word


@task(timeout=0.3)
async def forever() -> None:
    import asyncio

    await asyncio.sleep(60)


@task(retry=1)
def fail(word: str) -> None:
    raise ValueError(word)


@task
def ask(what: str) -> None:
    raise Retry(in_=60) if what == "retry" else Discard("never mind")


@task
def odd() -> Any:
    return lambda: None  # which is no JSON


@task
def row(what: str) -> None:
    note(what)
    time.sleep(0.0005)


@task
def broken_off() -> None:
    transaction.atomic().__enter__()  # and its end is never reached, as when a time limit strikes in it
    Seen.objects.create(what="in a transaction that never ends")
    raise RuntimeError("struck")


@task(backend="at_once")
def of_another_backend(word: str) -> None:
    calls.append(word)
