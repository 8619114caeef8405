"""What the real server was seen to answer, replayed against ours: no difference but in the wording of Go's decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from faktory.server import Server
from tests.server.masking import masked, masked_recording
from tests.server.raw_client import RawClient

RECORDED = Path(__file__).parent / "transcripts" / "faktory-1.10.0.jsonl"
CASES: list[dict[str, Any]] = [json.loads(line) for line in RECORDED.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_transcript(case: dict[str, Any], server: Server) -> None:
    with RawClient(server.port, "transcript") as client:
        assert client.call("FLUSH") == b"+OK\r\n"
        for sent, received in case["exchange"]:
            client.send(sent)
            if received == "$-1\r\n":  # after 2 s: turn the clock instead of waiting
                assert server.wait_until(lambda: server.waiting == 1, 5)
                server.clock.advance(2, beating=True)
            assert masked(client.read()) == masked_recording(received), sent
