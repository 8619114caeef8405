"""A worker process that prints who has stopped it: `python -m tests.programs.stopped_by LIBRARY URL`."""

from __future__ import annotations

import sys
from typing import Any

from faktory import ConsumerBuilder
from tests.programs.worker import say


def main() -> None:
    library, url = sys.argv[1:3]
    consumers: list[Any] = []
    builder = ConsumerBuilder().register("work", lambda _: None)
    builder.on_startup(lambda: say("ready")).on_shutdown(lambda: say(consumers[0].stopped_by))
    if library == "threads":
        consumers.append(builder.connect(url))
        consumers[0].run_to_completion(["default"])

    async def run() -> None:
        connect = builder.connect_trio if library == "trio" else builder.connect_asyncio
        consumers.append(await connect(url))
        await consumers[0].run_to_completion(["default"])

    loop: Any = __import__(library)
    loop.run(run if library == "trio" else run())


if __name__ == "__main__":
    main()
