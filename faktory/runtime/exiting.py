"""The end of a worker's process, whether or not all of its threads can be ended."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import NoReturn


def end_process(code: int, *, at_once: bool) -> NoReturn:
    """End the process with an exit code.

    `at_once` leaves out `finally` and `atexit`: what cannot be stopped must not go on with jobs that the server hands
    to others now. So it does outside of the main thread, where `sys.exit` ends nothing but the thread.
    """
    if at_once or threading.current_thread() is not threading.main_thread():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
