"""A page that does not do what it says is found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guides.conftest import RunPage


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("```python\n1 / 0\n```\n", "division by zero"),
        ("```python\n# app.py\nimport nothing_of_the_kind\n```\n", "nothing_of_the_kind"),
        ("```python\n# fragment\nreturn await\n```\n", "invalid syntax"),
        ("```python\n# fragment of other.py\nx = 2\n```\n", "does not have"),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "expected\n2\n"),
        ("```python\ndef test_it(): ...\n```\n", "tests belong into a block that is a file"),
        ("```python\n# test_it.py\ndef test_it(): assert 1 == 2\n```\n", "ExitCode.TESTS_FAILED"),
        ("```console\n$ faktoryctl push add 1\nno jid\n```\n", "expected\nno jid"),
        ("```console\n$ faktoryctl push --help\nusage: another\n```\n", "usage: another"),
        ("```console\n$ echo one\ntwo\n```\n", "expected\ntwo"),
        ("```console\n$ python -m pip list\n```\n", "may change this machine"),
        ("```console\n$ docker run\n```\n", "begin its block with `# not run"),
        ("```console\nout of nowhere\n```\n", "a program that is running"),
        ("```toml\nkey = \n```\n", "Invalid value"),
        ("```cobol\nSTOP RUN\n```\n", "expected a block in python"),
    ],
)
def test_a_broken_block_fails_its_page(
    page: str, reason: str, tmp_path: Path, run_page: RunPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAKTORY_TEST_WRITE_HELP", raising=False)
    path = tmp_path / "page.md"
    path.write_text("# Page\n\n" + page)
    (tmp_path / "other.py").write_text("x = 1\n")
    with pytest.raises(BaseException) as caught:  # whatever a page may raise
        run_page(path)
    assert reason in str(caught.value)
    assert f'"{path}:' in "".join(caught.value.__notes__)


@pytest.mark.slow
def test_a_program_that_is_left_running_fails_its_page(tmp_path: Path, run_page: RunPage) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "```python\n# slow.py\nimport time\nif __name__ == '__main__': time.sleep(60)\n```\n\n"
        "```console\n$ python slow.py &\n```\n"
    )
    with pytest.raises(AssertionError, match="a program is left running"):
        run_page(path)


def test_a_page_that_is_right_passes(tmp_path: Path, run_page: RunPage) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "```python\n# jobs.py\nfrom faktory import App\n\napp = App()\n\n"
        "@app.job\ndef add(a: int) -> None: ...\n```\n\n"
        "```python\nfrom jobs import add\n\nprint(len(add.enqueue(1)))\n```\n\n```text\n24\n```\n\n"
        "```console\n$ faktoryctl push add 1\n759d48aaea357e914c9ff94a\n$ echo 1 | cat\n1\n```\n\n"
        "```console\n# not run: it needs Docker\n$ docker run x\n```\n\n"
        "```python\n# fragment\nawait add.aenqueue(1)\n```\n"
    )
    run_page(path)
