"""For unittest: what the fixtures do for pytest."""

from __future__ import annotations

import unittest
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal

from ..server import Server
from .asserting import assert_enqueued, refute_enqueued
from .capturing import Captured, capture, inline
from .serving import serve


class TestCase(unittest.TestCase):
    """Test cases whose jobs go nowhere else. `faktory_mode`, of a class, says what becomes of them.

    * "capture", as it is at first, and "inline": `self.faktory_jobs` is their list;
    * "serve": `self.faktory_server` is the server of each test.

    It is in force from before `setUp` until after the cleanups. Beside `IsolatedAsyncioTestCase` name this class first.

    >>> class TestShop(TestCase):
    ...     def test_a_picture_is_resized(self) -> None:
    ...         upload("cat.png")
    ...         self.assert_enqueued(resize, "cat.png")
    """

    __test__: ClassVar[bool] = False

    faktory_mode: ClassVar[Literal["capture", "inline", "serve"]] = "capture"
    faktory_jobs: Captured
    faktory_server: Server

    assert_enqueued: ClassVar[staticmethod[..., None]] = staticmethod(assert_enqueued)
    refute_enqueued: ClassVar[staticmethod[..., None]] = staticmethod(refute_enqueued)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__test__ = vars(cls).get("__test__", True)

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """Run the test with its override in force."""
        if self.faktory_mode == "serve":
            with serve() as self.faktory_server:
                return super().run(result)
        taking: AbstractContextManager[Captured] = inline() if self.faktory_mode == "inline" else capture()
        with taking as self.faktory_jobs:
            return super().run(result)
