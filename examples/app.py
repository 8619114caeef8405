"""Typed jobs, a managed database, a middleware: `python -m examples.app`; without a server, FAKTORY_MODE=background."""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import faktory

app = faktory.App()


@dataclass
class Item:
    name: str
    price: Decimal


def open_database() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("CREATE TABLE sales (item TEXT, total TEXT)")
    return database


app.manage(sqlite3.Connection, open_database)


@app.use
def timed(ctx: faktory.JobContext, call_next: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    try:
        return call_next()
    finally:
        print(f"{ctx.job.jobtype} took {(time.perf_counter() - started) * 1000:.1f} ms", flush=True)


@app.job(queue="shop", retry=5, timeout=30, needs=(sqlite3.Connection,))
def sell(ctx: faktory.JobContext, item: Item, copies: int = 1) -> None:
    total = item.price * copies
    ctx.get(sqlite3.Connection).execute("INSERT INTO sales VALUES (?, ?)", (item.name, str(total)))
    receipt.enqueue(item.name, total)


@app.job(queue="shop")
def receipt(name: str, total: Decimal) -> None:
    print(f"sold {name} for {total}", flush=True)


if __name__ == "__main__":
    sell.enqueue(Item("book", Decimal("19.90")), copies=2)
    if app.mode == "queue":
        with app.consumer().workers(2).connect() as consumer:
            print(consumer.drain(["shop"]).succeeded, "jobs done")
