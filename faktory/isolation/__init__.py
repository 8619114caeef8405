"""Keeping a job from harming its worker: time limits in threads, and child processes that can be killed.

* `entry`, `threads`, `strike`: what Python can do about a handler in a thread: raise in it, where it does no harm.
* `references`: functions by the name under which another process can import them. Pure.
* `parent`, `runner`, `shared`: the consumer's side of its children.
* `fork_server`: the process that imports the application once and forks a child for each request.
* `child`: what a child does: read a job, run it, say how it went.

Nothing is pickled: a child gets jobs as JSON and finds handlers by name.
"""

from .entry import enter
from .threads import check_can_isolate, forget_interrupt, interrupt_thread, interrupter

__all__ = ["check_can_isolate", "enter", "forget_interrupt", "interrupt_thread", "interrupter"]
