"""An event loop that keeps times to the microsecond."""

from __future__ import annotations

import asyncio
import select
import selectors


class ExactSelector(selectors.EpollSelector):
    """Wakes up to the microsecond: epoll alone rounds a wait up to whole milliseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait on the epoll descriptor itself, with select's finer clock; then collect without waiting."""
        if timeout is None or timeout > 0:
            select.select([self.fileno()], [], [], timeout)
        return super().select(0)


def exact_loop() -> asyncio.AbstractEventLoop:
    """A new event loop with such a selector."""
    return asyncio.SelectorEventLoop(ExactSelector())
