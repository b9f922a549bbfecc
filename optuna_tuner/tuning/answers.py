"""What a server answers to some prompts, asked one at a time, and how far two servers' answers are apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from http import HTTPStatus
from threading import Thread
from typing import cast

import httpx

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.errors import DegradedError
from optuna_tuner.http import post
from optuna_tuner.values import Answer, Drift, Endpoint, Json

CHAT = "/v1/chat/completions"
SEED = 20  # of every request, for servers that draw even at temperature 0
EXIT_SEEN_S = 2.0  # after a cut connection: a server that has ended is seen meanwhile, and its end is the truth
LOOK_S = 0.1  # then it is looked for the end of the wait again
LATER_S = 60.0  # the socket waits longer than the one who asks: his deadline is told in his words
LONGEST_READ_S = 3600.0  # a deadline may be infinitely far, a socket cannot wait so long
LONGEST_WORD = 300  # characters of what a server says instead of an answer


class _NoAnswerError(Exception):
    """The server said something else, or nothing.

    `refused`: it does not want the request as it is. `cut`: the connection broke, so it may have ended.
    """

    def __init__(self, said: str, *, refused: bool = False, cut: bool = False) -> None:
        super().__init__(said[:LONGEST_WORD])
        self.refused, self.cut = refused, cut


def ask(endpoint: Endpoint, prompts: Sequence[str], max_tokens: int, deadline: Deadline) -> tuple[Answer, ...]:
    """One answer to each prompt: greedy, with log-probabilities unless the server refuses requests for them.

    Raises DegradedError where an answer is missing, no answer, or late; StoppedError when asked to stop.
    """
    answers: list[Answer] = []
    with_logprobs = True
    for number, prompt in enumerate(prompts, start=1):
        try:
            body = _body(endpoint, prompt, max_tokens)
            answer, with_logprobs = _asked(endpoint, body, deadline, with_logprobs=with_logprobs)
        except _NoAnswerError as error:
            raise DegradedError(f"prompt {number} of {len(prompts)} got no answer: {error}") from error
        answers.append(answer)
    return tuple(answers)


def _body(endpoint: Endpoint, prompt: str, max_tokens: int) -> Mapping[str, Json]:
    return {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0.0,
        "seed": SEED,
    }


def _asked(
    endpoint: Endpoint, body: Mapping[str, Json], deadline: Deadline, *, with_logprobs: bool
) -> tuple[Answer, bool]:
    """The answer, and whether log-probabilities may be asked for again."""
    if with_logprobs:
        try:
            return _in_time(endpoint, {**body, "logprobs": True, "top_logprobs": 1}, deadline), True
        except _NoAnswerError as error:
            if not error.refused:
                raise
    return _in_time(endpoint, body, deadline), False


def _in_time(endpoint: Endpoint, body: Mapping[str, Json], deadline: Deadline) -> Answer:
    """Asked in a thread: time-outs of HTTP clients are for one read, and a server may send a byte a second.

    The thread of an answer that is not waited for ends with the server, which is taken down next.
    """
    asking: Future[Answer] = Future()
    Thread(target=_answer, args=(asking, endpoint, body, deadline), name="ask", daemon=True).start()

    def look() -> Answer | None:
        try:
            return asking.result(LOOK_S)
        except TimeoutError:
            return None
        except _NoAnswerError as error:
            if error.cut:
                poll(lambda: None, deadline.within(EXIT_SEEN_S))
            raise

    found = poll(look, deadline, every_s=0.0)
    if found is None:
        raise _NoAnswerError("the time is over, see limits.quality_s")
    return found


def _answer(asking: Future[Answer], endpoint: Endpoint, body: Mapping[str, Json], deadline: Deadline) -> None:
    try:
        asking.set_result(_read(post(endpoint.url + CHAT, body, min(deadline.left_s, LONGEST_READ_S) + LATER_S)))
    except httpx.HTTPError as error:
        asking.set_exception(_NoAnswerError(f"{type(error).__name__}: {error}", cut=True))
    except _NoAnswerError as error:
        asking.set_exception(error)


def _read(response: httpx.Response) -> Answer:
    if response.status_code != HTTPStatus.OK:
        refused = response.is_client_error or response.status_code == HTTPStatus.NOT_IMPLEMENTED
        raise _NoAnswerError(f"HTTP {response.status_code}: {response.text}", refused=refused)
    try:
        return answer_of(response.json())
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise _NoAnswerError(f"it is no chat completion: {response.text}") from error


def answer_of(document: Mapping[str, Json]) -> Answer:
    """A chat completion's first choice; what a model thinks aloud is a part of the answer.

    Raises ValueError, LookupError, TypeError or AttributeError where it is none.
    """
    choice = cast("list[dict[str, dict[str, Json]]]", document["choices"])[0]
    message = choice["message"]
    thought = message.get("reasoning_content") or message.get("reasoning") or ""
    text = f"{thought}{message.get('content') or ''}"
    pairs = _logprobs(choice.get("logprobs"))
    return Answer(text=text, tokens=tuple(token for token, _ in pairs), logprobs=tuple(value for _, value in pairs))


def _logprobs(given: Mapping[str, Json] | None) -> Sequence[tuple[str, float]]:
    """Each token with its log-probability; nothing where the server gives none, or none that are numbers."""
    try:
        content = cast("list[dict[str, str]]", (given or {}).get("content") or [])
        pairs = [(str(each["token"]), float(each["logprob"])) for each in content]
    except (ValueError, LookupError, TypeError, AttributeError):
        return ()
    return pairs if all(math.isfinite(logprob) for _, logprob in pairs) else ()


def drift(reference: Sequence[Answer], answers: Sequence[Answer]) -> Drift:
    """How far the answers are from the reference's, prompt by prompt.

    An answer's agreement is the length of what both have in common from the start, divided by the length of the longer
    one: in tokens where both sides have them, else in words. Two empty answers agree. Where they have tokens in common,
    the drift of an answer is the mean absolute difference of these tokens' log-probabilities: up to there both servers
    have read the same text. The whole drift is the mean over the prompts that have one.
    """
    pairs = list(zip(reference, answers, strict=True))
    drifts = [found for ours, theirs in pairs if (found := _logprob_drift(ours, theirs)) is not None]
    return Drift(
        by_prompt=tuple(_agreement(ours, theirs) for ours, theirs in pairs),
        logprob_drift=sum(drifts) / len(drifts) if drifts else None,
    )


def _agreement(ours: Answer, theirs: Answer) -> float:
    both = (ours.tokens, theirs.tokens) if ours.tokens and theirs.tokens else (ours.text.split(), theirs.text.split())
    longest = max(map(len, both))
    return _common(*both) / longest if longest else 1.0


def _common(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """How many are the same from the start."""
    pairs = zip(ours, theirs, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(ours), len(theirs)))


def _logprob_drift(ours: Answer, theirs: Answer) -> float | None:
    same = _common(ours.tokens, theirs.tokens)
    if not same:
        return None
    return sum(abs(ours.logprobs[place] - theirs.logprobs[place]) for place in range(same)) / same
