"""Pictures, which a worker of their own scales in child processes: see `examples/newsletter/tests/test_worker.py`."""

import os
from pathlib import Path

import faktory

app = faktory.App()


@app.job(queue="images", retry=2)
def scale(picture: Path, width: int) -> None:
    if width > 10_000:
        raise ValueError(f"{width} pixels are too many")
    picture.with_suffix(".done").write_text(f"{width} wide, by process {os.getpid()}")
