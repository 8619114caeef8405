"""A worker with children whose handlers stand in its main file: `... URL QUEUE [--timeout S] [--unguarded]`."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time

from faktory import ConsumerBuilder, Job

log = logging.getLogger("isolated")


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def nap(job: Job) -> None:
    say("start", job.jid, os.getpid())
    time.sleep(job.args[0])
    say("done", job.jid)


class Boom(Exception):
    pass


def fail(job: Job) -> None:
    log.warning("about to fail", exc_info=Boom("in the log"))
    raise Boom("no luck")


def stubborn(job: Job) -> None:
    say("start", job.jid, os.getpid())
    while True:
        try:
            time.sleep(60)
        except BaseException:
            say("ignored")


def orphan(job: Job) -> None:
    """Leave a process behind whose parent has ended, as a daemon does."""
    say("start", job.jid, os.getpid())
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL).pid)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    say("orphan", done.stdout.strip())


def main() -> None:
    url, queue = sys.argv[1:3]
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    builder = ConsumerBuilder().register("nap", nap).register("stubborn", stubborn).register("fail", fail)
    builder.register("orphan", orphan)
    if "--timeout" in sys.argv:
        builder.shutdown_timeout(float(sys.argv[sys.argv.index("--timeout") + 1]))
    consumer = builder.processes(2).on_shutdown(lambda: say("shutdown")).connect(url)
    say("ready")
    consumer.run_to_completion([queue])


if __name__ == "__main__" or "--unguarded" in sys.argv:
    main()
