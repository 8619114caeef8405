"""An embedded Faktory server: in memory, for development and tests, for clients in any language.

::

    with Server() as server:
        client = Client(server.url)

It answers what Faktory 1.10.0 answers, except for this:

* a job pushed without `retry` gets 25; the real server gives it the last `retry` that anybody pushed;
* each fetch of a duplicate jid has its own reservation, which can be acknowledged, failed, or expires and is retried;
  the real server loses all but one of them;
* CR and LF in what an error echoes become spaces, bytes that are no UTF-8 become "?"; the real server sends them on,
  which can desynchronise the connection;
* the wording of errors about malformed JSON and times, from the second colon on;
* nesting deeper than 512, lines longer than `max_line`, and before the handshake lines longer than 64 KiB are refused;
* commands are executed one at a time: a huge PUSHB or MUTATE holds up the others;
* times have microseconds; `wall_time_sec` is 0 and `used_memory_mb` is that of the whole process;
* the dead set is purged completely each minute, not 100 jobs at a time;
* a restart keeps all jobs, and what FLUSH left in memory as well;
* there is no web page, no `cron`, no configuration file.

Enterprise features follow what is documented and what others' tests have seen; their refusals' wording is ours.
"""

from __future__ import annotations

from .clock import Clock
from .embedded import Server
from .faults import Fault, Faults
from .views import Jobs, ReservationView, WorkerView

__all__ = ["Clock", "Fault", "Faults", "Jobs", "ReservationView", "Server", "WorkerView"]
