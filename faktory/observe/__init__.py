"""See what workers and producers do: observers, metrics, health, JSON logs.

Nothing here is on by default, and nothing needs a library. Each name is imported when it is first used. ::

    class Slow(Observer):
        def settled(self, job, outcome, seconds, waited, exc):
            if seconds > 10:
                print(job.jobtype, "took", seconds)

    builder.observer(Slow())
"""

from typing import TYPE_CHECKING, Any

from ..runtime.loading import load as _load

if TYPE_CHECKING:
    from .collecting import collector
    from .jsonlog import JsonFormatter
    from .metrics import Metrics
    from .observer import ConnectionEvent, Observer, Outcome, Pushing

__all__ = ["ConnectionEvent", "JsonFormatter", "Metrics", "Observer", "Outcome", "Pushing", "collector"]

_HOMES = {
    "ConnectionEvent": ".observer",
    "JsonFormatter": ".jsonlog",
    "Metrics": ".metrics",
    "Observer": ".observer",
    "Outcome": ".observer",
    "Pushing": ".observer",
    "collector": ".collecting",
}


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(_load(_HOMES[name], __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
