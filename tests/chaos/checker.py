"""The judge: says from raw rows and the event file alone what was lost, changed, doubled or overdrawn.

It imports nothing of the product and nothing of Optuna. The only thing that it shares with the campaign's own client is
the function that says what a server with given parameters must score.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos_client import truth
from raw_rows import AGAIN, Row, chains, is_repeat
from watch import Event

Snapshot = Mapping[str, Sequence[Row]]
OPTUNA_STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "fail": "FAIL"}
TRY_AGAIN = frozenset(
    {
        *("device_busy", "port_in_use", "node_lost", "worker_lost", "deployer_failed", "benchmark_failed", "machine"),
        "stopped",  # interrupted: nobody's fault, and not counted as a try
    }
)
SETTLED = ("retry_of", "params", "worker_id", "phase", "outcome", "ended_by", "ended_at", "tries", "kind", "pair")


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise, and what shows it."""

    name: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}"


def fingerprint(attempt: Row) -> str:
    """What must never change once an attempt has ended. A number may be given to it still: see `optuna_agrees`."""
    return hashlib.sha256(json.dumps([attempt[name] for name in SETTLED]).encode()).hexdigest()


def seed_of(attempt_id: str) -> int:
    """The seed that an attempt gives to its load client."""
    return zlib.crc32(attempt_id.encode())


@dataclass(slots=True)
class Memory:
    """What was seen while the campaign ran: the state of each attempt when its end was first seen, and the budget."""

    ended: dict[str, str] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    def keep(self, snapshot: Snapshot) -> None:
        """Take in one sample; what breaks a promise that holds at every instant is noted."""
        for attempt in snapshot["attempts"]:
            if attempt["state"] == "ended":
                self.ended.setdefault(attempt["id"], fingerprint(attempt))
        self.violations += [each for each in budget_kept(snapshot) if each not in self.violations]


def budget_kept(snapshot: Snapshot) -> Iterator[Violation]:
    """Promises about the budget that hold at every instant."""
    study = snapshot["study"][0]
    taken = chains(snapshot["attempts"])
    if study["reserved"] > study["budget"]:
        yield Violation("budget-overshoot", f"{study['reserved']} reserved of {study['budget']}")
    if taken > study["budget"]:
        yield Violation("budget-overshoot", f"{taken} trials begun of {study['budget']}")


def judge(snapshot: Snapshot, events: Sequence[Event], memory: Memory, tries: int) -> list[Violation]:
    """All promises that are broken when everything has come to rest."""
    checks = (
        budget_spent(snapshot),
        everything_ended(snapshot),
        one_end_each(snapshot),
        chains_complete(snapshot, tries),
        optuna_agrees(snapshot),
        pairs_true(snapshot),
        results_true(snapshot, events),
        repeats_true(snapshot, events),
        never_changed(snapshot, memory),
        one_server_a_gpu(events),
    )
    return [*memory.violations, *(violation for check in checks for violation in check)]


def budget_spent(snapshot: Snapshot) -> Iterator[Violation]:
    """At rest exactly the budget was spent."""
    study, taken = snapshot["study"][0], chains(snapshot["attempts"])
    yield from budget_kept(snapshot)
    if study["reserved"] < study["budget"]:
        yield Violation("budget-not-spent", f"{study['reserved']} reserved of {study['budget']}")
    if taken != study["reserved"]:
        yield Violation("lost-trial", f"{study['reserved']} reserved, {taken} trials begun")


def everything_ended(snapshot: Snapshot) -> Iterator[Violation]:
    """Attempts ended and told, servers gone, workers retired."""
    for attempt in snapshot["attempts"]:
        if attempt["state"] != "ended":
            yield Violation("lost-trial", f"attempt {attempt['id']} is {attempt['state']} for ever")
        elif not attempt["told"]:
            yield Violation("untold", f"Optuna was never told of attempt {attempt['id']}")
    for resource in snapshot["resources"]:
        if resource["state"] != "gone":
            yield Violation("open-ledger", f"resource {resource['id']} is {resource['state']} for ever")
    for worker in snapshot["workers"]:
        if not worker["retired"]:
            yield Violation("open-worker", f"worker {worker['id']} (pid {worker['pid']}) was never retired")


def one_end_each(snapshot: Snapshot) -> Iterator[Violation]:
    """Exactly one ENDED event for each attempt that has ended."""
    ends = Counter(event["attempt_id"] for event in snapshot["events"] if event["kind"] == "ended")
    for attempt in snapshot["attempts"]:
        count = ends[attempt["id"]]
        if attempt["state"] == "ended" and count != 1:
            name = "duplicate-end" if count > 1 else "lost-end"
            yield Violation(name, f"attempt {attempt['id']} has {count} ended events")


def chains_complete(snapshot: Snapshot, tries: int) -> Iterator[Violation]:
    """What the machine failed is tried again, as often as allowed, with the same parameters; nothing else is."""
    successors = Counter(each["retry_of"] for each in snapshot["attempts"] if each["retry_of"])
    by_id = {attempt["id"]: attempt for attempt in snapshot["attempts"]}
    for attempt in by_id.values():
        if attempt["state"] != "ended":
            continue
        cause, count = outcome_of(attempt).get("cause"), successors[attempt["id"]]
        wanted = int(cause == "stopped" or (cause in TRY_AGAIN and attempt["tries"] < tries))
        if count < wanted:
            yield Violation("lost-trial", f"attempt {attempt['id']} ended by {cause} and was never tried again")
        if count > wanted:
            yield Violation("duplicate-retry", f"attempt {attempt['id']} ({cause}) has {count} successors")
        earlier = by_id.get(attempt["retry_of"])
        if earlier and earlier["params"] and earlier["params"] != attempt["params"]:
            yield Violation("params-changed", f"attempt {attempt['id']} repeats others than {earlier['id']}")


def pairs_true(snapshot: Snapshot) -> Iterator[Violation]:
    """No half of a pair has given two results, and a half that is tried again stays in its pair."""
    by_id = {attempt["id"]: attempt for attempt in snapshot["attempts"]}
    halves = [attempt for attempt in by_id.values() if attempt["pair"] is not None]
    gave = Counter((each["pair"], each["params"]) for each in halves if outcome_of(each).get("verdict") != "fail")
    for (pair, params), times in gave.items():
        if times > 1:
            yield Violation("half-twice", f"pair {pair} has {times} results of {params}")
    for attempt in by_id.values():
        earlier = by_id.get(attempt["retry_of"])
        if earlier is not None and earlier["pair"] != attempt["pair"]:
            yield Violation("pair-changed", f"attempt {attempt['id']} left pair {earlier['pair']}")


def outcome_of(attempt: Row) -> Mapping[str, Any]:
    """The outcome as JSON says it."""
    found: Mapping[str, Any] = json.loads(attempt["outcome"] or "{}")
    return found


def params_of(attempt: Row) -> Mapping[str, float]:
    """The parameters as numbers."""
    raw = json.loads(attempt["params"] or "{}")
    return {name: float(value) for name, value in {**raw.get("flags", {}), **raw.get("env", {})}.items()}


def optuna_agrees(snapshot: Snapshot) -> Iterator[Violation]:
    """Optuna's tables say what ours say: number, state, values, parameters."""
    ours = {each["number"]: each for each in snapshot["attempts"] if each["number"] is not None}
    theirs = {trial["number"]: trial for trial in snapshot["trials"]}
    if len(theirs) != len(snapshot["trials"]):
        yield Violation("optuna-differs", f"{len(snapshot['trials'])} trials share {len(theirs)} numbers")
    for number in sorted(ours.keys() ^ theirs.keys()):
        yield Violation("optuna-differs", f"trial {number} is only {'ours' if number in ours else 'in Optuna'}")
    values, params = _by_trial(snapshot["trial_values"]), _by_trial(snapshot["trial_params"])
    for number in sorted(ours.keys() & theirs.keys()):
        key = theirs[number]["trial_id"]
        told = {row["objective"]: row["value"] for row in values.get(key, ())}
        asked = {row["param_name"]: float(row["param_value"]) for row in params.get(key, ())}
        yield from _compare(ours[number], theirs[number]["state"], told, asked)


def _compare(attempt: Row, state: str, told: Mapping[int, float], asked: Mapping[str, float]) -> Iterator[Violation]:
    outcome, number = outcome_of(attempt), attempt["number"]
    verdict = outcome.get("verdict")
    if state != OPTUNA_STATES.get(str(verdict)):
        yield Violation("optuna-differs", f"trial {number} is {state} in Optuna and {verdict} in ours")
    values = outcome.get("values", []) if verdict == "complete" else []
    if told != dict(enumerate(values)):
        yield Violation("optuna-differs", f"trial {number} has {told} in Optuna and {values} in ours")
    if attempt["params"] is None and verdict == "fail":
        return  # it died while Optuna chose: nothing was run with what there is of parameters
    if asked != params_of(attempt):
        yield Violation("optuna-differs", f"trial {number} has {asked} in Optuna and {params_of(attempt)} in ours")


def _by_trial(rows: Sequence[Row]) -> Mapping[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row["trial_id"], []).append(row)
    return found


def results_true(snapshot: Snapshot, events: Sequence[Event]) -> Iterator[Violation]:
    """Each score is what the client measured and what its parameters must give; no lie has become one."""
    reports = {event["seed"]: event["score"] for event in events if event["what"] == "report"}
    lies = {event["seed"]: event["kind"] for event in events if event["what"] == "lied"}
    for attempt in snapshot["attempts"]:
        outcome, seed = outcome_of(attempt), seed_of(attempt["id"])
        if outcome.get("verdict") != "complete" or not outcome.get("values") or is_repeat(attempt):
            continue
        score, params = outcome["values"][0], params_of(attempt)
        if seed in lies:
            yield Violation("lie-accepted", f"attempt {attempt['id']} scores {score} by the lie {lies[seed]}")
        elif seed not in reports:
            yield Violation("invented-result", f"attempt {attempt['id']} scores {score}; no client reported anything")
        elif score != reports[seed]:
            yield Violation("result-changed", f"attempt {attempt['id']}: {reports[seed]} reported, {score} kept")
        elif score != truth(int(params.get("x", 0)), params.get("y", 0.0), seed):
            yield Violation("result-mixed-up", f"attempt {attempt['id']} has the score of other parameters")


def repeats_true(snapshot: Snapshot, events: Sequence[Event]) -> Iterator[Violation]:
    """No server is measured twice, and what repeats one says what it said; nothing was launched for that."""
    by_number = {attempt["number"]: attempt for attempt in snapshot["attempts"]}
    servers = {event["server"] for event in events if event["what"] == "server-start"}
    for attempt in filter(is_repeat, snapshot["attempts"]):
        outcome, name = outcome_of(attempt), f"trial {attempt['number']}"
        first = by_number.get(outcome["same_as"])
        if first is None or is_repeat(first) or first["id"] == attempt["id"]:
            yield Violation("repeats-nothing", f"{name} repeats trial {outcome['same_as']}, which measured nothing")
        elif outcome["cause"] != "repeated" and _said(outcome) != _said(outcome_of(first)):
            yield Violation("repeats-otherwise", f"{name} has {_said(outcome)}, not {_said(outcome_of(first))}")
        if not outcome["effective_config"] and f"tuner-{attempt['id']}" in servers:
            yield Violation("repeat-launched", f"{name} is a repeat, and a server was started for it")
    measured = Counter(filter(None, map(_identity, snapshot["attempts"])))
    for identity, times in measured.items():
        if times > 1:
            yield Violation("measured-twice", f"{times} trials measured the server {identity}")


def _said(outcome: Mapping[str, Any]) -> Sequence[Any]:
    return [outcome.get(name) for name in ("verdict", "values", "cause", "constraints")]


def _identity(attempt: Row) -> str | None:
    """Of what the search measured to its end; the baseline is measured in any case, and some are again on purpose."""
    outcome = outcome_of(attempt)
    ran = outcome.get("verdict") == "complete" and not is_repeat(attempt)
    ran = ran and attempt["kind"] not in {"baseline", *AGAIN}
    return json.dumps(outcome["identity"], sort_keys=True) if ran and outcome.get("identity") else None


def never_changed(snapshot: Snapshot, memory: Memory) -> Iterator[Violation]:
    """An attempt that was seen ended is for ever as it was then."""
    now = {attempt["id"]: attempt for attempt in snapshot["attempts"]}
    for attempt_id, before in memory.ended.items():
        if attempt_id not in now:
            yield Violation("lost-trial", f"attempt {attempt_id} had ended, and its row is gone")
        elif fingerprint(now[attempt_id]) != before:
            yield Violation("ended-row-changed", f"attempt {attempt_id} changed after its end")


def one_server_a_gpu(events: Sequence[Event]) -> Iterator[Violation]:
    """No server ever found its GPU locked by another one."""
    for event in events:
        if event["what"] == "double":
            yield Violation("double-gpu", f"{event['server']} met {event['holder']} on {event['gpu']}")
