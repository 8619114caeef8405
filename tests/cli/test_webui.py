"""`list` and `show` by the Web UI: of the real server, and of one that says whatever a test wants."""

from __future__ import annotations

import base64
import json
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trustme

from faktory import Client, Job
from faktory.blocking.connection import Connection
from faktory.cli import main
from faktory.cli.webui import WebUI
from faktory.commands import Fail, Fetch, JobFilter
from faktory.errors import AuthenticationError, ConnectFailed, FaktoryError
from faktory.protocol.address import Address
from faktory.protocol.handshake import Identity
from faktory.server import Server
from tests.cli import pages
from tests.real_server import RealServer, needs_own_server

Capture = pytest.CaptureFixture[str]
SECRET = "s3cret/@ä"
HTML = "<b>x</b> & \"y\" 'z' \\ \n é \u2028 </td></table> 100%"


def told(capsys: Capture, call: str, status: int = 0) -> tuple[str, str]:
    """Run a command, which must end with `status`; returns what it printed."""
    assert main(shlex.split(call)) == status, capsys.readouterr()
    return capsys.readouterr()


# -- the real server --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running() -> Iterator[RealServer]:
    with RealServer(password="secret", web=True) as real:
        yield real


@pytest.fixture
def real(running: RealServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """An empty real server with a Web UI, which every command finds."""
    monkeypatch.delenv("FAKTORY_PROVIDER", raising=False)
    monkeypatch.setenv("FAKTORY_URL", running.url)
    for command in ("DEAD", "RETRIES", "SCHEDULED", "QUEUES"):
        monkeypatch.setenv(f"FAKTORY_{command}_WEB", running.web_url)
    monkeypatch.setenv("COLUMNS", "200")
    with Client(running.url) as client:
        client.flush()
        yield client


def bury(url: str, jobs: list[Job], at_once: int = 500) -> None:
    """Have jobs fail: into the dead set with `retry` -1, else into the retries."""
    with Client(url) as client:
        client.push_bulk(jobs)
    queue = jobs[0].queue
    with Connection(url, identity=Identity("h", 1, "undertaker")) as worker:
        for start in range(0, len(jobs), at_once):
            part = jobs[start : start + at_once]
            worker.send(Fetch([queue]).line * len(part), len(part))
            jids = [json.loads(worker.receive())["jid"] for _ in part]  # type: ignore[arg-type]
            worker.send(
                b"".join(Fail(jid, "ValueError", HTML, ["File x", "  raise <y>"]).line for jid in jids), len(part)
            )
            assert all(worker.receive() == "OK" for _ in part)


@needs_own_server
def test_dead_jobs_are_listed_over_pages(real: Client, running: RealServer, capsys: Capture) -> None:
    jobs = [Job("shop.charge", [number, HTML, {"k": [None, 1.5]}], queue="pay", retry=-1) for number in range(60)]
    bury(running.url, jobs)
    out, err = told(capsys, "dead list")
    assert len(out.splitlines()) == 26
    assert err == "25 of 60; -n 60 lists all\n"
    rows = [json.loads(row) for row in told(capsys, "dead list -n 55 --json")[0].splitlines()]
    assert [row["jid"] for row in rows] == [job.jid for job in jobs[:55]]
    assert [row["args"] for row in rows] == [job.args for job in jobs[:55]]
    assert {(row["jobtype"], row["queue"], row["error"]) for row in rows} == {
        ("shop.charge", "pay", f"ValueError: {HTML}")
    }


@needs_own_server
def test_a_dead_job_is_read_repaired_and_pushed_again(
    real: Client, running: RealServer, capsys: Capture, tmp_path: Path
) -> None:
    custom = {"locale": "de", "n": 5, "deep": {"a: b": [1, "x", None, True]}, "none": None, "text": 'a: "b"\n\x00é'}
    job = Job("charge", [{"cents": "1O"}, HTML, "x" * 5_000], queue="pay", retry=-1, custom=custom)
    bury(running.url, [Job("other", [number], queue="pay", retry=-1) for number in range(30)])
    bury(running.url, [job])
    out, _ = told(capsys, f"dead show {job.jid}")
    assert "error          ValueError: <b>x</b>" in out
    assert "      raise <y>" in out
    out, err = told(capsys, f"dead show {job.jid} --json")
    assert err == "The Web UI does not tell reserve_for, backtrace: pushed again, the job has what `push` gives it.\n"
    document = json.loads(out)
    assert document["args"] == job.args
    assert document["failure"]["backtrace"] == ["File x", "  raise <y>"]
    (tmp_path / "job.json").write_text(out.replace("1O", "10"))
    assert told(capsys, f"push --from {tmp_path / 'job.json'}")[0] == "stored 1, refused 0\n"
    assert told(capsys, f"dead discard --yes --jid {job.jid}")[0].startswith("dead: 31 \N{RIGHTWARDS ARROW} 30;")
    (row,) = [json.loads(row) for row in told(capsys, "queues list pay --json")[0].splitlines()]
    assert (row["jid"], row["args"][0], row["retry"], row["custom"]) == (job.jid, {"cents": "10"}, -1, custom)


@needs_own_server
def test_retries_and_scheduled_are_listed_and_shown(real: Client, running: RealServer, capsys: Capture) -> None:
    failing, later = Job("failing", ["x" * 2_000], queue="pay", retry=3), Job("later", [1], at=3_600)
    bury(running.url, [failing])
    real.push(later)
    row = json.loads(told(capsys, "retries list --json")[0])
    assert (row["args"], row["args_text"]) == (None, f'"{"x" * 1_023}…')
    shown = json.loads(told(capsys, f"retries show {failing.jid} --json")[0])
    assert (shown["args"], shown["retry"], shown["failure"]["remaining"]) == (failing.args, 3, 3)
    out, err = told(capsys, f"scheduled show {later.jid} --json")
    assert json.loads(out)["at"][:16] == json.loads(told(capsys, "scheduled list --json")[0])["time"][:16]
    assert "retry" in err
    assert "has no job with the jid 'nobody'" in told(capsys, "scheduled show nobody", 1)[1]
    assert told(capsys, "dead list") == ("", "dead: none\n")


@needs_own_server
def test_a_dead_job_that_never_failed_is_shown_as_far_as_the_server_can(
    real: Client, running: RealServer, capsys: Capture
) -> None:
    job = Job("never.failed", [5], at=3_600)
    real.push(job)
    real.kill("scheduled", JobFilter.everything())
    assert "argument 1  5" in told(capsys, f"dead show {job.jid}")[0]
    assert "cannot show the job" in told(capsys, f"dead show {job.jid} --json", 1)[1]


@needs_own_server
def test_queues_tell_what_is_paused_and_their_jobs(real: Client, running: RealServer, capsys: Capture) -> None:
    jobs = [Job("t", [number], queue="low") for number in range(60)]
    real.push_bulk([*jobs, Job("x", queue="high")])
    real.pause_queues("low")
    lines = told(capsys, "queues")[0].splitlines()
    states = {line.split()[0]: line.endswith("paused") for line in lines[1:]}
    assert (states["high"], states["low"]) == (False, True)
    rows = [json.loads(row) for row in told(capsys, "queues list low -n 58 --json")[0].splitlines()]
    assert [row["args"] for row in rows] == [job.args for job in jobs[:58]]
    assert told(capsys, "queues list nope") == ("", "nope: no jobs\n")


@needs_own_server
def test_filters_find_what_the_real_server_stores(real: Client, running: RealServer, capsys: Capture) -> None:
    jobs = [Job("a", [HTML], at=3_600), Job("t[1]", ["50% *?[a-z]"], at=3_600), Job("<b>", ["x"], at=3_600)]
    jobs.append(Job("a", [{"user": 7}], at=3_600))
    for choice in (("--match", HTML.split(" \\")[0].replace('"', '\\"')), ("--type", "t[1]"), ("--type", "<b>")):
        real.push_bulk(jobs)
        call = shlex.join(["scheduled", "discard", "--yes", *choice])
        assert told(capsys, call)[0].startswith("scheduled: 4 \N{RIGHTWARDS ARROW} 3;"), choice
        real.flush()
    for text, left in (("*?[a-z]", 3), ('"user":7', 3), ('"user":?', 4), ("\\u2028", 3), ("é", 3)):
        real.push_bulk(jobs)
        call = shlex.join(["scheduled", "requeue", "--match", text])
        assert told(capsys, call)[0].startswith(f"scheduled: 4 \N{RIGHTWARDS ARROW} {left};"), text
        real.flush()


@needs_own_server
@pytest.mark.slow
def test_hundreds_of_dead_jobs_are_found_and_moved(real: Client, running: RealServer, capsys: Capture) -> None:
    jobs = [Job("t", [number], queue="pay", retry=-1) for number in range(600)]
    bury(running.url, jobs)
    began = time.monotonic()
    assert json.loads(told(capsys, f"dead show {jobs[-1].jid} --json")[0])["args"] == [599]
    jids = " ".join(job.jid for job in jobs[:300])
    assert told(capsys, f"dead requeue --jid {jids}")[0].startswith("dead: 600 \N{RIGHTWARDS ARROW} 300;")
    assert told(capsys, "dead discard --type t --yes")[0].startswith("dead: 300 \N{RIGHTWARDS ARROW} 0;")
    assert time.monotonic() - began < 15


@needs_own_server
def test_a_web_ui_that_is_not_there_or_wants_another_password_is_3(
    real: Client, running: RealServer, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.push(Job("t"))
    wrong = running.web_url.replace("://", "://:wr0ng-password@")
    out, err = told(capsys, f"dead list --web {wrong}", 3)
    assert "the password is wrong" in err
    assert "wr0ng" not in out + err
    assert "cannot read the Web UI at http://127.0.0.1:1: " in told(capsys, "dead list --web http://127.0.0.1:1", 3)[1]
    assert "cannot read the Web UI" in told(capsys, f"dead list --web http://127.0.0.1:{running.port}", 3)[1]
    told(capsys, "queues --web http://127.0.0.1:1", 3)
    monkeypatch.delenv("FAKTORY_QUEUES_WEB")
    monkeypatch.setattr("faktory.cli.webui.PORT", 1)
    out, err = told(capsys, "queues")
    assert out.splitlines()[1].endswith("?")
    assert "Which queues are paused is not known" in err


# -- a server that says whatever is wanted ----------------------------------------------------------------------------


class Site(BaseHTTPRequestHandler):
    """Answers with `answers[path]`: a status and a body; what was asked is in `asked`."""

    protocol_version = "HTTP/1.1"
    answers: ClassVar[dict[str, tuple[int, str]]] = {}
    asked: ClassVar[list[tuple[str, str | None]]] = []
    password: ClassVar[str | None] = None
    broken: ClassVar[set[str]] = set()
    """Paths of pages that break off."""

    def do_GET(self) -> None:
        sent = self.headers.get("Authorization")
        self.asked.append((self.path, sent))
        status, body = self.answers.get(self.path, (200, "<html></html>"))
        if self.password and sent != f"Basic {base64.b64encode(f':{self.password}'.encode()).decode()}":
            status, body = 401, "no"
        data = body.encode()
        self.send_response(status)
        is_broken = self.path in self.broken
        self.send_header("Content-Length", str(len(data) + is_broken))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = is_broken

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in (("answers", {}), ("asked", []), ("password", None), ("broken", set())):
        monkeypatch.setattr(Site, name, value)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def web(site: str) -> Iterator[WebUI]:
    web = WebUI(f"{site}/faktory/", Address(password=SECRET))
    yield web
    web.close()


KEY = "2027-05-25T20:08:07.722159147Z|jid+/%-12345"


def test_the_password_is_sent_when_it_is_asked_for(web: WebUI) -> None:
    Site.answers["/faktory/queues"] = (200, pages.of_queues({"a": True, "b": False}))
    assert web.paused() == {"a"}
    assert Site.asked == [("/faktory/queues", None)]
    Site.password = SECRET
    assert web.paused() == {"a"}
    Site.password = "another"
    with pytest.raises(AuthenticationError, match="the password is wrong") as caught:
        web.paused()
    assert SECRET not in str(caught.value)


def test_a_password_that_is_not_there_is_asked_for(site: str) -> None:
    web = WebUI(site, Address())
    Site.password = SECRET
    with pytest.raises(AuthenticationError, match="it wants a password; give the server's, --url"):
        web.paused()
    web.close()


def test_a_key_is_quoted_and_its_page_read(web: WebUI) -> None:
    Site.answers["/faktory/morgue?page=1"] = (200, pages.of_set("dead", [pages.row("dead", KEY)]))
    path = "/faktory/morgue/2027-05-25T20:08:07.722159147Z%7Cjid%2B%2F%25-12345"
    Site.answers[path] = (307, "")
    entry = web.job("dead", "jid+/%-12345")
    assert entry is not None
    assert entry.document is None  # it has gone since
    assert Site.asked[-1][0] == path
    Site.answers[path] = (200, "<p>hello</p>")
    with pytest.raises(FaktoryError, match=r"is no page as Faktory 1\.10 shows it there"):
        web.job("dead", "jid+/%-12345")


def test_pages_are_read_until_the_last_one_or_an_empty_one(web: WebUI) -> None:
    rows = [pages.row("dead", f"2027-05-25T20:08:07Z|{number}") for number in range(25)]
    for number in (1, 2):
        Site.answers[f"/faktory/morgue?page={number}"] = (200, pages.of_set("dead", rows, size=100, last=4))
    Site.answers["/faktory/morgue?page=3"] = (200, pages.of_set("dead", [], size=50, last=4))
    size, entries = web.jobs("dead", 100)
    assert (size, len(entries)) == (50, 50)
    assert [path for path, _ in Site.asked] == [f"/faktory/morgue?page={number}" for number in (1, 2, 3)]
    assert len(web.jobs("dead", 26)[1]) == 26


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((200, "<html><body>Welcome to nginx!</body></html>"), "nothing else can be read: expected one <li>"),
        ((302, ""), "expected a page, got a redirect"),
        ((500, "it \x1b[2J broke"), "answers /morgue?page=1 with 500"),
        ((404, ""), "with 404"),
    ],
)
def test_a_page_that_is_not_known_is_told_of(web: WebUI, answer: tuple[int, str], hint: str) -> None:
    Site.answers["/faktory/morgue?page=1"] = answer
    with pytest.raises(FaktoryError) as caught:
        web.jobs("dead", 25)
    assert hint in str(caught.value)


def test_a_page_that_breaks_off_or_has_no_end_is_told_of(web: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    Site.broken.add("/faktory/queues")
    with pytest.raises(FaktoryError, match="broke off in the midst"):
        web.paused()
    Site.broken.clear()
    monkeypatch.setattr("faktory.cli.webui._LARGEST", 5)
    with pytest.raises(FaktoryError, match="is longer than 5 bytes"):
        web.paused()


def test_jobs_of_a_queue_are_read_from_the_last_page_on(web: WebUI) -> None:
    def page(*numbers: int) -> tuple[int, str]:
        jobs = [{"jid": f"jid-{number}", "jobtype": "t", "queue": "q", "args": [number]} for number in numbers]
        return 200, pages.of_queue("q", jobs, last=3)

    def found(limit: int) -> list[Any]:
        entries = web.queued("q", limit)
        assert entries is not None
        return [number for entry in entries for number in entry.args or ()]

    for number, answer in enumerate((page(5, 4), page(3, 2), page(1, 0)), 1):
        Site.answers[f"/faktory/queues/q?page={number}"] = answer
    assert found(100) == [0, 1, 2, 3, 4, 5]
    Site.asked.clear()
    assert found(3) == [0, 1, 2]
    assert [path[-1] for path, _ in Site.asked] == ["1", "3", "2"]
    Site.answers["/faktory/queues/q?page=2"] = (302, "")  # jobs were taken meanwhile
    assert found(100) == [0, 1, 4, 5]
    Site.answers["/faktory/queues/none?page=1"] = (302, "")
    assert web.queued("none", 5) is None


def test_a_job_is_looked_for_on_all_pages_and_shown_from_the_list_where_its_own_is_broken(web: WebUI) -> None:
    key = "2027-05-25T20:08:07Z|jid-12345"
    Site.answers["/faktory/morgue?page=1"] = (200, pages.of_set("dead", [pages.row("dead", KEY)], last=3))
    Site.answers["/faktory/morgue?page=2"] = (200, "<p>without it, and so not read</p>")
    Site.answers["/faktory/morgue?page=3"] = (200, pages.of_set("dead", [pages.row("dead", key, "charge")], last=3))
    Site.broken.add("/faktory/morgue/2027-05-25T20:08:07Z%7Cjid-12345")
    entry = web.job("dead", "jid-12345")
    assert entry is not None
    assert (entry.jobtype, entry.document) == ("charge", None)
    Site.asked.clear()
    assert web.job("dead", "jid-of-nobody") is None
    assert len(Site.asked) == 3


@pytest.fixture
def embedded(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server of ours, which every command finds; it knows a queue."""
    monkeypatch.delenv("FAKTORY_PROVIDER", raising=False)
    monkeypatch.setenv("FAKTORY_URL", server.url)
    with Client(server.url) as client:
        client.push(Job("t", queue="low"))
    return server


def test_the_web_ui_is_read_when_it_is_named_though_the_server_would_tell(
    embedded: Server, site: str, capsys: Capture
) -> None:
    Site.answers["/morgue?page=1"] = (200, pages.of_set("dead", [pages.row("dead", "2027-05-25T20:08:07Z|jid-12345")]))
    (row,) = told(capsys, f"dead list --web {site} --json")[0].splitlines()
    assert json.loads(row)["jid"] == "jid-12345"
    assert told(capsys, "dead list") == ("", "dead: none\n")


def test_of_a_server_that_is_not_ours_the_web_ui_is_read_if_there_is_one(
    embedded: Server, site: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded.faults.refuse("PEEK", text="Unknown command PEEK", times=None)
    Site.answers["/queues"] = (200, pages.of_queues({"low": True}))
    monkeypatch.setattr("faktory.cli.webui.PORT", int(site.rpartition(":")[2]))
    assert told(capsys, "queues")[0].splitlines()[1].endswith("paused")
    monkeypatch.setattr("faktory.cli.webui.PORT", 1)
    out, err = told(capsys, "queues")
    assert out.splitlines()[1].endswith("?")
    assert "Which queues are paused is not known: cannot read the Web UI at http://127.0.0.1:1" in err
    assert "cannot read the Web UI" in told(capsys, "queues --web http://127.0.0.1:1", 3)[1]


def test_an_idle_connection_that_was_closed_is_opened_again() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    body = pages.of_queues({"a": True}).encode()
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    def serve() -> None:
        for _ in range(2):  # each connection is good for one page, and does not say so
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(reply)
        connection, _ = listening.accept()
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    web = WebUI(f"http://127.0.0.1:{listening.getsockname()[1]}", Address())
    try:
        assert web.paused() == {"a"}
        assert web.paused() == {"a"}
        web.close()
        with pytest.raises(ConnectFailed, match="cannot read the Web UI"):
            web.paused()
    finally:
        thread.join()
        web.close()
        listening.close()


def test_where_the_web_ui_is() -> None:
    assert WebUI(None, Address("prod", 7419)).name == "http://prod:7420"
    assert WebUI(None, Address("prod", 7419, tls=True)).name == "https://prod:7420"
    assert WebUI("https://[::1]:99/a/", Address()).name == "https://[::1]:99/a"


def test_tls_is_spoken_with_the_authority_of_ca(site: str) -> None:
    authority = trustme.CA()
    import ssl

    context = ssl.create_default_context()
    authority.configure_trust(context)
    web = WebUI(site.replace("http", "https"), Address(tls=True), context)
    with pytest.raises(ConnectFailed, match="cannot read the Web UI"):  # it speaks no TLS
        web.paused()
    web.close()
