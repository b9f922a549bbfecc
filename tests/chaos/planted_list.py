"""The bugs that are planted: each breaks one promise, and names the tests that must see it."""

from __future__ import annotations

from planted_bug import Bug
from planted_in_store import STORE
from planted_in_trials import OPTUNA, REPEATS, SERVERS
from planted_in_watch import LEASES, REAPERS

BUGS: tuple[Bug, ...] = (*STORE, *LEASES, *REAPERS, *SERVERS, *REPEATS, *OPTUNA)
