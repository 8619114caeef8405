"""Jobs that are pushed once for each order, by the user's own database: `python -m examples.unique`.

Unique jobs are a feature of Faktory Enterprise; the open-source server stores every job it is sent. A table with a key
does what most need: who inserts the row first pushes. What this is not: a promise that the job runs once. A process
that dies between its commit and the push leaves a row without a job, which `push_forgotten` pushes again, perhaps a
second time; so the job itself asks the table what is still to be done. Runs in this process, without a server.
"""

from __future__ import annotations

import sqlite3

import faktory

app = faktory.App(mode="foreground")
database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
database.execute("CREATE TABLE invoices (number INTEGER PRIMARY KEY, jid TEXT, sent INTEGER NOT NULL DEFAULT 0)")


@app.job
def send_invoice(number: int) -> None:
    if database.execute("UPDATE invoices SET sent = 1 WHERE number = ? AND sent = 0", (number,)).rowcount == 0:
        print(f"invoice {number} was sent before")
        return
    print(f"sending invoice {number}")


def push_once(number: int) -> bool:
    """Push the job of an invoice; False when somebody has done so."""
    if database.execute("INSERT OR IGNORE INTO invoices (number) VALUES (?)", (number,)).rowcount == 0:
        return False
    _push(number)
    return True


def push_forgotten() -> int:
    """Push the jobs of rows whose process died before its push was done; call it at start, or from time to time."""
    rows = database.execute("SELECT number FROM invoices WHERE jid IS NULL").fetchall()
    for (number,) in rows:
        _push(number)
    return len(rows)


def _push(number: int) -> None:
    jid = send_invoice.enqueue(number)
    database.execute("UPDATE invoices SET jid = ? WHERE number = ?", (jid, number))


if __name__ == "__main__":
    print("pushed:", [push_once(number) for number in (7, 7, 8)])
    database.execute("INSERT INTO invoices (number) VALUES (9)")  # and here the process died
    print("forgotten:", push_forgotten())
    send_invoice.enqueue(9)  # a second time, as after a lost reply
