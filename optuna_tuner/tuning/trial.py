"""One trial, from its parameters to its outcome."""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import Event

import optuna

from optuna_tuner.clock import Deadline
from optuna_tuner.errors import RejectedError, StoppedError, TrialError
from optuna_tuner.search.verdict import ended, failed, pruned, scored
from optuna_tuner.store.records import Outcome
from optuna_tuner.tuning.deployment import Server, deployed, watched
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.levels import levels, target
from optuna_tuner.tuning.objections import known_bad
from optuna_tuner.tuning.pressure import retractions_counted
from optuna_tuner.tuning.quality import guard, guarded
from optuna_tuner.tuning.servers import SameServerError, Servers
from optuna_tuner.tuning.setting import Setting
from optuna_tuner.tuning.watching import watching
from optuna_tuner.values import Cause, Params, Phase, Scalar

# Whether no more levels are worth measuring; raises optuna.TrialPruned when the trial is hopeless.
GiveUp = Callable[[Journal], bool]


def run_trial(setting: Setting, journal: Journal, servers: Servers, give_up_if_hopeless: GiveUp, stop: Event) -> None:
    """Deploy one configuration and measure it level by level on one warm server; the journal keeps what it gave.

    Raises TrialError, SameServerError, optuna.TrialPruned or StoppedError.
    """
    describe(setting, journal)
    servers.raise_if_asked_before(journal)
    reject_known_bad(setting, journal.params)
    servers.raise_if_launched_before(journal)
    launch = setting.parts.engine.render(setting.model, journal.params, setting.slot)
    with deployed(setting, launch, journal, stop) as server, watched(server, stop) as server_ended:
        read_back(server, journal)
        servers.raise_if_resolved_before(journal)
        warm_up(server, journal, server_ended)
        guard(server, journal.params, journal, server_ended)
        with journal.phase(Phase.BENCHMARK), retractions_counted(server, journal), watching(server, journal) as watch:
            deadline = Deadline.after(setting.spec.limits.benchmark_s, server_ended)
            for measurement in levels(server, journal, servers, deadline):
                journal.keep(watch.beside(measurement))
                is_last = not journal.sought and len(journal.measurements) >= len(setting.parts.benchmark.loads())
                if not is_last and give_up_if_hopeless(journal):
                    break


def outcome_of_trial(
    setting: Setting, journal: Journal, servers: Servers, give_up_if_hopeless: GiveUp, stop: Event
) -> Outcome:
    """Run one trial and judge it; whatever happens to the trial becomes an outcome."""
    goals = setting.spec.goals
    try:
        run_trial(setting, journal, servers, give_up_if_hopeless, stop)
        outcome = scored(goals, journal.measurements, journal.sought)
    except SameServerError as same:
        outcome = same.outcome
    except optuna.TrialPruned:
        outcome = pruned(goals, journal.measurements)
    except TrialError as error:
        outcome = failed(goals, error)
    except StoppedError as error:
        outcome = ended(Cause.STOPPED, str(error))
    return guarded(setting.spec, journal.complete(outcome))


def describe(setting: Setting, journal: Journal) -> None:
    """Keep what is known of the configuration before it is launched."""
    engine, asked = setting.parts.engine, (setting.model, journal.params, setting.slot)
    identity = engine.identity(*asked)
    journal.identity = {name: value if _is_storable(value) else str(value) for name, value in identity.items()}
    journal.remarks = setting.parts.remarks(*asked)


def reject_known_bad(setting: Setting, params: Params) -> None:
    """Raise RejectedError where it is known before a launch that this cannot work."""
    reason = known_bad(setting.spec, setting.parts, setting.model, setting.slot)(params)
    if reason is not None:
        raise RejectedError(reason)


def read_back(server: Server, journal: Journal) -> None:
    """Keep what the server resolved its flags to."""
    log = server.setting.parts.deployer.log(server.handle)
    resolved = server.setting.parts.engine.effective_config(server.endpoint, log)
    journal.effective_config = {name: value for name, value in resolved.items() if _is_storable(value)}


def _is_storable(value: Scalar) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def warm_up(server: Server, journal: Journal, server_ended: Event) -> None:
    """Bring the server to its working temperature."""
    with journal.phase(Phase.WARM_UP):
        deadline = Deadline.after(server.setting.spec.limits.warm_up_s, server_ended)
        server.setting.parts.benchmark.warm_up(target(server, journal), deadline)
