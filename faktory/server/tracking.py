"""Job tracking of Faktory Enterprise: TRACK GET and TRACK SET. Pure.

Sources: client/tracking.go of contribsys/faktory and the wiki page Ent-Tracking. Jobs whose `custom` holds a true
`track` are followed from the push on; what is known of one is kept for 30 minutes after its last change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from .gojson import encode, parse, read_fields
from .rules import Refusal
from .store import Store
from .timestamps import parse_timestamp, timestamp

KEPT_FOR: Final = 1_800.0
_TRACK: Final = {"jid": "string", "percent": "int", "desc": "string", "reserve_until": "string"}


@dataclass(slots=True)
class Track:
    """What is known of one job."""

    state: str
    updated_at: float
    percent: int = 0
    desc: str = ""


class Tracking:
    """The tracked jobs of a server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tracks: dict[str, Track] = {}

    def note(self, jid: str, custom: dict[str, Any] | None, state: str, now: float) -> None:
        """Take down that a job has reached `state`, if it wants to be tracked."""
        if not custom or not custom.get("track"):
            return
        track = self._known(jid, now)
        if track is None:
            self._tracks[jid] = Track(state, now)
        else:
            track.state, track.updated_at = state, now

    def command(self, word: bytes, payload: bytes, now: float) -> str | None:
        """Carry out TRACK `word`; the JSON to answer, or None for OK."""
        if word == b"GET":
            return self._get(payload.decode("utf-8", "replace"), now)
        if word == b"SET":
            self._set(payload, now)
            return None
        raise Refusal(f"no such TRACK subcommand: {word.decode('utf-8', 'replace')}")

    def forget(self, jid: str) -> None:
        """Forget one job."""
        self._tracks.pop(jid, None)

    def forget_old(self, now: float) -> None:
        """Forget what has not changed for long."""
        self._tracks = {jid: track for jid, track in self._tracks.items() if track.updated_at + KEPT_FOR >= now}

    def clear(self) -> None:
        """Forget everything."""
        self._tracks.clear()

    def _get(self, jid: str, now: float) -> str:
        track = self._known(jid, now)
        if track is None:
            return encode({"jid": jid, "state": "unknown", "updated_at": ""})
        answer: dict[str, Any] = {"jid": jid, "state": track.state, "updated_at": timestamp(track.updated_at)}
        if track.percent:
            answer["percent"] = track.percent
        if track.desc:
            answer["desc"] = track.desc
        return encode(answer)

    def _set(self, payload: bytes, now: float) -> None:
        told = read_fields(parse(payload), _TRACK, "JobTrack", "client.JobTrack")
        jid = told.get("jid", "")
        if not jid:
            raise Refusal("missing JID")
        until = told.get("reserve_until")
        if until:
            try:
                self._store.extend(jid, parse_timestamp(until))
            except ValueError as exc:
                raise Refusal(f"invalid reserve_until: {exc}") from None
        track = self._known(jid, now)
        if track is not None:
            track.percent = told.get("percent", track.percent)
            track.desc = told.get("desc", track.desc)
            track.updated_at = now

    def _known(self, jid: str, now: float) -> Track | None:
        track = self._tracks.get(jid)
        return None if track is not None and track.updated_at + KEPT_FOR < now else track
