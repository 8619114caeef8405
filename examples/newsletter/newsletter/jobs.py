"""The jobs."""

import asyncio
from dataclasses import dataclass

import faktory

from .app import Mailer, app


@dataclass
class Subscriber:
    address: str
    name: str = "reader"


confirmed: set[str] = set()


@app.job(queue="mail", retry=5, needs=(Mailer,))
def welcome(ctx: faktory.JobContext, to: Subscriber) -> str:
    subject = f"Welcome, {to.name}" if ctx.attempt == 1 else f"Welcome, {to.name}, at last"
    ctx.get(Mailer).send(to.address, subject)
    remind.enqueue_in(86_400, to)
    return subject


@app.job(queue="mail", needs=(Mailer,))
def remind(ctx: faktory.JobContext, to: Subscriber) -> None:
    """Ask for a confirmation every day until it comes."""
    if to.address not in confirmed:
        ctx.get(Mailer).send(to.address, "Please confirm")
        raise faktory.Retry(in_=86_400)


@app.job
async def fetch_headlines(feeds: list[str]) -> int:
    async def fetch(feed: str) -> str:
        await asyncio.sleep(0)  # a request, say
        return f"news of {feed}"

    headlines = await asyncio.gather(*map(fetch, feeds))
    return len(headlines)
