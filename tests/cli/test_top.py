"""`top` on a terminal of its own, which pyte draws as a real one would."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pyte
import pytest

from faktory import Client, Job
from faktory.cli import main
from faktory.cli.screen import Ended, Screen
from faktory.cli.top import encoding_of
from faktory.server import Server
from tests.cli.conftest import Project

Capture = pytest.CaptureFixture[str]
PATIENCE = 10.0


class Watched:
    """`top` at work, and what its terminal shows."""

    def __init__(self, child: pexpect.spawn[str]) -> None:
        self.child = child
        self.screen = pyte.Screen(120, 24)
        self.stream = pyte.Stream(self.screen)
        self.raw = ""
        self.cooked = termios.tcgetattr(self.child.child_fd)[3]

    def until(self, text: str, *, gone: bool = False, poke: str = "") -> str:
        """Read until the screen shows a text, or no longer does; returns the screen. `poke` is typed meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while (text in self.shown) == gone:
            assert time.monotonic() < deadline, self.shown
            self.child.send(poke)
            self.read()
        return self.shown

    def read(self) -> None:
        try:
            data = self.child.read_nonblocking(65_536, 0.2)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return
        self.raw += data
        self.stream.feed(data)

    @property
    def shown(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def end(self) -> int | None:
        """Wait until it has ended; returns its status, or minus the signal."""
        self.raw += self.child.read()
        self.child.close()
        number: int | None = self.child.signalstatus
        status: int | None = self.child.exitstatus
        return -number if number else status

    def assert_restored(self) -> None:
        """The other screen has been left, the cursor is shown, and what is typed is echoed."""
        assert self.raw.rindex("\x1b[?1049l") > self.raw.rindex("\x1b[?1049h")
        assert self.raw.rindex("\x1b[?25h") > self.raw.rindex("\x1b[?25l")

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.child.child_fd)[3] & termios.ECHO)


def watch(project: Project, *words: str, **environment: str) -> Watched:
    """Start `top` on a terminal of its own."""
    return Watched(project.terminal("top", *words, **({"LC_ALL": "C.UTF-8"} | environment)))


@pytest.fixture
def watched(project: Project) -> Iterator[Watched]:
    with Client(project.server.url) as client:
        client.push_bulk([Job("t", queue=name) for name in ("low", "high", "high")])
    watched = watch(project)
    watched.until("q quit")
    yield watched
    watched.child.close(force=True)


def test_it_shows_queues_and_obeys_keys(watched: Watched, server: Server) -> None:
    assert watched.cooked & termios.ECHO
    assert not watched.echoes
    shown = watched.until("high")
    assert server.address in shown
    assert shown.index("high") < shown.index("low")
    watched.child.send("s")
    watched.until("sort: jobs")
    watched.child.send(" ")
    watched.until("PAUSED")
    watched.child.send("x ")  # what means nothing changes nothing
    watched.child.send(" ")
    watched.until("PAUSED", gone=True)
    watched.child.setwinsize(10, 60)
    watched.screen.resize(10, 60)
    watched.until("space pause")
    assert all(len(line) <= 60 for line in watched.shown.splitlines())
    watched.child.send("q")
    assert watched.end() == 0
    watched.assert_restored()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)]
)
def test_the_terminal_is_given_back_at_a_signal(watched: Watched, number: int, status: int) -> None:
    if number == signal.SIGINT:
        watched.child.sendintr()  # ^C
    else:
        watched.child.kill(number)
    assert watched.end() == status
    watched.assert_restored()


@pytest.fixture
def in_shell(project: Project) -> Iterator[Watched]:
    """`top` as a job of a shell: where there is none, ^Z stops nothing."""
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    call = shlex.join([sys.executable, "-m", "faktory", "top"])
    bash = ["bash", "--norc", "--noprofile", "-i"]
    environment = project.environment | {"LC_ALL": "C.UTF-8", "PS1": "$ ", "TERM": "xterm"}
    child = pexpect.spawn(
        bash[0], bash[1:], cwd=project.folder, env=environment, encoding="utf-8", timeout=20, dimensions=(24, 120)
    )
    watched = Watched(child)
    child.sendline(call)
    watched.until("q quit")
    yield watched
    child.close(force=True)


def test_a_stop_gives_the_terminal_back_until_it_goes_on(in_shell: Watched) -> None:
    in_shell.child.send("\x1a")  # ^Z
    in_shell.until("Stopped")
    in_shell.assert_restored()
    in_shell.screen.reset()
    in_shell.child.sendline("stty -a | tr ' ;' '\\n\\n' | grep -x -e echo -e icanon | tr '\\n' '+'; fg")
    in_shell.until("q quit")
    assert "icanon+echo+" in in_shell.raw
    in_shell.child.send("q")
    in_shell.child.sendline("echo ended-$?; exit")
    assert in_shell.end() == 0
    assert "ended-0" in in_shell.raw
    in_shell.assert_restored()


def test_a_stopped_one_that_is_killed_ends(in_shell: Watched) -> None:
    in_shell.child.send("\x1a")
    in_shell.until("Stopped")
    in_shell.child.sendline("kill %1")
    in_shell.until("Terminated", poke="\n")  # bash tells of it before a prompt
    in_shell.child.sendline("exit")
    assert in_shell.end() == 0
    in_shell.assert_restored()


@pytest.mark.slow
def test_rates_come_and_a_server_that_goes_is_told_of(project: Project, server: Server) -> None:
    with Client(server.url) as client:
        client.push(Job("t", queue="q"))
        watched = watch(project, "-i", "1")
        watched.until("-/s")
        client.push_bulk([Job("t", queue="q") for _ in range(50)])
        watched.until("+")
    server.stop()
    watched.until("cannot connect")
    server.start()
    watched.until("cannot connect", gone=True)
    watched.child.send("q")
    assert watched.end() == 0


@pytest.mark.slow
def test_an_answer_that_does_not_come_holds_up_no_interrupt(project: Project, server: Server) -> None:
    watched = watch(project, "-i", "1")
    watched.until("q quit")
    fault = server.faults.delay("INFO", seconds=30)
    deadline = time.monotonic() + PATIENCE
    while not fault.seen:
        assert time.monotonic() < deadline
        watched.read()
    watched.child.sendintr()
    began = time.monotonic()
    assert watched.end() == 130
    assert time.monotonic() - began < 3
    watched.assert_restored()


def test_an_exception_gives_the_terminal_back(project: Project) -> None:
    project.write("sitecustomize.py", BREAK)
    path = os.pathsep.join([str(project.folder), project.environment["PYTHONPATH"]])
    watched = watch(project, PYTHONPATH=path)
    assert watched.end() == 1
    watched.assert_restored()
    assert watched.raw.rindex("RuntimeError: a mistake of ours") > watched.raw.rindex("\x1b[?1049l")


BREAK = """
import faktory.cli.frames

def broken(*_):
    raise RuntimeError("a mistake of ours")

faktory.cli.frames.frame = broken
"""


def test_a_screen_without_utf8_gets_ascii(project: Project, server: Server) -> None:
    with Client(server.url) as client:
        client.push(Job("t", queue="q"))
    watched = watch(project, LC_ALL="C")
    watched.until("q quit")
    watched.child.send("q")
    assert watched.end() == 0
    assert watched.raw.isascii()


# -- the terminal, taken in this process --------------------------------------------------------------------------


class Pty:
    """A terminal of which this process has both ends."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()

    def fileno(self) -> int:
        return self.slave

    encoding = "utf-8"

    def read(self) -> str:
        os.set_blocking(self.master, False)
        try:
            return os.read(self.master, 65_536).decode()
        except BlockingIOError:
            return ""

    @contextmanager
    def screen(self, output: object = None) -> Iterator[Screen]:
        """Take it, as the terminal of this process."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", self)
            patch.setattr("sys.stdout", output or self)
            with Screen() as screen:
                yield screen

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def hang_up(self) -> None:
        os.close(self.master)
        self.master = -1


@pytest.fixture
def pty() -> Iterator[Pty]:
    """The terminal of this process; afterwards its signals are handled as before."""
    pty = Pty()
    before = [signal.getsignal(number) for number in TAKEN]
    yield pty
    for end in (pty.master, pty.slave):
        if end >= 0:
            os.close(end)
    assert [signal.getsignal(number) for number in TAKEN] == before


TAKEN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)


def test_a_terminal_that_cannot_be_drawn_on_is_as_it_was(pty: Pty) -> None:
    with (
        Path(os.devnull).open() as unwritable,
        pytest.raises(OSError, match="Bad file descriptor"),
        pty.screen(unwritable),
    ):
        raise AssertionError
    assert pty.echoes


def test_in_another_thread_nothing_is_taken(pty: Pty) -> None:
    """Signals are for the main thread alone."""
    caught: list[BaseException] = []

    def take() -> None:
        try:
            with pty.screen():
                pass
        except ValueError as exc:
            caught.append(exc)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    assert len(caught) == 1
    assert pty.read() == ""
    assert pty.echoes


def test_after_a_stop_and_at_a_new_size_the_screen_is_drawn_again(pty: Pty) -> None:
    with pty.screen() as screen:
        pty.read()
        signal.raise_signal(signal.SIGWINCH)
        assert screen.wait(60) is None
        assert pty.read() == ""
        signal.raise_signal(signal.SIGCONT)  # as after a SIGSTOP
        assert screen.wait(60) is None
        assert "\x1b[?1049h" in pty.read()
        os.write(pty.master, b"q")
        assert screen.wait(60) == "q"
    assert pty.echoes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_answer_is_not_waited_for_after_a_signal_to_end(pty: Pty, number: signal.Signals) -> None:
    with pytest.raises(Ended) as caught, pty.screen() as screen:
        signal.raise_signal(number)
        with screen.interruptible():
            raise AssertionError
    assert caught.value.number == number
    with pytest.raises(Ended), pty.screen() as screen, screen.interruptible():
        signal.raise_signal(signal.SIGWINCH)
        signal.raise_signal(number)
        raise AssertionError
    assert pty.echoes


def test_a_terminal_that_was_hung_up_ends_it(pty: Pty) -> None:
    with pytest.raises(Ended) as caught, pty.screen() as screen:
        pty.hang_up()
        screen.wait(60)
    assert caught.value.number == signal.SIGHUP


def test_a_terminal_that_was_hung_up_is_not_taken_again(pty: Pty) -> None:
    with pytest.raises(OSError, match="Input/output error"), pty.screen() as screen:
        pty.hang_up()
        signal.raise_signal(signal.SIGCONT)
        screen.wait(60)


# -- one frame --------------------------------------------------------------------------------------------------------


@pytest.fixture
def at_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAKTORY_PROVIDER", raising=False)
    monkeypatch.setenv("FAKTORY_URL", server.url)


@pytest.mark.usefixtures("at_server")
@pytest.mark.parametrize("call", [["top"], ["top", "--once"]])
def test_where_there_is_no_terminal_one_frame_is_printed(server: Server, call: list[str], capsys: Capture) -> None:
    with Client(server.url) as client:
        client.push(Job("t", queue="pay"))
    assert main(call) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    lines = out.splitlines()
    assert lines[0].startswith(server.address)
    assert lines[-1].split()[:2] == ["pay", "1"]


@pytest.mark.usefixtures("at_server")
def test_json_is_what_info_says(server: Server, capsys: Capture) -> None:
    assert main(["top", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["queue_latency"] == {}
    assert told["server"]["description"] == "Faktory"


@pytest.mark.usefixtures("at_server")
def test_it_asks_no_oftener_than_each_second(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["top", "-i", "0.5"]) == 2
    assert "--interval: expected 1 or more, got 0.5: asking is not harmless" in capsys.readouterr().err
    monkeypatch.setenv("FAKTORY_TOP_INTERVAL", "0.9")
    assert main(["top", "--once"]) == 2


def test_no_server_is_3_and_touches_no_terminal(project: Project) -> None:
    project.server.stop()
    watched = watch(project)
    assert watched.end() == 3
    assert "\x1b[?1049h" not in watched.raw


@pytest.mark.parametrize(
    ("environ", "encoding"),
    [
        ({"LANG": "de_DE.UTF-8"}, "utf-8"),
        ({"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, "ascii"),
        ({"LC_CTYPE": "POSIX"}, "ascii"),
        ({}, "ascii"),
        ({"LC_CTYPE": "C.UTF-8"}, "ascii"),  # as Python itself sets it
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, "ascii"),
        ({"LC_ALL": "C.UTF-8"}, "utf-8"),
        ({"LANG": "C.UTF-8"}, "utf-8"),
    ],
)
def test_a_c_locale_shows_ascii(environ: dict[str, str], encoding: str) -> None:
    assert encoding_of(environ, io.TextIOWrapper(io.BytesIO(), encoding="utf-8")) == encoding
