"""What a server suffered without failing: it explains slow answers, and costs no trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from optuna_tuner.tuning.deployment import Server
from optuna_tuner.tuning.journal import Journal


@contextmanager
def retractions_counted(server: Server, journal: Journal) -> Iterator[None]:
    """Keep how many requests lost their place in the KV cache meanwhile, as far as the server tells.

    None told is None, not zero: a log may be cut, or written later. A benchmark that does not come to its end has no
    figure.
    """
    before = _told(server)
    yield
    after = _told(server)
    if before is not None and after is not None:
        journal.kv_cache_retractions = max(0, after - before) or None


def _told(server: Server) -> int | None:
    parts = server.setting.parts
    return parts.engine.retractions(server.endpoint, parts.deployer.log(server.handle))
