"""Stands for a real server where a test expects the one in memory."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from ..client import Client


class RemoteServer:
    """What a real server tells; a test that asks for more is skipped."""

    def __init__(self, client: Client, url: str) -> None:
        self.url = url
        self._client = client

    @property
    def address(self) -> str:
        """The URL without the password."""
        return str(self._client.address)

    @property
    def info(self) -> dict[str, Any]:
        """What INFO answers."""
        return self._client.info()

    @property
    def queues(self) -> dict[str, int]:
        """How many jobs wait in each known queue."""
        return dict(self.info["faktory"]["queues"])

    def __getattr__(self, name: str) -> NoReturn:
        pytest.skip(f"the test asks the server for {name!r}, which a real one does not tell (--faktory-url)")

    def __repr__(self) -> str:
        return f"<RemoteServer {self.address}>"
