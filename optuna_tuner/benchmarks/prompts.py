"""Prompts of a wanted length in tokens that never repeat between trials, and need no transformers.

A prompt is a sequence of everyday words drawn by the trial's seed: two trials share no beginning longer than a few
words, so that no prefix cache helps the second one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from optuna_tuner.benchmarks.scenarios import Scenario

_TEXT = """
able about above across action active actor after again agent agree ahead allow alone along always amount animal answer
apple apply area argue around arrive artist aside assume attack author avoid award baby back balance ball bank base
basket battle beach bean bear beat become before begin behind believe below benefit best better between beyond bird
black blood blue board boat body bone book born both bottle bottom box branch bread break breath bridge bright bring
broad brother brown build burn business butter button buy cabin cable cake call calm camera camp candle capital captain
carbon care carry case castle catch cause center certain chain chair chance change chapter charge cheap check cheese
child choice church circle citizen city claim class clean clear climb clock close cloth cloud coast coat coffee cold
collect color column come common company compare complete concern control cook copper corner correct cost cotton count
country couple course cover create credit crop cross crowd culture cup current custom dance danger dark daughter day
dead deal debate decide deep degree demand depend desert design desk detail develop dinner direct discover discuss
distance doctor dollar door double doubt down dozen draw dream dress drink drive drop dry during dust duty each early
earth east easy edge effect effort eight either electric eleven empty enemy energy engine enjoy enough enter equal
escape even evening event ever every exact example except expect explain express extra eye face fact factor fail fair
family famous farm fast father favor fear feature feed feel fellow field fight figure fill film final find fine finger
finish fire first fish flat floor flow flower fly follow food foot force foreign forest forget form forward four frame
free fresh friend front fruit full game garden gate gather general gentle gift girl give glass goal gold good govern
grand grass gray great green ground group grow guard guess guest guide habit hair half hall hand happen happy harbor
hard hat head health hear heart heat heavy height help here hidden high hill history hold hole holiday home honest hope
horse hotel hour house huge human hundred hurry idea image imagine impact import inch include increase indeed industry
inside iron island issue item join journey judge jump just keep key kind king kitchen knee knife know labor lady lake
"""
WORDS = tuple(_TEXT.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One request to send. `input_tokens` is what the prompt should have, the chat template left out."""

    text: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Tokens of a text of n words: `template` + n * `per_word`."""

    per_word: float = 1.0
    template: float = 0.0

    @classmethod
    def between(cls, few: tuple[int, int], many: tuple[int, int]) -> Scale:
        """The line through two counts, each (words, tokens); one token a word where they say nothing sensible."""
        per_word = (many[1] - few[1]) / (many[0] - few[0])
        return cls(per_word=per_word, template=few[1] - per_word * few[0]) if per_word > 0 else cls()

    def words(self, tokens: int) -> int:
        """How many words have about so many tokens; at least one."""
        return max(1, round(tokens / self.per_word))


def text(random: Random, words: int) -> str:
    """So many words. None comes twice before all have come once: the tokens of long texts then hardly vary."""
    drawn: list[str] = []
    while len(drawn) < words:
        drawn += random.sample(WORDS, min(len(WORDS), words - len(drawn)))
    return " ".join(drawn)


def prompts(scenario: Scenario, scale: Scale, seed: str) -> Iterator[Prompt]:
    """Endless prompts; equal for equal seeds."""
    random = Random(seed)  # noqa: S311  prompts are no secret
    while True:
        tokens_in, tokens_out = scenario.sample(random)
        words = text(random, scale.words(tokens_in))
        yield Prompt(text=words, input_tokens=tokens_in, output_tokens=tokens_out)


def lines_of(seed: str, lines: int = 1000, words: int = 8) -> str:
    """A JSON list of short lines, the raw material from which a client with a tokenizer cuts prompts.

    Each line begins with a space, so that the words of two lines stay apart when they are joined.
    """
    random = Random(seed)  # noqa: S311  prompts are no secret
    return json.dumps([" " + text(random, words) for _ in range(lines)])


def scale_of_tokenizer(folder: str) -> Scale | None:
    """Tokens a word by the model folder's tokenizer.json; None without it or without the package `tokenizers`."""
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415  an extra, and heavy
    except ImportError:
        return None
    count = len(Tokenizer.from_file(str(path)).encode(" ".join(WORDS), add_special_tokens=False).ids)
    return Scale(per_word=count / len(WORDS)) if count else None
