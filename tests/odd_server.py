"""A server whose first jobs are odd."""

from __future__ import annotations

import json
import threading
from typing import Any

from tests.scripted import OK, Peer


class OddServer:
    """Hands out the given bulk strings as jobs, one a FETCH, and keeps the reports."""

    def __init__(self, *jobs: bytes) -> None:
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.fetches = 0
        self._jobs = list(jobs)
        self._empty = threading.Event()

    def script(self, peer: Peer) -> None:
        peer.greet()
        while line := peer.line():
            verb, _, payload = line.decode().partition(" ")
            if verb == "FETCH":
                self.fetches += 1
                if self._jobs:
                    job = self._jobs.pop(0)
                    peer.say(b"$%d\r\n%b\r\n" % (len(job), job) if not job.startswith(b"-") else job)
                else:
                    self._empty.wait(0.05)
                    peer.say(b"$-1\r\n")
            elif verb in ("ACK", "FAIL"):
                self.reports.append((verb, json.loads(payload)))
                peer.say(OK)
            elif verb == "BEAT":
                peer.say(OK)
            else:
                return


GOOD = b'{"jid":"good-12345","jobtype":"work","args":[],"queue":"default","retry":25}'

DEEP = b'{"jid":"deep-12345","jobtype":"work","args":' + b"[" * 5000 + b"]" * 5000 + b"}"
