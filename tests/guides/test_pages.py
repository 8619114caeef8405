"""The pages as texts: how long they are, where their links lead, and what their blocks are taken for."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from faktory import errors
from faktory.cli import COMMANDS
from tests.guides.pages import Block, blocks_of, calls_of, matches
from tests.guides.running import PAGES, ROOT

README = (ROOT / "README.md").read_text()
GUIDES = ROOT / "examples" / "guides"
HERE = "https://github.com/faktory-sdk/faktory-sdk/blob/main/"
RAW = "https://raw.githubusercontent.com/faktory-sdk/faktory-sdk/main/"
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors_of(page: str) -> set[str]:
    """Return the names by which GitHub links to the headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_front_page_is_short() -> None:
    assert len(README.splitlines()) <= 160
    assert len(README.split()) <= 1_200


def test_the_front_page_reads_on_a_package_index() -> None:
    for link in _LINK.findall(README):
        assert link.startswith(("https://", "#")), link
        for start in (HERE, RAW):
            if link.startswith(start):
                assert (ROOT / link.removeprefix(start).partition("#")[0]).exists(), link


def test_the_front_page_has_the_command_that_runs_every_check() -> None:
    assert "`python -m pip install tox && python -m tox`" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target.read_text()), link


@pytest.mark.parametrize("page", sorted(GUIDES.glob("*.md")), ids=lambda page: page.name)
def test_a_guide_has_an_example_first_and_stands_in_the_index(page: Path) -> None:
    assert blocks_of(page.read_text())[0].line < 20
    assert f"(guides/{page.name}" in (ROOT / "examples" / "README.md").read_text()


def test_every_error_is_explained() -> None:
    page = (GUIDES / "errors.md").read_text()
    names = {
        name for name, found in vars(errors).items() if isinstance(found, type) and found.__module__ == errors.__name__
    }
    assert {name for name in names if f"`{name}`" not in page} == {"FaktoryError"}
    assert "`faktory.FaktoryError`" in page


def test_every_command_has_its_help_in_the_guide() -> None:
    page = (GUIDES / "command-line.md").read_text()
    assert re.findall(r"^\$ faktoryctl (\w+) --help$", page, re.M) == list(COMMANDS)


def test_the_picture_of_the_terminal_shows_what_was_printed() -> None:
    texts = [
        "".join(line.itertext())
        for line in ElementTree.parse(GUIDES / "terminal.svg").iter("{http://www.w3.org/2000/svg}text")
    ]
    assert texts[0] == "$ faktoryctl dev app.py"
    shown = "1 + 2 = 3\n20:38:17 ok     add 759d48aa  1 ms (waited 3 ms)\n...\n"
    assert matches("...\n" + shown, "\n".join(texts))
    assert "ZeroDivisionError: division by zero   app.py:13 in divide" in texts[-3]


def test_the_picture_of_top_shows_queues() -> None:
    text = re.sub(r"<[^>]+>", "", (GUIDES / "top.svg").read_text())
    assert "Faktory" in text
    assert "change/s" in text
    assert "q quit" in text


def test_a_page_is_read_into_blocks() -> None:
    page = "# Title\n\n```python\nprint(1)\n```\n\ntext\n\n```console\n$ ls\n```\n"
    assert blocks_of(page) == [Block("python", "print(1)\n", 4), Block("console", "$ ls\n", 10)]


@pytest.mark.parametrize("page", ["```python\nprint(1)\n", "  ```python\n  print(1)\n  ```\n"])
def test_a_fence_that_would_be_overlooked_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="expected fences at the start"):
        blocks_of(page)


def test_a_block_says_what_it_is() -> None:
    assert Block("python", "# shop/jobs.py\nx = 1\n", 1).file == "shop/jobs.py"
    assert Block("python", "# a comment. Of two sentences\n", 1).file is None
    assert Block("python", "# fragment\nawait x\n", 1).is_fragment
    assert not Block("python", "x = 1  # fragment\n", 1).is_fragment


def test_a_console_block_is_read_into_calls() -> None:
    assert calls_of("$ one\na\nb\n$ two\n") == [("one", "a\nb\n"), ("two", "")]
    assert calls_of("going on\n^C\n") == [("", "going on\n^C\n")]


@pytest.mark.parametrize(
    ("shown", "output"),
    [
        ("", ""),
        ("a b\n", "a b"),
        ("a ... c\n", "a b c\n"),
        ("...\nend\n", "end\n"),
        ("...\nend\n", "one\ntwo\nend\n"),
        ("12:00:00 ready c7c7c06ec01cb47d\n", "23:59:01 ready 0123456789abcdef\n"),
        ("took 1 ms at tcp://localhost:7419, pid 1\n", "took 305 ms at tcp://localhost:34105, pid 4711\n"),
        ("faktory-sdk 0.1.0, Python 3.12.1\n", "faktory-sdk 1.10.0, Python 3.13.0\n"),
    ],
)
def test_what_no_two_runs_share_is_compared_by_its_form(shown: str, output: str) -> None:
    assert matches(shown, output)


@pytest.mark.parametrize(
    ("shown", "output"),
    [
        ("a\n", "b\n"),
        ("a\n", "a\nb\n"),
        ("", "a\n"),
        ("...\nend\n", "end\nmore\n"),
        ("1 failed\n", "2 failed\n"),
        ("ready c7c7c06ec01cb47d\n", "ready c7c7\n"),
        ("a.c\n", "abc\n"),
    ],
)
def test_another_output_is_noticed(shown: str, output: str) -> None:
    assert not matches(shown, output)
