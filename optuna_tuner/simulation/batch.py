"""Continuous batching, step by step: who runs, who waits, and what one step holds. Knows no clock.

Where `levels.py` works out a queue at rest in closed form, this plays it: requests join at the end of a step, a step
takes what `Steps` says of just those that are in it, and each request gets its tokens when the step ends. No prompt is
found in the KV cache: each is computed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from optuna_tuner.simulation.server import Prefill, Server
from optuna_tuner.simulation.steps import Steps


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """One completion. `tell` is called at the end of each step that gave it tokens, with how many.

    Attributes:
        prompt, reply: tokens of both.
        given: tokens of the reply so far.
        to_compute: tokens of the prompt that are not in the KV cache yet, and of what must be computed again.
        credit: the part of a token that drafts have given beyond whole ones.

    """

    prompt: int
    reply: int
    tell: Callable[[int], None]
    given: int = 0
    to_compute: int = field(init=False)
    credit: float = 0.0

    def __post_init__(self) -> None:
        self.to_compute = self.prompt

    @property
    def left(self) -> int:
        """Tokens of the reply that are still to come."""
        return self.reply - self.given


@dataclass(frozen=True, slots=True)
class Work:
    """What one step of a group holds: requests that get their next tokens, and pieces of prompts with their sizes."""

    replies: tuple[Request, ...] = ()
    pieces: tuple[tuple[Request, int], ...] = ()

    def seconds(self, steps: Steps) -> float:
        """How long it takes; nothing takes no time."""
        lengths = [each.prompt + each.given for each in self.replies] + [each.prompt for each, _ in self.pieces]
        if not lengths:
            return 0.0
        return steps.time(len(self.replies), sum(size for _, size in self.pieces), sum(lengths) / len(lengths))


class Group:
    """One set of GPUs with a KV cache and requests of its own."""

    def __init__(self, server: Server, accepted: float) -> None:
        self._server, self._accepted = server, accepted
        self._verified = server.drafts.tokens if server.drafts else 1
        self._until_look = 0
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self.retracted = 0  # requests that lost their place in the KV cache
        self.tokens = 0  # that were generated

    def __len__(self) -> int:
        return len(self.waiting) + len(self.running)

    @property
    def use(self) -> float:
        """Share of the KV cache that is in use, 0 to 1."""
        return min(1.0, sum(map(self._kept, self.running)) / self._server.pool_tokens)

    def forget(self, request: Request) -> None:
        """Nobody waits for it any more. What is under way of it ends with its step."""
        request.reply = request.given
        if request in self.waiting:
            self.waiting.remove(request)

    def plan(self) -> Work:
        """The next step."""
        self._retract()
        return self._mixed() if self._server.prefill is Prefill.MIXED else self._apart()

    def end(self, work: Work) -> list[tuple[Request, int]]:
        """The step is done: who got how many tokens. A prompt that is complete gives the first one."""
        told = [(each, self._tokens(each)) for each in work.replies]
        for each, size in work.pieces:
            each.to_compute -= size
            if not each.to_compute:
                told.append((each, min(1, each.left)))
        for each, count in told:
            each.given += count
            self.tokens += count
        self.running = [each for each in self.running if each.left]
        return [(each, count) for each, count in told if count]

    def _tokens(self, request: Request) -> int:
        request.credit += self._accepted
        whole = int(request.credit)
        request.credit -= whole
        return min(whole, request.left)

    def _mixed(self) -> Work:
        """Replies first, then pieces of prompts that have begun, then of new ones, as far as the step has room."""
        replies = [each for each in self.running if not each.to_compute]
        room = self._server.step_tokens // self._verified
        replies = replies[:room]
        pieces = self._pieces(self._server.step_tokens - len(replies) * self._verified)
        return Work(tuple(replies), tuple(pieces))

    def _apart(self) -> Work:
        """Prompts go first. The queue is looked at once in `held_steps`, or when nothing runs."""
        begun = any(each.to_compute for each in self.running)
        if self._until_look and self.running and not begun:
            self._until_look -= 1
            return Work(replies=tuple(self.running))
        self._until_look = self._server.held_steps - 1
        if pieces := tuple(self._pieces(self._server.step_tokens)):
            return Work(pieces=pieces)
        return Work(replies=tuple(self.running))

    def _pieces(self, room: int) -> Iterator[tuple[Request, int]]:
        for each in self.running:
            if each.to_compute and room:
                size = min(each.to_compute, room)
                room -= size
                yield each, size
        taken = sum(map(self._reckoned, self.running))
        while self.waiting and room and self._may_run(self.waiting[0], room, taken):
            each = self.waiting.popleft()
            self.running.append(each)
            taken += self._reckoned(each)
            size = min(each.to_compute, room)
            room -= size
            yield each, size

    def _may_run(self, request: Request, room: int, taken: float) -> bool:
        server = self._server
        if not self.running:
            return True  # the start has made sure that one request fits
        if len(self.running) >= server.slots or (server.whole_prompts and request.to_compute > room):
            return False
        return taken + self._reckoned(request) <= server.pool_tokens

    def _kept(self, request: Request) -> int:
        """Tokens of the KV cache that it has after the next step, in whole blocks."""
        block = self._server.block
        return -(-(request.prompt + request.given + self._verified) // block) * block

    def _reckoned(self, request: Request) -> float:
        """The same, and the part of its reply that the scheduler is careful enough to think of."""
        return self._kept(request) + self._server.caution * request.left

    def _retract(self) -> None:
        """Where the KV cache would be too small for the next step, the latest requests lose their place in it."""
        taken = sum(map(self._kept, self.running))
        while taken > self._server.pool_tokens and len(self.running) > 1:
            last = self.running.pop()
            taken -= self._kept(last)
            last.to_compute = last.prompt + last.given
            self.waiting.appendleft(last)
            self.retracted += 1


class Replica:
    """The groups of one server: they take their steps together, and the fullest one sets the pace."""

    def __init__(self, steps: Steps, server: Server) -> None:
        self._steps = steps
        self.groups = tuple(Group(server, steps.accepted) for _ in range(server.groups))
        self._works: tuple[Work, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def add(self, request: Request) -> Group:
        """Put it where the fewest are."""
        group = min(self.groups, key=len)
        group.waiting.append(request)
        return group

    def begin(self) -> float | None:
        """Begin a step: the seconds that it takes; None where there is nothing to do."""
        self._works = tuple(group.plan() for group in self.groups)
        return max(work.seconds(self._steps) for work in self._works) or None

    def end(self) -> None:
        """The step is done: tell each request of its tokens."""
        told = [each for group, work in zip(self.groups, self._works, strict=True) for each in group.end(work)]
        for request, count in told:
            request.tell(count)
