"""The command line: its rules, what it prints and where, `push` and `info`; `server` has its tests in tests/server."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from faktory import __version__
from faktory.cli import COMMANDS, main
from faktory.cli.output import Output, OutputFailed, PipeClosed, escaped
from faktory.client import Client
from faktory.server import Server
from tests.scripted import Peer, ScriptedServer

ROOT = Path(__file__).parents[1]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def at_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command finds the test's server; no setting of the user's reaches it."""
    for name in ("FAKTORY_PROVIDER", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAKTORY_URL", server.url)


# -- the rules of calls ------------------------------------------------------------------------------------------


def test_no_command_is_help_on_standard_error(capsys: Capture) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(name in err for name in COMMANDS)
    assert main(["--help"]) == main(["-h"]) == 0
    out, _ = capsys.readouterr()
    for status in ("  0  ", "  1  ", "  2  ", "  3  ", "  130  ", "  141  "):
        assert status in out


def test_the_version_is_told(capsys: Capture) -> None:
    assert main(["--version"]) == main(["--version", "info"]) == 0
    assert capsys.readouterr().out.startswith(f"faktory-sdk {__version__}, Python 3.")


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        ("inof", "there is no command 'inof'; did you mean info?"),
        ("nonsense", "there is no command 'nonsense'\n"),
        ("--jsn info", "there is no option --jsn before the command; did you mean --json?"),
        ("info --jsn", "there is no option --jsn; did you mean --json?"),
        ("info --ur x", "there is no option --ur; did you mean --url?"),  # no abbreviations
        ("info --json=1", "ignored explicit argument"),
        ("info --color blue", "--color: invalid choice"),
        ("info x y", "expected options alone, got 2 other words; for a server's URL write --url URL"),
        ("info -- x", "expected options alone, got 1 other word"),
        ("server x", "expected options alone, got 1 other word\n"),
        ("server --url x", "there is no option --url"),
        ("push", "expected a JOBTYPE, or --from FILE"),
        ("push t -1e5", "there is no option -1; write -- before words that begin with a dash"),
        ("push t --in 5 --at 2030-01-01T00:00:00Z", "not allowed with argument"),
        ("push t --at 2030-01-01T00:00:00", "expected a time with a zone"),
        ("push t --at soon", "expected a time with a zone, like 2026-11-27T08:00:00Z, got 'soon'"),
        ("push t --in soon", "expected seconds, got 'soon'"),
        ("push t --in inf", "expected seconds, got 'inf'"),
        ("push t --retry x", "expected a whole number, got 'x'"),
        ("push t --retry " + "1" * 5_000, "a whole number of at most 20 digits"),
        ("push t --custom x", "--custom must be KEY=JSON"),
        ("push t -q 'a b'", "queue must be made of"),
        ("push t --jid short", "jid must be text of at least 8 bytes"),
        ("push t --url nonsense", "expected tcp://"),
        ("push t --from x", "--from takes no JOBTYPE"),
        ("push --from x -q low", "--from takes no JOBTYPE and no options of a job"),
        ("push --from /nowhere", "cannot read '/nowhere': No such file or directory"),
        ("info --ca /nowhere", "--ca is for servers with TLS"),
        ("info --url tcp+tls://localhost --ca /nowhere", "cannot use the certificate authority '/nowhere'"),
        ("server --key x", "--key needs --cert"),
        ("server --cert /nowhere", "cannot use the certificate '/nowhere'"),
        ("server --bind 0.0.0.0:0", "set a password"),
        ("server --bind x", "bind must be host:port"),
    ],
)
def test_a_wrong_call_is_explained_with_2(server: Server, capsys: Capture, call: str, hint: str) -> None:
    assert main(shlex.split(call)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert hint in err
    assert err.startswith("faktoryctl")
    assert "Traceback" not in err
    assert server.queues == {}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(name: str, capsys: Capture) -> None:
    assert main([name, "--help"]) == main(["--help", name]) == main([name, "-h", "--nonsense"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: faktoryctl {name} [options]")
    assert "--color" in out


def test_common_options_stand_before_or_after_the_command(server: Server, capsys: Capture) -> None:
    url = server.url
    for call in (
        ["--url", url, "--json", "info"],
        ["info", "--json", "--url", url],
        [f"--url={url}", "info", "--json"],
    ):
        assert main(call) == 0
        assert json.loads(capsys.readouterr().out)["server"]["description"] == "Faktory"


@pytest.mark.parametrize(
    "call",
    [
        "--url tcp://:{0}@127.0.0.1:1 info",
        "info tcp://:{0}@h",
        "tcp://:{0}@h",
        "tcp://:{0}@h info",
        "info --url tcp://:{0}@h:port",
        "info --url :{0}@h",
        "--urls tcp://:{0}@h info",
        "info --url=tcp://:{0}@h --json=x",
        "push t -q tcp://:{0}@h",
        "push t --retry tcp://:{0}@h",
        "push t --in tcp://:{0}@h",
        "push t --at tcp://:{0}@h",
        "push t --jid tcp://:{0}@h --custom tcp://:{0}@h",
        "push --from tcp://:{0}@h",
        "push --rety={0} t",
        "info --passwd={0}",
        "info --passwd {0}",
        "info --ca tcp://:{0}@h --url tcp+tls://h",
        "info --color tcp://:{0}@h",
        "server --bind tcp://:{0}@h",
        "server --cert tcp://:{0}@h",
        "server tcp://:{0}@h",
        "server --pasword {0}",
    ],
)
@pytest.mark.parametrize("password", ["pw", "s3cret", "l0ng'secret" * 20, "\N{LATIN SMALL LETTER E WITH ACUTE}t\x1b"])
def test_no_message_repeats_a_password(call: str, password: str, capsys: Capture) -> None:
    assert main([word.format(password) for word in call.split(" ")]) in (2, 3)
    out, err = capsys.readouterr()
    assert out == ""
    for form in (password, repr(password)[1:-1], ascii(password)[1:-1], password[:9]):
        assert form not in err.replace("--pasword", "").replace("--passwd", "").replace("--password", "")


@pytest.mark.parametrize(
    ("variable", "call"),
    [
        ("FAKTORY_PUSH_QUEUE", "push t"),
        ("FAKTORY_PUSH_RETRY", "push t"),
        ("FAKTORY_SERVER_BIND", "server"),
        ("FAKTORY_WORKER_LOG_LEVEL", "worker a:b"),
    ],
)
@pytest.mark.parametrize("password", ["s3cret", "p@ss", "l0ng'secret" * 20])
def test_no_message_repeats_a_password_of_the_environment(
    variable: str, call: str, password: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv(variable, f"tcp://:{password}@h")
    assert main(call.split()) == 2
    for part in (password, password[:9], password[-9:]):
        assert part not in capsys.readouterr().err


@pytest.mark.parametrize("text", ["retry = ['tcp://:s3cret@h']", "'tcp://:p@s3cret@h' = 1"])
def test_no_message_repeats_a_password_of_a_file(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.faktory]\n{text}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAKTORY_URL", raising=False)
    assert main(["push", "t"]) == 2
    err = capsys.readouterr().err
    assert "pyproject.toml" in err
    assert "s3cret" not in err


def test_a_url_that_was_cut_shows_no_password(capsys: Capture) -> None:
    Output("x").error("got 'tcp://:s3cre")
    Output("x").error("at tcp://host:7419")
    assert capsys.readouterr().err == "x: got 'tcp://***\nx: at tcp://host:7419\n"


def test_control_characters_of_arguments_are_escaped(capsys: Capture) -> None:
    assert main(["\x1b[31mred"]) == 2
    assert main(["push", "t", "-q", "a\x1b]0;title\x07"]) == 2
    assert "\x1b" not in capsys.readouterr().err


# -- what is printed -----------------------------------------------------------------------------------------------


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert escaped("plain \N{SNOWMAN}") == "plain \N{SNOWMAN}"
    assert escaped("\x1b[2J\r\n\u202e\x9b") == "\\x1b[2J\\r\\n\\u202e\\x9b"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("when", "environ", "is_terminal", "is_styled"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
    ],
)
def test_color_is_for_terminals_and_for_those_who_want_it(
    monkeypatch: pytest.MonkeyPatch, when: str, environ: dict[str, str], is_terminal: bool, is_styled: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal() if is_terminal else io.StringIO())
    output = Output("x", environ=environ)
    output.color = when
    assert (output.bold("a") == "\x1b[1ma\x1b[0m") == is_styled


def test_a_command_with_color_uses_it(capsys: Capture) -> None:
    assert main(["info", "--color", "always"]) == 0
    assert "\x1b[1mqueue" in capsys.readouterr().out
    assert main(["info", "--color", "always", "--json"]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "call", ["--color never inof", "--color=never inof", "info --color never --bogus", "--bad --color=never"]
)
def test_color_is_refused_in_a_call_that_cannot_be_read_too(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(call.split()) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert main(call.replace("never", "auto").split()) == 2
    assert "\x1b" in capsys.readouterr().err


class Broken(io.StringIO):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def flush(self) -> None:
        raise self.error


def test_a_broken_output_is_one_of_two_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output("x")
    for error, expected in (
        (BrokenPipeError(32, "Broken pipe"), PipeClosed),
        (OSError(28, "No space left on device"), OutputFailed),
        (ValueError("I/O operation on closed file"), OutputFailed),
    ):
        with monkeypatch.context() as patch, pytest.raises(expected):
            patch.setattr(sys, "stdout", Broken(error))
            output.result("text")
    with monkeypatch.context() as patch, pytest.raises(OutputFailed, match="is closed"):
        patch.setattr(sys, "stdout", None)
        output.result("text")
    for stream in (None, Broken(OSError(5, "Input/output error"))):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            output.error("nobody can be told")


@pytest.mark.parametrize(
    ("error", "status"), [(BrokenPipeError(32, "Broken pipe"), 141), (OSError(28, "No space left on device"), 1)]
)
@pytest.mark.parametrize("call", [["info"], ["info", "--json"], ["--help"], ["push", "--help"], ["--version"]])
def test_output_that_cannot_be_written_is_no_traceback(
    call: list[str], error: OSError, status: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Broken(error))
        assert main(call) == status
    err = capsys.readouterr().err
    assert err == ("" if status == 141 else "faktoryctl: cannot write the output: No space left on device\n")


def test_a_text_without_an_encoding_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    Output("x").result("\N{SNOWMAN}")
    assert stream.getvalue() == "\N{SNOWMAN}\n"


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "info", interrupted)
    monkeypatch.setattr(Client, "push", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == ""
    assert main(["push", "t", "--jid", "jid-00000"]) == 130
    assert "interrupted: the job jid-00000 is stored or not" in capsys.readouterr().err


# -- push ------------------------------------------------------------------------------------------------------------


def test_push_stores_a_job_with_json_where_it_is_json(server: Server, capsys: Capture) -> None:
    code = main(["push", "resize", "cat.png", "640", "[1, null]", "--url", server.url, "-q", "images", "--retry", "3"])
    assert code == 0
    (job,) = server.queue("images")
    assert capsys.readouterr().out == f"{job.jid}\n"
    assert (job.args, job.retry) == (["cat.png", 640, [1, None]], 3)
    assert main(["push", "resize", "--json", "--jid", "jid-00000"]) == 0
    assert json.loads(capsys.readouterr().out) == {"jid": "jid-00000"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('"5"', "5"),
        ('{"a": {"b": [1]}}', {"a": {"b": [1]}}),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", None),  # an option, unless it follows --
        ("[NaN]", "[NaN]"),
        ("[1, 2", "[1, 2"),
        ("", ""),
        (" ", " "),
        ("\N{SNOWMAN}", "\N{SNOWMAN}"),
    ],
)
def test_an_argument_is_json_where_it_is_json_else_text(server: Server, text: str, value: Any) -> None:
    if text != "-Infinity":
        assert main(["push", "t", text]) == 0
        assert server.queue("default")[0].args == [value]
    assert main(["push", "t", "--", text, "--json"]) == 0
    assert server.queue("default")[-1].args == [text if text == "-Infinity" else value, "--json"]


@pytest.mark.parametrize(
    "text",
    [
        "1" * 20,
        "-" + "1" * 20,
        "1" * 5_000,
        f"[{'1' * 5_000}]",
        "1e999",
        "[" * 2_000 + "]" * 2_000,
        "[" * 200_000,
        '{"a": 1, "a": 2}',
        '[{"x": {"a": 1, "a": 1}}]',
        r'"\ud800"',
    ],
    ids=lambda text: text[:12],
)
def test_json_that_would_not_arrive_as_it_is_is_refused(server: Server, text: str, capsys: Capture) -> None:
    assert main(["push", "t", "--", text]) in ((2,) if text != "[" * 200_000 else (0, 2))
    if text != "[" * 200_000:
        assert server.queues == {}
        err = capsys.readouterr().err
        assert len(err) < 500


def test_words_and_options_may_be_mixed(server: Server) -> None:
    assert main(["push", "t", "1", "-q", "low", "2", "--", "-5", "--", "--retry"]) == 0
    assert server.queue("low")[0].args == [1, 2, -5, "--", "--retry"]
    assert main(["push", "--retry", "-1", "t", "-5", "-q", "low"]) == 0
    assert (server.queue("low")[1].args, server.queue("low")[1].retry) == ([-5], -1)


def test_push_says_when_and_how(server: Server) -> None:
    when = datetime.now(UTC) + timedelta(days=2)
    assert main(["push", "t", "--in", "60", "--reserve-for", "90", "--custom", "a=[1]", "--custom", "b=x=y"]) == 0
    assert main(["push", "t", "--at", when.isoformat()]) == 0
    first, second = server.scheduled
    assert (first.reserve_for, first.custom) == (90, {"a": [1], "b": "x=y"})
    assert second.at is not None
    assert abs(second.at - when) < timedelta(seconds=1)


def test_a_push_again_under_the_same_jid(server: Server) -> None:
    server.faults.drop("PUSHB")
    assert main(["push", "t", "--jid", "jid-00000"]) == 6
    assert main(["push", "t", "--jid", "jid-00000"]) == 0
    assert server.queue("default").jids == ["jid-00000", "jid-00000"]


STATUSES: dict[str, tuple[Callable[[Server], object], int, str, int]] = {
    "stored": (lambda server: None, 0, "", 1),
    "refused": (lambda server: server.faults.refuse("PUSHB", text="no"), 1, "no", 0),
    "no reply": (lambda server: server.faults.drop("PUSHB"), 6, "is stored or not: to make sure push it again", 1),
    "half a reply": (lambda server: server.faults.cut("PUSHB", after=2), 6, "is stored or not", 1),
    "no greeting": (lambda server: server.faults.drop("HI", times=None), 3, "", 0),
    "stopped": (lambda server: server.stop(), 3, "cannot connect", 0),
}


@pytest.mark.parametrize("case", STATUSES)
def test_the_status_of_a_push_says_whether_it_is_stored(server: Server, capsys: Capture, case: str) -> None:
    harm, status, text, stored = STATUSES[case]
    harm(server)
    assert main(["push", "t"]) == status
    out, err = capsys.readouterr()
    assert bool(out) == (status == 0)
    assert text in err
    assert "Traceback" not in err
    assert len(server.queue("default")) == stored


def test_a_wrong_password_is_3(capsys: Capture) -> None:
    with Server(password="right") as server:
        assert main(["push", "t", "--url", f"tcp://:wr0ng@127.0.0.1:{server.port}"]) == 3
        assert main(["info", "--url", server.address]) == 3
    assert "wr0ng" not in capsys.readouterr().err


def test_a_job_that_is_stored_and_cannot_be_reported_is_5(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Broken(OSError(28, "No space left on device")))
        assert main(["push", "t"]) == 5
        patch.setattr(sys, "stdout", Broken(BrokenPipeError(32, "Broken pipe")))
        assert main(["push", "t"]) == 141
    err = capsys.readouterr().err
    assert err == (
        f"faktoryctl: the job {server.queue('default').jids[0]} is stored, but this cannot be written to the output: "
        "No space left on device\n"
    )
    assert len(server.queue("default")) == 2


def test_an_own_authority_is_trusted_on_request(tmp_path: Path, capsys: Capture) -> None:
    import ssl

    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Server(ssl_context=context, bind="localhost:0") as server:
        assert main(["push", "t", "--url", server.url]) == 3
        assert "faktoryctl: --ca FILE" in capsys.readouterr().err
        assert main(["push", "t", "--url", server.url, "--ca", str(tmp_path / "ca.pem")]) == 0
        assert main(["--ca", str(tmp_path / "ca.pem"), "--url", server.url, "info"]) == 0


# -- push --from -------------------------------------------------------------------------------------------------------


LINES = r"""
{"jobtype": "a"}
{"jobtype": "a", "args": [1], "at": "2099-01-01T00:00:00Z", "queue": "low", "custom": {"x": 1}}
no json
[1]
{"jobtype": 5}
{"jobtype": "a", "arg": []}
{"args": []}
{"jobtype": "a", "at": "soon"}
{"jobtype": "a", "jid": "same-same"}
{"jobtype": "a", "jid": "same-same"}
{"jobtype": "a", "args": [11111111111111111111]}
"""


def test_the_jobs_of_a_file_are_stored_and_the_refused_ones_told(
    server: Server, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_bytes(LINES.encode() + b'{"jobtype": "\xff"}\n')
    assert main(["push", "--from", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == "stored 3, refused 9\n"
    for number, reason in {
        4: "expected a JSON object",
        5: "expected a JSON object",
        6: "jobtype must be",
        7: "got the field 'arg'",
        8: "got no jobtype",
        9: "at: expected a time with a zone",
        11: "the jid 'same-same' comes twice",
        12: "beyond 2^53",
        13: "expected UTF-8",
    }.items():
        assert any(f"line {number}: " in line and reason in line for line in err.splitlines()), (number, err)
    assert (len(server.queue("default")), len(server.scheduled)) == (2, 1)


def test_standard_input_is_a_file_too(server: Server, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b'{"jobtype": "a"}\n' * 3))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["push", "--from", "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"stored": 3, "refused": 0}
    assert len(server.queue("default")) == 3


def test_a_closed_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["push", "--from", "-"]) == 2
    assert "cannot read '-': standard input is closed" in capsys.readouterr().err


class BrokenFile(io.RawIOBase):
    """A file on a disk that fails after the first lines."""

    def __init__(self) -> None:
        self._parts = [b'{"jobtype": "a"}\n' * 1_500]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._parts:
            raise OSError(errno.EIO, "Input/output error")
        part = self._parts.pop()
        buffer[: len(part)] = part
        return len(part)


def test_a_file_that_breaks_off_is_told_of_with_what_is_stored(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    stdin = io.TextIOWrapper(io.BufferedReader(BrokenFile(), 1 << 16))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["push", "--from", "-"]) == 1
    out, err = capsys.readouterr()
    assert (out, "Traceback" in err) == ("", False)
    assert "cannot read '-' to its end: Input/output error" in err
    assert f"{len(server.queue('default'))} jobs were stored and 0 refused" in err


def test_a_queue_is_read_as_utf8_in_any_locale(capsys: Capture) -> None:
    """Without UTF-8 mode the C locale gives surrogates."""
    assert main(["push", "t", "-q", "gr\udcc3\udcbcn"]) == 2
    assert "got str 'gr\\xfcn'" in capsys.readouterr().err


def test_many_keys_are_read_in_linear_time(server: Server) -> None:
    text = json.dumps({f"key{number}": number for number in range(20_000)})
    started = time.process_time()
    assert main(["push", "t", text]) == 0
    assert time.process_time() - started < 2


def test_what_the_server_refuses_of_a_file_is_told(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "jobs.jsonl"
    lines = [json.dumps({"jobtype": "a", "jid": f"jid-0000{n}", "custom": {"unique_for": 60}}) for n in range(3)]
    file.write_text("\n".join(lines))
    with Server(enterprise=True) as server:
        assert main(["push", "--from", str(file), "--url", server.url]) == 1
    out, err = capsys.readouterr()
    assert out == "stored 1, refused 2\n"
    assert err.count("NOTUNIQUE Job not unique") == 2


def test_an_error_in_the_midst_of_a_file_says_what_is_stored(server: Server, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"jobtype": "a"}\n' * 1_500)
    server.faults.drop("PUSHB", every=2)
    assert main(["push", "--from", str(file)]) == 6
    assert "before this error 1000 jobs were stored and 0 refused" in capsys.readouterr().err
    server.faults.clear()
    server.stop()
    assert main(["push", "--from", str(file)]) == 3
    assert "before this error 0 jobs were stored" in capsys.readouterr().err


# -- info --------------------------------------------------------------------------------------------------------------


def test_info_shows_queues_with_their_latency_and_sets(server: Server, capsys: Capture) -> None:
    assert main(["push", "work"]) == 0
    server.clock.advance(7)
    capsys.readouterr()
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "default     1         7.0 s" in out
    assert "retries" in out
    assert main(["info", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["faktory"]["queues"] == {"default": 1}
    assert 7 <= told["queue_latency"]["default"] < 8


def test_a_queue_whose_latency_the_server_cannot_tell_hides_no_other(server: Server, capsys: Capture) -> None:
    with Client(server.url) as client:
        assert main(["push", "work", "-q", "good"]) == main(["push", "work", "--in", "60"]) == 0
        from faktory.commands import JobFilter

        client.requeue("scheduled", JobFilter.everything())  # without its time of entry
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "default     1             ?" in out
    assert "good        1         0." in out


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"faktory": None, "server": None},
        {"faktory": 5, "server": "x"},
        {"faktory": [], "server": []},
        {"faktory": {"queues": None, "sets": None}},
        {"faktory": {"queues": [1], "sets": "x"}},
        {"faktory": {"queues": {"a": None, "b": {"x": 1}, "c": "\x1b[2J"}}},
        {"faktory": {"queues": {"": 1, "a b": 1, "\x1b]0;x\x07": 1, "\N{SNOWMAN}": 1, "\u202e": 2}}},
        {"faktory": {"total_processed": [], "total_failures": {}, "sets": {"\r": True}}},
        {"server": {"description": "\x1b[31mFaktory\r\n", "faktory_version": 1, "uptime": "\x07", "connections": None}},
        {"server": {"description": "x" * 100_000, "uptime": float("1e300")}},
        {"faktory": {"queues": {"x" * 10_000: 10**50}}},
    ],
)
def test_whatever_a_server_says_is_shown_and_obeyed_by_no_terminal(
    server: Server, info: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(server._broker, "info", lambda now: info)
    for options in ([], ["--json"]):
        assert main(["info", *options]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert all(line.isprintable() for line in out.splitlines())
        assert "\r" not in out


@pytest.mark.parametrize(
    "reply",
    [
        *(
            b"$-1",
            b"+OK",
            b":5",
            b"$2\r\n[]",
            b"$4\r\nnull",
            b"$1\r\n{",
            b"$3\r\n\xff\xfe\xfd",
            b"HTTP/1.1 400 Bad Request",
        ),
        b"$2000\r\n" + b"[" * 2_000,
        b"$8\r\n\x1b[2J\x1b[1m",
        b"-ERR \x1b[2J",
    ],
)
@pytest.mark.parametrize("odd", ["INFO", "QUEUE"])
def test_a_reply_that_is_none_is_no_traceback(
    reply: bytes, odd: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    info = b'{"faktory":{"queues":{"default":1}}}'

    def script(peer: Peer) -> None:
        peer.greet()
        while line := peer.line():
            if line.startswith(odd.encode()):
                peer.say(reply + b"\r\n")
            else:
                peer.say(b"$%d\r\n%b\r\n" % (len(info), info) if line == b"INFO" else b"$2\r\n{}\r\n")

    with ScriptedServer(script) as scripted:
        monkeypatch.setenv("FAKTORY_URL", scripted.url)
        status = main(["info"])
    out, err = capsys.readouterr()
    if odd == "INFO":
        assert status == (1 if reply.startswith(b"-ERR") else 3)
        assert err.startswith("faktoryctl: ")
    else:
        assert (status, err) == (0, "")
        assert "default     1" in out
    assert "Traceback" not in err
    assert all(line.isprintable() for line in (out + err).splitlines())


@pytest.mark.parametrize("command", ["info", "top"])
def test_json_is_json_whatever_numbers_a_server_says(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    info = b'{"faktory":{"total_failures":NaN,"total_processed":1e999,"queues":{"default":-Infinity}},"server":{}}'

    def script(peer: Peer) -> None:
        peer.greet()
        while line := peer.line():
            reply = info if line == b"INFO" else b'{"default":1.5}'
            peer.say(b"$%d\r\n%b\r\n" % (len(reply), reply))

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    with ScriptedServer(script) as scripted:
        monkeypatch.setenv("FAKTORY_URL", scripted.url)
        assert main([command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert told["faktory"] == {"total_failures": None, "total_processed": None, "queues": {"default": None}}


def test_no_server_is_one_line(server: Server, capsys: Capture) -> None:
    server.stop()
    assert main(["info"]) == 3
    err = capsys.readouterr().err
    assert err.startswith("faktoryctl: cannot connect to")
    assert err.count("\n") == 1


# -- in a real shell ---------------------------------------------------------------------------------------------------


def shell(script: str, **environ: str) -> tuple[int, str, str]:
    """Run a script of bash with `pipefail`, in which $F is the command."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "F": f"{sys.executable} -m faktory", **environ},
    )
    return done.returncode, done.stdout, done.stderr


NO_SPACE = "No space left on device\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "status", "words", "stored"),
    [
        ("{ sleep 0.2; $F push t; } | true", 141, "", 1),
        ("{ sleep 0.2; $F info; } | true", 141, "", 0),
        ("{ sleep 0.2; $F push --help; } | true", 141, "", 0),
        ("$F push t > /dev/full", 5, "is stored, but this cannot be written to the output: " + NO_SPACE, 1),
        ("$F info > /dev/full", 1, "python -m faktory: cannot write the output: " + NO_SPACE, 0),
        ("$F --help > /dev/full", 1, "python -m faktory: cannot write the output: " + NO_SPACE, 0),
        ("$F push t >&-", 5, "is stored, but this cannot be written to the output: standard output is closed\n", 1),
        ("$F nonsense 2>&-", 2, "", 0),
        ("$F push t > /dev/full 2> /dev/full", 5, "", 1),
        ("$F push t | head -1", 0, "", 1),
        ("jid=$($F push t) && $F push t --jid $jid", 0, "", 2),
    ],
)
def test_in_a_shell(server: Server, script: str, status: int, words: str, stored: int) -> None:
    code, _, err = shell(script)
    assert (code, len(server.queue("default"))) == (status, stored), err
    assert err.endswith(words)
    assert err.count("\n") == bool(words)


@pytest.mark.slow
@pytest.mark.parametrize("utf8", ["0", "1"])
def test_arguments_are_utf8_in_any_locale(server: Server, utf8: str) -> None:
    text = "\N{LATIN SMALL LETTER E WITH ACUTE}\N{SNOWMAN}"
    code, out, err = shell(
        f"$F push 't{text}' '{text}' '[\"{text}\"]' --custom 'k={text}' --jid 'jid-{text}'",
        LC_ALL="C",
        PYTHONUTF8=utf8,
        PYTHONCOERCECLOCALE="0",
        PYTHONIOENCODING="",
    )
    assert (code, err) == (0, "")
    (job,) = server.queue("default")
    assert (job.jobtype, job.args, job.custom) == (f"t{text}", [text, [text]], {"k": text})
    assert out == (f"jid-{text}\n" if utf8 == "1" else "jid-\\xe9\\u2603\n")
    code, _, err = shell("$F push $'\\xff'", LC_ALL="C", PYTHONUTF8=utf8, PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="")
    assert (code, "expected arguments in UTF-8" in err) == (2, True)
