from __future__ import annotations

from faktory.cli.entries import Entry, details, json_line, table

JOB = {
    "jid": "1234567890",
    "jobtype": "shop.charge",
    "queue": "pay",
    "args": [1, "<b>", {"k": None}],
    "retry": 3,
    "custom": {"locale": "de"},
    "failure": {
        "retry_count": 0,
        "remaining": 3,
        "errtype": "ValueError",
        "message": "no\x1b[2J cat",
        "backtrace": ["at x"],
    },
}


def test_a_row_has_the_same_keys_for_all() -> None:
    whole = Entry.of_document(JOB, "2026-11-26T08:00:00Z").row
    assert whole == {
        "jid": "1234567890",
        "jobtype": "shop.charge",
        "queue": "pay",
        "args": [1, "<b>", {"k": None}],
        "time": "2026-11-26T08:00:00Z",
        "error": "ValueError: no\x1b[2J cat",
    }
    cut = Entry("1234567890", "t", "q", None, '"aaa...').row
    assert cut == dict.fromkeys(whole) | {"jid": "1234567890", "jobtype": "t", "queue": "q", "args_text": '"aaa...'}


def test_a_table_fits_the_width_and_obeys_no_escape() -> None:
    entries = [
        Entry.of_document(JOB, "2026-11-26T08:00:00.123456Z"),
        Entry("x" * 24, "t", "q", ["y" * 300], error="z" * 300),
    ]
    for width in (80, 100, 200):
        lines = table(entries, "died", width)
        assert lines[0].split() == ["died", "jid", "queue", "type", "arguments", "error"]
        assert all(line.isprintable() for line in lines)
        assert max(map(len, lines)) <= max(width, 100)
    wide = table(entries, "died", 200)
    assert "2026-11-26 08:00:00  1234567890" in wide[1]
    assert '1, "<b>", {"k":null}' in wide[1]
    assert wide[2].startswith("?  ")
    assert wide[2].endswith("...")


def test_a_table_of_a_queue_has_neither_time_nor_error() -> None:
    job = {"jid": "1234567890", "jobtype": "t", "args": ["x" * 200]}
    head, line = table([Entry.of_document(job)], None, 60)
    assert head.split() == ["jid", "queue", "type", "arguments"]
    assert line.endswith("...")
    assert len(line) == 60
    assert table([Entry.of_document({"args": 5})], None, 60)[1] == "     default"


def test_details_say_all_there_is() -> None:
    text = "\n".join(details(Entry.of_document(JOB, "2026-11-26T08:00:00Z"), "dead"))
    for fact in (
        "jid            1234567890",
        "died           2026-11-26T08:00:00Z",
        'custom locale  "de"',
        "retries left   3",
        "error          ValueError: no\\x1b[2J cat",
        'argument 3     {"k":null}',
        "    at x",
    ):
        assert fact in text
    assert "argument 1  cut..." in "\n".join(details(Entry("1", "t", "q", None, "cut..."), "queue"))


def test_json_is_ascii_for_any_locale_and_terminal() -> None:
    assert json_line({"a": ["\u2028\x9b", "é", 1]}) == '{"a":["\\u2028\\u009b","\\u00e9",1]}'
