"""Which tests look after which module: for `tests.coverage` and `tests.mutants`.

A pure room has a test file of its own, which must cover it whole. A shell's tests are those that would notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "faktory"

CONTRACT = "tests/contract/test_contract.py"


@dataclass(frozen=True, slots=True)
class Room:
    """A module, or a package taken as one."""

    name: str
    """Below `faktory/`, without `.py`."""
    tests: tuple[str, ...]
    """Test files, the quickest first; words after ` -k ` select tests of one."""
    is_pure: bool = False

    @property
    def files(self) -> list[Path]:
        """Its source files."""
        path = PACKAGE / self.name
        return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]

    @property
    def arguments(self) -> list[list[str]]:
        """What pytest is given, for each of `tests`."""
        return [test.replace(" -k ", "\0-k\0", 1).split("\0") for test in self.tests]

    @property
    def floor(self) -> int:
        """The branch coverage that its tests must reach, in per cent."""
        return 100 if self.is_pure else 95


def _pure(*names: str) -> list[Room]:
    return [Room(name, (f"tests/test_{name}.py",), is_pure=True) for name in names]


_EXCHANGES = "tests/contract/test_exchanges.py"
_THREADS = (
    f"{CONTRACT} -k threads",
    f"{_EXCHANGES} -k threads",
    "tests/test_consumer.py",
    "tests/faults/test_watch.py",
)
_LOOPS = ("tests/test_aio.py", "tests/aio", f"{_EXCHANGES} -k asyncio or trio", f"{CONTRACT} -k asyncio or trio")
_CHILDREN = ("tests/isolation", "tests/contract/test_process.py", "tests/contract/test_async_process.py")

ROOMS: list[Room] = [
    *_pure("override", "moments", "job", "address", "wire", "handshake", "commands", "diagnosis"),
    *_pure(
        "lifecycle",
        "slot",
        "outbox",
        "backoff",
        "queues",
        "registry",
        "options",
        "failure",
        "blotting",
        "lending",
        "fetched",
    ),
    *_pure("overdue", "shift", "signals", "launch", "memory", "signalled", "greenlets"),
    *_pure("settings", "callables", "chain", "pushing", "again", "edition", "hand"),
    *_pure("branches", "scalars", "shapes", "models", "convert", "signature"),
    Room("connection", ("tests/test_connection.py", "tests/faults/test_hostile.py", "tests/faults/test_network.py")),
    Room("stream", ("tests/test_stream.py", "tests/faults/test_signals.py", "tests/test_connection.py")),
    Room("dialling", ("tests/test_dialling.py", "tests/faults/test_signals.py", "tests/test_connection.py")),
    Room("loading", ("tests/test_loading.py",)),
    Room("pool", ("tests/test_pool.py", "tests/test_client.py")),
    Room("client", ("tests/test_client.py", "tests/test_override.py", "tests/faults/test_payloads.py")),
    Room("crew", ("tests/test_crew.py", "tests/test_worker.py", *_THREADS)),
    Room("worker", ("tests/test_worker.py", *_THREADS)),
    Room("heart", ("tests/test_heart.py", *_THREADS)),
    Room("dialler", ("tests/test_dialler.py", *_THREADS)),
    Room("outage", ("tests/test_outage.py", "tests/test_dialler.py")),
    Room("consumer", (*_THREADS, "tests/contract/test_process.py", "tests/faults/test_processes.py")),
    Room("hooks", ("tests/test_hooks.py", "tests/test_consumer.py")),
    Room("ticking", ("tests/test_ticking.py",)),
    Room("values", ("tests/test_values.py",)),
    Room("context", ("tests/test_context.py",)),
    Room("builder", ("tests/test_builder.py", "tests/test_consumer.py")),
    Room("app", ("tests/test_app.py", "tests/contract/test_typed.py")),
    Room("settling", ("tests/test_settling.py",)),
    Room("typed", ("tests/test_typed.py", "tests/test_app.py")),
    Room("delivery", ("tests/test_delivery.py", "tests/test_app.py")),
    Room("background", ("tests/test_background.py",)),
    Room("foreground", ("tests/test_foreground.py",)),
    Room("asyncio", ("tests/test_asyncio.py", *_LOOPS)),
    Room("trio", ("tests/test_trio.py", *_LOOPS)),
    Room("aio", (*_LOOPS, "tests/contract/test_async_process.py")),
    Room("aio/outgoing", ("tests/aio/test_outgoing.py",), is_pure=True),
    Room("isolation", _CHILDREN),
    *(
        Room(f"observe/{name}", (f"tests/observe/test_{name}.py",), is_pure=True)
        for name in ("exposition", "health", "jsonlog", "metrics", "observer", "pages")
    ),
    *(
        Room(f"observe/{name}", (f"tests/observe/test_{name}.py",))
        for name in ("collecting", "healthfile", "http", "notify", "probe", "process", "telling")
    ),
    Room("observe/__init__", ("tests/observe",)),
    Room("testing", ("tests/testing",)),
    Room("cli", ("tests/cli", "tests/test_cli.py", "tests/server")),
    *(Room(f"cli/{name}", (f"tests/cli/test_{name}.py",), is_pure=True) for name in ("course", "queues")),
    Room("errors", ("tests/test_errors.py", "tests/test_client.py")),
    Room("forks", ("tests/test_forks.py",)),
    Room("logs", ("tests/test_logs.py",)),
    Room("server", ("tests/server",)),
    Room("__main__", ("tests/server",)),
    Room("__init__", ("tests/test_architecture.py",)),
]


def room(name: str) -> Room:
    """Return a room by its name. Raises `KeyError`."""
    return {each.name: each for each in ROOMS}[name]
