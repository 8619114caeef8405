"""`FaktoryBackend`: tasks of `django.tasks` as Faktory jobs.

A task's job type is its module path (`shop.tasks.send_receipt`), and the one argument of the job an object:
`{"args": [...], "kwargs": {...}}`. So other clients can push tasks, too. Results are not kept.

The framework makes one backend for each thread, which all push through the `home` of their server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.utils import timezone

from ...errors import ConfigurationError, InvalidJob
from ...job import Job
from .configuration import Queues, as_queues, configuration, option_problems
from .framework import BaseTaskBackend, InvalidTask, Task, TaskResult, TaskResultStatus, task_enqueued
from .homes import Home, home_of
from .known import declare, options_of

if TYPE_CHECKING:
    BaseTask: TypeAlias = Task[..., Any]
else:
    BaseTask = Task


@dataclass(frozen=True, slots=True, kw_only=True)
class FaktoryTask(BaseTask):
    """A task with what `@task(...)` takes for Faktory beside the framework's own options.

    * `retry`: how often a failed job runs again; 0 drops it, -1 buries it at once. None: the backend's option, else 25.
    * `timeout`: seconds that a run may take, and its reservation is made long enough for it. None: what the reservation
      allows.
    * `reserve_for`: seconds that the server reserves the job for one worker. None: the backend's option, else 1,800.
    """

    retry: int | None = None
    timeout: float | None = None
    reserve_for: int | None = None

    def __post_init__(self) -> None:
        """Check it, and remember it as one that may run. Raises the framework's `InvalidTask`."""
        BaseTask.__post_init__(self)  # `super()` does not work where a dataclass with slots is made anew
        declare(self)

    def using(  # type: ignore[override, unused-ignore]
        self,
        *,
        priority: int | None = None,
        queue_name: str | None = None,
        run_after: datetime | None = None,
        backend: str | None = None,
        retry: int | None = None,
        reserve_for: int | None = None,
    ) -> FaktoryTask:
        """Return the task with other options; None leaves one as it is."""
        given: dict[str, Any] = {
            "priority": priority,
            "queue_name": queue_name,
            "run_after": run_after,
            "backend": backend,
            "retry": retry,
            "reserve_for": reserve_for,
        }
        return replace(self, **{name: value for name, value in given.items() if value is not None})


class FaktoryBackend(BaseTaskBackend):
    """Stores tasks at a Faktory server; `manage.py faktory worker` runs them.

    OPTIONS, each of which may be left out:

    * `url`: the server; else FAKTORY["URL"] of the settings, then FAKTORY_PROVIDER, FAKTORY_URL, localhost;
    * `retry`, `reserve_for`: for tasks that do not say themselves; see `FaktoryTask`;
    * `queues`: what a worker fetches from, in strict order as a list, or by weights as a dict. Else it is QUEUES, which
      says what queues a task may name, and is these when it is left out.
    """

    task_class: Any = FaktoryTask
    supports_defer: bool = True
    supports_async_task: bool = True
    supports_get_result: bool = False
    supports_priority: bool = False

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        told: dict[str, Any] = dict(params)
        self.wanted_queues: Queues | None = None
        """What a worker fetches from, as OPTIONS say; None when they do not."""
        queues = told.get("OPTIONS", {}).get("queues")
        if isinstance(queues, (Mapping, list, tuple)):
            self.wanted_queues = as_queues(queues)
            told.setdefault("QUEUES", list(self.wanted_queues))
        self.allowed_queues: list[str] = list(told.get("QUEUES", ["default"]))
        """QUEUES in the order of the settings; empty when any queue is allowed."""
        super().__init__(alias, told)

    def validate_task(self, task: Any) -> None:
        """Refuse a task that could not be pushed, or run. Raises the framework's `InvalidTask`."""
        super().validate_task(task)
        try:
            options = options_of(task, self.options)
            Job(task.module_path, queue=task.queue_name, retry=options.retry, reserve_for=options.reserve_for)
        except (InvalidJob, ConfigurationError) as exc:
            raise InvalidTask(f"{task.module_path}: {exc}") from exc

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult[..., Any]:  # type: ignore[override]
        """Store a task at the server. The result's id is the job's jid.

        Raises TypeError for arguments that are no JSON, `InvalidJob` for what the server would change, and what
        `Client.push` raises.
        """
        return self.prepared(task, args, kwargs).push()

    def prepared(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Prepared:
        """Check a call, and return what is left to be pushed."""
        self.validate_task(task)
        options = options_of(task, self.options)
        call: Any = {"args": list(args), "kwargs": dict(kwargs)}
        result: TaskResult[..., Any] = TaskResult(
            task=task,
            id=Job("jid").jid,
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=call["args"],
            kwargs=call["kwargs"],
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        job = Job(
            task.module_path,
            [{"args": result.args, "kwargs": result.kwargs}],  # as JSON has them
            jid=result.id,
            queue=task.queue_name,
            retry=options.retry,
            reserve_for=options.reserve_for,
            at=_aware(task.run_after),
        )
        return Prepared(self, result, job)

    @property
    def home(self) -> Home:
        """Where the jobs of this backend go. Raises `ConfigurationError` for settings that are wrong."""
        found = configuration()
        return home_of(self.options.get("url") or found.url, found.mode)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG002  # the framework's
        """Return what the system checks are to tell of this backend's settings."""
        found: list[checks.CheckMessage] = [
            checks.Error(problem.text, hint=problem.hint, id=f"faktory.E{problem.number:03}")
            for problem in option_problems(self.alias, self.options, self.allowed_queues)
        ]
        if not apps.is_installed("faktory.contrib.django"):
            found.append(
                checks.Warning(
                    f"TASKS[{self.alias!r}] is a FaktoryBackend, but INSTALLED_APPS is without faktory.contrib.django",
                    hint="Add it, for `manage.py faktory worker` runs the tasks.",
                    id="faktory.W001",
                )
            )
        return found

    def __repr__(self) -> str:
        return f"<FaktoryBackend {self.alias!a}>"


class Prepared:
    """A call of a task that was checked, and waits to be pushed."""

    def __init__(self, backend: FaktoryBackend, result: TaskResult[..., Any], job: Job) -> None:
        self._backend = backend
        self._result = result
        self.job: Job = job

    def push(self) -> TaskResult[..., Any]:
        """Store the job, and say so by the signal `task_enqueued`, whose receivers cannot harm it."""
        home = self._backend.home
        home.declare(self._result.task)
        home.app.push(self.job)
        object.__setattr__(self._result, "enqueued_at", timezone.now())
        task_enqueued.send_robust(type(self._backend), task_result=self._result)
        return self._result


def _aware(when: datetime | None) -> datetime | None:
    """Return a time with its zone: without USE_TZ it is the project's."""
    if when is None or settings.USE_TZ or timezone.is_aware(when):
        return when
    return timezone.make_aware(when)
