"""A job with typed arguments, pushed by a controller: `python -m examples.typed_app`; `... worker` runs it.

Configuration says how jobs run: FAKTORY_MODE=queue (a Faktory server at FAKTORY_URL and workers), foreground (at once,
blocking) or background (in threads of the same process; neither needs a server).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import faktory

app = faktory.App()


@dataclass
class DownloadArgs:
    user_guid: str


@app.job(queue="reports", retry=5)
def download(ctx: faktory.JobContext, args: DownloadArgs) -> None:
    print(f"attempt {ctx.attempt}: sending the payment report to user {args.user_guid}", flush=True)


def controller() -> str:
    """Answer a request, and leave the slow part to a job; a wrong argument is an error here, and for type checkers."""
    return download.enqueue(DownloadArgs(user_guid="foo"))


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        app.consumer().workers(2).connect().run_to_completion()
    print(f"job {controller()} is on its way", flush=True)
