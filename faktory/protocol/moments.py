"""Times as users give them and as the server writes them, and values as messages show them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from .. import override
from ..errors import InvalidJob

_FAR: Final = 10 * 365
"""Days after which a number of seconds from now is taken for a mistaken time stamp."""


def moment(value: datetime | timedelta | float, name: str = "at") -> datetime:
    """Return the aware UTC datetime that `value` means."""
    if isinstance(value, datetime):
        return aware(name, value)
    if isinstance(value, bool) or not isinstance(value, (timedelta, int, float)):
        raise InvalidJob(f"{name} must be an aware datetime, a timedelta or seconds from now, got {shown(value)}")
    if not isinstance(value, timedelta) and value > _FAR * 86_400:
        raise InvalidJob(
            f"{name} is a number of seconds from now, got {shown(value)}, over {_FAR // 365} years; for a time "
            "stamp write datetime.fromtimestamp(stamp, UTC)"
        )
    try:
        return override.now() + (value if isinstance(value, timedelta) else timedelta(seconds=value))
    except (ValueError, OverflowError) as exc:
        raise InvalidJob(f"{name} is out of range: {shown(value)}") from exc


def aware(name: str, value: object) -> datetime:
    """Return an aware datetime in UTC. Raises `InvalidJob`, which calls it by its name."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidJob(f"{name} must be a datetime with a time zone (datetime.now(UTC) + ...), got {shown(value)}")
    try:
        return value.astimezone(UTC)
    except OverflowError as exc:
        raise InvalidJob(f"{name} is out of range: {shown(value)}") from exc


def rfc3339(when: datetime) -> str:
    """Write an aware time the way the server reads it: with a T and a zone (util/util.go)."""
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def time_of(text: object) -> datetime | None:
    """Read a time of the server. Nobody checks `created_at`: text that is no time is None, not an error."""
    try:
        when = datetime.fromisoformat(text)  # type: ignore[arg-type]  # nanoseconds are cut to microseconds
        return when if when.tzinfo is not None else None
    except (ValueError, TypeError):
        return None


def shown(value: object) -> str:
    """Describe a refused value in a line: type and a short, escaped repr."""
    try:
        text = ascii(value[:80] if isinstance(value, (str, bytes)) else value)  # a long text is not copied for this
    except Exception:  # a repr that raises must not hide the real error
        text = "..."
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
