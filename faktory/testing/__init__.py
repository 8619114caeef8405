"""A test kit: jobs captured, run at once, or stored in a server of the test's own. Nothing is sent elsewhere meanwhile.

::

    with capture() as jobs:  # or inline(), or serve()
        sign_up("ada@example.com")
        assert_enqueued(welcome, "ada@example.com", queue="mail")
        jobs.drain()

What is in force holds for the whole process: every `App`, `Client`, async client and builder follows, also one that was
made before and told another URL. The latest one holds, and the one before again when it ends, also by an exception.
pytest finds the fixtures of `faktory.testing.plugin` by itself; `TestCase` is for unittest. Nothing here is needed to
run jobs, and each name is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

from ..runtime.loading import load

if TYPE_CHECKING:
    from .asserting import assert_enqueued, refute_enqueued
    from .calling import make_context, run
    from .capturing import Captured, capture, inline
    from .jobs import Jobs
    from .serving import serve
    from .unit import TestCase
    from .working import Worker

__all__ = [
    "Captured",
    "Jobs",
    "TestCase",
    "Worker",
    "assert_enqueued",
    "capture",
    "inline",
    "make_context",
    "refute_enqueued",
    "run",
    "serve",
]

_HOMES = {
    "Captured": ".capturing",
    "Jobs": ".jobs",
    "TestCase": ".unit",
    "Worker": ".working",
    "assert_enqueued": ".asserting",
    "capture": ".capturing",
    "inline": ".capturing",
    "make_context": ".calling",
    "refute_enqueued": ".asserting",
    "run": ".calling",
    "serve": ".serving",
}


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(load(_HOMES[name], __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
