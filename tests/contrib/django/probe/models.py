"""What jobs leave behind."""

from typing import Any

from django.db import connection, models
from django.db.backends.signals import connection_created
from django.dispatch import receiver


class Seen(models.Model):
    """A job that has run, and on whose connection."""

    what: Any = models.CharField(max_length=40)
    pid: Any = models.IntegerField(default=0)
    thread: Any = models.BigIntegerField(default=0)
    opener: Any = models.IntegerField(default=0)
    """The process that opened the connection."""
    number: Any = models.BigIntegerField(default=0)
    """The connection."""


opened: list[tuple[int, int, Any]] = []
"""Process, thread and connection of each that was opened here."""


@receiver(connection_created)
def note_connection(connection: Any, **kwargs: object) -> None:
    """Remember who opened it."""
    import os
    import threading

    connection.opener = os.getpid()
    opened.append((os.getpid(), threading.get_ident(), connection.connection))


def note(what: str) -> None:
    """Write down that a job runs."""
    import os
    import threading

    connection.ensure_connection()
    Seen.objects.create(
        what=what,
        pid=os.getpid(),
        thread=threading.get_ident() % 2**60,
        opener=getattr(connection, "opener", 0),
        number=id(connection.connection) % 2**60,
    )
