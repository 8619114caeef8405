"""`faktoryctl queues`: which there are, and pause, resume and empty them."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

from ..client import Client
from ..core.settings import nearest
from ..errors import FaktoryError
from .asking import add_yes, is_wanted, sizes_of, tell_change
from .connecting import connect
from .entries import json_line, table
from .info import latencies_of
from .looking import source_of
from .output import FAILED, OK, Output, escaped
from .parsing import Parser, Usage, readable, whole_number

SETTINGS: Final = ("url", "ca", "web")
WORDS: Final = "[list [NAME] | pause NAME ... | resume NAME ... | clear NAME ... | remove NAME ...]"
EPILOG: Final = """\
list (when nothing else is said) shows the queues; `list NAME` the jobs of one, next one first.
A paused queue takes jobs and gives none out. clear and remove both delete a queue with its jobs and its pause, for the
server has one command for both; the queue is there again with the next push.
Whether a queue is paused, and its jobs, only the server's Web UI tells (read with the server's password, in the clear
over http); without it the former is shown as ?. `faktoryctl server` and `dev` tell by themselves.
FAKTORY_QUEUES_URL stands for --url, and so on for --ca and --web."""
_ACTIONS: Final = ("list", "pause", "resume", "clear", "remove")


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_server_options()
    parser.add_argument("--web", metavar="URL", help="where the Web UI is; default: port 7420")
    parser.add_argument("-n", type=whole_number, dest="number", metavar="N", help="how many jobs `list NAME` shows; 25")
    parser.add_argument("--all", action="store_true", help="pause or resume every queue that there is")
    add_yes(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry out one action."""
    action, *names = [readable(word) for word in arguments.words] or ["list"]
    if action not in _ACTIONS:
        raise Usage(f"queues cannot {action[:40]!a}{nearest(action, _ACTIONS)}; it can {', '.join(_ACTIONS)}")
    if arguments.all and (action not in ("pause", "resume") or names):
        raise Usage("--all is for pause and resume, and stands in the place of names")
    if arguments.number is not None and (action != "list" or not names):
        raise Usage("-n is for `list NAME`")
    if arguments.yes and action not in ("clear", "remove"):
        raise Usage(f"{action} takes no --yes: it asks nothing")
    if action == "list":
        return _list(arguments, output, names)
    if not names and not arguments.all:
        raise Usage(f"{action}: expected the name of a queue{'' if action in ('clear', 'remove') else ', or --all'}")
    with connect(arguments) as client:
        if action in ("clear", "remove"):
            return _remove(arguments, output, client, names)
        return _pause(arguments, output, client, action, names)


# -- looking ---------------------------------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace, output: Output, names: list[str]) -> int:
    if len(names) > 1:
        raise Usage(f"list: expected one queue at most, got {len(names)}")
    with connect(arguments) as client:
        if names:
            return _list_jobs(arguments, output, client, names[0])
        sizes = sizes_of(client)[1]
        latencies = latencies_of(client, sizes)
        paused = _paused(arguments, output, client) if sizes else set()
    rows = [
        _Row(name, size, latencies.get(name), None if paused is None else name in paused)
        for name, size in sorted(sizes.items())
    ]
    if arguments.json:
        for row in rows:
            output.result(json_line(asdict(row)))
        return OK
    width = max([len("queue"), *(len(escaped(name)) for name in sizes)])
    head = output.bold(f"{'queue':<{width}}  {'jobs':>9}  {'oldest waits':>12}  state")
    output.result("\n".join([head, *(row.line(width) for row in rows)]))
    return OK


@dataclass(frozen=True, slots=True)
class _Row:
    queue: str
    jobs: int
    latency: float | None
    paused: bool | None

    def line(self, width: int) -> str:
        latency = "?" if self.latency is None else f"{self.latency:.1f} s"
        state = {None: "?", True: "paused", False: ""}[self.paused]
        return f"{escaped(self.queue):<{width}}  {self.jobs:>9}  {latency:>12}  {state}".rstrip()


def _paused(arguments: argparse.Namespace, output: Output, client: Client) -> set[str] | None:
    """Return the paused queues; None, with a word, where nobody tells. An explicit `--web` must work."""
    try:
        with source_of(arguments, client) as source:
            return source.paused()
    except FaktoryError as exc:
        if arguments.web is not None:
            raise
        output.tell(f"Which queues are paused is not known: {escaped(str(exc))}")
        return None


def _list_jobs(arguments: argparse.Namespace, output: Output, client: Client, name: str) -> int:
    limit = 25 if arguments.number is None else arguments.number
    if limit < 1:
        raise Usage(f"-n: expected 1 or more, got {limit}")
    with source_of(arguments, client) as source:
        entries = source.queued(name, limit)
    if arguments.json:
        for entry in entries or ():
            output.result(json_line(entry.document))
        return OK
    if not entries:
        output.tell(f"{escaped(name)}: no jobs")
        return OK
    head, *lines = table(entries, None, shutil.get_terminal_size((120, 24)).columns)
    output.result("\n".join([output.bold(head), *lines]))
    return OK


# -- changing --------------------------------------------------------------------------------------------------------


def _pause(arguments: argparse.Namespace, output: Output, client: Client, action: str, names: list[str]) -> int:
    act = client.pause_queues if action == "pause" else client.resume_queues
    if arguments.all:
        act("*")
        known = sorted(sizes_of(client)[1])
    else:
        known = _known(output, names, sizes_of(client)[1])
        if known:
            act(*known)
    done = "paused" if action == "pause" else "resumed"
    output.result(json.dumps({done: known}) if arguments.json else f"{done}: {escaped(', '.join(known)) or 'none'}")
    return OK if arguments.all or len(known) == len(set(names)) else FAILED


def _remove(arguments: argparse.Namespace, output: Output, client: Client, names: list[str]) -> int:
    sizes = sizes_of(client)[1]
    known = _known(output, names, sizes)
    if not known:
        return FAILED
    before = {name: sizes[name] for name in known}
    deed = f"deletes {sum(before.values())} jobs of {', '.join(known)} at {client.address} for good"
    if not is_wanted(arguments, output, deed, " ".join(known)):
        return FAILED
    client.remove_queues(*known)
    status = tell_change(arguments, output, before, sizes_of(client)[1])
    return status if len(known) == len(set(names)) else FAILED


def _known(output: Output, names: Iterable[str], sizes: dict[str, int]) -> list[str]:
    """Return the queues that there are; the others are told: the server would say OK, and do nothing."""
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in sizes:
            output.error(f"there is no queue {name[:60]!a}{nearest(name, sizes)}")
    return [name for name in wanted if name in sizes]
