"""The app that all jobs belong to, and what they share."""

import faktory

app = faktory.App()  # reads FAKTORY_URL when the first job is pushed


class Mailer:
    """Sends mail; this one only remembers it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def send(self, to: str, subject: str) -> None:
        if "@" not in to:
            raise ValueError(f"{to!r} is no address")
        self.sent.append((to, subject))


app.manage(Mailer, Mailer)
