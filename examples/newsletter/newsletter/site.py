"""What the web site calls."""

from pathlib import Path

from .jobs import Subscriber, confirmed, welcome
from .pictures import scale


def sign_up(address: str, name: str, picture: Path | None = None) -> None:
    welcome.enqueue(Subscriber(address, name))
    if picture is not None:
        scale.enqueue(picture, 120)


def confirm(address: str) -> None:
    confirmed.add(address)
