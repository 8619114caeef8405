"""The pytest plugin, in suites as users write them."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import pytest

from faktory import Client, Job
from faktory.server import Server
from tests.real_server import RealServer, needs_own_server
from tests.testing.conftest import IS_INSTALLED, Suite, with_root

pytestmark = pytest.mark.slow  # each runs a pytest of its own, and some in a process of its own

EVERY_FIXTURE = """
    import faktory, os, pytest
    from datetime import UTC, datetime
    from faktory.testing import assert_enqueued, refute_enqueued
    import shop

    @pytest.fixture(autouse=True)
    def nothing_ran():
        shop.ran.clear()

    @pytest.mark.parametrize("turn", range(3))
    def test_a_server_for_each_test(turn, faktory_server, faktory_client):
        shop.welcome.enqueue(turn)
        faktory_client.push(faktory.Job("plain"))
        assert [len(faktory_server.queue(name)) for name in ("mail", "default")] == [1, 1]
        assert os.environ["FAKTORY_URL"] == faktory_server.url

    def test_a_worker(faktory_worker, faktory_server):
        shop.welcome.enqueue(1)
        shop.fetch.enqueue(2)
        shop.fetch.enqueue_in(60, 3)
        worker = faktory_worker(shop.app)
        assert worker.drain().succeeded == 2
        faktory_server.clock.advance(61)
        assert worker.drain().succeeded == 1
        assert sorted(shop.ran) == [1, 2, 3]
        shop.fail.enqueue("so it is")
        with pytest.raises(KeyError, match="so it is"):
            worker.drain()
        assert faktory_server.retries[0].failure.errtype == "KeyError"

    def test_captured(faktory_jobs):
        shop.welcome.enqueue(1)
        assert_enqueued(shop.welcome, 1, queue="mail")
        assert faktory_jobs.of(shop.welcome).one().args == [1]
        faktory_jobs.drain()
        assert shop.ran == [1]
        refute_enqueued(shop.welcome)

    def test_inline(faktory_inline):
        shop.welcome.enqueue(1)
        shop.welcome.enqueue_in(60, 2)
        assert shop.ran == [1]
        assert faktory_inline.one().args == [2]

    @pytest.mark.faktory(enterprise=True)
    class TestMarked:
        @pytest.mark.faktory(password="secret", now=datetime(2030, 1, 2, tzinfo=UTC))
        def test_options(self, faktory_server, faktory_client):
            assert ":secret@" in faktory_server.url
            assert faktory_server.clock.utcnow() == datetime(2030, 1, 2, tzinfo=UTC)
            faktory_client.batch(success=faktory.Job("done")).commit()

        def test_options_of_the_class(self, faktory_client):
            faktory_client.batch(success=faktory.Job("done")).commit()
"""


def test_every_fixture_in_a_strict_suite(suite: Suite) -> None:
    suite(EVERY_FIXTURE).assert_outcomes(passed=8)


def test_under_xdist_in_random_order(suite: Suite) -> None:
    pytest.importorskip("xdist")
    suite(EVERY_FIXTURE, "-n", "2", plugins=("randomly",), apart=True).assert_outcomes(passed=8)


LOOPS = {
    "anyio": """
        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
        async def test_jobs(anyio_backend, faktory_server, faktory_worker):
            await check(faktory_server, faktory_worker)
    """,
    "pytest_asyncio": """
        @pytest.mark.asyncio
        async def test_jobs(faktory_server, faktory_worker):
            await check(faktory_server, faktory_worker)

        @pytest.mark.asyncio
        async def test_again_on_another_loop(faktory_server, faktory_worker):
            await check(faktory_server, faktory_worker)
    """,
    "pytest_trio": """
        @pytest.mark.trio
        async def test_jobs(faktory_server, faktory_worker):
            await check(faktory_server, faktory_worker)

        @pytest.mark.trio
        async def test_again(faktory_server, faktory_worker):
            await check(faktory_server, faktory_worker)
    """,
}


@pytest.mark.parametrize("library", list(LOOPS))
def test_async_tests(suite: Suite, library: str) -> None:
    pytest.importorskip(library)
    head = """
import asyncio, pytest, shop, sys
import faktory.asyncio, faktory.trio
from faktory import Job

clients = {kind: kind.Client("tcp://never.invalid:7419") for kind in (faktory.asyncio, faktory.trio)}

async def check(server, make_worker):
    trio = sys.modules["trio"]
    kind = faktory.trio if trio.lowlevel.in_trio_run() else faktory.asyncio
    shop.ran.clear()
    await shop.fetch.aenqueue(1)
    await clients[kind].push(Job("fetch", [2]))
    worker = make_worker(shop.app)
    assert (await worker.adrain()).succeeded == 2
    shop.fetch.enqueue(3)
    assert worker.drain().succeeded == 1
    assert shop.ran == [1, 2, 3]
"""
    name = {"anyio": "anyio", "pytest_asyncio": "asyncio", "pytest_trio": "trio"}[library]
    options = ("-o", "asyncio_default_fixture_loop_scope=function") if name == "asyncio" else ()
    result = suite(head + dedent(LOOPS[library]), *options, plugins=(name,), apart=True)
    result.assert_outcomes(passed=2)


def test_a_job_that_still_runs_fails_the_test_and_the_next_is_none_the_worse(suite: Suite) -> None:
    result = suite("""
        import threading, time, faktory, shop

        def test_leaves_a_job(faktory_worker):
            begun = threading.Event()
            slow = faktory.App()

            @slow.job
            def wait() -> None:
                begun.set()
                time.sleep(0.3)

            wait.enqueue()
            worker = faktory_worker(slow)
            threading.Thread(target=worker.consumer.run, args=(["default"],)).start()
            assert begun.wait(10)

        def test_the_next(faktory_worker):
            shop.welcome.enqueue(1)
            assert faktory_worker(shop.app).drain().succeeded == 1
    """)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*the test has ended, but 1 jobs still run: wait()*"])


def test_a_failing_test_leaves_nothing_in_force(suite: Suite) -> None:
    result = suite("""
        import os, shop
        from faktory import override

        def test_fails(faktory_server):
            shop.welcome.enqueue(1)
            raise ZeroDivisionError

        def test_fails_captured(faktory_jobs):
            raise ZeroDivisionError

        def test_nothing_is_in_force():
            assert override.active() is None
            assert "FAKTORY_URL" not in os.environ
    """)
    result.assert_outcomes(passed=1, failed=2)


def test_two_places_for_the_jobs_of_a_test_are_refused(suite: Suite) -> None:
    result = suite("""
        def test_both(faktory_jobs, faktory_worker):
            pass
    """)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*this one uses faktory_jobs and faktory_server; for a part of a test write `with*"])


@pytest.mark.parametrize("mark", ["'secret'", "enterprice=True"])
def test_a_misspelt_mark_is_told(suite: Suite, mark: str) -> None:
    result = suite(f"""
        import pytest

        @pytest.mark.faktory({mark})
        def test_marked(faktory_server):
            pass
    """)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*@pytest.mark.faktory takes the keywords enterprise, password, now, got*"])


# -- a real server ----------------------------------------------------------------------------------------------------

AGAINST_A_REAL_ONE = """
    import pytest, shop
    from datetime import UTC, datetime
    from faktory import ConfigurationError
    from faktory.testing import assert_enqueued

    def test_jobs(faktory_server, faktory_worker, faktory_client):
        shop.welcome.enqueue(1)
        assert faktory_server.queues["mail"] >= 1
        assert faktory_server.address in faktory_server.url
        assert "RemoteServer" in repr(faktory_server)
        assert faktory_worker(shop.app).drain().succeeded >= 1
        with pytest.raises(ConfigurationError, match="leave out --faktory-url"):
            assert_enqueued(shop.welcome)

    def test_the_clock(faktory_server):
        faktory_server.clock.advance(60)

    @pytest.mark.faktory(now=datetime(2030, 1, 2, tzinfo=UTC))
    def test_the_time(faktory_server):
        pass
"""


def test_a_real_server_is_flushed_only_when_that_is_asked_for(suite: Suite) -> None:
    with Server(fetch_wait=0.01) as real, Client(real.url) as client:
        client.push(Job("others", queue="others"))
        suite(AGAINST_A_REAL_ONE, "--faktory-url", real.url).assert_outcomes(passed=1, skipped=2)
        assert len(real.queue("others")) == 1
        suite(AGAINST_A_REAL_ONE, "--faktory-url", real.url, "--faktory-flush").assert_outcomes(passed=1, skipped=2)
        assert len(real.queue("others")) == 0


@needs_own_server
def test_against_the_real_one(suite: Suite) -> None:
    with RealServer() as real:
        suite(AGAINST_A_REAL_ONE, "--faktory-url", real.url).assert_outcomes(passed=1, skipped=2)


# -- what it costs ----------------------------------------------------------------------------------------------------


def test_the_plugin_is_found_and_imports_nothing_of_ours_before_a_fixture_is_used(suite: Suite) -> None:
    suite(
        """
        import sys

        def test_modules():
            ours = {name for name in sys.modules if name.split(".")[0] == "faktory"}
            runtime = {"faktory.runtime", "faktory.runtime.loading"}
            assert ours <= {"faktory", "faktory.testing", "faktory.testing.plugin"} | runtime

        def test_used(faktory_jobs):
            pass
    """,
        apart=True,
    ).assert_outcomes(passed=2)


def test_the_options_and_the_mark_are_described(suite: Suite) -> None:
    result = suite("", "--help")
    result.stdout.fnmatch_lines(["*--faktory-url=URL*", "*--faktory-flush*"])
    suite("", "--markers").stdout.fnmatch_lines(["@pytest.mark.faktory(enterprise, password, now): *"])


@pytest.mark.skipif(not IS_INSTALLED, reason="the package is not installed here")
def test_the_plugin_can_be_left_out(suite: Suite) -> None:
    suite("def test_it(faktory_jobs): pass").assert_outcomes(passed=1)
    suite("def test_it(faktory_jobs): pass", "-p", "no:faktory").assert_outcomes(errors=1)


def test_a_program_that_has_imported_the_package_before_pytest_is_not_warned(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_shop="def test_it(): pass")
    program = "import faktory, pytest, sys; sys.exit(pytest.main(['-W', 'error', '-p', 'no:asyncio', 'test_shop.py']))"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": with_root()},
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_users_own_package_is_covered_as_a_whole(suite: Suite, pytester: pytest.Pytester) -> None:
    pytest.importorskip("coverage")
    pytester.makepyfile(
        test_shop="""
        import shop

        def test_all(faktory_inline):
            shop.welcome.enqueue(1)
            shop.fetch.enqueue(2)
            try:
                shop.fail.enqueue("x")
            except KeyError:
                pass
    """
    )
    named = [] if IS_INSTALLED else ["-p", "faktory.testing.plugin"]
    program = [sys.executable, "-m", "coverage"]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("COV")}  # we may be measured, too
    environment = ours | {"PYTHONPATH": with_root()}
    command = [*program, "run", "--source=shop", "-m", "pytest", "-q", "-W", "error", *named, "-p", "no:asyncio"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = subprocess.run(
        [*program, "report"], capture_output=True, text=True, env=environment, check=True, timeout=60
    ).stdout
    assert "100%" in report.splitlines()[-1]


def test_two_hundred_tests_with_a_server_each(suite: Suite) -> None:
    result = suite("""
        import pytest, shop

        @pytest.mark.parametrize("turn", range(200))
        def test_one(turn, faktory_server):
            shop.welcome.enqueue(turn)
            assert len(faktory_server.queue("mail")) == 1
    """)
    result.assert_outcomes(passed=200)
    assert result.duration < 20  # 0.6 s on an idle machine
