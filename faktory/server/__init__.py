"""An embedded Faktory server: in memory, for development and tests, for clients in any language.

::

    with Server() as server:
        client = Client(server.url)

See docs/server.md for what differs from the real one.
"""

from __future__ import annotations

from .clock import Clock
from .embedded import Server
from .faults import Fault, Faults
from .views import Jobs, ReservationView, WorkerView

__all__ = ["Clock", "Fault", "Faults", "Jobs", "ReservationView", "Server", "WorkerView"]
