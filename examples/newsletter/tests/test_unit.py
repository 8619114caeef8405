"""One job at a time: a plain call, or the whole way that a worker would go."""

import pytest
from newsletter.app import Mailer, app
from newsletter.jobs import Subscriber, fetch_headlines, remind, welcome

from faktory import InvalidJob
from faktory.testing import Captured, make_context, run

ADA = Subscriber("ada@example.com", "Ada")


def test_a_plain_call(faktory_jobs: Captured) -> None:
    assert welcome(make_context(welcome), ADA) == "Welcome, Ada"
    assert faktory_jobs.of(remind).one().args == [{"address": "ada@example.com", "name": "Ada"}]


@pytest.mark.usefixtures("faktory_jobs")
def test_a_later_attempt() -> None:
    assert welcome(make_context(welcome, attempt=3), ADA) == "Welcome, Ada, at last"


@pytest.mark.usefixtures("faktory_jobs")
def test_the_whole_way() -> None:
    """Conversion, JSON and middleware included."""
    assert run(welcome, ADA) == "Welcome, Ada"
    assert app.managed.get(Mailer).sent == [("ada@example.com", "Welcome, Ada")]
    with pytest.raises(InvalidJob, match=r"args\[0\]"):
        run(welcome, "ada@example.com")  # type: ignore[call-overload]  # pyright: ignore


def test_an_async_job() -> None:
    assert run(fetch_headlines, ["a", "b"]) == 2
