"""A callback when many jobs are done, by the user's own database: `python -m examples.all_done`.

Batches are a feature of Faktory Enterprise. Here a table holds the parts that are not done: each job takes its row out,
and who takes the last one out pushes the callback. Rows are there before the first job is pushed, or a quick job would
find itself the last. A job that runs twice finds its row gone and changes nothing. What this is not: a job that dies
for good keeps its row, and no callback comes; and a worker that dies between its commit and the push of the callback
leaves an empty batch that nobody has told of, which `find_silent` finds. Runs in this process, without a server.
"""

from __future__ import annotations

import sqlite3

import faktory

app = faktory.App(mode="foreground")
database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
database.execute("CREATE TABLE batches (name TEXT PRIMARY KEY, is_told INTEGER NOT NULL DEFAULT 0)")
database.execute("CREATE TABLE parts (batch TEXT, part INTEGER, PRIMARY KEY (batch, part))")


@app.job
def resize(batch: str, part: int) -> None:
    print(f"resized picture {part}")
    is_mine = database.execute("DELETE FROM parts WHERE batch = ? AND part = ?", (batch, part)).rowcount
    if is_mine and not database.execute("SELECT 1 FROM parts WHERE batch = ?", (batch,)).fetchone():
        all_resized.enqueue(batch)


@app.job
def all_resized(batch: str) -> None:
    if database.execute("UPDATE batches SET is_told = 1 WHERE name = ? AND is_told = 0", (batch,)).rowcount:
        print(f"all pictures of {batch} are done")


def push_batch(batch: str, parts: list[int]) -> None:
    """Push a job for each part, and `all_resized` after the last."""
    database.execute("INSERT INTO batches (name) VALUES (?)", (batch,))
    database.executemany("INSERT INTO parts VALUES (?, ?)", [(batch, part) for part in parts])
    for part in parts:
        resize.enqueue(batch, part)


def find_silent() -> list[str]:
    """Return the batches whose parts are done, and that nobody was told of: push `all_resized` for each."""
    query = "SELECT name FROM batches WHERE is_told = 0 AND name NOT IN (SELECT batch FROM parts)"
    return [name for (name,) in database.execute(query)]


if __name__ == "__main__":
    push_batch("holiday", [1, 2, 3])
    resize.enqueue("holiday", 2)  # a second time
    database.execute("INSERT INTO batches (name) VALUES ('garden')")  # whose last worker died before its push
    print("silent:", find_silent())
