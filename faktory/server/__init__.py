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
* the wording of errors about times, from the second colon on, and of some about JSON: it changes with the release of Go
  that the real one is built with, and ours is that of one 1.10.0;
* a number beyond a float64 is refused also in a field that is ignored;
* nesting deeper than 512, lines longer than `max_line`, and before the handshake lines longer than 64 KiB are refused;
* commands are executed one at a time: a huge PUSHB or MUTATE holds up the others;
* times have microseconds; `wall_time_sec` is 0 and `used_memory_mb` is that of the whole process;
* the dead set is purged completely each minute, not 100 jobs at a time;
* a restart keeps all jobs, and what FLUSH left in memory as well;
* MUTATE requeue of several jobs keeps the order of their time; the real server's is arbitrary: do not rely on either;
* a job over which a mistake of ours stumbles is logged and put among the dead;
* there is no web page, no `cron`, no configuration file; what the web pages show, `PEEK` tells (`server/peek.py`), a
  command of this server alone, which `faktoryctl dead list` and the like use.

Enterprise features follow what is documented and what others' tests have seen; their refusals' wording is ours. Where
the documentation is silent:

* a job that was thrown away (it expired when it was fetched, was discarded, cleared, or removed with its queue) is for
  its batch one that failed and is no longer pending, so that *complete* comes and *success* does not; its track is
  "unknown"; its lock is free, but, as documented, not that of a job removed from the retries;
* a job killed by MUTATE is for its batch one that failed, its track is "dead", its lock is free; one that died of its
  failures keeps its lock until the time is over, as does one with `retry` 0 that failed;
* BATCH NEW refuses a callback that PUSH would refuse whenever it came; one that is refused when it is due (it is not
  unique, say) is logged, never comes, and its state stays "";
* batches that are over, tracks and locks are forgotten after their time (30 minutes for the former two);
* `expires_in` beyond the year 9999 is refused; a `unique_for`, `expires_in` or `expires_at` that means nothing, such as
  "600" as text, is ignored with a warning in the log.
"""

from __future__ import annotations

from .clock import Clock
from .embedded import Server, is_embedded
from .faults import Fault, Faults
from .views import Jobs, ReservationView, WorkerView

__all__ = ["Clock", "Fault", "Faults", "Jobs", "ReservationView", "Server", "WorkerView", "is_embedded"]
