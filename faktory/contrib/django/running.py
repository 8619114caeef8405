"""Runs a task as the job of a worker: its result and context as the framework has them, and its signals.

Signals are sent robustly: a receiver that raises is logged by Django, and harms nothing. `task_finished` comes once: a
run that failed and is to be repeated ends READY, without it.
"""

from __future__ import annotations

import asyncio
import os
from inspect import iscoroutinefunction
from traceback import format_exception
from typing import Any

from asgiref.sync import async_to_sync
from django.utils import timezone

from ...core.again import Again, wish_of
from ...errors import InvalidJob, JobTimeout
from ...runtime.ticking import monotonic
from ...typed.context import JobContext
from .framework import (
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_backends,
    task_finished,
    task_started,
)

_EARLIER = "(an earlier worker)"
"""In `worker_ids`, for each run before this one: the server does not say who that was."""


def run_task(task: Any, ctx: JobContext, call: Any, *, repeats: bool) -> Any:
    """Run a task; return what it returns, raise what it raises. `repeats` is False where no failed job runs again."""
    args, kwargs = _arguments(task, call)
    result = _result(task, ctx, args, kwargs)
    sender = type(task_backends[task.backend])
    task_started.send_robust(sender, task_result=result)
    given = [TaskContext(task_result=result), *args] if task.takes_context else args
    try:
        value = _called(task, ctx, given, kwargs)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as exc:
        _note_failure(result, exc)
        if _is_final(ctx, exc, repeats=repeats):
            _set(result, status=TaskResultStatus.FAILED, finished_at=timezone.now())
            task_finished.send_robust(sender, task_result=result)  # here, where logs find the exception
        else:
            _set(result, status=TaskResultStatus.READY)
        raise
    _set(result, status=TaskResultStatus.SUCCESSFUL, finished_at=timezone.now(), _return_value=_as_json(value))
    task_finished.send_robust(sender, task_result=result)
    return value


def _arguments(task: Any, call: Any) -> tuple[list[Any], dict[str, Any]]:
    """Read the argument of a job; either part may be left out, by another client say. Raises `InvalidJob`."""
    args, kwargs = call.get("args", []), call.get("kwargs", {})
    if type(args) is not list or type(kwargs) is not dict or call.keys() - {"args", "kwargs"}:
        raise InvalidJob(
            f'the task {task.module_path} takes one argument like {{"args": [1, 2], "kwargs": {{"name": 3}}}}, got one '
            f"with {', '.join(f'{key!a:.20}: {type(value).__name__}' for key, value in call.items())}"
        )
    return args, kwargs


def _result(task: Any, ctx: JobContext, args: list[Any], kwargs: dict[str, Any]) -> TaskResult[..., Any]:
    now, job = timezone.now(), ctx.job
    worker = f"{os.uname().nodename}:{os.getpid()}"
    return TaskResult(
        task=task,
        id=job.jid,
        status=TaskResultStatus.RUNNING,
        enqueued_at=job.enqueued_at or job.created_at or now,
        started_at=now,
        last_attempted_at=now,
        finished_at=None,
        args=args,
        kwargs=kwargs,
        backend=task.backend,
        errors=[],
        worker_ids=[*[_EARLIER] * (ctx.attempt - 1), worker],
    )


def _called(task: Any, ctx: JobContext, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Call the function; an async one in a loop of its own, where its time limit cancels what it waits for."""
    if not iscoroutinefunction(task.func):
        return task.func(*args, **kwargs)

    async def limited() -> Any:
        limit = asyncio.timeout(max(0.0, ctx.deadline - monotonic()))
        try:
            async with limit:
                return await task.func(*args, **kwargs)
        except TimeoutError as exc:
            if limit.expired():
                raise JobTimeout("the task ran past its time limit") from exc
            raise

    return async_to_sync(limited)()


def _is_final(ctx: JobContext, exc: BaseException, *, repeats: bool) -> bool:
    """Tell whether no run follows."""
    if not repeats:
        return True
    wish = wish_of(exc)
    if wish is None:
        return ctx.is_last_attempt
    return not isinstance(wish, Again)


def _note_failure(result: TaskResult[..., Any], exc: BaseException) -> None:
    kind = type(exc)
    path = f"{kind.__module__}.{kind.__qualname__}"
    result.errors.append(TaskError(exception_class_path=path, traceback="".join(format_exception(exc))))


def _as_json(value: Any) -> Any:
    """Return a task's value for the receivers of `task_finished`; None for one that is no JSON.

    Nobody keeps it, and the task has done its work: it is not run again for a value that nobody reads.
    """
    try:
        return normalize_json(value)
    except (TypeError, ValueError):
        return None


def _set(result: TaskResult[..., Any], **fields: Any) -> None:
    for name, value in fields.items():
        object.__setattr__(result, name, value)  # the framework's results are frozen, and set so by its own backends
