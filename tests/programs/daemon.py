"""A program whose consumer works in a daemon thread when the interpreter ends: `... URL QUEUE`."""

from __future__ import annotations

import os
import sys
import threading
import time

from faktory import ConsumerBuilder, Job

started = threading.Event()


def nap(job: Job) -> None:
    started.set()
    time.sleep(0.5)
    os.write(1, b"done\n")


consumer = ConsumerBuilder().register("nap", nap).connect(sys.argv[1])
threading.Thread(target=consumer.run, args=[[sys.argv[2]]], daemon=True).start()
started.wait(20)
