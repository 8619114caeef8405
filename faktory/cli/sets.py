"""`faktoryctl dead`, `retries` and `scheduled`: look at what waits there, and move or delete it."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from typing import Final, cast

from ..commands import JobFilter, Target
from ..core.settings import nearest
from ..errors import ServerError
from .asking import add_yes, is_wanted, sizes_of, tell_change
from .connecting import connect
from .entries import TIMES, details, json_line, table
from .looking import source_of
from .matching import filters_of
from .output import FAILED, OK, Output
from .parsing import Parser, Usage, readable, whole_number

SETTINGS: Final = ("url", "ca", "web")
WORDS: Final = "[count | list | show JID | requeue FILTER | discard FILTER | kill FILTER | clear]"
EPILOG: Final = """\
count (when nothing else is said), list and show change nothing; requeue moves jobs to their queues, kill to the dead
set (the dead are then kept for 180 days anew), discard and clear delete them.
FILTER is --jid JID ..., --type TYPE and/or --match TEXT, or --all. TEXT is looked for in a job's JSON as the server
stores it: "user":7 without a space, a quote within a text as \\"; so is "jobtype":"TYPE", also among the arguments.
The server does not say how many jobs matched: the counts are from before and after, and others change them, too.

list and show read the server's Web UI, which the protocol has no command for, with the server's password (in the clear
over http); FAKTORY_DEAD_WEB stands for --web, and so on. `faktoryctl server` and `dev` tell by themselves, and whole.
The Web UI cuts long arguments in lists, and shows neither reserve_for nor when a job was made.
To repair a job: `show JID --json > job.json`, edit it, `faktoryctl push --from job.json`, then `discard --jid JID`."""
_FILTER: Final = ("jid", "type", "match", "all", "yes")
_ACTIONS: Final = {
    "count": (),
    "list": ("number", "web"),
    "show": ("web",),
    "requeue": _FILTER,
    "discard": _FILTER,
    "kill": _FILTER,
    "clear": ("yes",),
}
"""Each action, and the options it takes of those that not all take."""
_SPELLED: Final = {"number": "-n"}


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_server_options()
    parser.add_argument("--web", metavar="URL", help="where the Web UI is, for list and show; default: port 7420")
    parser.add_argument("-n", type=whole_number, dest="number", metavar="N", help="how many to list; 25")
    parser.add_argument("--jid", nargs="+", action="extend", metavar="JID", help="the jobs under these jids")
    parser.add_argument("--type", metavar="TYPE", help="the jobs of this type")
    parser.add_argument("--match", metavar="TEXT", help="the jobs with this text in their JSON")
    parser.add_argument("--all", action="store_true", help="every job")
    add_yes(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry out one action."""
    place: str = arguments.command
    action, words = _action(arguments, place)
    if action == "show" and len(words) != 1:
        raise Usage("show: expected one JID")
    if action != "show" and words:
        hint = "; name jobs with --jid" if action in ("requeue", "discard", "kill") else ""
        raise Usage(f"{action}: expected no further words, got {len(words)}{hint}")
    if action == "count":
        return _count(arguments, output, place)
    if action == "list":
        return _list(arguments, output, place)
    if action == "show":
        return _show(arguments, output, place, words[0])
    return _change(arguments, output, place, action)


def _action(arguments: argparse.Namespace, place: str) -> tuple[str, list[str]]:
    action, *words = [readable(word) for word in arguments.words] or ["count"]
    if action not in _ACTIONS:
        raise Usage(
            f"{place} cannot {action[:40]!a}{nearest(action, _ACTIONS) or f'; it can {chr(44).join(_ACTIONS)}'}"
        )
    given = [name for name in ("number", "jid", "type", "match", "all", "yes") if getattr(arguments, name)]
    wrong = [name for name in given if name not in _ACTIONS[action]]
    if wrong:
        option = _SPELLED.get(wrong[0], f"--{wrong[0]}")
        users = [each for each, options in _ACTIONS.items() if wrong[0] in options]
        raise Usage(f"{action} takes no {option}, which is for {', '.join(users)}")
    return action, words


# -- looking ---------------------------------------------------------------------------------------------------------


def _count(arguments: argparse.Namespace, output: Output, place: str) -> int:
    with connect(arguments) as client:
        count = sizes_of(client)[0].get(place, 0)
    output.result(json.dumps({"set": place, "count": count}) if arguments.json else str(count))
    return OK


def _list(arguments: argparse.Namespace, output: Output, place: str) -> int:
    limit = 25 if arguments.number is None else arguments.number
    if limit < 1:
        raise Usage(f"-n: expected 1 or more, got {limit}")
    with connect(arguments) as client, source_of(arguments, client) as source:
        size, entries = source.jobs(place, limit)
    if arguments.json:
        for entry in entries:
            output.result(json_line(entry.row))
        return OK
    if not entries:
        output.tell(f"{place}: none")
        return OK
    head, *lines = table(entries, TIMES[place], shutil.get_terminal_size((120, 24)).columns)
    output.result("\n".join([output.bold(head), *lines]))
    if size > len(entries):
        output.tell(f"{len(entries)} of {size}; -n {size} lists all")
    return OK


def _show(arguments: argparse.Namespace, output: Output, place: str, jid: str) -> int:
    with connect(arguments) as client, source_of(arguments, client) as source:
        entry = source.job(place, jid)
    if entry is None:
        output.error(f"{place} has no job with the jid {jid[:60]!a}; `faktoryctl {place} list` tells which there are")
        return FAILED
    if not arguments.json:
        output.result("\n".join(details(entry, place)))
    elif entry.document is None:
        output.error(f"the Web UI cannot show the job {jid[:60]!a} whole; without --json comes what its list tells")
        return FAILED
    else:
        output.result(json_line(entry.document))
    if entry.untold:
        output.tell(
            f"The Web UI does not tell {', '.join(entry.untold)}: pushed again, the job has what `push` gives it."
        )
    return OK


# -- changing --------------------------------------------------------------------------------------------------------


def _change(arguments: argparse.Namespace, output: Output, place: str, action: str) -> int:
    if action != "clear":
        _filters(arguments, 0)  # says what is wrong with them before anybody is asked
    with connect(arguments) as client:
        before = sizes_of(client)[0]
        if action != "requeue":
            deed = "moves them to the dead set" if action == "kill" else "deletes them for good"
            chosen = "all" if action == "clear" or arguments.all else "those that match"
            where = f"{place} of {client.address}, {before.get(place, 0)} jobs"
            if not is_wanted(arguments, output, f"takes {chosen} from {where}, and {deed}", place):
                return FAILED
        act: Callable[[Target, JobFilter], None] = getattr(client, action)
        watched = [place, "dead"] if action == "kill" and place != "dead" else [place]
        try:
            for each in [JobFilter.everything()] if action == "clear" else _filters(arguments, before.get(place, 0)):
                act(cast("Target", place), each)
        except ServerError as exc:
            output.error(f"{exc}; it may have done a part: what matches still is there, so say it again")
            tell_change(arguments, output, _only(before, watched), sizes_of(client)[0])
            return FAILED
        after = sizes_of(client)[0]
    status = tell_change(arguments, output, _only(before, watched), after)
    if arguments.jid and before.get(place) == after.get(place):
        output.tell(f"Nothing has left {place}: it seems to have no job with such a jid.")
    return status


def _filters(arguments: argparse.Namespace, size: int) -> list[JobFilter]:
    jids = [readable(jid) for jid in arguments.jid or ()]
    jobtype, match = (None if text is None else readable(text) for text in (arguments.type, arguments.match))
    return filters_of(jids, jobtype, match, everything=arguments.all, size=size)


def _only(counts: dict[str, int], names: list[str]) -> dict[str, int]:
    return {name: counts.get(name, 0) for name in names}
