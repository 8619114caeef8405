"""Measure, print a table of ratios, and keep the results: see `--help`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

from faktory.server import Server
from tests.bench import distant, growth, peers, prefetch
from tests.bench.bare import fill
from tests.bench.contest import CPU, JOBS, Contest, Result, start_subject
from tests.bench.table import Figure, compare, plot, table
from tests.program import ROOT, Program
from tests.real_server import BINARY, RealServer
from tests.scripted import Peer, ScriptedServer


def contests(jobs: int) -> list[Contest]:
    """Return what is measured; `jobs` is the size of a drain."""
    found = [
        Contest(
            f"drain, {threads} thread{'s'[: threads > 1]}",
            "drain",
            "bare_drain",
            {"count": jobs, "threads": threads},
            (JOBS.at_least(0.95), CPU.at_most(1.20) if threads == 4 else CPU),
            jobs,
        )
        for threads in (1, 4, 10, 20)
    ]
    return [
        *found,
        Contest(
            "asyncio beside our threads, 4 workers", "asyncio_drain", "drain", {"count": jobs, "threads": 4},
            (JOBS.at_least(0.75), CPU), jobs,
        ),
        Contest(
            "trio beside our threads, 4 workers", "trio_drain", "drain", {"count": jobs, "threads": 4},
            (JOBS, CPU), jobs,
        ),
        Contest("push", "push", "bare_push", {"count": jobs // 2}, (JOBS.at_least(0.92), CPU)),
        Contest(
            "bulk push",
            "bulk",
            "bare_bulk",
            {"count": jobs * 10},
            (JOBS.at_least(0.90), CPU, Figure("growth_mb", "MB grown").below(10)),
        ),
        Contest(
            "latency, idle worker",
            "latency",
            "bare_latency",
            {"count": jobs // 20, "threads": 1},
            (Figure("p50_us", "µs p50").at_most(1.15), Figure("p99_us", "µs p99")),
            jobs // 20,
            pause=0.004,
        ),
        Contest(
            "latency, 10 threads, 1,000 jobs/s",
            "latency",
            "bare_latency",
            {"count": jobs // 4, "threads": 10},
            (Figure("p50_us", "µs p50"), Figure("p99_us", "µs p99")),
            jobs // 4,
            pause=0.0005,
        ),
        Contest(
            "idle, 10 threads", "idle", "bare_idle", {"threads": 10},
            (Figure("resident_mb", "MB resident").over_by_at_most(4),),
        ),
        Contest(
            "import faktory", "imports", None, {},
            (Figure("ms", "ms").below(15), Figure("all_ms", "ms, with all that a worker needs")),
        ),
        Contest("parser", "parser", None, {"count": jobs * 20}, (Figure("cpu_us", "µs CPU a reply"),)),
        Contest("drain, 2 children", "isolated_drain", None, {"processes": 2, "count": jobs}, (JOBS,), jobs),
        Contest(
            "drain, 2 children, each for 1 job",
            "isolated_drain",
            None,
            {"processes": 2, "count": jobs // 20, "max_jobs": 1},
            (JOBS,),
            jobs // 20,
        ),
    ]  # fmt: skip


SETS = {
    "base": contests,
    "distant": distant.contests,
    "growth": growth.contests,
    "peers": peers.contests,
    "prefetch": prefetch.contests,
}


def time_to_fetch(url: str, subject: str) -> Result:
    """Return the milliseconds from a process's start to its first FETCH, as a server sees it that answers at once."""
    fetched = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        while line := peer.line():
            if line.startswith(b"FETCH"):
                moments.append(time.monotonic())
                fetched.set()
                return
            peer.say(b"+OK\r\n")

    moments: list[float] = []
    with ScriptedServer(script) as server:
        started = time.monotonic()
        process = start_subject(subject, server.url, "bench", {"threads": 1, "count": 1})
        fetched.wait(20)
        process.kill()
        process.communicate()
    return {"ms": (moments[0] - started) * 1e3}


def instructions(url: str, subject: str) -> Result:
    """Return the instructions that a job takes, as valgrind counts them, whatever else the machine does.

    What only the first run does, compiling, and what differs by run, the hashes of texts, is left out.
    """
    counts: list[int] = []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONHASHSEED"] = "0"
    for jobs in (100, 500, 2_500):
        queue = f"bench-{token_hex(4)}"
        fill(url, queue, jobs + 100)
        process = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable),
                *("-m", "tests.bench.subjects", subject, url, queue, json.dumps({"count": jobs, "threads": 1})),
            ],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        counts.append(int(process.stderr.rpartition("Collected :")[2].split()[0]))
    return {"instructions": (counts[2] - counts[1]) / 2_000}


@contextlib.contextmanager
def a_server(*, real: bool, smoke: bool) -> Iterator[tuple[str, str]]:
    """Yield the URL of a server in a process of its own, and what it is. For a smoke test one without its 2 s waits."""
    if smoke:
        with Server(fetch_wait=0.05) as embedded:
            yield embedded.url, "a hurried embedded server"
        return
    if real:
        with RealServer() as server:
            yield server.url, "Faktory"
        return
    environment = {**os.environ, "FAKTORY_PASSWORD": ""}
    with Program("faktory", "server", "--bind", "127.0.0.1:0", env=environment) as program:
        program.expect("Faktory server")
        yield next(word for word in program.lines[0].split() if word.startswith("tcp://")), "the embedded server"


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all contests, round by round, and return the results."""
    rows: dict[str, Any] = {}
    rounds = 1 if options.smoke else options.rounds
    jobs = 200 if options.smoke else options.jobs
    with a_server(real=BINARY is not None and not options.embedded, smoke=options.smoke) as (url, kind):
        chosen = [contest for name in options.sets or SETS for contest in SETS[name](jobs)]
        chosen = [
            contest for contest in chosen if options.only in contest.name and not (options.smoke and contest.is_dear)
        ]
        start = Contest("start to first FETCH", "drain", "bare_drain", {}, (Figure("ms", "ms").over_by_at_most(40),))
        count = Contest("drain, 1 thread", "drain", "bare_drain", {}, (Figure("instructions", "instructions a job"),))
        ways: dict[int, Callable[[str, str], Result]] = {id(start): time_to_fetch, id(count): instructions}
        if options.only in start.name and "base" in (options.sets or SETS):
            chosen.append(start)
        if options.instructions:
            chosen = [count]
        for contest in chosen:
            sides: dict[str, list[Result]] = {"ours": [], "bare": []}
            for number in range(0 if contest.skipped else rounds):
                order = [("ours", contest.ours), ("bare", contest.bare)]
                for side, subject in order if number % 2 else reversed(order):
                    if subject is not None:
                        sides[side].append(ways.get(id(contest), contest.run)(url, subject))
            figures = [vars(figure) for figure in contest.figures]
            rows[contest.name] = {"figures": figures, **sides, "skipped": contest.skipped}
            print(table({contest.name: rows[contest.name]}, head=len(rows) == 1), flush=True)
    return {
        "server": kind,
        "python": platform.python_version(),
        "rounds": rounds,
        "commit": commit(),
        "rows": rows,
    }


def commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["compare"]:
        before, after = (json.loads(Path(name).read_text()) for name in arguments[1:3])
        print(compare(before, after))
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=sys.modules["tests.bench"].__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs of a drain (10,000); the others follow from it")
    parser.add_argument(
        "--set", action="append", dest="sets", choices=SETS,
        help="measure this set of them alone; may be given again (all): base, a distant server, growth, other workers, "
        "several jobs a round trip",
    )  # fmt: skip
    parser.add_argument("--only", default="", help="measure what has this in its name")
    parser.add_argument("--smoke", action="store_true", help="run everything once, small: to see that it works")
    parser.add_argument(
        "--embedded", action="store_true", help="against the embedded server, though a real one is there"
    )
    parser.add_argument("--instructions", action="store_true", help="count a job's instructions alone (needs valgrind)")
    parser.add_argument("--json", type=Path, help="keep the results in this file, for `compare BEFORE AFTER`")
    parser.add_argument("--plot", type=Path, help="draw the drains (SVG or PNG; needs matplotlib)")
    options = parser.parse_args(arguments)
    results = measure(options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    if options.plot:
        plot(results, options.plot)
    print(f"\n{results['commit']}, Python {results['python']}, against {results['server']}, {results['rounds']} rounds")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
