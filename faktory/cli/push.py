"""`faktoryctl push`: store one job, or many."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from ..core.settings import nearest
from ..errors import FaktoryError, InvalidJob, ProtocolError, PushOutcomeUnknown
from ..job import Job
from .connecting import connect
from .entries import ARRIVES
from .output import FAILED, INTERRUPTED, OK, UNKNOWN, UNREPORTED, Output, OutputFailed
from .parsing import Parser, Usage, moment, readable, seconds, whole_number

SETTINGS: Final = ("url", "ca", "queue", "retry", "reserve-for", "app-dir")
WORDS: Final = "JOBTYPE [ARG ...]"
EPILOG: Final = """\
The environment can say --queue as FAKTORY_PUSH_QUEUE, and so on: --url, --ca, --retry, --reserve-for, --app-dir.
Each ARG is JSON where it is JSON (5, true, '[1]', '"5"'), else text. Words that begin with a dash go after --.
With --from each line is a JSON object with the fields of a job: jobtype, args, queue, and so on. What the server adds
(created_at, enqueued_at, failure) is left out, so that what `faktoryctl dead show JID --json` prints can be pushed.

exit status:
  0    stored
  1    not stored: the server refused it (with --from: some were refused)
  2    not stored: called wrongly
  3    not stored: no server, a wrong password, or no TLS
  5    stored, but the output cannot be written
  6    unknown: the reply was lost, so that the job is stored or not; `push --jid` with the same jid makes sure of it
       (it may then run twice)
  130  interrupted: the job is stored or not
  141  stored, but whoever read the output has gone"""
_MOST_DIGITS: Final = 400
_FIELDS: Final = frozenset(
    {"jobtype", "args", "jid", "queue", "retry", "reserve_for", "at", "backtrace", "custom"}
)  # what a line of --from may say


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_server_options()
    parser.add_argument("-q", "--queue", help='default: "default"')
    parser.add_argument("--retry", type=whole_number, metavar="N", help="how often a failing job is run again; 25")
    parser.add_argument(
        "--reserve-for", type=whole_number, metavar="SECONDS", help="how long a worker may hold it; 1800"
    )
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--in", type=seconds, dest="delay", metavar="SECONDS", help="run it so much later")
    when.add_argument("--at", type=moment, metavar="TIME", help="run it then: 2026-11-27T08:00:00Z, with a zone")
    parser.add_argument(
        "--custom", action="append", default=[], metavar="KEY=JSON", help="add to the job's custom data"
    )
    parser.add_argument("--jid", help="push under this jid, such as that of a push whose outcome is unknown")
    parser.add_argument(
        "--app",
        metavar="TARGET",
        help="check the arguments against this app's job first; take its queue, retry, ...",
    )
    parser.add_argument("--app-dir", metavar="DIR", help="where --app is looked for first; default: here")
    parser.add_argument(
        "--from", dest="file", metavar="FILE", help="push the jobs of a file, one a line; - is standard input"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Push and print the jid."""
    if arguments.file is not None:
        return _push_file(arguments, output)
    job = _job(arguments)
    try:
        with connect(arguments) as client:
            client.push(job)
    except (PushOutcomeUnknown, ProtocolError) as exc:
        output.error(f"{exc}; the job {job.jid} is stored or not: to make sure push it again with --jid {job.jid}")
        return UNKNOWN
    except KeyboardInterrupt:
        output.error(f"interrupted: the job {job.jid} is stored or not")
        return INTERRUPTED
    return _report(output, json.dumps({"jid": job.jid}) if arguments.json else job.jid, f"the job {job.jid} is stored")


def _report(output: Output, text: str, fact: str) -> int:
    try:
        output.result(text)
    except OutputFailed as exc:
        output.error(f"{fact}, but this cannot be written to the output: {exc}")
        return UNREPORTED
    return OK


def _job(arguments: argparse.Namespace) -> Job:
    if not arguments.words:
        raise Usage("expected a JOBTYPE, or --from FILE")
    jobtype, *args = [readable(word) for word in arguments.words]
    given: dict[str, Any] = {
        "queue": None if arguments.queue is None else readable(arguments.queue),
        "retry": arguments.retry,
        "reserve_for": arguments.reserve_for,
        "at": arguments.at if arguments.delay is None else arguments.delay,
        "jid": None if arguments.jid is None else readable(arguments.jid),
        "custom": dict(_custom(readable(text)) for text in arguments.custom) or None,
    }
    values: Any = [value_of(text, f"argument {number}") for number, text in enumerate(args, 1)]
    if arguments.app is not None:
        given = _checked(arguments, jobtype, values) | {
            name: value for name, value in given.items() if value is not None
        }
    return Job(jobtype, values, **{name: value for name, value in given.items() if value is not None})


def _checked(arguments: argparse.Namespace, jobtype: str, values: list[Any]) -> dict[str, Any]:
    """Return how the app pushes a job of this type. Raises `Usage` for arguments that its function does not take."""
    from ..app import App
    from .target import load

    app = load(arguments.app, arguments.app_dir)
    if not isinstance(app, App):
        raise Usage("--app: expected an App, got a ConsumerBuilder, which does not know what its jobs take")
    typed = app.jobs.get(jobtype)
    if typed is None:
        raise Usage(f"the app has no job {jobtype[:60]!a}{nearest(jobtype, app.jobs)}")
    typed.signature.load(values)
    options = typed.options
    return {name: getattr(options, name) for name in ("queue", "retry", "reserve_for", "backtrace")}


def _custom(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise Usage("--custom must be KEY=JSON")
    return key, value_of(value, f"--custom {key}")


def value_of(text: str, what: str) -> Any:
    """Return the JSON value that `text` is, or the text. What is JSON and could not arrive as it is is refused."""

    def whole(digits: str) -> int:
        if len(digits) > _MOST_DIGITS:  # Python itself gives up at some number of them
            raise Usage(f"{what}: an integer of {len(digits)} digits changes on its way; quote it: '\"...\"'")
        return int(digits)

    def no_number(name: str) -> None:
        raise ValueError(name)  # NaN and Infinity are not JSON, so they are text

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key, item in found:
            if key in value:
                raise Usage(f"{what}: the key {key[:40]!a} comes twice")
            value[key] = item
        return value

    try:
        return json.loads(text, parse_int=whole, parse_constant=no_number, object_pairs_hook=pairs)
    except ValueError:
        return text
    except RecursionError:
        raise Usage(f"{what}: nested too deep") from None


# -- many -------------------------------------------------------------------------------------------------------------


def _push_file(arguments: argparse.Namespace, output: Output) -> int:
    for name, value in vars(arguments).items():
        if value and name not in ("file", "url", "ca", "json", "color", "command"):
            raise Usage("--from takes no JOBTYPE and no options of a job: each line says its own")
    lines = _Lines(output)
    try:
        with _opened(arguments.file) as file, connect(arguments) as client:
            refused = client.push_bulk(lines.jobs(file))
    except (PushOutcomeUnknown, ProtocolError) as exc:
        _tell_of_many(output, exc)
        return UNKNOWN
    except FaktoryError as exc:
        _tell_of_many(output, exc)
        raise
    except _Unreadable as exc:
        output.error(f"cannot read {arguments.file!a} to its end: {exc}")
        _tell_of_many(output, exc)
        return FAILED
    for jid, reason in refused.items():
        output.error(f"{jid}: {reason}")
    stored, count = lines.sent - len(refused), lines.refused + len(refused)
    text = json.dumps({"stored": stored, "refused": count}) if arguments.json else f"stored {stored}, refused {count}"
    return _report(output, text, f"{stored} jobs are stored, {count} refused") or (FAILED if count else OK)


def _tell_of_many(output: Output, error: Exception) -> None:
    if isinstance(error, (PushOutcomeUnknown, ProtocolError)):
        output.error(str(error))
    for note in getattr(error, "__notes__", ()):
        output.error(note.removeprefix("push_bulk: "))


def _opened(name: str) -> IO[bytes]:
    if name == "-":
        if sys.stdin is None:
            raise Usage("cannot read '-': standard input is closed")
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as exc:
        raise Usage(f"cannot read {name!a}: {exc.strerror}") from exc


class _Unreadable(Exception):
    """A file breaks off; what was read before may be stored."""


def _lines_of(file: IO[bytes]) -> Iterator[bytes]:
    try:
        yield from file
    except OSError as exc:
        raise _Unreadable(exc.strerror or str(exc)) from exc


class _Lines:
    """The jobs of a file. A line that is none is told of and counted."""

    def __init__(self, output: Output) -> None:
        self.sent = 0
        self.refused = 0
        self._output = output
        self._jids: set[str] = set()

    def jobs(self, file: IO[bytes]) -> Iterator[Job]:
        for number, line in enumerate(_lines_of(file), 1):
            if not line.strip():
                continue
            try:
                job = self._job(line, f"line {number}")
            except (Usage, InvalidJob) as exc:
                self._output.error(f"{'' if isinstance(exc, Usage) else f'line {number}: '}{exc}")
                self.refused += 1
            else:
                self.sent += 1
                yield job

    def _job(self, line: bytes, what: str) -> Job:
        try:
            found = value_of(line.decode(), what)
        except UnicodeDecodeError:
            raise Usage(f"{what}: expected UTF-8, got other bytes") from None
        if not isinstance(found, dict):
            raise Usage(f"{what}: expected a JSON object with a jobtype, and perhaps args, queue and so on")
        for name in ARRIVES:
            found.pop(name, None)
        unknown = sorted(found.keys() - _FIELDS)
        if unknown or "jobtype" not in found:
            names = ", ".join(sorted(_FIELDS))
            wrong = f"the field {unknown[0][:40]!a}" if unknown else "no jobtype"
            raise Usage(f"{what}: expected fields of {names}, got {wrong}")
        if isinstance(found.get("at"), str):
            try:
                found["at"] = moment(found["at"])
            except argparse.ArgumentTypeError as exc:
                raise Usage(f"{what}: at: {exc}") from None
        job = Job(found.pop("jobtype"), found.pop("args", []), **found)
        if job.jid in self._jids:
            raise Usage(f"{what}: the jid {job.jid[:40]!a} comes twice")
        self._jids.add(job.jid)
        return job
