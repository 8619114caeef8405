from __future__ import annotations

import shutil
import subprocess

import pytest

from faktory.cli import COMMANDS, main
from faktory.cli.completion import bash, commands, fish, zsh

Capture = pytest.CaptureFixture[str]


def completed(words: list[str]) -> list[str]:
    """What bash offers for a line that ends with the last of the words."""
    line = " ".join(f"'{word}'" for word in words)
    script = f"{bash(commands())}\nCOMP_WORDS=({line}) COMP_CWORD={len(words) - 1}\n_faktoryctl\n"
    script += 'for each in "${COMPREPLY[@]}"; do echo "$each"; done'
    done = subprocess.run(["bash", "-u", "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("faktoryctl sch", ["scheduled"]),
        ("faktoryctl --url x fl", ["flush"]),
        ("faktoryctl --json fl", ["flush"]),
        ("faktoryctl --js", ["--json"]),
        ("faktoryctl --color ", ["auto", "always", "never"]),
        ("faktoryctl dead re", ["requeue"]),
        ("faktoryctl dead requeue --ma", ["--match"]),
        ("faktoryctl dead requeue --url ", []),
        ("faktoryctl worker --pool a", ["asyncio"]),
        ("faktoryctl worker -P t", ["threads", "trio"]),
        ("faktoryctl top --on", ["--once"]),
        ("faktoryctl completion ", ["bash", "zsh", "fish", "-h", "--help", "--color"]),
        ("faktoryctl info x", []),
        ("faktoryctl nonsense --", []),
    ],
)
def test_bash_completes(line: str, offered: list[str]) -> None:
    assert completed(line.split(" ")) == offered


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_offers_every_command_and_option() -> None:
    assert set(COMMANDS) < set(completed(["faktoryctl", ""]))
    known = {each.name: each for each in commands()}
    names = {name for option in known["push"].options for name in option.names}
    assert names == set(completed(["faktoryctl", "push", ""]))
    assert {"--jid", "--from", "--queue", "-q"} < names


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_is_one_that_its_shell_reads(shell: str, capsys: Capture) -> None:
    assert main(["completion", shell]) == 0
    script, err = capsys.readouterr()
    assert err == ""
    for command in commands():
        assert command.name in script
        for option in command.options:
            assert option.names[-1].lstrip("-") in script
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_quotes_in_descriptions_end_no_text() -> None:
    (info,) = [each for each in commands() if each.name == "info"]
    assert "'info:show a server'\\''s queues and sets'" in zsh([info])
    assert "-a info -d 'show a server\\'s queues and sets'" in fish([info])


@pytest.mark.parametrize("call", [[], ["tcsh"], ["bash", "zsh"]])
def test_another_shell_is_a_wrong_call(call: list[str], capsys: Capture) -> None:
    assert main(["completion", *call]) == 2
    assert "expected one of bash, zsh, fish" in capsys.readouterr().err
