"""Jobs that children import by name, for the tests of the kit."""

from __future__ import annotations

from faktory import App, Job, JobContext, Retry

app = App("tcp://never.invalid:7419")


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("one text")


@app.job
def parent_of(number: int) -> None:
    child_of.enqueue(number)
    app.client.push(Job("child_of", [number + 1], at=60))


@app.job
def child_of(number: int) -> None: ...


@app.job(retry=3)
def fail(kind: str) -> None:
    if kind == "unpicklable":
        raise Unpicklable(1, 2)
    raise KeyError(kind)


@app.job
def again(ctx: JobContext) -> None:
    if ctx.attempt < 3:
        raise Retry(in_=60)


def plain(job: Job) -> None:
    raise LookupError(*job.args)
