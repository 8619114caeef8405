"""Times as the server writes and reads them: RFC 3339 text and seconds since 1970, UTC. Pure: the time is given.

Source: util/util.go of contribsys/faktory, which uses Go's `time.RFC3339Nano` both ways. We write microseconds, which
is what a float of seconds holds; the real server writes up to nanoseconds.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Final

# Go takes a one-digit hour and a comma before the fraction, and refuses a space for the T and a lower-case z.
_RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?(Z|[+-][0-9]{2}:[0-9]{2})"
)
LATEST: Final = 253_402_300_799.0
"""The last second of the year 9999, the last one that can be written."""
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_CYCLE_DAYS: Final = 146_097  # the calendar repeats every 400 years


def timestamp(now: float) -> str:
    """Write seconds since 1970 as RFC 3339 in UTC, without needless zeros."""
    text = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")[:-6].rstrip("0")
    return (text[:-1] if text[-1] == "." else text) + "Z"


def parse_timestamp(text: str) -> float:
    """Read RFC 3339 text as seconds since 1970. Raises `ValueError` with the words of the server for anything else."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(_refusal(text, f'cannot parse "{text}" as "2006"'))
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    try:
        # Year 0 is one that Go reads and Python's calendar lacks: count in a year 400 later, which has the same days.
        ordinal = (
            date(year + 400, month, day).toordinal() - _CYCLE_DAYS if year < 1 else date(year, month, day).toordinal()
        )
    except ValueError:
        raise ValueError(_refusal(text, "day out of range" if 1 <= month <= 12 else "month out of range")) from None
    zone = found[8]
    offset = 0
    if zone != "Z":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 24 or minutes > 60:
            raise ValueError(_refusal(text, "time zone offset hour out of range"))
        offset = (hours * 60 + minutes) * (-60 if zone[0] == "-" else 60)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(_refusal(text, "hour out of range"))
    seconds = (ordinal - _EPOCH_DAY) * 86_400 + hour * 3_600 + minute * 60 + second - offset
    return seconds + float(f"0.{found[7]}") if found[7] else float(seconds)


def _refusal(text: str, reason: str) -> str:
    return f'parsing time "{text}" as "2006-01-02T15:04:05.999999999Z07:00": {reason}'
