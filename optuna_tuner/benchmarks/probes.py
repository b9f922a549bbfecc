"""Small loads of the built-in client that other clients need too: a warm-up, and a look whether a server answers."""

from __future__ import annotations

from optuna_tuner.benchmarks import prompts, scenarios
from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Target
from optuna_tuner.values import Load

PROBE_S = 10.0
MOST_USERS = 8


def warm_up(target: Target, scenario: str, requests: int, deadline: Deadline) -> None:
    """Send so many requests of the scenario, up to eight at a time. Whether they succeed is not judged here."""
    from optuna_tuner.benchmarks.http_client import Plan, send  # noqa: PLC0415  aiohttp only where requests are sent

    if not requests:
        return
    load = Load(value=min(requests, MOST_USERS), scenario=scenario)
    plan = Plan(load=load, requests=requests, max_time_s=deadline.left_s, request_timeout_s=max(1.0, deadline.left_s))
    seed = f"{target.seed} warm-up"
    send(target.endpoint, plan, prompts.prompts(scenarios.parse(scenario), prompts.Scale(), seed), deadline, seed)


def probe(target: Target, deadline: Deadline) -> str:
    """What is wrong with the server's answer to one small request; empty when nothing is."""
    from optuna_tuner.benchmarks.http_client import Plan, send  # noqa: PLC0415  aiohttp only where requests are sent

    plan = Plan(load=Load(value=1), requests=1, max_time_s=PROBE_S, request_timeout_s=PROBE_S)
    seed = f"{target.seed} probe"
    texts = prompts.prompts(scenarios.parse("D(8,4)"), prompts.Scale(), seed)
    own = Deadline.after(2 * PROBE_S, deadline.stopped)  # the run's own deadline may just have passed
    return send(target.endpoint, plan, texts, own, seed)[0].error
