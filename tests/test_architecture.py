"""The house laws: who may import whom, who owns the outside world, and what an import may cost."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import faktory
from faktory.cli import joblog
from tests.rooms import ROOMS

ROOT = Path(__file__).parent.parent / "faktory"

# Who may import whom: a room is a folder of `faktory/`, or a module beside them. Two rooms are for all, and not named:
# `errors`, and `runtime`, the process that all of it runs in. Within a room the order of ORDER holds.
# Beyond the drawing, and why:
# * `runtime` holds what knows the process and the interpreter, and nothing of jobs: clocks, forks, threads, imports.
# * `network` holds what both connections, blocking and async, need around a socket: names, options, TLS.
# * `override` is where the test kit takes over where jobs go, and what time it is: asked by whoever connects or pushes.
# * `job` and `commands` know a few rules of `protocol`, which knows neither.
LAW: dict[str, set[str]] = {
    "runtime": {"options"},
    "options": set(),
    "override": {"protocol"},
    # ring 1, language
    "protocol": {"options", "override"},
    "job": {"protocol"},
    "commands": {"job", "options", "protocol"},
    # ring 2, judgement
    "core": {"commands", "job", "options", "protocol"},
    # ring 3, hands
    "network": {"protocol"},
    "isolation": {"core", "job", "observe", "options", "override", "protocol"},
    "blocking": {"commands", "core", "isolation", "job", "network", "options", "protocol"},
    "aio": {"commands", "core", "isolation", "job", "network", "observe", "options", "override", "protocol"},
    # the doors
    "connection": {"blocking"},
    "client": {"blocking", "commands", "core", "job", "network", "observe", "options", "override", "protocol"},
    "consumer": {"blocking", "core", "isolation", "observe", "options"},
    "asyncio": {"aio", "network"},
    "trio": {"aio", "network"},
    "builder": {
        "aio", "asyncio", "blocking", "client", "consumer", "core", "isolation", "job", "network", "observe",
        "options", "override", "protocol", "trio",
    },
    # observing: the seam, and what hangs on it
    "observe": {"core", "job"},
    "contrib": {"app", "builder", "cli", "core", "job", "observe", "override", "protocol", "typed"},
    "typed": {"client", "commands", "core", "job", "observe", "options", "override", "protocol"},
    "app": {"builder", "client", "core", "job", "observe", "protocol", "typed"},
    "": {"app", "builder", "client", "commands", "consumer", "core", "job", "typed"},
    "__main__": {"cli"},
    "testing": {
        "app", "builder", "client", "commands", "consumer", "core", "isolation", "job", "override", "protocol",
        "server", "typed",
    },
}  # fmt: skip

FOR_ALL = {"errors", "runtime"}

# The embedded server shares no judgement with the package: a mistake in one is seen by the other.
SERVER_MAY = {"errors", "job", "protocol.wire", "runtime.ticking"}

# Within a room a module imports only what stands before it.
ORDER: dict[str, str] = {
    "aio": (
        "backend home thread_pool children connection places pool client managed job_task outgoing turn beating state "
        "duties guard job_runner reconnector reporter fetcher stacks supervisor done consumer "
    ),
    "blocking": "stream dialling connection slot state duties reconnector worker stacks supervisor heartbeat pool",
    "cli": (
        "catalog parsing config output observed banner connecting course watch offspring supervise reload queues "
        "joblog pools target work worker dev timetable cron info health metrics asking matching entries goliteral "
        "webpages webui looking sets queue_admin flush push server frames screen top completion jobs scaffold generate "
    ),
    "commands": "base admin jobs enterprise",
    "contrib": (
        "opentelemetry sentry "
        "django.framework django.configuration django.known django.running django.homes django.backend django.commit "
        "django.databases django.checks django.apps django.worker django.management django.management.commands "
        "django.management.commands.faktory django "
    ),
    "core": (
        "pulse limits lifecycle door callables chain hooks failure queues outbox job_timer ledger standing again "
        "managed hand run session ending backoff registry overdue fetch_policy outage fetched settling pushes edition "
        "lending settings cron "
    ),
    "isolation": (
        "entry harm strike threads starts references program records child_output frames spawn fork_client "
        "runner shared child fork_server "
    ),
    "network": "names opening sockets",
    "observe": (
        "observer exposition metrics jsonlog health process collecting healthfile http notify pages probe telling "
        "observing"
    ),
    "protocol": "address moments values wire blotting diagnosis handshake dialogue",
    "runtime": "loading forks interpreter launch exiting package logs ticking memory signalled signals greenlets",
    "server": (
        "views timestamps forks clock workers sorted_set goquote gosyntax gojson documents rules store mutate peek "
        "waiters tracking batches enterprise broker session faults peer listener changes embedded "
    ),
    "testing": "jobs force children serving working performing limits capturing calling asserting unit remote plugin",
    "typed": (
        "context background scalars shapes models convert signature job periodic branches pushing foreground delivery"
    ),
}

# The outside world has owners: rooms, or modules of them.
OWNERS: dict[str, set[str]] = {
    "socket": {
        "observe",
        "asyncio", "blocking.dialling", "blocking.stream", "isolation", "network.names", "network.sockets",
        "server", "trio",
    },
    # where TLS is made and checked; elsewhere for the type alone
    "ssl": {
        "aio.backend", "aio.client", "aio.connection", "aio.consumer", "asyncio", "blocking.connection",
        "blocking.dialling", "builder", "cli", "client", "network.opening", "protocol.diagnosis", "server",
        "testing", "trio",
    },
    "select": {"cli.screen", "isolation", "network.sockets"},
    "selectors": {"observe", "isolation", "server"},
    "threading": {
        "contrib", "observe",
        "aio.duties", "aio.guard", "aio.managed", "aio.stacks", "aio.state", "aio.thread_pool",
        "blocking.duties", "blocking.heartbeat", "blocking.pool", "blocking.reconnector", "blocking.slot",
        "blocking.stacks", "blocking.state", "blocking.supervisor", "blocking.worker", "cli",
        "consumer", "core.managed", "isolation", "network.names", "runtime.exiting",
        "runtime.interpreter", "runtime.launch", "runtime.logs",
        "runtime.signals", "server", "testing", "typed.background", "typed.foreground",
    },
    "queue": {"aio.thread_pool", "blocking.state", "cli", "consumer", "isolation", "runtime.logs"},
    "multiprocessing": set(),
    # lazily but in asyncio: for `aenqueue`, for async jobs run at once, for what a worker of threads awaits at its end
    # contrib: for the time limit of an async task
    "asyncio": {"asyncio", "cli", "contrib", "core.managed", "server", "testing", "typed.background", "typed.delivery"},
    # cli: to run a worker's pool
    "trio": {"cli", "trio"},
    # testing: ends a drain that hangs
    "signal": {"cli", "isolation", "runtime.signalled", "runtime.signals", "testing"},
    # for what is no deadline; those are on the clock of `ticking`
    "time": {"observe", "cli", "client", "runtime.ticking", "server", "testing"},
    "random": {"core.backoff", "core.queues", "core.settling", "server"},
    "secrets": set(),
    "logging": {
        "aio.fetcher", "aio.guard", "aio.job_runner", "aio.job_task", "aio.reporter",
        "aio.stacks", "aio.supervisor", "aio.thread_pool", "blocking.stacks", "blocking.supervisor",
        "blocking.worker", "cli", "consumer", "contrib", "core.edition", "core.hooks", "core.managed",
        "core.outage", "core.run", "core.session", "core.settling", "isolation", "network.opening", "observe",
        "protocol.blotting", "runtime.exiting", "runtime.logs", "runtime.signals", "server", "typed.background",
        "typed.context", "typed.delivery", "typed.foreground", "typed.pushing",
    },
    "argparse": {"cli", "contrib"},
    "ctypes": {"isolation", "runtime.interpreter"},
    "subprocess": {"cli", "isolation", "runtime.interpreter"},
    "runpy": {"isolation"},
    # testing: brings exceptions from the children of a test, by files in a folder of its own
    "pickle": {"testing"},
}  # fmt: skip

# Other people's libraries, each with the modules that know it; a package stands for all of its own.
FOREIGN: dict[str, set[str]] = {
    "asgiref": {"contrib.django"},
    "django": {"contrib.django"},
    "django_tasks": {"contrib.django"},
    "opentelemetry": {"contrib.opentelemetry"},
    "prometheus_client": {"observe.collecting"},
    "sentry_sdk": {"contrib.sentry"},
}

FILES = sorted(path for path in ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    """Return a module's name below the package: `core.slot`; a package's is its folder's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def room_of(module: str) -> str:
    return module.split(".")[0]


@cache
def imports_of(path: Path) -> frozenset[str]:
    return frozenset(_imports_of(path))


def _imports_of(path: Path) -> Iterator[str]:
    """Yield each imported module, at the top, in functions and for type checkers alike; ours by their names here."""
    package = ["faktory", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}".removeprefix("faktory.")
                yield f"faktory.{inner}" if module.startswith("faktory") and inner in MODULES else module


def ours(path: Path) -> set[str]:
    names = {name.removeprefix("faktory").removeprefix(".") for name in imports_of(path) if name.startswith("faktory")}
    return {name for name in names if name != name_of(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_the_law_allows(path: Path) -> None:
    room = room_of(name_of(path))
    for name in ours(path):
        if room_of(name) == room:
            continue
        if room == "server":
            assert name in SERVER_MAY, f"server/ may not know {name}: a mistake in one is seen by the other"
        elif room != "cli":  # the last door: it may open all the others
            assert room_of(name) in FOR_ALL | LAW[room], f"{room} may not import {name}"


@pytest.mark.parametrize("room", sorted(ORDER))
def test_within_a_room_a_module_imports_only_what_stands_before_it(room: str) -> None:
    order = ORDER[room].split()
    assert sorted(order) == sorted(name.split(".", 1)[1] for name in MODULES if name.startswith(f"{room}."))
    for place, module in enumerate(order):
        known = {f"{room}.{name}" for name in order[:place]}
        for name in ours(MODULES[f"{room}.{module}"]):
            assert room_of(name) != room or name in known, f"{room}.{module} may not import {name}"


def test_each_room_of_several_modules_has_an_order() -> None:
    assert {room_of(name) for name in MODULES if "." in name} == set(ORDER)


def test_there_is_no_import_cycle() -> None:
    """Counted with what only type checkers see, and what functions import."""
    edges = {name: ours(path) for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a cycle: {' -> '.join([*trail, name])}"
        if name not in done:
            for other in edges.get(name, ()):
                visit(other, (*trail, name))
            done.add(name)

    for name in edges:
        visit(name, ())


# What is imported only when it is used: `connect_asyncio` and `connect_trio`.
LAZY = {("builder", "asyncio"), ("builder", "trio")}


def test_lazy_imports_are_inside_functions() -> None:
    for room, name in LAZY:
        tree = ast.parse((ROOT / f"{room}.py").read_text())
        eager = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == name]
        assert not eager, f"{room} imports {name} when it is imported itself"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_outside_world_has_owners(path: Path) -> None:
    module = name_of(path)
    for name in imports_of(path):
        top = name.split(".")[0]
        if top == "pytest":
            assert module in ("testing.plugin", "testing.remote"), f"{module} may not import pytest"
            continue
        if top in FOREIGN:
            assert any(f"{module}.".startswith(f"{each}.") for each in FOREIGN[top]), f"{module} may not import {top}"
            continue
        if top in OWNERS:
            assert not OWNERS[top].isdisjoint((module, room_of(module))), f"{module} may not import {top}"
        assert top in ("faktory", "__future__", "trio") or top in sys.stdlib_module_names, (
            f"{top} is no standard library"
        )


def test_the_door_of_django_is_imported_without_django() -> None:
    for door in ("contrib", "contrib.django"):
        eager = [node for node in ast.parse(MODULES[door].read_text()).body if isinstance(node, ast.ImportFrom)]
        assert all(node.level or node.module in ("__future__", "typing") for node in eager)


def test_the_loggers_are_those_of_the_guide() -> None:
    """One a room, under the name that an operator is told."""
    made = r"(?:logging\.getLogger|LateLog)\(\"(.+?)\"\)"
    names = {name for path in FILES for name in re.findall(made, path.read_text())}
    guide = (ROOT.parent / "examples/guides/workers.md").read_text()
    rows = re.findall(r"^\| (`faktory\.\w+`.*?) \|", guide, re.M)
    assert {name for row in rows for name in re.findall(r"`(.*?)`", row)} == names | {joblog.JOBS, joblog.COMMAND}


def test_the_environment_is_read_only_where_it_should_be() -> None:
    readers = {name for name, path in MODULES.items() if re.search(r"\benviron\b", path.read_text())}
    # builder: FAKTORY_ISOLATION changes a program that does not know it; delivery: FAKTORY_MODE does so, too; testing
    # sets FAKTORY_URL for a test; contrib: `manage.py faktory` hands the server of the settings to the command line
    wanted = {"protocol.address", "builder", "typed.delivery", "core.settings"}
    assert {name for name in readers if room_of(name) not in ("cli", "contrib", "testing")} <= wanted


def test_only_the_end_of_the_process_calls_exit() -> None:
    callers = {name for name, path in MODULES.items() if re.search(r"\b(sys\.exit|os\._exit)\(", path.read_text())}
    # isolation: the fork server and its children; forks: copies of the process that a job has made
    wanted = {"aio.guard", "runtime.exiting", "runtime.forks", "__main__"}
    assert {name for name in callers if room_of(name) not in ("cli", "isolation")} <= wanted


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_outgrows_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


@pytest.mark.parametrize("module", ["consumer", "aio.consumer", "blocking.state", "aio.state"])
def test_what_everybody_reads_stays_short(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= 350


# Where a class writes what it has just made, or the records of its own file.
OWN = {
    "aio.client", "aio.connection", "aio.managed", "aio.thread_pool", "blocking.pool",
    "core.managed", "observe.http", "observe.metrics",
}  # fmt: skip


ONE_WRITER = {"aio", "blocking", "consumer", "core", "observe"}


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) in ONE_WRITER])
def test_no_class_writes_anothers_attributes(module: str) -> None:
    """One writer a field: whoever wants something changed asks for it by a method."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and module not in OWN:
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            assert own or node.attr.startswith("__"), f"{module}, line {node.lineno}: {ast.unparse(node)} is written"


def test_the_page_for_maintainers_names_what_is_there() -> None:
    page = (ROOT / "README.md").read_text()
    named = set(re.findall(r"`((?:\w+/)+\w+)(?:\.py|\.md)?`", page))
    assert len(named) > 40
    places = (ROOT, ROOT.parent)
    gone = {
        name
        for name in named
        if not any((place / name).with_suffix(end).exists() for place in places for end in (".py", ".md"))
    }
    assert not gone
    table = page.partition("## Where it is decided")[2].partition("##")[0]
    decided = re.findall(r"`(\w+)`", "".join(row.rpartition(" | ")[2] for row in table.splitlines()[4:]))
    assert len(decided) > 10
    assert {name for name in decided if f"core.{name}" not in MODULES} == set()


def test_each_file_is_looked_after_by_tests() -> None:
    """That its branches are covered, `python -m tests.coverage` shows."""
    assert {path for room in ROOMS for path in room.files} == set(FILES)


IMPORT_PROBE = """
import sys, threading, signal, os
handlers = [signal.getsignal(s) for s in signal.valid_signals()]
class Environ(dict):
    pass
import faktory
faktory.Client, faktory.ConsumerBuilder, faktory.current_job  # names are imported when they are used
slow = {"asyncio", "ssl", "multiprocessing", "trio", "http", "ctypes", "urllib.parse", "pathlib", "difflib"}
slow |= {"subprocess", "runpy", "decimal", "uuid", "faktory.app", "faktory.convert"}
print(sorted(slow & set(sys.modules)))
print(threading.active_count())
print(handlers == [signal.getsignal(s) for s in signal.valid_signals()])
"""


def test_importing_the_package_is_cheap_and_has_no_side_effect() -> None:
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT.parent)!r})\n{IMPORT_PROBE}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert result.stdout.split("\n")[:3] == ["[]", "1", "True"], result.stdout + result.stderr


def test_the_drawing_has_no_idle_lines() -> None:
    """Every import the law allows is used: a line nobody needs is an invitation."""
    used: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        used.setdefault(room_of(name), set()).update(map(room_of, ours(path)))
    idle = {room: extra for room, allowed in LAW.items() if (extra := allowed - used.get(room, set()))}
    assert not idle


def test_every_public_name_is_found_where_type_checkers_are_told() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    told = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
        if alias.asname is None  # not what the package needs itself
    }
    assert sorted(faktory.__all__) == sorted(told)
    assert {name: home.lstrip(".") for name, home in faktory._HOMES.items()} == told
    for name in faktory.__all__:
        assert getattr(faktory, name) is not None
        assert name in dir(faktory)
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        faktory.Clinet  # noqa: B018


def test_who_only_pushes_does_not_import_what_runs_jobs() -> None:
    probe = "import sys, faktory; faktory.Client, faktory.Job; print('faktory.consumer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
