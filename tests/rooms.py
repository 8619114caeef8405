"""Which tests look after which module: for `tests.coverage` and `tests.mutants`.

A pure room has a test file of its own, which must cover it whole. A shell's tests are those that would notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "faktory"

SLOW = (
    "tests/aio",
    "tests/cli",
    "tests/contract/test_async_process.py",
    "tests/contract/test_process.py",
    "tests/contrib/django",
    "tests/isolation",
    "tests/server",
    "tests/test_aio.py",
    "tests/test_cli.py",
    "tests/testing",
)
"""Tests that take long, mostly as they start processes: CI does not measure what rooms cover that need one of these."""

MEASURED: dict[str, int] = {
    "aio/duties.py": 89,
    "aio/job_runner.py": 93,
    "blocking/worker.py": 92,
}
"""Modules of the shells that their tests do not cover to 95 %, and the per cent below which they must not sink."""

CONTRACT = "tests/contract/test_contract.py"


@dataclass(frozen=True, slots=True)
class Room:
    """A module, or a package taken as one."""

    name: str
    """Below `faktory/`, without `.py`."""
    tests: tuple[str, ...]
    """Test files, the quickest first; words after ` -k ` select tests of one."""
    is_pure: bool = False
    needs: str = ""
    """Somebody else's library, without which it cannot be tested, and which is not among those that all tests need."""

    @property
    def can_be_tested(self) -> bool:
        """Whether what its tests need is installed."""
        return not self.needs or find_spec(self.needs) is not None

    @property
    def is_quick(self) -> bool:
        """Whether none of its tests is slow."""
        return not any(path.startswith(SLOW) for path, _ in self.selections)

    @property
    def files(self) -> list[Path]:
        """Its source files."""
        path = PACKAGE / self.name
        return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]

    @property
    def selections(self) -> list[tuple[str, list[str]]]:
        """The files and folders of `tests`, each with the words of which a test's name must have one; none for all."""
        parts = [test.partition(" -k ") for test in self.tests]
        return [(str(Path(path)), words.split(" or ") if words else []) for path, _, words in parts]

    @property
    def arguments(self) -> list[list[str]]:
        """What pytest is given, for each of `tests`."""
        return [test.replace(" -k ", "\0-k\0", 1).split("\0") for test in self.tests]

    def floor(self, file: Path) -> int:
        """Return the branch coverage of one of its files that its tests must reach, in per cent."""
        return 100 if self.is_pure else MEASURED.get(str(file.relative_to(PACKAGE)), 95)


def _pure(*names: str) -> list[Room]:
    """Return rooms whose tests stand in the folder of tests that is called as theirs."""
    return [Room(str(path), (f"tests/{path.parent}/test_{path.name}.py",), is_pure=True) for path in map(Path, names)]


_EXCHANGES = "tests/contract/test_exchanges.py"
_FRONTS = "tests/observe/test_fronts.py"
_LIMITS = "tests/contract/test_limits.py"
_INTERRUPTS = "tests/contract/test_interrupts.py"
_THREADS = (
    f"{CONTRACT} -k threads",
    f"{_EXCHANGES} -k threads",
    "tests/test_consumer.py",
    "tests/faults/test_watch.py",
)
_LOOPS = ("tests/test_aio.py", "tests/aio", f"{_EXCHANGES} -k asyncio or trio", f"{CONTRACT} -k asyncio or trio")
_REUSED = "tests/isolation/test_children.py -k reused"
_CHILDREN = ("tests/isolation", "tests/contract/test_process.py", "tests/contract/test_async_process.py")

_PURE_CLI = (
    "course",
    "queues",
    "matching",
    "goliteral",
    "entries",
    "webpages",
    "frames",
    "completion",
    "timetable",
    "scaffold",
)

ROOMS: list[Room] = [
    *_pure(
        "override",
        "protocol/moments",
        "protocol/values",
        "job",
        "protocol/address",
        "protocol/wire",
        "protocol/handshake",
        "protocol/dialogue",
        "commands",
        "protocol/diagnosis",
    ),
    *_pure(
        "core/lifecycle",
        "core/pulse",
        "core/limits",
        "core/job_timer",
        "core/fetch_policy",
        "core/ledger",
        "core/ending",
        "core/outbox",
        "core/backoff",
        "core/queues",
        "core/registry",
        "options",
        "core/failure",
        "protocol/blotting",
        "core/lending",
        "core/fetched",
    ),
    *_pure(
        "core/overdue",
        "core/session",
        "runtime/interpreter",
        "runtime/signals",
        "runtime/launch",
        "runtime/memory",
        "runtime/signalled",
        "runtime/greenlets",
    ),
    *_pure(
        "core/settings",
        "core/cron",
        "core/callables",
        "core/chain",
        "typed/pushing",
        "core/again",
        "core/edition",
        "core/hand",
    ),
    *_pure(
        "typed/branches",
        "typed/scalars",
        "typed/shapes",
        "typed/models",
        "typed/convert",
        "typed/signature",
        "typed/periodic",
    ),
    Room(
        "blocking/connection",
        (
            "tests/blocking/test_connection.py",
            "tests/faults/test_hostile.py",
            "tests/faults/test_network.py",
            "tests/faults/test_peers.py",
        ),
    ),
    Room(
        "blocking/stream",
        ("tests/blocking/test_stream.py", "tests/faults/test_signals.py", "tests/blocking/test_connection.py"),
    ),
    Room(
        "blocking/dialling",
        ("tests/blocking/test_dialling.py", "tests/faults/test_signals.py", "tests/blocking/test_connection.py"),
    ),
    Room("runtime/loading", ("tests/runtime/test_loading.py",)),
    Room("blocking/pool", ("tests/blocking/test_pool.py", "tests/test_client.py", "tests/blocking/test_dialling.py")),
    Room("client", ("tests/test_client.py", "tests/test_override.py", "tests/faults/test_payloads.py", _FRONTS)),
    Room("blocking/state", ("tests/blocking/test_state.py", "tests/blocking/test_worker.py", *_THREADS)),
    Room("blocking/slot", ("tests/blocking/test_slot.py", "tests/blocking/test_state.py", *_THREADS)),
    Room("blocking/duties", ("tests/blocking/test_state.py", "tests/faults/test_watch.py", *_THREADS)),
    Room(
        "blocking/supervisor",
        ("tests/test_consumer.py", "tests/contract/test_process.py", *_THREADS, "tests/runtime/test_launch.py"),
    ),
    Room(
        "blocking/stacks",
        ("tests/contract/test_process.py", "tests/faults/test_signals.py", "tests/isolation/test_process.py"),
    ),
    Room(
        "blocking/worker",
        (
            "tests/blocking/test_worker.py",
            *_THREADS,
            f"{_FRONTS} -k threads",
            f"{_LIMITS} -k threads",
            f"{_INTERRUPTS} -k threads",
            "tests/contract/test_process.py",
            "tests/isolation/test_spawn.py",
        ),
    ),
    Room(
        "blocking/heartbeat",
        ("tests/blocking/test_heartbeat.py", *_THREADS, "tests/faults/test_hostile.py", "tests/blocking/test_state.py"),
    ),
    Room(
        "blocking/reconnector",
        ("tests/blocking/test_reconnector.py", "tests/blocking/test_worker.py -k storm", *_THREADS),
    ),
    Room("core/outage", ("tests/core/test_outage.py", "tests/blocking/test_reconnector.py")),
    Room("consumer", (*_THREADS, "tests/contract/test_process.py", "tests/faults/test_processes.py", _REUSED)),
    Room("core/door", ("tests/core/test_door.py",)),
    Room("runtime/exiting", ("tests/runtime/test_exiting.py",)),
    Room("core/hooks", ("tests/core/test_hooks.py",)),
    Room("runtime/ticking", ("tests/runtime/test_ticking.py",)),
    Room("core/managed", ("tests/core/test_managed.py", "tests/aio/test_managed.py")),
    Room("core/run", ("tests/typed/test_context.py",)),
    Room("typed/context", ("tests/typed/test_context.py",)),
    Room("core/pushes", ("tests/test_client.py", "tests/faults/test_payloads.py")),
    Room("core/standing", ("tests/test_consumer.py",)),
    Room("network/names", ("tests/blocking/test_dialling.py", "tests/faults/test_signals.py")),
    Room("network/sockets", ("tests/blocking/test_stream.py", "tests/blocking/test_dialling.py")),
    Room("network/opening", ("tests/blocking/test_connection.py", "tests/runtime/test_loading.py")),
    Room("connection", ("tests/blocking/test_connection.py",)),
    Room("runtime/package", ("tests/core/test_failure.py", "tests/isolation/test_harm.py")),
    *(
        Room(f"{folder}/__init__", ("tests/test_architecture.py",))
        for folder in ("blocking", "core", "network", "protocol", "runtime", "typed")
    ),
    Room(
        "builder",
        (
            "tests/test_builder.py",
            "tests/test_consumer.py",
            _FRONTS,
            "tests/contract/test_acknowledged.py",
            _LIMITS,
            "tests/isolation/test_children.py",
            "tests/isolation/test_spawn.py",
        ),
    ),
    Room("app", ("tests/test_app.py", "tests/contract/test_typed.py", "tests/typed/test_periodic.py", _FRONTS)),
    Room("core/settling", ("tests/core/test_settling.py",)),
    Room("typed/job", ("tests/typed/test_job.py", "tests/test_app.py")),
    Room("typed/delivery", ("tests/typed/test_delivery.py", "tests/test_app.py", "tests/test_override.py", _FRONTS)),
    Room("typed/background", ("tests/typed/test_background.py",)),
    Room("typed/foreground", ("tests/typed/test_foreground.py",)),
    Room("asyncio", ("tests/test_asyncio.py", *_LOOPS)),
    Room("trio", ("tests/test_trio.py", *_LOOPS)),
    Room(
        "aio",
        (
            *_LOOPS,
            "tests/contract/test_async_process.py",
            "tests/isolation/test_async.py",
            f"{_FRONTS} -k asyncio or trio",
            f"{_LIMITS} -k asyncio or trio",
            f"{_INTERRUPTS} -k asyncio or trio",
            "tests/contract/test_stopped_by.py",
            "tests/contract/test_editions.py",
            "tests/contract/test_reports.py",
            "tests/isolation/test_cut_off.py",
        ),
    ),
    Room("aio/outgoing", ("tests/aio/test_outgoing.py",), is_pure=True),
    Room("isolation", (*_CHILDREN, _FRONTS, "tests/faults/test_interrupts.py", "tests/contract/test_acknowledged.py")),
    *(
        Room(f"observe/{name}", (f"tests/observe/test_{name}.py",), is_pure=True)
        for name in ("exposition", "health", "jsonlog", "metrics", "pages")
    ),
    Room("observe/observer", ("tests/observe/test_observer.py",)),
    *(
        Room(f"observe/{name}", (f"tests/observe/test_{name}.py",))
        for name in ("collecting", "healthfile", "http", "notify", "probe", "process", "telling")
    ),
    Room("contrib/django", ("tests/contrib/django", "tests/contrib/test_django_missing.py"), needs="django"),
    Room("observe/observing", ("tests/observe/test_fronts.py", "tests/observe/test_probes.py")),
    Room("observe/__init__", ("tests/observe/test_observer.py",)),
    *(Room(f"contrib/{name}", (f"tests/contrib/test_{name}.py",)) for name in ("opentelemetry", "sentry")),
    Room("contrib/__init__", ("tests/contrib/test_sentry.py",)),
    Room("testing", ("tests/testing",)),
    Room("cli", ("tests/cli", "tests/test_cli.py", "tests/server")),
    *(Room(f"cli/{name}", (f"tests/cli/test_{name}.py",), is_pure=True) for name in _PURE_CLI),
    Room("errors", ("tests/test_errors.py", "tests/test_client.py")),
    Room("runtime/forks", ("tests/runtime/test_forks.py",)),
    Room("runtime/logs", ("tests/runtime/test_logs.py",)),
    Room("server", ("tests/server",)),
    Room("__main__", ("tests/server",)),
    Room("__init__", ("tests/test_architecture.py",)),
]


def room(name: str) -> Room:
    """Return a room by its name. Raises `KeyError`."""
    return {each.name: each for each in ROOMS}[name]
