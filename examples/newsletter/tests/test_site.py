"""What the web site enqueues: captured, nothing runs and nothing is sent."""

from pathlib import Path

import pytest
from newsletter.app import Mailer, app
from newsletter.jobs import Subscriber, remind, welcome
from newsletter.pictures import scale
from newsletter.site import sign_up

from faktory.testing import Captured, assert_enqueued, refute_enqueued

ADA = Subscriber("ada@example.com", "Ada")


@pytest.mark.usefixtures("faktory_jobs")
def test_who_signs_up_is_welcomed() -> None:
    sign_up("ada@example.com", "Ada")
    assert_enqueued(welcome, ADA, queue="mail", at=None)
    refute_enqueued(scale)


@pytest.mark.usefixtures("faktory_jobs")
def test_a_picture_is_scaled() -> None:
    sign_up("ada@example.com", "Ada", Path("ada.png"))
    assert_enqueued(scale, Path("ada.png"), 120, queue="images")


@pytest.mark.usefixtures("faktory_jobs")
def test_a_failed_assertion_shows_what_came_nearest() -> None:
    sign_up("ada@example.com", "Ada", Path("ada.png"))
    with pytest.raises(AssertionError, match=r"scale\('ada.png', 120\) queue=images  <- other arguments"):
        assert_enqueued(scale, Path("ada.png"), 640)


def test_captured_jobs_can_be_run(faktory_jobs: Captured) -> None:
    sign_up("ada@example.com", "Ada")
    assert faktory_jobs.drain() == 1
    assert app.managed.get(Mailer).sent == [("ada@example.com", "Welcome, Ada")]
    assert_enqueued(remind, ADA, at=86_400)


def test_inline_jobs_run_at_once(faktory_inline: Captured) -> None:
    sign_up("ada@example.com", "Ada")
    assert app.managed.get(Mailer).sent == [("ada@example.com", "Welcome, Ada")]
    assert faktory_inline.one().jobtype == "remind"  # it is for tomorrow
    with pytest.raises(ValueError, match="no address"):
        sign_up("ada", "Ada")
