"""Break everything while jobs run, and account for each one: `python -m tests.chaos --jobs 10000 --cuts 200 ...`.

Four producers push through a proxy that resets every connection (`--cuts`); two worker processes of eight threads are
killed with SIGKILL (`--kills`); the server is restarted (`--restarts`) or killed (`--crashes`). Faults come in an order
that `--seed` decides, spread over the progress of the jobs, so that a faster machine is not spared.

Ends with `lost 0, unexpected 0, duplicates D, all explained`, or with exit code 1 and the history of each offender:

* lost: acknowledged to its producer, never run, and no longer stored;
* unexpected: run, and never pushed;
* duplicate: started more than once, although no run of it failed. Explained, by set, when a push of it had an unknown
  outcome and was repeated (D1), or when the worker of each earlier start was killed before the server had confirmed the
  outcome (W2, D2), or when a FAIL was repeated whose reply was lost, and hit the run that had begun meanwhile.

The workers run their jobs in threads, or on an event loop (`--front asyncio`, `--front trio`).
The server is an embedded one, the real one (`--real`), or any at `--url` (which cannot be restarted).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from faktory import Client, ConnectFailed, ConnectionLost, Job, JobFilter, PushOutcomeUnknown
from faktory.server import Server
from tests.proxy import Proxy
from tests.real_server import RealServer

PRODUCERS = 4
WORKERS = 2
ROOT = Path(__file__).parent.parent


@dataclass
class Account:
    """What is known of one jid."""

    attempts: int = 0
    unknown: int = 0
    acknowledged: bool = False
    events: list[tuple[int, float, str, str]] = field(default_factory=list)
    """(pid, time, event, detail), in order."""

    def pids(self, event: str) -> list[int]:
        return [pid for pid, _, name, _ in self.events if name == event]

    @property
    def repeated_failures(self) -> int:
        """FAILs whose reply was lost, and that were sent again after the job had been started anew, by its jid.

        The server takes the second for the new run's. Only here does it come so soon: `settle` and the workers hurry.
        """
        found = 0
        for index, (pid, _, event, _) in enumerate(self.events):
            if event == "raised":
                later = [(name, other) for other, _, name, _ in self.events[index + 1 :]]
                next_start = next((place for place, (name, _) in enumerate(later) if name == "started"), len(later))
                found += ("settled", pid) in later[next_start:] and ("settled", pid) not in later[:next_start]
        return found


class Chaos:
    """One run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.random = random.Random(options.seed)
        self.queue = f"chaos-{options.seed}-{os.getpid()}"
        self.accounts: dict[str, Account] = defaultdict(Account)
        self.killed: set[int] = set()
        self.server: Server | RealServer | None = None
        if options.real:
            self.server = RealServer()
        elif options.url is None:
            self.server = Server(seed=options.seed).start()
        url = options.url if self.server is None else self.server.url
        self.proxy = Proxy(urlsplit(url).port or 7419, seed=options.seed)
        self.direct = Client(url, push_retries=0)
        self.directory = tempfile.TemporaryDirectory(prefix="chaos")
        self.journal = Path(self.directory.name) / "journal"
        self.journal.touch()
        self.workers: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._read_to = 0

    # -- the parts ------------------------------------------------------------------------------------------------

    def hire(self) -> None:
        program = [sys.executable, "-m", "tests.programs.chaos_worker"]
        command = [*program, self.options.front, self.proxy.url, self.queue, str(self.journal)]
        self.workers.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL))

    def produce(self, jids: list[str]) -> None:
        with Client(self.proxy.url, timeout=5) as client:
            for jid in jids:
                job = Job("chaos", [jid], jid=jid, queue=self.queue, reserve_for=60)
                while True:
                    with self._lock:
                        account = self.accounts[jid]
                        account.attempts += 1
                    try:
                        client.push(job)
                    except PushOutcomeUnknown:
                        account.unknown += 1
                    except (ConnectFailed, ConnectionLost):
                        time.sleep(0.02)
                    else:
                        account.acknowledged = True
                        break

    def progress(self) -> int:
        """Read the journal's new lines; return how many jobs have been started at least once."""
        with self.journal.open("rb") as file:
            file.seek(self._read_to)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.decode().splitlines():
            pid, at, event, jid, detail = line.split(" ", 4)
            if jid != "-":
                with self._lock:
                    self.accounts[jid].events.append((int(pid), float(at), event, detail))
        return sum(1 for account in list(self.accounts.values()) if account.events)

    def faults(self) -> list[Callable[[], None]]:
        options = self.options
        found: list[Callable[[], None]] = [self.proxy.reset_all] * options.cuts + [self.kill] * options.kills
        found += [self.restart] * options.restarts + [self.crash] * options.crashes
        self.random.shuffle(found)
        return found

    def kill(self) -> None:
        victim = self.workers.pop(0)
        self.killed.add(victim.pid)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        self.hire()

    def restart(self) -> None:
        if isinstance(self.server, RealServer):
            self.server.restart()
        elif self.server is not None:
            self.server.stop()
            time.sleep(self.random.random() * 0.3)
            self.server.start()

    def crash(self) -> None:
        if self.server is not None:
            self.server.kill()
            time.sleep(self.random.random() * 0.3)
            self.server.start()

    # -- the run ----------------------------------------------------------------------------------------------------

    def run(self) -> int:
        started = time.monotonic()
        total = self.options.jobs
        jids = [f"{self.random.getrandbits(96):024x}" for _ in range(total)]
        for _ in range(WORKERS):
            self.hire()
        producers = [
            threading.Thread(target=self.produce, args=(jids[index::PRODUCERS],), name="producer")
            for index in range(PRODUCERS)
        ]
        for producer in producers:
            producer.start()
        faults = self.faults()
        marks = [total * (index + 1) / (len(faults) + 1) for index in range(len(faults))]
        for fault, mark in zip(faults, marks, strict=True):
            patience = time.monotonic() + 2.0  # a fault may leave nothing to be started for a while: go on all the same
            while self.progress() < mark and time.monotonic() < patience:
                time.sleep(0.01)
            fault()
        broken = time.monotonic() - started
        for producer in producers:
            producer.join()
        self.settle()
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            self.see_off(worker)
        self.progress()
        return self.judge(broken, time.monotonic() - started)

    def see_off(self, worker: subprocess.Popen[bytes]) -> None:
        """Wait for the end of a worker that was told, where possible without the 2 s of its last FETCH."""
        deadline = time.monotonic() + 30
        while isinstance(self.server, Server) and worker.poll() is None and time.monotonic() < deadline:
            self.server.clock.advance(2.1, beating=True)
            time.sleep(0.05)
        worker.wait(30)

    def settle(self) -> None:
        """Wait until nothing is stored any more, hurrying the server where it lets itself be hurried."""
        deadline = time.monotonic() + 420
        quiet_since = time.monotonic()
        last = -1
        while time.monotonic() < deadline:
            seen = self.progress()
            if self.stored() == 0:
                return
            if seen != last or self.waiting():
                last, quiet_since = seen, time.monotonic()
            self.direct.requeue("retries", JobFilter.everything())
            if isinstance(self.server, Server) and time.monotonic() - quiet_since > 3.0:
                # What is still reserved belongs to the dead, and to FETCHes that were cut: let it expire.
                self.server.clock.advance(61, beating=True)
                quiet_since = time.monotonic()
            time.sleep(0.1)

    def waiting(self) -> int:
        return int(self.direct.info()["faktory"]["queues"].get(self.queue, 0))

    def stored(self) -> int:
        faktory = self.direct.info()["faktory"]
        return int(sum(faktory["sets"].values()) + faktory["queues"].get(self.queue, 0))

    def explain(self, account: Account) -> bool:
        starts = account.pids("started")
        again = len(starts) - 1 - len(account.pids("raised")) - account.repeated_failures
        if again <= 0 or account.unknown:
            return True
        # Every start but the last must have been in the hands of a worker that was killed before it was settled.
        settled = account.pids("settled")
        unsettled = [pid for pid in starts if pid in self.killed and pid not in settled]
        return len(unsettled) >= again

    def judge(self, broken: float, seconds: float) -> int:
        stored = self.stored()
        accounts = self.accounts
        lost = [jid for jid, a in accounts.items() if a.acknowledged and not a.pids("started")]
        unexpected = [jid for jid, a in accounts.items() if not a.attempts]
        twice = [jid for jid, a in accounts.items() if len(a.pids("started")) - len(a.pids("raised")) > 1]
        unexplained = [jid for jid in twice if not self.explain(accounts[jid])]
        unknown = sum(account.unknown for account in accounts.values())
        options = self.options
        print(
            f"{options.front}: {len(accounts)} jobs, {self.proxy.resets} connections cut in {options.cuts} cuts, "
            f"{options.kills} workers killed, {options.restarts} restarts and {options.crashes} crashes of the server, "
            f"seed {options.seed}\n"
            f"attempted {sum(a.attempts for a in accounts.values())}, acknowledged "
            f"{sum(a.acknowledged for a in accounts.values())}, unknown outcomes {unknown}, started "
            f"{sum(len(a.pids('started')) for a in accounts.values())}, still stored {stored}\n"
            f"{broken:.1f} s of faults, {seconds - broken:.1f} s until all was settled"
        )
        # A server that is killed between taking a job from its queue and reserving it loses that job (L2).
        allowed = options.crashes * WORKERS
        for jid in [*lost, *unexpected, *unexplained]:
            print(jid, accounts[jid])
        verdict = "all explained" if not unexplained else f"{len(unexplained)} NOT EXPLAINED"
        print(f"lost {len(lost)}, unexpected {len(unexpected)}, duplicates {len(twice)}, {verdict}")
        return 1 if len(lost) > allowed or unexpected or unexplained or stored else 0

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        self.direct.close()
        self.proxy.close()
        if isinstance(self.server, RealServer):
            self.server.close()
        elif self.server is not None:
            self.server.stop()
        self.directory.cleanup()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", help="a server that is running already; it is not restarted")
    parser.add_argument("--real", action="store_true", help="start a real Faktory, from PATH")
    parser.add_argument("--front", choices=("threads", "asyncio", "trio"), default="threads", help="what runs the jobs")
    for name, default in (
        ("jobs", 10_000),
        ("cuts", 200),
        ("kills", 20),
        ("restarts", 10),
        ("crashes", 0),
        ("seed", 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(arguments)
    if options.url and (options.restarts or options.crashes):
        parser.error("a server at --url cannot be restarted: pass --restarts 0")
    chaos = Chaos(options)
    try:
        return chaos.run()
    finally:
        chaos.close()


if __name__ == "__main__":
    raise SystemExit(main())
