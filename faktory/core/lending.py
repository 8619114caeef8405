"""Which connections of a pool may be lent. Pure: times are arguments. Each pool holds a policy and obeys it."""

from __future__ import annotations

from ..errors import ConfigurationError


class LendingPolicy:
    """The rules of one pool of at most `size` connections. Times are monotonic seconds.

    After an exchange that was lost, every connection that has been idle since before is a suspect: what has swallowed
    one, such as a firewall that was started anew, has swallowed its neighbours. None of them is lent again, so one
    such event costs one exchange, and the next dials anew.
    """

    __slots__ = ("_trusted_since", "size")

    def __init__(self, size: int) -> None:
        if type(size) is not int or not 1 <= size <= 1_000:
            raise ConfigurationError(f"pool_size must be an integer from 1 to 1,000, got {size!a}")
        self.size: int = size
        self._trusted_since = float("-inf")

    def note_loss(self, now: float) -> None:
        """Note that an exchange was lost."""
        self._trusted_since = now

    def may_lend(self, last_used: float) -> bool:
        """Tell whether an idle connection, whose last exchange ended then, may be lent."""
        return last_used >= self._trusted_since
