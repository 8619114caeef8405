"""Pages of Faktory's Web UI, as HTML in English, to jobs. Pure.

Read strictly: tags must nest, tables must have the columns that they have in Faktory 1.10. Whatever else comes raises
`UnknownPage`, so that a page of another release is told of, and never misread.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any, Final

from .entries import Entry
from .goliteral import NoLiteral, read_pair

PATHS: Final = {"dead": "/morgue", "retries": "/retries", "scheduled": "/scheduled"}
PER_PAGE: Final = 25
_HEADS: Final = {
    "dead": ["", "Last Retry", "Queue", "Job", "Arguments", "Error"],
    "retries": ["", "Next Retry", "Retry Count", "Queue", "Job", "Arguments", "Error"],
    "scheduled": ["", "When", "Queue", "Job", "Arguments"],
}
_DEAD_FOR: Final = timedelta(days=180)
_VOID: Final = frozenset({"br", "hr", "img", "input", "link", "meta"})
_DEEPEST: Final = 200
_WRAPPER: Final = "ActiveJob::QueueAdapters::FaktoryAdapter::JobWrapper"


class UnknownPage(ValueError):
    """A page is not what Faktory 1.10 shows there. The text says what was expected."""


@dataclass(frozen=True, slots=True)
class Row:
    """A job of a list, and the key that its own page has."""

    entry: Entry
    key: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `size` is how many jobs there are in all, `last` the number of the last page."""

    size: int
    last: int
    rows: tuple[Row, ...]


# -- HTML ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Node:
    """An element."""

    tag: str
    attrs: dict[str, str] = field(default_factory=dict)
    parts: list[Node | str] = field(default_factory=list)

    def all(self, tag: str, **attrs: str) -> Iterator[Node]:
        """Iterate over the elements below with this tag, attributes, and (`cls`) a word of their class."""
        for part in self.parts:
            if isinstance(part, Node):
                if part.tag == tag and all(part.has(name, value) for name, value in attrs.items()):
                    yield part
                yield from part.all(tag, **attrs)

    def has(self, name: str, value: str) -> bool:
        """Tell whether an attribute is `value`, or the class has that word."""
        if name == "cls":
            return value in self.attrs.get("class", "").split()
        return self.attrs.get(name) == value

    def one(self, tag: str, **attrs: str) -> Node:
        """Return the only such element. Raises `UnknownPage`."""
        found = list(self.all(tag, **attrs))
        if len(found) != 1:
            raise UnknownPage(f"expected one <{tag}> {attrs or ''} in <{self.tag}>, got {len(found)}")
        return found[0]

    @property
    def text(self) -> str:
        """All the text in it, as it stands."""
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Node("page")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].parts.append(node)
        if tag not in _VOID:
            self.open.append(node)
        if len(self.open) > _DEEPEST:
            raise UnknownPage(f"expected elements nested at most {_DEEPEST} deep")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].parts.append(Node(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if len(self.open) < 2 or self.open[-1].tag != tag:
            raise UnknownPage(f"expected </{self.open[-1].tag}>, got </{tag[:40]}>")
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].parts.append(data)


def read_html(text: str) -> Node:
    """Return the elements of a whole page. Raises `UnknownPage`."""
    builder = _Builder()
    try:
        builder.feed(text)
        builder.close()
    except AssertionError as exc:  # what some releases of Python raise for a broken declaration
        raise UnknownPage(f"expected HTML: {exc}") from exc
    if len(builder.open) > 1:
        raise UnknownPage(f"expected </{builder.open[-1].tag}>, got the end of the page")
    return builder.open[0]


# -- lists -------------------------------------------------------------------------------------------------------------


def read_set(text: str, place: str) -> Page:
    """Read a page of dead, retries or scheduled. Raises `UnknownPage`."""
    page = read_html(text)
    size = _number(page.one("li", cls=place).one("span", cls="count").text)
    tables = list(page.all("table"))
    if not tables:
        page.one("div", cls="alert-success")  # what it says in the place of an empty table
        return Page(0, 1, ())
    if len(tables) > 1:
        raise UnknownPage(f"expected one table, got {len(tables)}")
    _check_heads(tables[0], _HEADS[place])
    rows = [_row(cells, place) for cells in _cells(tables[0], len(_HEADS[place]))]
    return Page(size, _last(page), tuple(rows))


def read_queue(text: str, name: str) -> Page:
    """Read a page of a queue, the job pushed last first. Raises `UnknownPage`."""
    page = read_html(text)
    table = page.one("table", cls="queue")
    _check_heads(table, ["", "JID", "Type", "Arguments"])
    if page.one("h3").text.strip() != name:
        raise UnknownPage(f"expected the queue {name!a}, got {page.one('h3').text.strip()!a:.60}")
    rows = [Row(Entry.of_document(_whole(cells[0])), "") for cells in _cells(table, 4)]
    return Page(0, _last(page), tuple(rows[:PER_PAGE]))  # it shows the first job of the next page, too


def read_queues(text: str) -> dict[str, bool]:
    """Read the page of all queues: name to whether it is paused. Raises `UnknownPage`."""
    table = read_html(text).one("table", cls="queues")
    _check_heads(table, ["Queue", "Size", "Actions"])
    found = {}
    for name, _, actions in _cells(table, 3):
        values = [button.attrs.get("value") for button in actions.all("button", name="action")]
        if values not in (["delete", "resume"], ["delete", "pause"]):
            raise UnknownPage(f"expected buttons to delete, and to pause or resume, got {values!a:.80}")
        found[name.one("a").text] = values[1] == "resume"
    return found


def _check_heads(table: Node, expected: list[str]) -> None:
    found = [head.text.strip() for head in table.one("thead").all("th")]
    if found != expected:
        raise UnknownPage(f"expected the columns {', '.join(expected[1:])}, got {found!a:.200}")


def _cells(table: Node, count: int) -> Iterator[list[Node]]:
    for row in table.all("tr"):
        cells = [part for part in row.parts if isinstance(part, Node)]
        if any(cell.tag == "th" for cell in cells):
            continue
        if len(cells) != count or any(cell.tag != "td" for cell in cells):
            raise UnknownPage(f"expected rows of {count} cells, got {len(cells)}")
        yield cells


def _row(cells: list[Node], place: str) -> Row:
    key = cells[0].one("input", name="key").attrs.get("value", "")
    at = 3 if place == "retries" else 2
    args_text = cells[at + 2].one("div", cls="args").text
    error = None
    if place != "scheduled":
        error = next((each.text for each in cells[at + 3].all("div")), None)
    entry = Entry(
        key.partition("|")[2],
        cells[at + 1].one("code").text,
        cells[at].one("a").text,
        read_args(args_text),
        args_text.replace("\n", ""),
        _time(key, place),
        error,
    )
    return Row(entry, key)


def _time(key: str, place: str) -> str:
    text, bar, jid = key.partition("|")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or not bar or not jid or moment.utcoffset() != timedelta(0):
        raise UnknownPage(f"expected a key of time and jid, got {key!a:.80}")
    moment -= _DEAD_FOR if place == "dead" else timedelta(0)
    return moment.isoformat().replace("+00:00", "Z")


def _last(page: Node) -> int:
    links = [link for paging in page.all("ul", cls="pagination") for link in paging.all("a")]
    numbers = [link.attrs.get("href", "").rpartition("page=")[2] for link in links]
    return max(map(_number, numbers), default=1)


def _number(text: str) -> int:
    digits = text.strip().replace(",", "")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise UnknownPage(f"expected a number, got {text!a:.40}")
    return int(digits)


def _whole(cell: Node) -> dict[str, Any]:
    text = cell.one("input", name="bkey").attrs.get("value", "")
    try:
        job = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        job = None
    if not isinstance(job, dict):
        raise UnknownPage("expected the job as JSON in base64 in its row")
    return job


def read_args(text: str) -> list[Any] | None:
    """Read arguments as pages show them, one a line; None when the page has cut one."""
    if not text:
        return []
    *lines, rest = text.split("\n")
    if rest:
        return None
    try:
        return [json.loads(line if number == 0 else line.removeprefix(", ")) for number, line in enumerate(lines)]
    except (ValueError, RecursionError):
        return None


# -- one job -----------------------------------------------------------------------------------------------------------


def read_job(text: str, place: str, key: str) -> Entry:
    """Read the page of one job. Raises `UnknownPage`.

    `untold` names what the page leaves out; a field of custom data that cannot be read is `custom NAME`.
    """
    page = read_html(text)
    facts = _facts(page)
    untold = ["reserve_for", "backtrace"]
    jid, kind = _fact(facts, "JID").one("code").text, _fact(facts, "Job").one("code").text
    if jid != key.partition("|")[2]:
        raise UnknownPage(f"expected the job {key.partition('|')[2]!a:.60}, got {jid!a:.60}")
    args_text = _fact(facts, "Arguments").one("div", cls="args-extended").text
    args = read_args(args_text)
    custom = _custom(facts["Custom"], untold) if "Custom" in facts else {}
    job: dict[str, Any] = {"jid": jid, "jobtype": _type(kind, custom), "queue": _fact(facts, "Queue").one("a").text}
    if args is None:
        untold.append("args")
    else:
        job["args"] = args
    if custom:
        job["custom"] = custom
    time = _time(key, place)
    if place == "scheduled":
        job["at"] = time
    if "Retry Count" in facts:
        job["failure"] = failure = _failure(facts)
        job["retry"] = failure["retry_count"] + failure["remaining"]
    else:
        untold.append("retry")
    entry = Entry.of_document(job, time, untold)
    return entry if args is not None else Entry(**_fields(entry), args_text=args_text.replace("\n", ""))


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Entry.__dataclass_fields__ if name != "args_text"}


def _facts(page: Node) -> dict[str, Node]:
    facts = {}
    for table in page.all("table"):
        for row in table.all("tr"):
            facts[row.one("th").text.strip()] = row.one("td")
    return facts


def _fact(facts: dict[str, Node], name: str) -> Node:
    if name not in facts:
        raise UnknownPage(f"expected the row {name!a}, got {', '.join(facts)!a:.200}")
    return facts[name]


def _custom(cell: Node, untold: list[str]) -> dict[str, Any]:
    custom = {}
    for code in cell.all("code"):
        try:
            name, value = read_pair(code.text)
        except NoLiteral:
            untold.append(f"custom {code.text.partition(': ')[0][:40]}")
        else:
            custom[name] = value
    return custom


def _type(shown: str, custom: dict[str, Any]) -> str:
    """Return the job type: for those of Rails the page shows what is wrapped (webui/helpers.go `displayJobType`)."""
    wrapped = custom.get("wrapped")
    mailers = ("ActionMailer::DeliveryJob", "ActionMailer::MailDeliveryJob")
    return _WRAPPER if wrapped == shown or (wrapped in mailers and "#" in shown) else shown


def _failure(facts: dict[str, Node]) -> dict[str, Any]:
    counts = [_fact(facts, name).text.strip() for name in ("Retry Count", "Retries Remaining")]
    if not all(count.removeprefix("-").isdecimal() and len(count) < 12 for count in counts):
        raise UnknownPage(f"expected numbers of retries, got {counts!a:.60}")
    failure: dict[str, Any] = {
        "retry_count": int(counts[0]),
        "remaining": int(counts[1]),
        "errtype": _fact(facts, "Error Class").one("code").text,
        "message": _fact(facts, "Error Message").text,
    }
    if "Error Backtrace" in facts:
        failure["backtrace"] = _lines(facts["Error Backtrace"].one("code"))
    return failure


def _lines(code: Node) -> list[str]:
    """Return the lines, without the margin that all of them have of the page."""
    lines = [part.lstrip("\n").rstrip() for part in code.parts if isinstance(part, str)]
    lines = [line.rpartition("\n")[2] for line in lines if line.strip()]
    margin = min((len(line) - len(line.lstrip(" ")) for line in lines), default=0)
    return [line[margin:] for line in lines]
