"""Models of another module, with names that tests have local twins of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypedDict


class Status(Enum):
    OPEN = "open"


@dataclass
class Ticket:
    status: Status


@dataclass
class Base:
    status: Status


class Row(NamedTuple):
    status: Status


class Document(TypedDict):
    status: Status


class Longer(Document):
    name: str
