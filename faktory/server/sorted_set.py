"""A set of texts, each with a score: what the server keeps in a Redis sorted set. Pure.

A text is in the set once: adding it again changes its score (storage/sorted_redis.go of contribsys/faktory, ZADD).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator


class SortedSet:
    """Texts in the order of their scores, which are seconds since 1970."""

    __slots__ = ("_heap", "_scores")

    def __init__(self) -> None:
        self._scores: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []  # may hold entries of texts removed or moved since

    def __len__(self) -> int:
        return len(self._scores)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over a copy, lowest score first."""
        return iter([text for _, text in self.scored()])

    def scored(self) -> list[tuple[float, bytes]]:
        """Return each text with its score, lowest score first."""
        return sorted((score, text) for text, score in self._scores.items())

    def add(self, text: bytes, score: float) -> None:
        """Put `text` in, or move it to `score`."""
        self._scores[text] = score
        heapq.heappush(self._heap, (score, text))
        if len(self._heap) > 2 * len(self._scores) + 64:
            self._heap = [(score, text) for text, score in self._scores.items()]
            heapq.heapify(self._heap)

    def remove(self, text: bytes) -> bool:
        """Take `text` out; False when it is not there."""
        return self._scores.pop(text, None) is not None

    @property
    def first_score(self) -> float | None:
        """The lowest score; None when the set is empty."""
        heap, scores = self._heap, self._scores
        while heap and scores.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> bytes | None:
        """Take out and return the first text whose score is `now` or lower; None when there is none."""
        score = self.first_score
        if score is None or score > now:
            return None
        _, text = heapq.heappop(self._heap)
        del self._scores[text]
        return text

    def clear(self) -> None:
        """Take everything out."""
        self._scores.clear()
        self._heap.clear()
