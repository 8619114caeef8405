"""`faktoryctl cron`: push the periodic jobs of an app when they are due. The shell around `timetable`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from datetime import UTC, datetime
from threading import Event
from typing import Final, NoReturn

from ..app import App
from ..errors import ConfigurationError, ConnectFailed, ConnectionLost, FaktoryError
from ..protocol.address import Address
from ..typed.periodic import Periodic
from . import joblog
from .output import FAILED, INTERRUPTED, OK, Output, escaped
from .parsing import Parser, TargetError, Usage, whole_number
from .target import load
from .timetable import Tick, Timetable
from .worker import Terminated, ending_early

SETTINGS: Final = ("url", "ca", "app", "app-dir", "wait-server", "log-level", "log-format")
WORDS: Final = "[TARGET]"
EPILOG: Final = """\
Run exactly one of these processes for an app: each of several would push every tick.

TARGET is pkg.mod[:attr] or path/file.py[:attr]; default: app in [tool.faktory] of pyproject.toml. It holds a
faktory.App with jobs like @app.periodic("*/5 * * * *", tz="Europe/Berlin").

Nothing is kept when the process ends: ticks that come while it does not run are lost, and nobody notices. Those that
it sleeps through are logged, and with catch_up="last" the last of them is pushed. A push that cannot reach the server
is tried again, under the same jid, until the job's next tick; where only the reply was lost, the job may be there
twice.
When clocks are changed: a tick in the hour that is left out comes when it ends, one in the hour that comes twice comes
once; what is due every hour goes by elapsed time.

FAKTORY_CRON_APP stands for TARGET, FAKTORY_CRON_URL for --url, and so on; then [tool.faktory] of pyproject.toml.

exit status:
  0    ended by TERM, and no tick was waiting to be pushed; --list: printed
  1    ended by TERM, and a tick was not pushed
  2    called wrongly, or the target cannot be imported, or has no periodic jobs
  3    no server at start (but see --wait-server), a wrong password, or no TLS
  130  interrupted"""
_log: logging.Logger = logging.getLogger(joblog.COMMAND)


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_server_options()
    parser.add_argument("--app-dir", metavar="DIR", help="where modules are looked for first; default: here")
    parser.add_argument("--env", metavar="NAME", help="use [tool.faktory.env.NAME]; default: FAKTORY_ENV")
    parser.add_argument("--list", action="store_true", help="show the next ticks of each job, and end")
    parser.add_argument("-n", "--number", type=whole_number, default=5, metavar="N", help="--list: so many ticks; 5")
    parser.add_argument(
        "--wait-server", action="store_true", default=None, help="start without a server: it may come later"
    )
    parser.add_argument("-l", "--log-level", choices=("debug", "info", "warning", "error"), help="default: info")
    parser.add_argument("--log-format", choices=("text", "json"), help="default: text")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Push jobs until told to end, or list when they are due."""
    from .work import set_environment

    if len(arguments.words) > 1:
        raise Usage(f"expected one TARGET, got {len(arguments.words)} words")
    target = arguments.words[0] if arguments.words else getattr(arguments, "app", None)
    if not target:
        raise Usage("expected a TARGET, like shop.jobs:app or app.py; or set FAKTORY_CRON_APP")
    if not 1 <= arguments.number <= 1_000:
        raise Usage(f"--number: expected 1 to 1000, got {arguments.number}")
    set_environment(arguments)
    timetable: list[Timetable] = []
    try:
        with ending_early():
            _configure_logging(arguments, output)
            app = _app(target, load(target, arguments.app_dir))
            periodics = app.periodics()
            if arguments.list:
                output.result("\n".join(listed(periodics, datetime.now(UTC), arguments.number, as_json=arguments.json)))
                return OK
            _check_server(app, waits=bool(arguments.wait_server))
            timetable.append(Timetable(periodics, datetime.now(UTC)))
            _tell_of_start(app, periodics)
            _push_for_ever(timetable[0], Event())
    except Terminated:  # out here, as TERM may come while Ctrl-C is seen to
        return _ended(timetable)
    except KeyboardInterrupt:
        _ended(timetable)
        return INTERRUPTED


def _configure_logging(arguments: argparse.Namespace, output: Output) -> None:
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    kind = arguments.log_format or "text"
    logging.getLogger().addHandler(joblog.handler_for(output, kind, is_terminal=is_terminal, shows_jobs=False))
    logging.getLogger().setLevel((arguments.log_level or "info").upper())


def _app(target: str, app: object) -> App:
    if not isinstance(app, App):
        raise TargetError(f"{target}: expected an App, got a ConsumerBuilder, which knows no periodic jobs")
    if not app.periodics():
        raise TargetError(f'{target}: the app has no periodic jobs; write @app.periodic("*/5 * * * *") above one')
    return app


def listed(periodics: list[Periodic], now: datetime, number: int, *, as_json: bool) -> list[str]:
    """Return lines that show the next ticks of each job; as JSON one object a line. Pure."""
    lines: list[str] = []
    for periodic in periodics:
        moments, moment = [], now
        for _ in range(number):
            moment = periodic.cron.next_after(moment, periodic.zone)
            moments.append(moment)
        if as_json:
            document = {"jobtype": periodic.typed.jobtype, "cron": str(periodic.cron), "tz": periodic.tz}
            more = {"catch_up": periodic.catch_up, "next": [each.isoformat() for each in moments]}
            lines.append(json.dumps(document | more))
            continue
        head = f"{escaped(periodic.typed.jobtype)}  {periodic.cron}  {periodic.tz}"
        lines.append(head + ("  catch up: last" if periodic.catch_up == "last" else ""))
        lines += [f"  {each:%a %Y-%m-%d %H:%M %z}" for each in moments]
    return lines


def _check_server(app: App, *, waits: bool) -> None:
    """Meet the server, so that a wrong URL or password is known before the first tick."""
    if app.mode != "queue":
        raise ConfigurationError(
            f"cron pushes to a server, and the mode is {app.mode}, in which jobs run in this process; leave "
            "FAKTORY_MODE out"
        )
    try:
        app.client.queue_latency("default")
    except (ConnectFailed, ConnectionLost) as exc:
        if not waits:
            raise
        _log.warning("WARNING the server is not there yet: %s", exc)


def _tell_of_start(app: App, periodics: list[Periodic]) -> None:
    address: Address = app.client.address
    _log.info("cron pushes %d periodic jobs to %s; run exactly one such process", len(periodics), address)
    for line in listed(periodics, datetime.now(UTC), 1, as_json=False):
        _log.info("next %s", line)


def _push_for_ever(timetable: Timetable, never: Event) -> NoReturn:
    while True:
        turn = timetable.turn(datetime.now(UTC))
        for warning in turn.warnings:
            _log.warning("WARNING %s", warning)
        for tick in turn.ticks:
            _push(timetable, tick)
        never.wait(timetable.wait(datetime.now(UTC)))


def _push(timetable: Timetable, tick: Tick) -> None:
    """Push the job of a tick, or say why not. What can succeed later is tried again."""
    try:
        tick.periodic.typed.push(tick.job)
    except (ConnectFailed, ConnectionLost) as exc:
        delay = timetable.failed(tick, datetime.now(UTC))
        _log.warning("WARNING could not push %s, again in %.1f s: %s", tick, delay, exc)
        return
    except FaktoryError as exc:
        timetable.done(tick)
        _log.error("ERROR could not push %s, and it is not tried again: %s", tick, exc)
    except Exception:
        timetable.done(tick)
        _log.exception("ERROR could not push %s, and it is not tried again", tick)
    else:
        timetable.done(tick)  # before it is told: TERM may come as soon as somebody has read it
        _log.info("pushed %s (jid %s)%s", tick, tick.job.jid, ", late" if tick.has_failed else "")


def _ended(timetables: list[Timetable]) -> int:
    unpushed = [tick for each in timetables for tick in each.unpushed()]
    for tick in unpushed:
        _log.warning("WARNING ended before %s was pushed", tick)
    return FAILED if unpushed else OK
