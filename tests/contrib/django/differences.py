"""Where Django's own tests of its backends and ours part, and why: `tests/tasks` of its source distribution.

`test_upstream` runs them all. One that is not named here must pass, and one that is named must not.
"""

from __future__ import annotations

from typing import Final

_NO_RESULTS: Final = "results are not kept (supports_get_result is False), so that none can be got or refreshed"
_NO_PRIORITY: Final = "the order of jobs is that of their queues (supports_priority is False)"
_BROKEN_BACKEND: Final = "a worker looks at every backend of TASKS, and these have one that cannot be imported"

DIFFERENCES: Final[dict[str, str]] = {
    **{
        f"tasks.test_dummy_backend.DummyBackendTestCase.{name}": _NO_RESULTS
        for name in (
            *("test_clear", "test_get_missing_result", "test_get_result", "test_get_result_async"),
            *("test_refresh_result", "test_refresh_result_async"),
        )
    },
    **{
        f"tasks.test_tasks.TaskTestCase.{name}": _NO_RESULTS
        for name in (
            *("test_get_incorrect_result", "test_get_incorrect_result_async", "test_get_missing_result"),
            *("test_get_result", "test_get_result_async", "test_refresh_result"),
        )
    },
    **{
        f"tasks.test_tasks.TaskTestCase.{name}": _NO_PRIORITY
        for name in ("test_chained_using", "test_invalid_priority", "test_using_priority")
    },
    **{
        f"tasks.test_tasks.TaskTestCase.{name}": _BROKEN_BACKEND
        for name in ("test_task_error_invalid_exception", "test_task_error_unknown_module")
    },
    "tasks.test_immediate_backend.ImmediateBackendTestCase.test_cannot_pass_run_after": (
        "the immediate backend cannot delay a task, and Faktory can (supports_defer is True)"
    ),
    "tasks.test_immediate_backend.ImmediateBackendTestCase.test_complex_return_value": (
        "nobody keeps a task's value, so that a task which has done its work does not fail for a value that is no JSON"
    ),
    "tasks.test_immediate_backend.ImmediateBackendTestCase.test_throws_keyboard_interrupt": (
        "who enqueues a task does not run it: a KeyboardInterrupt that it raises in a worker fails the job there"
    ),
}
"""Test by test, the reason."""
