"""`enqueue_on_commit`: jobs that are pushed when the database has what they are about."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import transaction

from ...errors import ConfigurationError
from ...typed.job import TypedJob
from .framework import Task


def enqueue_on_commit(job: Any, *args: Any, using: str | None = None) -> str | None:
    """Push a job with these arguments when the current transaction commits, and not at all when it rolls back.

    `job` is a typed job or a task. `using` names the database; None is the default one. Outside of a transaction the
    job is pushed at once. The arguments are checked, and taken as they are, now. Returns the jid, to keep in the same
    transaction; None for a task of another backend, which gives no id before.

    After the commit there is no way back: when the push fails then, what it raises reaches the end of the `atomic`
    block, the data is stored, and the job is not. Raises `InvalidJob` or TypeError for arguments that cannot travel.

        with transaction.atomic():
            order = Order.objects.create(...)
            enqueue_on_commit(send_receipt, order.pk)
    """
    jid, push = _prepared(job, args)
    transaction.on_commit(push, using=using)
    return jid


def _prepared(job: Any, args: tuple[Any, ...]) -> tuple[str | None, Callable[[], object]]:
    if isinstance(job, TypedJob):
        made = job.to_job(*args)
        door = job._door
        return made.jid, partial(door.push, made)
    if not isinstance(job, Task):
        raise ConfigurationError(
            f"enqueue_on_commit takes a typed job or a task, got {type(job).__name__}; for another push write "
            "transaction.on_commit(lambda: client.push(...))"
        )
    backend = job.get_backend()
    prepare = getattr(backend, "prepared", None)
    if prepare is None:
        return None, partial(job.enqueue, *args)
    prepared = prepare(job, args, {})
    return prepared.job.jid, prepared.push
