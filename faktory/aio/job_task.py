"""One run of a job: its handler, on the loop or in a thread, and how it is cut short."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.callables import is_async, is_awaitable
from ..core.chain import Skipped, check_result, compose_async
from ..core.failure import again, cut_off
from ..core.job_timer import JobTimer
from ..core.limits import Claim
from ..core.outbox import Outcome
from ..core.registry import Handler, HandlerFunction, Middleware, handler_of
from ..core.run import Run, facts_of
from ..errors import JobCancelled
from ..job import Job
from .backend import Backend, Cut
from .managed import Values
from .thread_pool import Call, Threads

if TYPE_CHECKING:
    from ..isolation.runner import ChildRunner
    from ..isolation.shared import Children, IsolatedCall

log: logging.Logger = logging.getLogger("faktory.worker")


class JobTask:
    """A job that runs. `call` is its task's business; `interrupt` may be called by any thread."""

    __slots__ = (
        "_call",
        "_child",
        "_claim",
        "_coroutine",
        "_interruption",
        "_is_over",
        "_outcome",
        "_post",
        "_scope",
        "_was_cut",
        "document",
        "run",
        "skipped",
        "timer",
    )

    def __init__(self, backend: Backend, post: Callable[..., None], timer: JobTimer, run: Run) -> None:
        self.timer: JobTimer = timer
        self.run: Run = run
        self.skipped: Skipped | None = None
        """Told when middleware has ended it on purpose."""
        self._post = post
        self._scope = backend.scope()
        self._call: Call | IsolatedCall | None = None  # in a thread, or in a child process
        self._coroutine: Awaitable[Any] | None = None
        self._is_over = False
        self._was_cut = False
        self._interruption: Exception | None = None
        self._outcome: Outcome | None = None  # what became of it, while that waits for the hooks
        self._child: ChildRunner | None = None  # waits for the job; None once it has it, or where none does
        self._claim: Claim | None = None  # its place in a queue with limits
        self.document: bytes = b""
        """The job as it came, for a child process."""

    @property
    def job(self) -> Job:
        """The job."""
        return self.run.job

    @property
    def is_in_thread(self) -> bool:
        """True while a thread has it, which can be asked to stop, and no more."""
        return isinstance(self._call, Call)

    async def call(self, handler: AsyncHandler, *, is_in_time: bool) -> BaseException | None:
        """Run the handler; return what it raised. Everything is caught, a cancellation of the handler too."""
        try:
            try:
                if not is_in_time:
                    raise JobCancelled("the worker is stopping and had no time left to run the job")
                if self._interruption is not None:  # before its first step
                    return again(self._interruption)
                _task_in_hand.set(self)
                self._coroutine = coroutine = handler.perform(self.job)
                result = await self._scope.run(lambda: coroutine)
                if result is not None:
                    self.skipped = check_result(handler_of(self.job.jobtype), result)
            finally:
                self._coroutine = None
                self._is_over = True
                self._call = None
        except Cut as exc:
            # Without a name here, to which the traceback leads.
            return again(self._interruption or cut_off()).with_traceback(
                exc.__cause__.__traceback__ if exc.__cause__ else None
            )
        except BaseException as exc:
            return exc
        if self._was_cut and self._interruption is not None and not self.run.is_settled:
            log.warning(
                "job %a (%a) swallowed its cancellation; it is failed all the same",
                self.job.jid,
                self.job.jobtype,
                extra=facts_of(self.job),
            )
            return again(self._interruption)
        return None

    def places(self) -> list[tuple[str, int]]:
        """Return where the job waits, outermost first: names of functions with files, and lines. Empty in a thread."""
        found: list[tuple[str, int]] = []
        waiting: Any = self._coroutine
        while (frame := getattr(waiting, "cr_frame", None)) is not None:
            found.append((f"{frame.f_code.co_name} ({frame.f_code.co_filename})", frame.f_lineno))
            waiting = waiting.cr_await
        return found

    def owe(self, outcome: Outcome | None) -> None:
        """Keep what became of it until the hooks are told; None for what is not reported."""
        self._outcome = outcome

    def settle(self) -> Outcome | None:
        """Return what is to be reported now, once."""
        outcome, self._outcome = self._outcome, None
        return outcome

    def wait_for(self, child: ChildRunner, document: bytes) -> None:
        """Note the child process that is ready for the job, and what it is handed."""
        self._child = child
        self.document = document

    def hold(self, claim: Claim) -> None:
        """Keep its place in a queue with limits until it ends."""
        self._claim = claim

    def let_go(self) -> bool:
        """Give that place back. Returns False for a job that has none."""
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.end()
        return claim is not None

    def take_child(self) -> ChildRunner | None:
        """Return the child that waits for the job, once; None when it has the job, and where no child does."""
        child, self._child = self._child, None
        return child

    def note_call(self, call: Call | IsolatedCall | None) -> None:
        """Note that a thread, or a child, has it now, or none any more."""
        self._call = call

    def interrupt(self, error: Exception) -> None:
        """Cut it short: cancel what runs on the loop, raise in what runs in a thread."""
        call = self._call
        if call is not None and call.interrupt(error):
            self._note(error)
        else:
            self._post(self._cut, error)

    def _cut(self, error: Exception) -> None:
        call = self._call
        if call is not None:
            if call.interrupt(error):
                self._note(error)
        elif not self._is_over:
            self._note(error)
            self._was_cut = True
            self._scope.cancel()

    def _note(self, error: Exception) -> None:
        self._interruption = error
        self.run.cancel()


_task_in_hand: ContextVar[JobTask | None] = ContextVar("faktory_task", default=None)


@dataclass(frozen=True, slots=True)
class AsyncHandler:
    """A handler and how to run it: `perform` within its middleware, wherever each belongs."""

    handler: Handler
    perform: Callable[[Job], Awaitable[Any]]


def on_loop_or_in_threads(
    handlers: Mapping[str, Handler], middleware: Iterable[Middleware], threads: Threads, values: Values
) -> dict[str, AsyncHandler]:
    """Decide where each handler runs.

    What is async runs on the loop, and so does plain middleware around it. A plain function runs in a thread, together
    with its middleware when that is all plain.
    """
    middleware = tuple(middleware)
    has_async = any(map(is_async, middleware))

    def prepared(handler: Handler) -> HandlerFunction:
        what, function = handler_of(handler.jobtype), handler.function
        if not is_async(function) and not has_async:
            return _in_thread(threads, handler.call)
        function = function if is_async(function) else _in_thread(threads, function)
        return compose_async(middleware, function, what) if middleware else function

    return {
        jobtype: AsyncHandler(handler, _with_values(values, handler, prepared(handler)))
        for jobtype, handler in handlers.items()
    }


def _with_values(values: Values, handler: Handler, perform: HandlerFunction) -> Callable[[Job], Awaitable[Any]]:
    """Have the managed values that a handler wants made before it runs."""
    needs: tuple[type[Any], ...] = () if handler.backing is None else handler.backing.needs

    async def with_values(job: Job) -> Any:
        await values.prepare(needs)
        return await perform(job)

    return with_values


def _in_thread(threads: Threads, function: HandlerFunction) -> HandlerFunction:
    async def call(job: Job) -> Any:
        task = _task_in_hand.get()
        note = task.note_call if task is not None else None
        try:
            result = await threads.run(lambda: function(job), started=note)
        finally:
            if note is not None:
                note(None)
        return await result if is_awaitable(result) else result

    return call


def in_children(handlers: Mapping[str, Handler], children: Children, threads: Threads) -> dict[str, AsyncHandler]:
    """Have each handler run in a child process, with a thread that waits for it."""
    from ..isolation.shared import IsolatedCall  # what runs children is slow to import, and not always needed

    def prepared(handler: Handler) -> AsyncHandler:
        async def perform(_: Job) -> Skipped | None:
            task = _task_in_hand.get()
            runner = None if task is None else task.take_child()
            if task is None or runner is None:
                raise RuntimeError("a job was fetched without a child process to run it")  # a mistake in here
            call = IsolatedCall(children, runner, task.document, task.timer.limit, task.timer.left)
            task.note_call(call)
            try:
                return await threads.run(call.carry_out)
            finally:
                task.note_call(None)

        return AsyncHandler(handler, perform)

    return {jobtype: prepared(handler) for jobtype, handler in handlers.items()}
