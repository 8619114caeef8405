"""What children run: the application's functions by name, and how to find them again in another process."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any, Final

from .. import override
from ..core.hooks import FailureHook, Hook, Hooks
from ..core.managed import Managed
from ..core.registry import Handler, Registry, backing_of
from ..errors import ConfigurationError
from ..observe.observer import Place, Watch, installed, watch_of
from ..options import ChildLimits
from ..protocol.address import Address
from .references import main_of_program, reference_to, resolve

MAIN: Final = "__mp_main__"
"""The name under which a main file runs in a child: multiprocessing's, which its readers know."""


@dataclass(frozen=True, slots=True)
class Program:
    """The functions that a child calls."""

    handlers: Mapping[str, Handler]
    hooks: Hooks
    managed: Managed
    start: tuple[Hook, ...]
    stop: tuple[Hook, ...]
    limits: ChildLimits
    levels: Mapping[str, int]
    """Of loggers in the parent, by name."""
    watch: Watch | None = None
    """The observers of what runs here."""


def describe(
    registry: Registry,
    hooks: Hooks,
    factories: Mapping[type[Any], Callable[[], Any]],
    start: tuple[Hook, ...],
    stop: tuple[Hook, ...],
    limits: ChildLimits,
    server: Address | None = None,
    setup: tuple[Hook, ...] = (),
    wid: str = "",
) -> dict[str, Any]:
    """Return what `load` needs to know, as JSON. Raises `ConfigurationError` for what no child could import.

    `setup` is called before anything else of the application is imported.
    """
    references: list[str] = []

    def refer(thing: object, what: str) -> str:
        references.append(reference_to(thing, what))
        return references[-1]

    watch = hooks.watch.observers if isinstance(hooks.watch, Watch) else ()
    made = [(each, recipe) for each in watch if (recipe := each.for_children()) is not None]
    reports: dict[str, list[FailureHook]] = {"on_failure": hooks.failure, "on_death": hooks.death}
    document: dict[str, Any] = {
        "handlers": [
            (jobtype, refer(function, f"the handler of {jobtype!a}"), timeout)
            for jobtype, function, timeout in registry.entries()
        ],
        "middleware": [refer(function, "the middleware") for function in registry.middleware],
        "hooks": {name: [refer(fn, f"the {name} hook") for fn in found] for name, found in reports.items()},
        "managed": [
            (refer(kind, "the managed type"), refer(factory, f"the factory of {kind.__qualname__}"))
            for kind, factory in factories.items()
        ],
        "start": [refer(fn, "the on_child_start hook") for fn in start],
        "stop": [refer(fn, "the on_child_stop hook") for fn in stop],
        "setup": [refer(fn, "the function that sets a child up") for fn in setup],
        "observers": [
            (refer(make, f"the observer {type(each).__qualname__} is made by"), options)
            for each, (make, options) in made
        ],
        "max_jobs": limits.max_jobs,
        "max_rss_mb": limits.max_rss_mb,
        "path": sys.path,
        "argv": sys.argv,
    }
    # An app's jobs may stand in a module, and its middleware and managed values be added in the main file.
    backings = {jobtype: backing_of(function) for jobtype, function, _ in registry.entries()}
    is_of_app = any(backing is not None for backing in backings.values())
    is_main_needed = is_of_app or any(reference.startswith("__main__:") for reference in references)
    active = override.active()
    place = None if server is None else {"host": server.host, "port": server.port, "wid": wid}
    return document | {
        "place": place,
        "main": main_of_program() if is_main_needed else None,
        "override": None if active is None else active.describe(),
        "apps": {jobtype: backing.seen() for jobtype, backing in backings.items() if backing is not None},
        "server": None if server is None or active is not None else asdict(server),
    }


def load(document: dict[str, Any]) -> Program:
    """Import the application in this process and return its functions. Raises whatever the imports raise."""
    sys.path[:] = document["path"]
    sys.argv[:] = document["argv"]
    if document["override"] is not None:
        resolve(document["override"]["adopt"])(document["override"])
    for fn in map(resolve, document["setup"]):
        fn()
    if document["main"] is not None:
        _run_main(*document["main"])
    registry = Registry()
    watch = _watch_of(document)
    if watch is not None:
        registry.outermost = (watch.around,)
    for function in map(resolve, document["middleware"]):
        registry.use(function)
    for jobtype, reference, timeout in document["handlers"]:
        function = resolve(reference)
        registry.register(jobtype, function, timeout)
        if jobtype in document["apps"]:
            backing = backing_of(function)
            _check_app(jobtype, document["apps"][jobtype], {} if backing is None else backing.seen())
            if backing is not None and document["server"] is not None:
                backing.take_server(Address(**document["server"]))
    managed = Managed()
    for kind, factory in document["managed"]:
        managed.add(resolve(kind), resolve(factory))
    hooks = document["hooks"]
    return Program(
        registry.build(),
        Hooks(failure=[*map(resolve, hooks["on_failure"])], death=[*map(resolve, hooks["on_death"])]),
        managed,
        tuple(map(resolve, document["start"])),
        tuple(map(resolve, document["stop"])),
        ChildLimits(document["max_jobs"], document["max_rss_mb"]),
        document["levels"],
        watch,
    )


def _watch_of(document: dict[str, Any]) -> Watch | None:
    """Return a watch over the observers that work here; one that the application has installed here is no second."""
    known = {type(observer) for observer in installed()}
    made = [resolve(reference)(**options) for reference, options in document["observers"]]
    watch = watch_of(observer for observer in made if type(observer) not in known)
    if watch is not None and document["place"] is not None:
        watch.attached(Place(**document["place"]))
    return watch


def _check_app(jobtype: str, worker: dict[str, Any], child: dict[str, Any]) -> None:
    """Refuse a job whose app is another one in a child: with less around its jobs than in the worker."""
    for what, names in worker.items():
        missing = [name for name in names if name not in child.get(what, ())]
        if missing:
            raise ConfigurationError(
                f"the app of the job {jobtype!a} has {what} in the worker that it has not got in child processes: "
                f"{', '.join(missing)}. They import its module, and run the main file without what stands under "
                'if __name__ == "__main__"; add it at the top of a module, not in a function that only the worker calls'
            )


def _run_main(kind: str, name: str) -> None:
    """Run the main file again, for its functions; what is under its `__name__ == "__main__"` stays out."""
    main = ModuleType(MAIN)
    sys.modules[MAIN] = sys.modules["__main__"] = main
    if kind == "module":
        found = runpy.run_module(name, run_name=MAIN, alter_sys=True)
    else:
        found = runpy.run_path(name, run_name=MAIN)
    main.__dict__.update(found)
    sys.modules[MAIN] = sys.modules["__main__"] = main
