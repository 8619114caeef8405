"""A chain of jobs, each pushing the next: `python -m examples.chain`.

The open-source server knows no workflows, and needs none for this: a job's last act is to push what follows. A job that
fails is retried, and the chain waits for it. What this is not: exactly once. A worker that dies after the push and
before its report runs the job again, and pushes the rest of the chain twice; each step should bear that, as here, where
a step that finds its result there leaves it. Runs in this process, without a server.
"""

from __future__ import annotations

import faktory

app = faktory.App(mode="foreground")
files: dict[str, str] = {}
"""What the steps make. Jobs share files or rows, and pass on their names."""


@app.job
def download(name: str) -> None:
    files.setdefault(name, "the quick brown fox")
    print(f"downloaded {name}")
    count.enqueue(name)


@app.job
def count(name: str) -> None:
    files.setdefault(f"{name}.count", str(len(files[name].split())))
    print(f"counted {name}")
    report.enqueue(name)


@app.job
def report(name: str) -> None:
    print(f"{name} has {files[f'{name}.count']} words")


if __name__ == "__main__":
    download.enqueue("fox.txt")
