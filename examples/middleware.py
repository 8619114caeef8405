"""Middleware to copy: a trace that goes along with jobs (W3C Trace Context), and a log of how long they take."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from secrets import token_hex
from typing import Any

import faktory

log = logging.getLogger(__name__)

traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The trace that the running code belongs to, set by whatever handles web requests, say."""


def send_trace(job: faktory.Job, call_next: Callable[[], str]) -> str:
    """Have the job carry the trace of whoever pushes it; for `app.on_push`."""
    trace = traceparent.get()
    if trace is not None:
        job.custom = {**(job.custom or {}), "traceparent": trace}
    return call_next()


def continue_trace(ctx: faktory.JobContext, call_next: Callable[[], Any]) -> Any:
    """Run the job as a new span of the trace that it carries, or of a new one; for `app.use`."""
    carried = str((ctx.job.custom or {}).get("traceparent", "")).split("-")
    version, trace_id, _, flags = carried if len(carried) == 4 else ("00", token_hex(16), "", "01")
    token = traceparent.set(f"{version}-{trace_id}-{token_hex(8)}-{flags}")
    try:
        return call_next()
    finally:
        traceparent.reset(token)


def log_time(ctx: faktory.JobContext, call_next: Callable[[], Any]) -> Any:
    """Log how long the job waited and ran; for `app.use`."""
    waited = "" if ctx.job.enqueued_at is None else f" after {time.time() - ctx.job.enqueued_at.timestamp():.3f} s"
    started = time.perf_counter()
    try:
        return call_next()
    finally:
        log.info("%s ran for %.3f s%s", ctx.job.jobtype, time.perf_counter() - started, waited)


async def log_time_async(ctx: faktory.JobContext, call_next: Callable[[], Any]) -> Any:
    """Async twin of `log_time`, for `async def` jobs."""
    started = time.perf_counter()
    try:
        return await call_next()
    finally:
        log.info("%s ran for %.3f s", ctx.job.jobtype, time.perf_counter() - started)
