from __future__ import annotations

from typing import Any

import pytest

from faktory.cli.webpages import UnknownPage, read_args, read_html, read_job, read_queue, read_queues, read_set
from tests.cli import pages

KEY = "2027-05-25T20:08:07.722159147Z|ecd3b60a86b4a615"
HTML = "<b>x</b> & \"y\" 'z' \\ \n é </td></table>"


def test_html_in_arguments_types_and_errors_stays_text() -> None:
    args = [HTML, {"<k>": [1, None]}, 1.5]
    text = pages.of_set("dead", [pages.row("dead", KEY, "<T>&", pages.shown(args), f"E: {HTML}")])
    (row,) = read_set(text, "dead").rows
    assert (row.entry.jobtype, row.entry.args, row.entry.error) == ("<T>&", args, f"E: {HTML}")
    assert (row.key, row.entry.jid, row.entry.queue) == (KEY, "ecd3b60a86b4a615", "q")
    assert row.entry.time == "2026-11-26T20:08:07.722159Z"  # died 180 days before it is forgotten


@pytest.mark.parametrize("place", ["dead", "retries", "scheduled"])
def test_a_list_says_how_many_there_are_and_how_many_pages(place: str) -> None:
    page = read_set(pages.of_set(place, [pages.row(place, KEY)] * 25, size=1_234, last=50), place)
    assert (page.size, page.last, len(page.rows)) == (1_234, 50, 25)
    entry = page.rows[0].entry
    assert (entry.args, entry.error) == ([], None if place == "scheduled" else "E: boom")
    if place != "dead":
        assert entry.time == "2027-05-25T20:08:07.722159Z"
    empty = pages.frame('<div class="alert alert-success">none</div>')
    assert read_set(empty, place).rows == ()


def test_a_dead_job_that_never_failed_has_no_error() -> None:
    cells = [*pages.row("dead", KEY)[:-1], " "]
    assert read_set(pages.of_set("dead", [cells]), "dead").rows[0].entry.error is None


def test_arguments_that_are_cut_are_told_as_cut() -> None:
    assert read_args("") == []
    assert read_args('1\n, "a, b"\n, [1,{"x":"\\n"}]\n') == [1, "a, b", [1, {"x": "\n"}]]
    for text in ('"aaa…', '"aaa…, 2\n', '1\n, "aaa…', '"aaa…, "b"\n', '"a…, ["x"]\n', "[" * 5_000 + "\n"):
        assert read_args(text) is None
    text = pages.of_set("dead", [pages.row("dead", KEY, args="&#34;aaa…, 2\n")])
    entry = read_set(text, "dead").rows[0].entry
    assert (entry.args, entry.args_text) == (None, '"aaa…, 2')


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "expected one <li>"),
        ("HTTP says hello", "expected one <li>"),
        ("<html><body></html>", "expected </body>, got </html>"),
        ("<html><body>", "expected </body>, got the end of the page"),
        ("</p>", "expected </page>, got </p>"),
        ("<![x", "expected"),
        (pages.frame(""), "expected one <div>"),
        (pages.frame("<table></table>" * 2), "expected one table, got 2"),
        (pages.frame(pages.table(["", "When"], [])), "expected the columns Last Retry, Queue"),
        (pages.of_set("dead", [["x"]]), "expected rows of 6 cells, got 1"),
        (pages.of_set("dead", [pages.row("dead", "no key")]), "expected a key of time and jid"),
        (pages.of_set("dead", [pages.row("dead", "2027-05-25T20:08:07|x")]), "expected a key of time and jid"),
        (pages.of_set("dead", [["x"] * 6]), "expected one <input>"),
        (pages.of_set("dead", []).replace(">0<", ">many<"), "expected a number, got 'many'"),
    ],
)
def test_a_list_of_another_kind_is_refused(text: str, hint: str) -> None:
    with pytest.raises(UnknownPage) as caught:
        read_set(text, "dead")
    assert hint in str(caught.value)


def test_a_queue_carries_each_job_whole() -> None:
    jobs: list[dict[str, Any]] = [
        {"jid": f"jid-{number}", "jobtype": "t", "args": [HTML], "queue": "q"} for number in range(26)
    ]
    page = read_queue(pages.of_queue("q", jobs, last=3), "q")
    assert [row.entry.document for row in page.rows] == jobs[:25]  # the 26th stands on the next page, too
    assert page.last == 3


def test_a_queue_of_another_kind_is_refused() -> None:
    job = {"jid": "1", "jobtype": "t", "args": []}
    text = pages.of_queue("q", [job])
    with pytest.raises(UnknownPage, match="expected the queue 'other', got 'q'"):
        read_queue(text, "other")
    for wrong in ("!!!!", "bm8ganNvbg", "W10"):
        broken = text.replace(text.partition('name="bkey" value="')[2].partition('"')[0], wrong)
        with pytest.raises(UnknownPage, match="expected the job as JSON in base64"):
            read_queue(broken, "q")


def test_the_queues_say_which_are_paused() -> None:
    text = pages.of_queues({"a": True, "b": False})
    assert read_queues(text) == {"a": True, "b": False}
    with pytest.raises(UnknownPage, match="expected buttons"):
        read_queues(text.replace("resume", "explode"))


FACTS = {
    "JID": "<code>ecd3b60a86b4a615</code>",
    "Job": "<code>shop.charge</code>",
    "Arguments": f'<code><!-- whole --><div class="args-extended">{pages.shown([HTML, 2])}</div></code>',
    "Created At": "a minute ago",
    "Queue": '<a href="/queues/pay">pay</a>',
    "Custom": "<code>locale: &#34;de&#34;</code><br/><code>odd: struct {}{}</code><br/>",
    "Retry Count": "1",
    "Retries Remaining": "2",
}
ERROR = {
    "Error Class": "<code>ValueError</code>",
    "Error Message": "no &lt;such&gt; cat\n at all ",
    "Error Backtrace": "<code>\n\n    \n    File x<br/>\n   \n        raise &lt;y&gt;<br/>\n    </code>",
}


def test_the_page_of_a_job_has_all_but_what_it_leaves_out() -> None:
    entry = read_job(pages.of_job(FACTS, ERROR), "dead", KEY)
    assert entry.document == {
        "jid": "ecd3b60a86b4a615",
        "jobtype": "shop.charge",
        "queue": "pay",
        "args": [HTML, 2],
        "custom": {"locale": "de"},
        "retry": 3,
        "failure": {
            "retry_count": 1,
            "remaining": 2,
            "errtype": "ValueError",
            "message": "no <such> cat\n at all ",
            "backtrace": ["File x", "    raise <y>"],
        },
    }
    assert entry.untold == ("reserve_for", "backtrace", "custom odd")
    assert entry.error == "ValueError: no <such> cat\n at all "


def test_the_page_of_a_scheduled_job_has_its_time() -> None:
    facts = {name: FACTS[name] for name in ("JID", "Job", "Queue")}
    facts["Arguments"] = '<div class="args-extended">&#34;aaa…</div>'
    entry = read_job(pages.of_job(facts), "scheduled", KEY)
    assert entry.document is not None
    assert entry.document["at"] == entry.time == "2027-05-25T20:08:07.722159Z"
    assert entry.untold == ("reserve_for", "backtrace", "args", "retry")
    assert (entry.args, entry.args_text) == (None, '"aaa…')


@pytest.mark.parametrize(
    ("shown", "wrapped", "jobtype"),
    [
        ("MyJob", "MyJob", "ActiveJob::QueueAdapters::FaktoryAdapter::JobWrapper"),
        ("M#x", "ActionMailer::MailDeliveryJob", "ActiveJob::QueueAdapters::FaktoryAdapter::JobWrapper"),
        ("Plain", "Other", "Plain"),
    ],
)
def test_the_type_of_a_wrapped_job_is_its_own(shown: str, wrapped: str, jobtype: str) -> None:
    facts = FACTS | {"Job": f"<code>{shown}</code>", "Custom": f"<code>wrapped: &#34;{wrapped}&#34;</code>"}
    assert read_job(pages.of_job(facts, ERROR), "dead", KEY).jobtype == jobtype


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"JID": None}, "expected the row 'JID'"),
        ({"JID": "<code>other</code>"}, "expected the job 'ecd3b60a86b4a615', got 'other'"),
        ({"Retry Count": "many"}, "expected numbers of retries"),
        ({"Retries Remaining": None}, "expected the row 'Retries Remaining'"),
        ({"Arguments": "x"}, "expected one <div>"),
    ],
)
def test_a_job_of_another_kind_is_refused(changes: dict[str, str | None], hint: str) -> None:
    facts = {name: value for name, value in (FACTS | changes).items() if value is not None}
    with pytest.raises(UnknownPage) as caught:
        read_job(pages.of_job(facts, ERROR), "dead", KEY)
    assert hint in str(caught.value)


def test_a_job_without_a_backtrace_has_none() -> None:
    error = {name: ERROR[name] for name in ("Error Class", "Error Message")}
    document = read_job(pages.of_job(FACTS, error), "dead", KEY).document
    assert document is not None
    assert "backtrace" not in document["failure"]


def test_a_page_nested_too_deep_is_refused() -> None:
    with pytest.raises(UnknownPage, match="nested at most 200 deep"):
        read_set("<div>" * 300 + "</div>" * 300, "dead")
    assert read_html("<div>" * 100 + "x" + "</div>" * 100).text == "x"


def test_html_that_python_gives_up_on_is_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(_self: object, _data: str) -> None:
        raise AssertionError("unknown status keyword")

    monkeypatch.setattr("html.parser.HTMLParser.feed", give_up)
    with pytest.raises(UnknownPage, match="expected HTML: unknown status keyword"):
        read_html("<![x")
