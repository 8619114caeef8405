"""Async typed jobs, for event loops."""

from faktory import App
from tests.contrib.django.probe.models import Seen

app = App()


@app.job
async def aclose(what: str) -> None:
    await Seen.objects.acreate(what=what)
