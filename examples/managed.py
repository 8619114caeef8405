"""A job that may run twice and does its work once, with a managed value: `python -m examples.managed`, and `... push`.

A worker that dies between a job and its report has that job run again, so jobs should be idempotent: here the database
remembers whom it has welcomed. It is opened by each process when a job first asks, and closed at the worker's end. Uses
the server at FAKTORY_URL, else localhost:7419.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Generator
from contextlib import contextmanager

import faktory

app = faktory.App()


class Database:
    """What the jobs share: few values travel with them, and none that are secret."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self._connection.execute("CREATE TABLE welcomed (user INTEGER PRIMARY KEY)")

    def note(self, user: int) -> bool:
        """Note a user; False when that is no news."""
        return self._connection.execute("INSERT OR IGNORE INTO welcomed VALUES (?)", (user,)).rowcount == 1

    def close(self) -> None:
        self._connection.close()


@contextmanager
def open_database() -> Generator[Database, None, None]:
    database = Database()
    print("the database is open", flush=True)
    yield database
    database.close()
    print("the database is closed", flush=True)


app.manage(Database, open_database)


@app.job(queue="mail", needs=(Database,))
def welcome(ctx: faktory.JobContext, user: int) -> None:
    if ctx.get(Database).note(user):
        print(f"welcome, user {user}", flush=True)
    else:
        print(f"user {user} is welcomed already", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["push"]:
        for _ in range(2):
            welcome.enqueue(7)
    else:
        app.consumer().connect().run_to_completion()
