"""`App`: declares typed jobs, and knows how their calls are pushed and run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast, overload

from .builder import ConsumerBuilder
from .client import Client
from .core.callables import check_runs, is_async, is_same_place, place_of
from .core.hooks import FailureHook, checked
from .core.hooks import run as run_hooks
from .core.job_timer import fitting_reservation
from .core.managed import Factory, Managed
from .core.registry import Registry, check_around
from .core.run import running
from .core.settings import for_app
from .errors import ConfigurationError, InvalidJob
from .job import Job
from .observe.observer import Observer
from .observe.observer import checked as checked_observer
from .protocol.address import Address
from .typed.background import in_thread
from .typed.branches import Branch
from .typed.context import JobContext
from .typed.delivery import EXIT_TIMEOUT, Delivery, Mode
from .typed.job import ContextJob, Declare, Middleware, Options, PlainJob, Rules, TypedJob
from .typed.periodic import Calendar, CatchUp, DeclarePeriodic, Periodic
from .typed.pushing import PushFunction, push_all, push_through
from .typed.signature import Signature, silent_changes

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
G = TypeVar("G", bound=PushFunction)
H = TypeVar("H", bound=FailureHook)


class App(Branch):
    """Typed jobs, and all that they share. Opens nothing and reads no environment before a job is pushed.

    * `url` or `client`: where jobs go; else what `Client()` finds in the environment. A client of the app's own is made
      when first needed, is safe to use after a fork, and is closed at exit.
    * `mode`: "queue" pushes to the server; "foreground" runs a job at once in the caller, whom its errors reach, then
      what it pushes, without delays; "background" runs jobs in daemon threads of this process. None is FAKTORY_MODE,
      else "queue". Neither of the latter two needs a server, or repeats a job that fails.

    >>> app = App()
    >>> @app.job(queue="images", retry=3)
    ... def resize(path: str, width: int = 800) -> None: ...
    >>> resize.enqueue("cat.png", width=400)
    """

    def __init__(
        self, url: str | Address | None = None, *, client: Client | None = None, mode: Mode | None = None
    ) -> None:
        super().__init__()
        self._managed = Managed()
        """The factories of this app and of those it includes; its values are used while it is a root."""
        self._own_delivery = Delivery(url, client, mode, self._managed, self._job_of_type)
        self._jobs: dict[str, TypedJob[Any, Any]] = {}
        self._calendar = Calendar()
        self._middleware: list[Middleware] = []
        self._push_functions: list[PushFunction] = []
        self._retry_hooks: list[FailureHook] = []
        self._observers: list[Observer] = []
        self._chains: dict[int, tuple[Middleware, ...]] = {}  # by the root's id

    @classmethod
    def from_config(cls, env: str | None = None) -> Self:
        """Return an app with the url and the mode of `[tool.faktory]` in the nearest `pyproject.toml`.

        `env` names its `[tool.faktory.env.NAME]`, None FAKTORY_ENV's. The variables FAKTORY_PROVIDER, FAKTORY_URL and
        FAKTORY_MODE go before it. Raises `ConfigurationError` for a file that is wrong.
        """
        url, mode = for_app(env)
        return cls(url, mode=cast(Any, mode))

    # -- declaring ------------------------------------------------------------------------------------------------

    @overload
    def job(  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[Concatenate[JobContext, P], R], /
    ) -> ContextJob[P, R]: ...
    @overload
    def job(self, fn: Callable[P, R], /) -> PlainJob[P, R]: ...
    @overload
    def job(
        self,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        retry: int = 25,
        reserve_for: int | None = None,
        backtrace: int | None = None,
        timeout: float | None = None,
        unique_for: int | None = None,
        unique_until: str | None = None,
        expires_in: timedelta | float | None = None,
        custom: Mapping[str, Any] | None = None,
        retry_on: tuple[type[Exception], ...] = (),
        discard_on: tuple[type[Exception], ...] = (),
        needs: tuple[type[Any], ...] = (),
        by_name: bool = False,
    ) -> Declare: ...

    def job(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        retry: int = 25,
        reserve_for: int | None = None,
        backtrace: int | None = None,
        timeout: float | None = None,
        unique_for: int | None = None,
        unique_until: str | None = None,
        expires_in: timedelta | float | None = None,
        custom: Mapping[str, Any] | None = None,
        retry_on: tuple[type[Exception], ...] = (),
        discard_on: tuple[type[Exception], ...] = (),
        needs: tuple[type[Any], ...] = (),
        by_name: bool = False,
    ) -> Any:
        """Declare a function as a job. Its name is the job type, unless `name` says otherwise.

        * The other options up to `custom` are as in `Job` and `ConsumerBuilder.register`. A `timeout` for which the
          usual reservation is too short makes it long enough; one that a given `reserve_for` contradicts is refused. In
          foreground and background nothing enforces it; `ctx.raise_if_cancelled()` does where it is called.
        * `retry_on`: exceptions after which a copy is pushed as `Retry` does, up to the job's `retry`, instead of a
          FAIL. `discard_on`: exceptions that count as `Discard`.
        * `needs`: types that `ctx.get` is going to ask for; one that is not managed is refused by `consumer`.
        * `by_name`: arguments travel as one object instead of a list, so that parameters may change places and new ones
          with defaults may come anywhere; jobs pushed by position before are understood, too. See `check_compatible`.

        Raises `ConfigurationError` for a type declared twice, and for parameters that cannot travel.
        """
        if not isinstance(self, App):
            raise ConfigurationError("App.job was called on the class; make an app = App(), and write @app.job")
        options = Options(queue, retry, reserve_for, backtrace, unique_for, unique_until, expires_in, custom)
        rules = Rules(timeout, retry_on, discard_on, needs)
        if fn is None:

            def decorate(function: Callable[..., Any]) -> TypedJob[Any, Any]:
                return self._declare(function, name, options, rules, _local_names(2), by_name=by_name)

            return decorate
        return self._declare(fn, name, options, rules, _local_names(2), by_name=by_name)

    def _declare(
        self,
        function: Any,
        name: str | None,
        options: Options,
        rules: Rules,
        names: Mapping[str, Any],
        *,
        by_name: bool,
    ) -> TypedJob[Any, Any]:
        earlier = function
        if isinstance(function, TypedJob):
            function = function.function  # declared twice
        if not callable(function) or isinstance(function, type):
            raise ConfigurationError(f"app.job takes a function, got {function!a:.80}; write @app.job above one")
        jobtype: str = getattr(function, "__name__", "") if name is None else name
        Registry().register(jobtype, lambda _: None, rules.timeout)  # checks the name and the time limit
        check_runs(function, f"the job {jobtype!a} at", "make it a plain function")
        try:
            options.job(jobtype, [])
            options = replace(options, reserve_for=fitting_reservation(options.reserve_for, rules.timeout))
        except (InvalidJob, ConfigurationError) as exc:
            raise ConfigurationError(f"the options of the job {jobtype!a}: {exc}") from exc
        signature = Signature(jobtype, function, JobContext, names, by_name=by_name)
        made: type[TypedJob[Any, Any]] = ContextJob if signature.takes_context else PlainJob
        typed = made(self, jobtype, function, signature, options, rules)
        for app in {app for root in self._roots() for app in root._tree()}:
            old = app._jobs.get(jobtype)
            if old is not None and is_same_place(old.function, function):  # its module was imported again
                del app._jobs[jobtype]
        for root in self._roots():
            self._check_new([typed], root._every())
        self._jobs[typed.jobtype] = typed
        self._calendar.move(earlier, typed)
        return typed

    def periodic(self, expression: str, *, tz: str = "UTC", catch_up: CatchUp = "none") -> DeclarePeriodic:
        """Have `faktoryctl cron` push a job at the times of a cron expression, in a time zone.

        Stands above `@app.job`, or alone above a function. "*/5 * * * *" is every five minutes, "0 8 * * MON-FRI" eight
        o'clock on working days; "@daily" and the like are known. `catch_up`: "last" pushes the last of ticks missed in
        sleep. Raises `ConfigurationError` for a wrong expression or zone, and a job that needs arguments.
        """
        names, plain = _local_names(2), Rules(None, (), (), ())
        return self._calendar.decorator(
            expression, tz, catch_up, lambda fn: self._declare(fn, None, Options(), plain, names, by_name=False)
        )

    def periodics(self) -> list[Periodic]:
        """Return the periodic jobs of this app and of those it includes, in the order they were declared."""
        return [each for app in self._tree() for each in app._calendar]

    def include(self, other: App) -> None:
        """Add the jobs of another app, which from now on pushes through this one, in its mode.

        The other's middleware goes on around the other's jobs, inside of this app's. Several apps may include the same
        one, each with its own middleware and values: a job belongs to the app whose consumer runs it, a push outside of
        jobs to the latest. Raises `ConfigurationError` for a job type or a managed type that both have.
        """
        if not isinstance(other, App):
            raise ConfigurationError(f"include takes an App, got {type(other).__name__}")
        self._check_apart(cast(Self, other))
        for root in self._roots():
            self._check_new(other._every(), root._every())
        ancestors = self._ancestors()
        for app in ancestors:
            app._managed.check_apart(other._managed)
        for app in ancestors:
            app._managed.take(other._managed)
        self._take(cast(Self, other))
        for typed in other._every():
            cast(Any, typed.__faktory_handler__).managed = self._root._managed

    def _check_new(self, new: Iterable[TypedJob[Any, Any]], known: Iterable[TypedJob[Any, Any]]) -> None:
        places = {typed.jobtype: typed.function for typed in known}
        for typed in new:
            found = places.get(typed.jobtype)
            if found is not None and found is not typed.function:
                raise ConfigurationError(
                    f"the job type {typed.jobtype!a} is declared twice: {place_of(found)} and "
                    f"{place_of(typed.function)}; give one of them another name="
                )

    def _forget_paths(self) -> None:
        super()._forget_paths()
        for app in self._tree():
            app._chains.clear()

    def _path(self) -> tuple[App, ...]:
        """Return the way to this app from the root whose consumer runs the present job, else from the latest."""
        paths = self._every_path()
        run = running.get() if paths[1:] else None
        if run is not None:
            for path in paths:
                if path[0]._managed in (run.managed, run.managed.base):
                    return path
        return paths[-1]

    @property
    def _root(self) -> App:
        return self._path()[0]

    def _every(self) -> list[TypedJob[Any, Any]]:
        return [typed for app in self._tree() for typed in app._jobs.values()]

    @property
    def jobs(self) -> dict[str, TypedJob[Any, Any]]:
        """The jobs by type, those of included apps too."""
        return {typed.jobtype: typed for typed in self._every()}

    def signatures(self) -> dict[str, dict[str, Any]]:
        """Return how the arguments of each job travel, as JSON to keep beside the code for `check_compatible`."""
        return {
            typed.jobtype: {"by_name": typed.signature.by_name, "parameters": typed.signature.parameters}
            for typed in self._every()
        }

    def check_compatible(self, before: Mapping[str, Mapping[str, Any]]) -> None:
        """Compare with what `signatures` returned for the code that has pushed the jobs that still wait.

        Raises `ConfigurationError` for changes that would give such jobs wrong values without a word: arguments that
        travel by position and have changed places. For a test that fails a build.
        """
        changes = silent_changes(before, self.signatures())
        if changes:
            raise ConfigurationError(f"jobs that wait would get wrong values: {'; '.join(changes)}")

    def _job_of_type(self, jobtype: str) -> TypedJob[Any, Any]:
        return self.jobs[jobtype]

    def use(self, fn: F) -> F:
        """Call `fn(ctx, call_next)` around every job; `call_next()` goes on. The first added is the outermost.

        For `async def` jobs it must be async, or return what `call_next()` gives it; for others it must be plain. One
        that returns without calling it skips the job, which is acknowledged, and counted and logged as skipped.
        """
        check_around(fn, "middleware", "ctx, call_next")
        self._middleware.append(fn)
        self._forget_paths()
        return fn

    def on_push(self, fn: G) -> G:
        """Call `fn(job, call_next)` around every push, which returns what `call_next()` returned: the jid.

        To drop a job it raises `PushDropped`, which reaches the caller of `enqueue`. Not calling `call_next()`, or
        twice, is an error. Plain functions only, as jobs are pushed from plain code, too.
        """
        check_around(fn, "on_push function", "job, call_next")
        if is_async(fn):
            raise ConfigurationError(
                f"the on_push function {place_of(fn)} is async, but `enqueue` is called from plain code; make it plain"
            )
        self._push_functions.append(fn)
        return fn

    def on_retry(self, fn: H) -> H:
        """Call `fn(job, exc)` when a copy of a job was pushed, as `Retry` or `retry_on` says; no failure is reported.

        Called where the job runs. What it raises is logged.
        """
        self._retry_hooks.append(checked(fn, 2))
        return fn

    def observe(self, observer: Observer) -> None:
        """Have an observer see the app's pushes, and the jobs of its consumers; see `faktory.observe.Observer`.

        Before the first push, as the client is made then; one that the app was given has observers of its own. Raises
        `ConfigurationError` for what is no observer.
        """
        self._observers.append(checked_observer(observer, self._observers))
        self._own_delivery.observe(observer)

    def manage(self, kind: type[T], factory: Factory[T]) -> None:
        """Make one value of a type per process when `ctx.get` first asks for it; closed at the end, the last first.

        A context manager that the factory gives is entered, and left at the end. On event loops both may be async, and
        values are made before the first job that `needs` them or does not say, by plain factories beside the loop.
        """
        ancestors = self._ancestors()
        for app in ancestors:
            app._managed.check_new(kind, factory)
        for app in ancestors:
            app._managed.add(kind, factory)

    # -- running --------------------------------------------------------------------------------------------------

    def consumer(self) -> ConsumerBuilder:
        """Return a builder with every job registered, which connects to the app's URL unless told another.

        An app that was told no URL, and has pushed nothing yet, takes the one that `connect` is told for its jobs, too.
        `connect` raises `ConfigurationError` when told another server than the app's.

        Raises `ConfigurationError` for jobs that could not run: an annotation that cannot be read, a needed value that
        is not managed, async middleware around a plain function.
        """
        root = self._root
        builder = ConsumerBuilder()
        builder._managed = Managed(root._managed)
        builder._locate = self._delivery.locate
        builder._app_observers = lambda: root._observers
        known: set[str] = set()

        def add_jobs() -> None:
            for app in root._tree():
                for typed in app._jobs.values():
                    if typed.jobtype not in known:
                        app._check(typed, root)
                        builder.register(typed.jobtype, typed.__faktory_handler__, timeout=typed.rules.timeout)
                        known.add(typed.jobtype)

        add_jobs()
        builder._add_jobs = add_jobs  # those that are declared before it connects
        builder._homes = lambda: tuple((typed.options.queue, typed.jobtype) for typed in root._every())
        return builder

    def _check(self, typed: TypedJob[Any, Any], root: App) -> None:
        """Refuse a job that could not run in the consumer of a root."""
        typed.signature.check(root._managed.kinds)
        for kind in typed.rules.needs:
            if not root._managed.has(kind):
                raise ConfigurationError(
                    f"the job {typed.jobtype!a} needs a {kind.__qualname__}; add it with app.manage(type, factory)"
                )
        if is_async(typed.function):
            return
        for app in next(path for path in self._every_path() if path[0] is root):
            for fn in app._middleware:
                if is_async(fn):
                    raise ConfigurationError(
                        f"the middleware {place_of(fn)} is async, but the job {typed.jobtype!a} is a plain function; "
                        "make both the same"
                    )

    def seen(self) -> dict[str, Any]:
        """Return what goes around the jobs of this app, for children to compare: names and places, and the mode."""
        path = self._path()
        around: list[Any] = [*self.middleware(), *(fn for app in path for fn in app._push_functions)]
        around += [fn for app in path for fn in app._retry_hooks]
        return {
            "middleware, on_push functions and on_retry hooks": [re.sub(r"\(.*/", "(", place_of(fn)) for fn in around],
            "managed types": sorted(kind.__qualname__ for kind in self.managed.kinds),
            "mode": [self.mode],
        }

    def take_server(self, address: Address) -> None:
        """Push to the server that the consumer works for, unless the app was told one itself."""
        self._delivery.take_server(address)

    @property
    def managed(self) -> Managed:
        """The managed values, for whoever runs the jobs."""
        return self._root._managed

    def middleware(self) -> tuple[Middleware, ...]:
        """Return what goes around the jobs of this app, the outermost first."""
        path = self._path()
        found = self._chains.get(id(path[0]))
        if found is None:
            found = self._chains[id(path[0])] = tuple(fn for app in path for fn in app._middleware)
        return found

    @property
    def _delivery(self) -> Delivery:
        return self._root._own_delivery

    # -- pushing --------------------------------------------------------------------------------------------------

    @property
    def mode(self) -> Mode:
        """How jobs are run: "queue", "foreground" or "background"."""
        return self._delivery.mode

    @property
    def client(self) -> Client:
        """The client that jobs are pushed by, made now if there is none."""
        return self._delivery.client()

    def use_client(self, client: Client) -> None:
        """Push by this client from now on. It stays the caller's to close; one of the app's own is closed."""
        self._delivery.use_client(client)

    def client_maker(self) -> Callable[[], Client] | None:
        """Return what gives the client, None in a mode without a server."""
        return self._delivery.client if self._delivery.mode == "queue" else None

    def push(self, job: Job) -> str:
        """Push a job through the `on_push` functions; return its jid."""
        return self._pushed(job, self._delivery.push)

    def perform(self, job: Job) -> Any:
        """Run a job here and now, as a worker would, but that what it raises reaches the caller; return its result."""
        return self._delivery.perform(job)

    def end_values(self) -> None:
        """Close the managed values that jobs run here and now have made, unless somebody else uses them."""
        self._delivery.end_values()

    async def apush(self, job: Job) -> str:
        """Push a job through the `on_push` functions, in a thread; return its jid."""
        return await in_thread(self.push, job)

    def push_many(self, jobs: Iterable[Job]) -> list[str]:
        """Push many jobs; return the jids, without those that were dropped by an `on_push` function.

        Those in a list go through all `on_push` functions before any is sent; others are drawn as they are sent.
        Raises `ServerError` at the end when some were refused. What it raises tells by `stored` what was stored.
        """
        return push_all(jobs, self._pushed, self._delivery.push_many)

    def push_again(self, again: Job, job: Job, exc: BaseException) -> bool:
        """Push a copy of a job that runs just now, which its exception has asked for; False when there is no later."""
        if self._delivery.mode == "foreground":
            return False
        self.push(again)
        for app in reversed(self._path()):
            run_hooks("on_retry", app._retry_hooks, job, exc)
        return True

    def _pushed(self, job: Job, deliver: Callable[[Job], str]) -> str:
        return push_through([fn for app in self._path() for fn in app._push_functions], job, deliver)

    def close(self, timeout: float = EXIT_TIMEOUT) -> None:
        """Wait for the jobs in `background`, at most so many seconds; close the managed values and the app's client.

        Called at exit. The app can be used again afterwards.
        """
        self._delivery.close(timeout)

    def __repr__(self) -> str:
        return f"<App of {len(self._every())} jobs>"


def _local_names(depth: int) -> dict[str, Any]:
    """Return the local names where a job is declared, for annotations that are text."""
    frame = sys._getframe(depth)
    return {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)
