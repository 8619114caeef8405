"""`faktory.core.managed`: one value of a type per process, made when wanted and closed in reverse order."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NoReturn, Protocol

import pytest

from faktory.core.managed import Managed
from faktory.errors import ConfigurationError


class Database:
    """A value that tells of its end."""

    def __init__(self, closed: list[object] | None = None) -> None:
        self.closed = closed if closed is not None else []

    def close(self) -> None:
        self.closed.append(self)


class Cache(Database):
    pass


class Mailer(Database):
    pass


@pytest.fixture
def in_child(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make the code under test believe that it runs in a forked child from now on."""
    parent = os.getpid()

    def enter() -> None:
        monkeypatch.setattr("faktory.core.managed.os.getpid", lambda: parent + 1)

    return enter


# -- making ---------------------------------------------------------------------------------------------------------


def test_a_value_is_made_at_the_first_call_and_kept() -> None:
    made: list[Database] = []

    def make() -> Database:
        made.append(Database())
        return made[-1]

    managed = Managed()
    managed.add(Database, make)
    assert made == []
    assert managed.get(Database) is managed.get(Database)
    assert len(made) == 1


def test_a_value_that_is_none_is_made_once_too() -> None:
    calls: list[int] = []
    managed = Managed()
    managed.add(type(None), lambda: calls.append(1))
    managed.get(type(None))
    managed.get(type(None))
    assert calls == [1]


def test_a_factory_may_ask_for_another_value() -> None:
    managed = Managed()
    managed.add(Database, Database)
    managed.add(Cache, lambda: Cache([managed.get(Database)]))
    assert managed.get(Cache).closed == [managed.get(Database)]


def test_a_factory_that_raises_is_called_again_next_time() -> None:
    attempts: list[int] = []

    def make() -> Database:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("not yet")
        return Database()

    managed = Managed()
    managed.add(Database, make)
    with pytest.raises(OSError, match="not yet"):
        managed.get(Database)
    assert isinstance(managed.get(Database), Database)


def test_threads_that_ask_at_once_get_the_same_value() -> None:
    managed = Managed()
    got: list[Database] = []
    calls: list[int] = []
    other = threading.Thread(target=lambda: got.append(managed.get(Database)), name="other")

    def make() -> Database:
        calls.append(1)
        if len(calls) == 1:
            other.start()
            other.join(0.05)  # it is held up by the first call: were it not, it would be done by then
        return Database()

    managed.add(Database, make)
    value = managed.get(Database)
    other.join(10)
    assert got == [value]
    assert calls == [1]


# -- refusals -------------------------------------------------------------------------------------------------------


def test_a_type_managed_twice_is_refused() -> None:
    managed = Managed()
    managed.add(Database, Database)
    with pytest.raises(ConfigurationError) as refused:
        managed.add(Database, Cache)
    assert str(refused.value) == "Database is managed twice"


@pytest.mark.parametrize(
    ("kind", "factory", "got"),
    [
        ("Database", Database, "'Database' and <class 'tests.core.test_managed.Database'>"),
        (Database, None, "<class 'tests.core.test_managed.Database'> and None"),
        (Database, 7, "<class 'tests.core.test_managed.Database'> and 7"),
        ([], Database, "[] and <class 'tests.core.test_managed.Database'>"),
    ],
)
def test_what_is_no_type_or_no_factory_is_refused(kind: Any, factory: Any, got: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Managed().add(kind, factory)
    assert str(refused.value) == f"manage takes a type and a function that makes one, got {got}"


def test_a_type_nobody_manages_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Managed().get(Database)
    assert str(refused.value) == "Database is not managed; add it with manage(type, factory)"


# -- closing --------------------------------------------------------------------------------------------------------


def test_values_are_closed_once_the_last_made_first() -> None:
    closed: list[object] = []
    managed = Managed()
    for kind in (Database, Cache, Mailer):
        managed.add(kind, lambda kind=kind: kind(closed))  # type: ignore[misc]
    made = [managed.get(kind) for kind in (Cache, Database, Mailer)]
    managed.close()
    assert closed == made[::-1]
    managed.close()
    assert len(closed) == 3


def test_values_never_asked_for_are_not_made_to_be_closed() -> None:
    calls: list[int] = []
    managed = Managed()
    managed.add(Database, lambda: calls.append(1) or Database())  # type: ignore[func-returns-value]
    managed.close()
    assert calls == []


def test_a_value_without_close_is_let_go() -> None:
    managed = Managed()
    managed.add(int, lambda: 7)
    assert managed.get(int) == 7
    managed.close()


def test_a_close_that_is_no_method_is_not_called() -> None:
    class Closed:
        close = True

    managed = Managed()
    managed.add(Closed, Closed)
    managed.get(Closed)
    managed.close()


class Stubborn:
    def __init__(self, exc: BaseException) -> None:
        self.exc = exc

    def close(self) -> NoReturn:
        raise self.exc


class Hostile:
    def __init__(self, exc: BaseException) -> None:
        self.exc = exc

    @property
    def close(self) -> NoReturn:
        raise self.exc


@pytest.mark.parametrize("exc", [OSError("no"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("kind", [Stubborn, Hostile])
def test_a_close_that_raises_is_logged_and_the_rest_closed(
    kind: type[Stubborn | Hostile], exc: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """W2: the consumer still has to say END after this."""
    closed: list[object] = []
    managed = Managed()
    managed.add(Database, lambda: Database(closed))
    managed.add(kind, lambda: kind(exc))
    database = managed.get(Database)
    managed.get(kind)
    managed.close()
    assert closed == [database]
    (record,) = caplog.records
    assert record.getMessage() == f"closing the managed {kind.__name__} raised"
    assert record.exc_info is not None
    assert record.exc_info[1] is exc


# -- forks ----------------------------------------------------------------------------------------------------------


def test_a_forked_child_makes_values_of_its_own(in_child: Callable[[], None]) -> None:
    """W7."""
    managed = Managed()
    managed.add(Database, Database)
    of_parent = managed.get(Database)
    in_child()
    of_child = managed.get(Database)
    assert of_child is not of_parent
    assert managed.get(Database) is of_child


def test_a_forked_child_closes_only_its_own_values(in_child: Callable[[], None]) -> None:
    """W7, P8: the parent's values are the parent's to close."""
    managed = Managed()
    managed.add(Database, Database)
    of_parent = managed.get(Database)
    in_child()
    managed.close()
    assert of_parent.closed == []
    of_child = managed.get(Database)
    managed.close()
    assert of_child.closed == [of_child]
    assert of_parent.closed == []


def test_a_forked_child_does_not_even_let_the_parents_values_go(in_child: Callable[[], None]) -> None:
    """W7: the end of a database's connection object can say goodbye on the socket that the parent goes on using."""
    ended: list[str] = []

    class Session:
        def __del__(self) -> None:
            ended.append("goodbye")

    managed = Managed()
    managed.add(Session, Session)
    managed.get(Session)
    in_child()
    managed.get(Session)
    managed.close()
    assert ended == ["goodbye"]  # the child's own
    del managed
    assert ended == ["goodbye", "goodbye"]


@pytest.mark.parametrize("act", [Managed.close, lambda managed: managed.get(Database)])
def test_a_fork_while_a_value_is_being_made_does_not_block_the_child(
    act: Callable[[Managed], Any], in_child: Callable[[], None]
) -> None:
    """W7: the lock that another thread of the parent held stays locked in the child for ever."""
    managed = Managed()
    made: list[Database] = []
    child = threading.Thread(target=lambda: act(managed), name="child", daemon=True)

    def make() -> Database:
        made.append(Database())
        if len(made) == 1:
            in_child()
            child.start()
            child.join(5)
            assert not child.is_alive()
        return made[-1]

    managed.add(Database, make)
    managed.get(Database)


# -- context managers -------------------------------------------------------------------------------------------------


class Session:
    """A context manager without a `close`."""

    def __init__(self, log: list[str], entered: object = None) -> None:
        self.log = log
        self.entered = entered

    def __enter__(self) -> object:
        self.log.append("entered")
        return self if self.entered is None else self.entered

    def __exit__(self, *exc_info: object) -> None:
        self.log.append(f"left {exc_info}")


def test_a_context_manager_is_entered_and_left() -> None:
    log: list[str] = []
    managed = Managed()
    managed.add(Session, lambda: Session(log))
    assert managed.get(Session).log == ["entered"]
    managed.close()
    assert log == ["entered", "left (None, None, None)"]


def test_what_a_context_manager_gives_is_the_value() -> None:
    log: list[str] = []

    @contextmanager
    def make() -> Iterator[Database]:
        yield Database()
        log.append("left")

    managed = Managed()
    managed.add(Database, make)
    assert type(managed.get(Database)) is Database
    managed.close()
    assert log == ["left"]


def test_a_context_manager_that_gives_something_else_stays_the_value() -> None:
    managed = Managed()
    managed.add(Session, lambda: Session([], entered="a name"))
    assert type(managed.get(Session)) is Session


def test_a_value_that_can_be_closed_is_not_entered() -> None:
    class Connection(Session):
        def close(self) -> None:
            self.log.append("closed")

    log: list[str] = []
    managed = Managed()
    managed.add(Connection, lambda: Connection(log))
    managed.get(Connection)
    managed.close()
    assert log == ["closed"]


def test_the_factories_of_another_can_be_taken_over() -> None:
    one, other = Managed(), Managed()
    other.add(Database, Database)
    one.take(other)
    assert one.has(Database)
    assert not one.has(Cache)
    assert type(one.get(Database)) is Database
    with pytest.raises(ConfigurationError, match="Database is managed twice"):
        one.take(other)


# -- several who ask, and several who use them ----------------------------------------------------------------------


def test_a_value_that_is_there_is_read_while_another_is_made() -> None:
    """27.3b: and the factory's own helper thread may ask for it."""
    managed = Managed()
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Cache:
        begun.set()
        assert go_on.wait(5)
        return Cache()

    managed.add(Database, Database)
    managed.add(Cache, slow)
    database = managed.get(Database)
    maker = threading.Thread(target=lambda: managed.get(Cache), name="maker")
    maker.start()
    assert begun.wait(5)
    assert managed.get(Database) is database
    managed.add(Mailer, Mailer)
    assert isinstance(managed.get(Mailer), Mailer)
    assert not managed.has_all()
    go_on.set()
    maker.join(5)
    assert managed.has_all()


def test_a_helper_thread_of_a_factory_may_ask_for_another_value() -> None:
    managed = Managed()
    got: list[Database] = []

    def make() -> Cache:
        helper = threading.Thread(target=lambda: got.append(managed.get(Database)), name="helper")
        helper.start()
        helper.join(5)
        assert not helper.is_alive()
        return Cache()

    managed.add(Database, Database)
    managed.add(Cache, make)
    managed.get(Cache)
    assert got == [managed.get(Database)]


def test_values_that_need_each_other_are_told_and_no_deadlock() -> None:
    managed = Managed()
    errors: list[BaseException] = []
    both = threading.Barrier(2)

    def needing(other: type[Any], kind: type[Any]) -> Callable[[], Any]:
        def make() -> Any:
            if threading.current_thread() is not threading.main_thread():
                with suppress(threading.BrokenBarrierError):
                    both.wait(0.2)
            managed.get(other)
            return kind()

        return make

    managed.add(Database, needing(Cache, Database))
    managed.add(Cache, needing(Database, Cache))

    def ask(kind: type[Any]) -> None:
        try:
            managed.get(kind)
        except BaseException as exc:
            errors.append(exc)

    with pytest.raises(ConfigurationError, match="the factory of Database asks for a Database itself"):
        managed.get(Database)
    threads = [threading.Thread(target=ask, args=(kind,), name=f"ask-{kind.__name__}") for kind in (Database, Cache)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert any(isinstance(error, ConfigurationError) for error in errors)


class User:
    pass


def test_values_live_until_the_last_user_is_done() -> None:
    """27.3a: two consumers of one app in a process."""
    managed = Managed()
    managed.add(Database, Database)
    one, other = User(), User()
    managed.enter(one)
    managed.enter(other)
    database = managed.get(Database)
    managed.close(one)
    assert database.closed == []
    assert managed.get(Database) is database
    managed.close(one)
    managed.close(other)
    assert database.closed == [database]
    managed.enter(one)
    assert managed.get(Database) is not database
    managed.close(one)


def test_what_is_managed_for_one_consumer_stays_out_of_the_app() -> None:
    """27.3e."""
    base = Managed()
    base.add(Database, Database)
    for _ in range(2):
        managed = Managed(base)
        managed.add(Cache, Cache)
        with pytest.raises(ConfigurationError, match="managed twice"):
            managed.add(Database, Database)
        assert managed.kinds == [Database, Cache]
        database, cache = managed.get(Database), managed.get(Cache)
        assert database is base.get(Database)
        assert managed.has_all()
        managed.enter(self := User())
        managed.close(self)
        assert [database.closed, cache.closed] == [[database], [cache]]
    assert not base.has(Cache)
    assert Managed(base).over(base).get(Database) is base.get(Database)
    base.close()


# -- what a factory gives -------------------------------------------------------------------------------------------


def nothing() -> Any: ...


@contextmanager
def wrong_context() -> Iterator[Any]:
    yield 5


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (nothing, r"gave a NoneType; has it a return\?"),
        (lambda: "a text", "gave a str"),
        (wrong_context, "gave a int"),
    ],
)
def test_a_value_of_another_type_is_refused_naming_the_factory(factory: Any, words: str) -> None:
    """27.3c."""
    managed = Managed()
    managed.add(Database, factory)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=rf"the factory .* \(.*test_managed.py:\d+\) of Database {words}"):
            managed.get(Database)


def test_a_protocol_that_cannot_be_asked_takes_anything_but_none() -> None:
    class Protocolled(Protocol):
        def send(self) -> None: ...

    sends: Any = Protocolled
    managed = Managed()
    managed.add(sends, Mailer)
    assert isinstance(managed.get(sends), Mailer)
    other = Managed()
    other.add(sends, nothing)
    with pytest.raises(ConfigurationError, match="NoneType"):
        other.get(sends)


async def make_later() -> Database:
    return Database()


@asynccontextmanager
async def around_later() -> AsyncIterator[Database]:
    yield Database()


@pytest.mark.parametrize("factory", [make_later, around_later])
def test_an_async_factory_is_refused_where_there_is_no_loop(factory: Any) -> None:
    managed = Managed()
    managed.add(Database, factory)
    with pytest.raises(ConfigurationError, match=r"_later .* of Database is async, which threads cannot run"):
        managed.check_plain("threads")
    with pytest.raises(ConfigurationError, match=r"has to be awaited, .* needs=\(Database,\)"):
        managed.get(Database)
    hidden = Managed()
    hidden.add(Database, lambda: factory())
    hidden.check_plain("threads")
    with pytest.raises(ConfigurationError, match="has to be awaited; use connect_asyncio"):
        hidden.get(Database)


def test_a_close_that_must_be_awaited_is(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []

    class Pool:
        async def close(self) -> None:
            closed.append("awaited")

    managed = Managed()
    managed.add(Pool, Pool)
    managed.get(Pool)
    managed.close()
    assert closed == ["awaited"]
    assert caplog.records == []
