"""`manage.py faktory`: the commands of `faktoryctl` without a TARGET."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("django")

from django.core.management import CommandError, call_command, load_command_class

from faktory import Client, Job
from faktory.cli import COMMANDS
from faktory.contrib.django.management.commands.faktory import without_django
from faktory.server import Server
from tests.real_server import RealServer, needs_own_server

SHOP = Path(__file__).parents[3] / "examples" / "django_shop"
PROBE = "tests.contrib.django.probe.tasks"


def test_a_worker_knows_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("faktory", "worker", "--check", "-c", "3")
    shown = capsys.readouterr().out
    assert f"{PROBE}.add" in shown
    assert "queues  default, mail, typed (in this order)" in shown
    assert "pool    threads, 3 at a time" in shown


@pytest.mark.parametrize("command", ["worker", "dev"])
def test_help_speaks_of_no_target(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("faktory", command, "--help")
    shown = capsys.readouterr().out
    assert f"usage: manage.py faktory {command} [options]" in shown
    assert "TARGET" not in shown
    assert "--queues" in shown


def test_a_target_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call_command("faktory", "worker", "shop.jobs:app")
    assert caught.value.code == 2
    assert "expected options alone" in capsys.readouterr().err


def test_each_command_of_faktoryctl_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    command = load_command_class("faktory.contrib.django", "faktory")
    text = command.create_parser("manage.py", "faktory").format_help()
    assert all(name in text for name in COMMANDS)
    with pytest.raises(SystemExit) as caught:
        call_command("faktory", "wroker")
    assert caught.value.code == 2
    assert "did you mean worker?" in capsys.readouterr().err


def test_djangos_own_options_are_taken_anywhere() -> None:
    words, told = without_django(["worker", "--settings", "a.b", "-q", "mail", "--no-color", "--pythonpath=src"])
    assert words == ["worker", "-q", "mail"]
    assert (told.settings, told.no_color, told.pythonpath) == ("a.b", True, "src")


def test_commands_talk_to_the_server_of_the_settings(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    from django.test import override_settings

    before = dict(os.environ)
    try:
        with override_settings(FAKTORY={"URL": server.url}):
            call_command("faktory", "push", f"{PROBE}.add", '{"args": [1]}')
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert [job.jobtype for job in server.queue("default")] == [f"{PROBE}.add"]


def test_djangos_options_reach_the_command_and_what_it_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "lib")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(SystemExit):
        call_command("faktory", "wroker", "--pythonpath", "src")
    assert "\x1b[" in capsys.readouterr().err
    assert os.environ["PYTHONPATH"] == f"src{os.pathsep}lib"
    with pytest.raises(SystemExit):
        call_command("faktory", "wroker", "--no-color")
    assert "\x1b[" not in capsys.readouterr().err
    assert os.environ["PYTHONPATH"] == f"src{os.pathsep}lib"


def test_a_server_of_the_settings_that_is_none_is_said_in_one_line() -> None:
    from django.test import override_settings

    with override_settings(FAKTORY={"URL": "x"}), pytest.raises(CommandError, match="leave it out for FAKTORY_URL"):
        call_command("faktory", "info")


# -- the shop, as its users run it ------------------------------------------------------------------------------------


def environment(url: str, folder: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("FAKTORY_", "DJANGO_", "PROBE_"))}
    return ours | {
        "FAKTORY_URL": url,
        "SHOP_SQLITE": str(folder / "shop.sqlite3"),
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "PYTHONUNBUFFERED": "1",
    }


def manage(*words: str, env: dict[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SHOP / "manage.py"), *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=50,
        **options,
    )


ORDER = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.test import Client
for amount in (3, 2000):
    assert Client().post("/orders/", {"email": "you@example.org", "amount": amount}).status_code == 201
from shop.tasks import charge
charge.enqueue(1)
"""


@needs_own_server
@pytest.mark.slow
def test_the_shop_end_to_end_at_the_real_server(tmp_path: Path) -> None:
    """Jobs that a view pushes on commit are run by `manage.py faktory worker`, by threads and then by children."""
    with RealServer() as server:
        env = environment(server.url, tmp_path)
        done = manage("shell", "-v0", "-c", ORDER, env=env)
        assert done.returncode == 0, done.stderr
        worker = manage("faktory", "worker", "--burst", env=env, cwd=tmp_path)
        assert worker.returncode == 0, worker.stderr
        assert "4 succeeded, 1 failed in " in worker.stdout, worker.stderr
        with Client(server.url) as client:
            client.push(Job("shop.tasks.ask_for_review", [{"args": [1]}]))
            children = manage("faktory", "worker", "--burst", "-P", "processes", "-c", "1", env=env, cwd=tmp_path)
            assert children.stdout.startswith("1 succeeded, 0 failed in "), children.stderr
            stored = client.info()["faktory"]
        sets, due = stored["tasks"], sum(stored["queues"].values())  # the retry, when all of this took 15 s
        assert (sets["Scheduled"]["size"], sets["Retries"]["size"] + due) == (2, 1)
    with closing(sqlite3.connect(env["SHOP_SQLITE"])) as database:
        first, second = database.execute("select status, asked from shop_order order by id").fetchall()
    assert first == ("confirmed", True)
    assert second in [("waiting", False), ("confirmed", False)]  # which of its two jobs came first


@pytest.mark.slow
def test_the_shops_own_tests_pass_as_its_users_run_them(tmp_path: Path) -> None:
    env = environment("tcp://localhost:1", tmp_path) | {"PYTHONWARNINGS": "error"}
    done = manage("test", env=env, cwd=SHOP)
    assert done.returncode == 0, done.stderr
    assert "Ran 8 tests" in done.stderr
    assert manage("makemigrations", "--check", "--dry-run", env=env).returncode == 0


@pytest.mark.slow
def test_a_supervised_worker_finds_the_project_too(tmp_path: Path) -> None:
    """Worker processes under `-p` do not go through manage.py, and end when told."""
    with Server(fetch_wait=0.1) as server:
        env = environment(server.url, tmp_path)
        words = [sys.executable, str(SHOP / "manage.py"), "faktory", "worker", "-p", "2", "-c", "1"]
        process = subprocess.Popen(words, env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + 30
            while len(server.workers) < 2:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=30)
        assert process.returncode == 0, told
