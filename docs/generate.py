"""Writes the reference pages that repeat what the code already says: `python docs/generate.py`.

A test holds that the committed pages equal what this prints, so that they cannot grow old.
"""
# ruff: noqa: INP001  a script, no package

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from inspect import cleandoc
from pathlib import Path
from typing import cast

import click
from pydantic import BaseModel

from optuna_tuner import errors
from optuna_tuner.benchmarks.load_search import ConcurrencySearch, RateSearch
from optuna_tuner.cli.app import SECTIONS, cli
from optuna_tuner.cli.command import Command, Group
from optuna_tuner.cli.plugin_list import Listed, Option, options_of, plugin_list
from optuna_tuner.engines.known_causes import Sign, common_signs, sign_book
from optuna_tuner.engines.known_rules import KnownRule, RuleBook, findings, rule_book
from optuna_tuner.engines.known_values import FACTS
from optuna_tuner.metrics import (
    DISTRIBUTIONS,
    KV_CACHE,
    QUALITY,
    SCALARS,
    SEEN_COUNTS,
    SEEN_GAUGES,
    SEEN_LOOKS,
    STATISTICS,
    SUSTAINED,
    Meaning,
)
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.presets.shelf import Wanted, preset_text
from optuna_tuner.request_log import RequestLine
from optuna_tuner.results import bundle
from optuna_tuner.results.bundle import run as bundle_run
from optuna_tuner.results.bundle import summary as bundle_summary
from optuna_tuner.results.report import document
from optuna_tuner.spec import confirm, goals, prior, quality, recheck, space, study
from optuna_tuner.spec.json_schema import study_schema
from optuna_tuner.values import Blame, Cause

BUNDLE_SCHEMAS = Path(bundle.__file__).parent / "schema"
SCHEMA = Path(__file__).parents[1] / "studies" / "study.schema.json"
REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code. Do not edit: run it again. -->"
REPORT_SCHEMA = "report.schema.json"
GLOBAL_OPTIONS = {"storage", "no_color", "quiet", "verbose"}  # said once, at the top

STUDY_FILE = """\
A study file is YAML 1.2 or JSON. It is strict: an unknown key, a wrong type or an impossible range is an error, and all
errors are reported at once, each with its file, line and column, before anything starts. Anchors, aliases and tags are
refused, and so is a file above 1 MB. `on`, `off`, `yes` and `no` are text; only `true` and `false` are truth values.

* `optuna-tuner init` writes one to start from, `optuna-tuner presets NAME` prints one.
* `optuna-tuner validate FILE` checks it. `optuna-tuner plan FILE` shows what it would launch.
* `optuna-tuner schema study.schema.json` writes the JSON Schema. An editor with a YAML language server then completes
  and checks every file whose first line is `# yaml-language-server: $schema=study.schema.json`.

When a study is resumed, `description`, `tags`, `deployer`, `sampler`, `pruner`, `budget`, `limits`, `baseline`,
`baseline_every`, `confirm`, `gate`, `rerun` and `first` may change. A change of `model`, `engine`, `benchmark`,
`space`, `rules` (their conditions), `goals` or `quality` asks another question, whose answers cannot be compared with
the old ones: that is a conflict, and the file needs a new `name`."""

SPACE = """\
A mapping from flags to what is sampled. A flag may be written as the engine's own help writes it (`--max-num-seqs`,
`max-num-seqs`) or with underscores; it is kept with underscores. A parameter whose `when` does not hold is not sampled
and not passed: the engine uses its own default. The kinds, by `type`:"""

FIRST = """\
A list of configurations, each a mapping from parameters of the space to values that they can have:

```yaml
first:
  - {max_num_seqs: 256, max_num_batched_tokens: 8192}
  - {gpu_memory_utilization: 0.95}
```

Each is one trial of the budget, of the kind `first`, in this order, right after the baseline. What a configuration
does not name is left to the engine, as in the baseline. Each is tried once, however often the study is interrupted and
resumed; one that is added later is tried next, and one that is taken out before its turn is not tried."""

RULES = """\
`forbid` is a condition over parameters and fixed flags. It has names, numbers, text in quotes, `true` and `false`,
lists, comparisons, `in`, `and`, `or`, `not`, and `+ - * / // %`. Nothing else is allowed and nothing is executed. A
rule that names a flag without a value (not sampled, not fixed) does not apply. A configuration that a rule forbids is
not launched: [the sampler draws again](../explanation/how-rules-reach-the-sampler.md). What the engine itself refuses
need not be said: [rules between flags](rules.md) come with the package."""

SEARCHES_TEXT = """\
## A search for the most load

Instead of levels, [each trial looks for the most load](../how-to/find-the-most-load.md) at which the constraints of the
goals are kept."""

PARTS = """\
`engine`, `deployer` and `benchmark` each have a `kind` and the options of that kind: see [plugins](plugins.md). A study
without a `deployer` uses `local`."""

GOALS_TEXT = """\
Metrics are listed in [metrics](metrics.md). How several load levels become one score is told in
[how a trial is scored](../explanation/how-a-trial-is-scored.md)."""

QUALITY_TEXT = """\
What the two figures are, and what a study with such flags looks like: [guard the answers](../how-to/guard-quality.md).
Needs the baseline. A study with this section claims no other trial until the baseline has given its answers; a baseline
that fails before ends the study, with its cause. Which flags are known to change the answers, or what clients are
promised: `optuna-tuner catalog show`."""

CONFIRM_TEXT = """\
A study without this section searches only, and its results say that the gain is a single measurement;
`optuna-tuner confirm STUDY` adds the runs later. How the verdict is made, and how often it is right:
[believe the result](../how-to/believe-the-result.md). Needs the baseline. `optuna-tuner plan` says how many runs that
is."""

GATE_TEXT = """\
Needs `confirm`, whose `pairs` are the most that it takes, and one configuration in `first`. How it is judged:
[gate an upgrade](../how-to/gate-an-upgrade.md)."""

RERUN_TEXT = """\
Without a configuration in `first` it is the engine's own default that is measured again. How it is judged:
[run it again](../how-to/run-it-again.md)."""

CLI = """\
Data go to stdout, progress and notes to stderr, so that `optuna-tuner best my-study -o json | jq` works. Colours are
for terminals only; `NO_COLOR` or `--no-color` turns them off. Every command has `--help` with an example.

Exit codes: 0 done; 1 it ran, but nothing feasible was found, the run failed, or a gate or a rerun cannot tell; 2 the
command line, a file or a name is wrong; 3 a gate's winner regressed, a rerun does not agree, or (of `worker`) the
worker was taken for dead; 4 the database or the machine lacks something; 130 interrupted.

Global options may stand before or behind a command:"""

REPORT_TEXT = f"""\
`report.json`, which `optuna-tuner report STUDY -o FOLDER` writes, holds every figure of a report, with its unit; the
Markdown and the HTML are drawn from it alone. It is under [{REPORT_SCHEMA}]({REPORT_SCHEMA}), a JSON Schema. `format`
changes when a key changes its meaning or goes. How to read a report: [read a report](../how-to/read-a-report.md)."""

METRICS_TEXT = """\
A metric's name carries its unit: `_ms` milliseconds, `_s` seconds, `_tok_s` tokens a second, `_req_s` requests a
second. A name without a unit is a count or a share from 0 to 1.

The benchmarks `http` and `vllm_bench` deliver all of them; `genai_bench` and `guidellm` all but `itl_ms`, which these
clients do not record; `script` those that the study file says. A study file that asks for another one is refused before
the first trial.

## Distributions over the requests of one load level

Each has a statistic behind a dot: {statistics}. So `ttft_ms.p99` is a metric, `ttft_ms` is none. Percentiles are
linear between ranks (numpy's default, type 7 of Hyndman and Fan 1996). Only completed requests count."""

SCALARS_TEXT = """\
## One value for a load level

Throughputs and rates are divided by `duration_s`."""

SUSTAINED_TEXT = """\
## The most load

Of a trial that [looks for the most load](../how-to/find-the-most-load.md), not of a load level. In `goals` each is a
metric like the others, where the benchmark has such a search: of `concurrency`, or of `request_rate`.
What "most" means exactly is told in [how a trial is scored](../explanation/how-a-trial-is-scored.md#the-most-load)."""

QUALITY_METRICS_TEXT = """\
## Of a trial's answers

In a study with the section [`quality`](study-file.md#quality), of trials that were asked. They are no goals: the
section has bounds of its own. How they are used: [guard the answers](../how-to/guard-quality.md)."""

KV_CACHE_TEXT = """\
## Of the KV cache

Of a trial, for vLLM and SGLang, where the server tells of any. It is no goal: it explains slow answers.
`optuna-tuner show`, the dashboard's note and the results as JSON have it."""

SEEN_TEXT = """\
## Seen beside a load level

Not measured by the load client: seen by the worker while the level ran, as far as it could be seen. They are no goals;
they tell [what limits the server](../explanation/bottleneck.md)."""

ERRORS_TEXT = """\
What this package raises on purpose. From Python, `except optuna_tuner.errors.TunerError` catches all of it; on the
command line the text is printed without a traceback and the exit code is the error's."""

CAUSES_TEXT = """\
Every trial that gives no feasible score has exactly one cause. It stands in `optuna-tuner trials`,
`optuna-tuner show`, the dashboard and Optuna's history (user attribute `cause`). The fault decides what Optuna is told
and what happens next: [how a trial fails](../explanation/how-a-trial-fails.md)."""

SIGNS_TEXT = """\
## How causes are known

By the server's log, where the server ended. What a line means is data: `optuna_tuner/engines/causes`. The signs are
read in the order of these tables, the engine's own first: the first one that any line shows decides, and that line is
kept as the evidence. What was logged before the server was ready (`starting`) and after (`serving`) are told apart.
Wrappers, as vLLM's "Engine core initialization failed", are no sign: the reason below them is. What no sign knows is
`bad_combination` where an exception before readiness refuses the flags (`ValueError`, `AssertionError`), else
`crashed`.

Where a sign can tell more exactly what to do than its cause, that is shown; values of the line stand in braces here.
Each sign is proven by what a server printed: own runs, and public threads, in `tests/material/engines`.

What needs no log: a server that is gone with its node (`node_lost`), or that cannot be started at all
(`deployer_failed`), a GPU that is not free before the start (`device_busy`), another server that answers on our port
(`port_in_use`), no answer in time (`not_ready`), failing requests (`degraded`).

A KV cache that is full is no failure: requests lose their place in it, and are computed again. It is counted where
the server tells of it: [`kv_cache_retractions`](metrics.md#of-the-kv-cache)."""

FAULTS: Mapping[Blame, tuple[str, str]] = {
    Blame.CONFIGURATION: (
        "The configuration's fault",
        "Optuna is told the violated constraints, by how much where that was measured: the sampler learns.",
    ),
    Blame.MACHINE: (
        "The machine's fault",
        "Optuna is told FAIL. The same parameters are tried, at most `limits.tries` times; the budget counts one.",
    ),
    Blame.NOBODY: ("Nobody's fault", "Somebody asked for the end."),
}

PLUGINS_TEXT = """\
What the package brings itself; `optuna-tuner plugins` lists what is installed on a machine, strangers' plugins too.
They are found by their entry points in the groups `optuna_tuner.engines`, `optuna_tuner.deployers` and
`optuna_tuner.benchmarks`: how to add [an engine](../how-to/add-an-engine.md),
[a deployer](../how-to/add-a-deployer.md), [a benchmark](../how-to/add-a-benchmark.md)."""


BUNDLE_TEXT = """\
All that is known of a trial, in a folder: to hand over, to keep beside a paper, to check.

```sh
optuna-tuner bundle my-study --trial 7 -o trial-7
optuna-tuner summarize trial-7
```

| file | holds |
| --- | --- |
| `run.json` | what ran, where, with what, and what became of it |
| `requests.jsonl` | a line for each request of each load level, in the order of the levels |
| `summary.json` | the figures, recomputed from `requests.jsonl` and from nothing else |
| `raw/` | every other file: `launch.json`, `server.log`, `machine.json`, `levels.jsonl`, `looks.jsonl`, reports |

Without `--trial` the folder has one bundle for each trial, `trial-0`, `trial-1` and so on, and `study.json`: what
`optuna-tuner results my-study --format json` prints.

* **Nothing is overwritten.** The folder must not be there yet. It is made under another name beside its place and
  renamed when it is complete.
* **What is not known is said.** A trial that failed, or whose files lie on another machine, has a bundle too.
  `missing` names what is not in it.
* **No secrets.** Variables that hold one are named, as in the study file. What a server writes into its log is in
  `raw/server.log` as it stands.
* **Parts belong together.** `run.json` has size and SHA-256 of every other file. `summarize` refuses a bundle whose
  requests are others.

JSON Schemas (draft 2020-12) of the three files come with the package, in `optuna_tuner/results/bundle/schema`."""

REQUESTS_TEXT = """\
## `requests.jsonl`

One request a line, in the order of their ends. A field that is not known is left out. Warm-up requests are not in it,
nor are requests that were under way when a level was cut short.

The benchmark `http` writes a line when its request has ended, and to disk ten times a second: after a crash the file
has whole lines of what had ended. Of the clients that are other programs the lines are made from their report when a
level is over. They do not tell everything: a completed request has no `http_status`; a failed one no tokens, and at
most the time at which it was sent. Of genai-bench `send_delay_s` is never there, and timestamps are there where its log
shows every completed request of its report, in the same order and with the same latencies. guidellm and `vllm bench
serve` tell timestamps of each completed request, and `send_delay_s` in an open loop. vLLM tells a failed request's
reason phrase and no status: the status is the one that has this phrase. `script` keeps no single requests, unless the
command writes such lines itself: into
`requests-*.jsonl` in its `{folder}`."""

SUMMARY_TEXT = """\
## `summary.json`

Times are in seconds. [How each figure is computed](../explanation/how-figures-are-computed.md)."""

BUNDLE_NOTES = """\
## Any file of requests

`optuna-tuner summarize requests.jsonl` takes any file with a line of JSON a request. Needed are `success`, and
`latency_s` of requests that completed; each other field that is there is used, unknown ones are not looked at. A line
that cannot be read, or cannot be true, ends it with exit code 2 and the line's number:

```text
Error: requests.jsonl:17: latency_s: Expected `float | null`, got `str`
```

A last line that is cut off is left out, and told. Lines of two services (`service_type`) are refused: figures of both
together would be nobody's."""

RULES_TEXT = """\
What each engine is known to refuse, to rewrite or to warn of. The rules are data: `optuna_tuner/engines/rules`. Before
a launch, a configuration is held against the rules of exactly the engine's version (`engine.version` of the study); one
that a rule **refuses** or **crashes** is not launched: the sampler
[draws again](../explanation/how-rules-reach-the-sampler.md), and where it finds no other, the trial ends with the cause
[`rejected`](causes.md#rejected). What an engine **rewrites** or **warns** of is launched; `plan` says so of its
examples, `show` and the dashboard of each trial. Where it is exactly known what an engine makes of a flag, that stands
behind **rewrites**: configurations that become one are [measured once](../explanation/effective-configuration.md).

* A rule fires only where every value that it speaks of is known: given as a flag, certain without being given (a
  parallel size is 1), or a fact of the slot. A number with a unit (`8k`), a list, and an object that is given both as a
  whole and by dotted members are not known. So nothing is refused by guessing; what is missing here the engine refuses
  itself, some seconds or minutes later.
* A member of an object is named with two underscores: `speculative_config__method`.
* A version newer than all checked ones is held against the rules without an upper end.
* A study that names no version, or none that is a release number, may run any version of the range called "assumed"
  below. It is refused only what all of these refuse: by a rule, or because they do not know a flag that it gives.
* llama.cpp's rules are not applied before a launch: its server says within a second why it does not start.
* Rules hold for models that an engine does not treat in a way of their own. An engine's code for single models may
  rewrite a flag before its own validation sees it.

## What rules may know beside flags

Filled in today: what the slot tells (`gpus`, and `device` where there are some), and the model's heads, experts and
kind of attention, where its `config.json` lies on the worker's machine and is wholly understood. A rule that needs more
does not fire yet."""

RULES_MEASURED = """\
## Held against vLLM itself

vLLM 0.32.0 for CPU made its whole configuration of the same arguments, without launching anything. No configuration
that it takes was refused by us. `python benchmarks/real_rules.py VLLM_PYTHON --configurations 300 --seed 2` printed:"""

RULES_FIGURES = """\
| configurations | number | both refuse | both take | only we refuse | only vLLM refuses |
| --- | --- | --- | --- | --- | --- |
| examples of the rules | 79 | 50 | 25 | 0 | 4 |
| random | 300 | 125 | 148 | 0 | 27 |

What only vLLM refused, of 379:

* 15: `data_parallel_rank` without `data_parallel_size` above 1.
* 11: what vLLM's older model runner lacks, which it uses where there is no Triton, as on this CPU: prefill context
  parallelism, and sampling in shards. Both are rules since.
* 4: microbatches by `ubatch_size` with the wrong `all2all_backend` on a CPU; the rule speaks of GPUs.
* 1: `speculative_config` without `num_speculative_tokens`.

Each rule that a CPU can show was also shown by [real launches](vllm-launches.md).

Not shown by either: rules that need GPUs, other versions of vLLM than this one, and all of
SGLang, which needs a GPU: these stand on its sources alone. Each of llama.cpp's rules that refuse is shown by a test
that starts the embedded server with both examples."""


def pages() -> Mapping[str, str]:
    """File name in docs/reference -> its text."""
    makers: Mapping[str, tuple[str, Callable[[], Iterable[str]]]] = {
        "study-file.md": ("The study file", _study_file),
        "cli.md": ("The command line", _cli),
        "metrics.md": ("Metrics", _metrics),
        "errors.md": ("Errors", _errors),
        "causes.md": ("Causes", _causes),
        "plugins.md": ("Plugins and their options", _plugins),
        "rules.md": ("Rules between flags", _rules),
        "report.md": ("The report's document", _report),
        "bundle.md": ("The bundle", _bundle),
    }
    return {name: "\n\n".join([f"# {title}", NOTE, *make()]) + "\n" for name, (title, make) in makers.items()}


def schema() -> str:
    """What editors complete the study files in studies/ by."""
    return json.dumps(study_schema(InstalledKinds()), indent=1) + "\n"


def report_schema() -> str:
    """What report.json is under."""
    return json.dumps(document.Report.model_json_schema(), indent=1) + "\n"


def bundle_schemas() -> dict[str, str]:
    """The schemas of a bundle's files, as they come with the package."""
    models: dict[str, type[BaseModel]] = {
        "run": bundle_run.Run,
        "request": RequestLine,
        "summary": bundle_summary.Summary,
    }
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {
        f"{name}.schema.json": json.dumps(draft | model.model_json_schema(mode="serialization"), indent=1) + "\n"
        for name, model in models.items()
    }


def studies() -> dict[str, str]:
    """The studies in studies/ that are presets made for one version."""
    made = {"vllm": "0.33.0", "sglang": "0.5.23"}
    return {
        f"{engine}-wide.yaml": preset_text(engine, Wanted(tier=2, version=version, gpus=2))
        for engine, version in made.items()
    }


def main() -> None:
    """Write all pages, the schemas, and the studies that are made."""
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
    (REFERENCE / REPORT_SCHEMA).write_text(report_schema(), encoding="utf-8")
    BUNDLE_SCHEMAS.mkdir(exist_ok=True)
    for name, text in bundle_schemas().items():
        (BUNDLE_SCHEMAS / name).write_text(text, encoding="utf-8")
    for name, text in studies().items():
        (SCHEMA.parent / name).write_text(text, encoding="utf-8")


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(titles)]
    lines.append(["---"] * len(lines[0]))
    lines += [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fields(options: Iterable[Option], heading: str = "option") -> str:
    """The fields of a model."""
    return table((heading, "type", "default", "is"), [_field(option) for option in options])


def _field(option: Option) -> tuple[str, str, str, str]:
    said = option.default.values() if isinstance(option.default, dict) else [option.default]
    empty = all(value in (None, "", []) for value in said)
    default = "required" if option.required else "" if empty else f"`{_plain(option.default)}`"
    return f"`{option.name}`", option.type, default, option.description


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def first_lines(kind: type) -> str:
    """A docstring as a paragraph."""
    return " ".join((kind.__doc__ or "").split())


def _study_file() -> Iterator[str]:
    yield STUDY_FILE
    yield f"```yaml\n{preset_text('embedded').strip()}\n```"
    yield "## The whole file"
    sections = {"name", "description", "baseline", "baseline_every", "tags"}
    whole = options_of(study.StudySpec)
    linked = [f"`{each.name}`" for each in whole if each.name not in sections]
    yield f"Sections, told below: {', '.join(linked)}.\nBeside them:"
    yield fields((each for each in whole if each.name in sections), "key")
    yield from _section("model", study.ModelSpec)
    yield from ("## `engine`, `deployer`, `benchmark`", PARTS, fields(options_of(study.Part), "key"))
    yield from ("## `space`", SPACE)
    for parameter in (space.Int, space.Float, space.Choice, space.Switch):
        yield f"### `type: {parameter.__name__.lower()}`"
        yield first_lines(parameter)
        own = [each for each in options_of(parameter) if each.name not in {"type", "env", "when"}]
        yield from [fields(own, "key")] if own else []
    yield "### In every parameter"
    yield fields((each for each in options_of(space.Switch) if each.name in {"env", "when"}), "key")
    yield from ("## `first`", FIRST)
    yield from _section("warm_start", study.WarmStart)
    yield from _section("prior", prior.Prior)
    yield from ("## `rules`", "A list.", fields(options_of(study.Rule), "key"), RULES)
    yield from ("## `goals`", first_lines(goals.Goals), GOALS_TEXT, fields(options_of(goals.Goals), "key"))
    yield from _section("goals.objectives", goals.Objective, "###")
    yield from _section("goals.constraints", goals.Constraint, "###")
    yield from _section("goals.request_slo", goals.RequestSloSpec, "###")
    yield from (*_section("quality", quality.Quality), QUALITY_TEXT)
    yield from (*_section("confirm", confirm.Confirm), CONFIRM_TEXT)
    yield from (*_section("gate", recheck.Gate), GATE_TEXT)
    yield from (*_section("rerun", recheck.Rerun), RERUN_TEXT)
    for name, model in _ENDS.items():
        yield from _section(name, model)


_ENDS: Mapping[str, type[BaseModel]] = {
    "sampler": study.Sampler,
    "pruner": study.Pruner,
    "budget": study.Budget,
    "limits": study.Limits,
}


def _section(name: str, model: type[BaseModel], mark: str = "##") -> Iterator[str]:
    yield f"{mark} `{name}`"
    yield first_lines(model)
    yield fields(options_of(model), "key")


def _cli() -> Iterator[str]:
    yield CLI
    yield _parameters(each for each in cli.params if each.name in GLOBAL_OPTIONS)
    context = click.Context(cli, info_name="optuna-tuner")
    for title, commands in SECTIONS.items():
        yield f"## {title}"
        for name in commands:
            command = cli.get_command(context, name)
            if command is not None:
                yield from _command(command, f"optuna-tuner {name}")


def _command(command: click.Command, name: str) -> Iterator[str]:
    arguments = [_argument(each) for each in command.params if isinstance(each, click.Argument)]
    yield f"### `{' '.join([name, *arguments])}`"
    yield cleandoc(command.help or "")
    options = [each for each in command.params if isinstance(each, click.Option) and each.name not in GLOBAL_OPTIONS]
    if options:
        yield _parameters(options)
    yield f"```sh\n{cast('Command | Group', command).example}\n```"
    if isinstance(command, Group):
        for each, member in command.commands.items():
            yield from _command(member, f"{name} {each}")


def _argument(argument: click.Argument) -> str:
    word = argument.metavar or (argument.name or "").upper()
    return word if argument.required else f"[{word}]"


def _parameters(parameters: Iterable[click.Parameter]) -> str:
    return table(("option", "default", "is"), [_option(each) for each in parameters if isinstance(each, click.Option)])


def _option(option: click.Option) -> tuple[str, str, str]:
    choices = f" {'|'.join(option.type.choices)}" if isinstance(option.type, click.Choice) else ""
    default = f"`{option.default}`" if option.show_default and not option.is_flag else ""
    return f"`{', '.join(option.opts)}{choices}`", default, option.help or ""


def _metrics() -> Iterator[str]:
    yield METRICS_TEXT.format(statistics=", ".join(f"`{each}`" for each in STATISTICS))
    yield _meanings(DISTRIBUTIONS)
    yield SCALARS_TEXT
    yield _meanings(SCALARS)
    yield SUSTAINED_TEXT
    yield _meanings(SUSTAINED)
    yield QUALITY_METRICS_TEXT
    yield _meanings(QUALITY)
    yield KV_CACHE_TEXT
    yield _meanings(KV_CACHE)
    yield SEEN_TEXT
    yield _meanings({f"{name}.mean, .max": meaning for name, meaning in SEEN_GAUGES.items()} | SEEN_COUNTS | SEEN_LOOKS)


def _meanings(meanings: Mapping[str, Meaning]) -> str:
    rows = [(f"`{name}`", each.unit, each.better, each.text) for name, each in meanings.items()]
    return table(("metric", "unit", "better", "is"), rows)


def _errors() -> Iterator[str]:
    tree = (errors.__doc__ or "").partition("\n\n")[2].strip()
    yield ERRORS_TEXT
    yield f"```text\n{tree}\n```"
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.TunerError)]
    rows = [(f"`{kind.__name__}`", str(kind.exit_code), _default_cause(kind), first_lines(kind)) for kind in kinds]
    yield table(("error", "exit code", "cause, where nothing better is known", "is"), rows)


def _default_cause(kind: type[errors.TunerError]) -> str:
    return f"[`{kind.default_cause}`](causes.md#{kind.default_cause})" if issubclass(kind, errors.TrialError) else ""


def _causes() -> Iterator[str]:
    yield CAUSES_TEXT
    for blame, (title, text) in FAULTS.items():
        yield f"## {title}"
        yield text
        rows = [(f'<a id="{each}"></a>`{each}`', each.advice) for each in Cause if each.blame is blame]
        yield table(("cause", "what to conclude"), rows)
    yield SIGNS_TEXT
    for engine in ("vllm", "sglang", "llama_cpp"):
        yield f"### `{engine}`"
        yield _signs(sign_book(engine).signs)
    yield "### Every engine"
    yield _signs(common_signs())


def _signs(signs: Iterable[Sign]) -> str:
    rows = [
        (each.id, each.phase or "both", _shown(each), f"[`{each.cause}`](#{each.cause})", each.advice) for each in signs
    ]
    return table(("sign", "when", "a line shows", "cause", "exact advice"), rows)


def _shown(sign: Sign) -> str:
    return f"`{sign.pattern.pattern}`" + (f", and another one `{sign.near.pattern}`" if sign.near else "")


def _plugins() -> Iterator[str]:
    yield PLUGINS_TEXT
    group = ""
    for plugin in (each for each in plugin_list() if _is_ours(each)):
        if plugin.group != group:
            group = plugin.group
            yield f"## {group.capitalize()}"
        yield f"### `{plugin.kind}`"
        yield f"{plugin.summary[0].upper()}{plugin.summary[1:]}."
        yield fields(plugin.options)
    yield SEARCHES_TEXT
    for option, search in (("concurrency", ConcurrencySearch), ("request_rate", RateSearch)):
        yield f"### Of `{option}`"
        yield fields(options_of(search))


def _rules() -> Iterator[str]:
    yield RULES_TEXT
    yield table(("name", "is"), [(f"`{name}`", text) for name, text in FACTS.items()])
    yield RULES_MEASURED
    yield RULES_FIGURES
    for engine in ("vllm", "sglang", "llama_cpp"):
        book = rule_book(engine)
        yield f"## `{engine}`"
        yield _checked(book)
        yield table(
            ("rule", "versions", "effect", "forbidden", "for example", "source"),
            [_rule(engine, book, rule) for rule in book.rules],
        )


def _checked(book: RuleBook) -> str:
    if not book.checked:
        return f"{len(book.rules)} rules, for every version."
    first, last = book.checked[0], book.checked[-1]
    return (
        f"{len(book.rules)} rules. Checked: the {len(book.checked)} releases from {first} to {last}. "
        f"Assumed where a study names no version: `{book.assumed}`."
    )


def _rule(engine: str, book: RuleBook, rule: KnownRule) -> tuple[str, str, str, str, str, str]:
    having = [version for version in book.checked if version in rule.versions]
    version = str(having[-1]) if having else None
    message = next(each.message for each in findings(engine, version, rule.breaks) if each.rule == rule)
    versions = f"`{rule.versions}`" if str(rule.versions) else "all"
    sets = ", ".join(f"`{name}` = `{expression}`" for name, expression in rule.sets.items())
    effect = f"{rule.effect}: {sets}" if sets else str(rule.effect)
    return rule.id, versions, effect, f"`{rule.forbid}`", message, rule.source


def _report() -> Iterator[str]:
    yield REPORT_TEXT
    models = [each for each in vars(document).values() if isinstance(each, type) and issubclass(each, BaseModel)]
    ours = [each for each in models if each.__module__ == document.__name__ and each is not document.Report]
    for model in (document.Report, *ours):
        yield f"## {model.__name__}"
        yield first_lines(model)
        schemas = model.model_json_schema()["properties"]
        rows = [
            (f"`{each.name}`", _linked(each.type, schemas[each.name]), each.description) for each in options_of(model)
        ]
        yield table(("key", "type", "is"), rows)


def _linked(type_: str, schema: object) -> str:
    """A type whose mapping is one of the page's leads there."""
    found = re.search(r"#/\$defs/(\w+)", json.dumps(schema))
    return type_.replace("mapping", f"[{found[1]}](#{found[1].lower()})") if found else type_


def _bundle() -> Iterator[str]:
    yield BUNDLE_TEXT
    yield "## `run.json`"
    yield first_lines(bundle_run.Run)
    yield _told(bundle_run.Run)
    for name, part in (
        ("study", bundle_run.StudyFile),
        ("trial", bundle_run.TrialRun),
        ("engine", bundle_run.Engine),
        ("place", bundle_run.Place),
        ("times", bundle_run.Times),
        ("levels[]", bundle_run.Level),
        ("files", bundle_run.Part),
    ):
        yield f"### `{name}`"
        yield first_lines(part)
        yield _told(part)
    yield REQUESTS_TEXT
    yield _told(RequestLine)
    yield SUMMARY_TEXT
    yield _told(bundle_summary.Summary)
    yield "### `levels[]`"
    yield "The same of each load level, and its name:"
    yield _told(bundle_summary.LevelFigures, {"measurement", "level"})
    yield "### `latency_s`, `ttft_s`, `tpot_s`"
    yield first_lines(bundle_summary.Spread)
    yield _told(bundle_summary.Spread)
    yield BUNDLE_NOTES


def _told(model: type[BaseModel], only: Container[str] = ()) -> str:
    """The fields of what is written, not read: nothing has a default."""
    shown = [each for each in options_of(model) if not only or each.name in only]
    return table(("field", "type", "is"), [(f"`{each.name}`", each.type, each.description) for each in shown])


def _is_ours(plugin: Listed) -> bool:
    return InstalledKinds().plugin(plugin.group, plugin.kind).__module__.startswith("optuna_tuner.")


if __name__ == "__main__":
    main()
