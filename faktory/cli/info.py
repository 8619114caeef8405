"""`faktoryctl info`: what the server has to do."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..client import Client


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--url", help="default: as in FAKTORY_URL")
    parser.add_argument("--json", action="store_true", help="print the server's own JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the server's figures."""
    with Client(arguments.url) as client:
        info = client.info()
        print(json.dumps(info, indent=2) if arguments.json else _table(str(client.address), info))
    return 0


def _table(address: str, info: dict[str, Any]) -> str:
    faktory, server = info.get("faktory", {}), info.get("server", {})
    version = f"{server.get('description')} {server.get('faktory_version')}"
    lines = [
        f"{address}: {version}, up {server.get('uptime')} s, {server.get('connections')} connections",
        f"{faktory.get('total_processed')} processed, {faktory.get('total_failures')} failed",
    ]
    for title, sizes in (("queue", faktory.get("queues") or {}), ("set", faktory.get("sets") or {})):
        width = max([len(title), *map(len, sizes)])
        lines += ["", f"{title:<{width}}  jobs", *(f"{name:<{width}}  {size}" for name, size in sorted(sizes.items()))]
    return "\n".join(lines)
