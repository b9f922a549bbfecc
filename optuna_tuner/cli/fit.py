"""Will it fit? The memory model, asked from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from optuna_tuner.cli.command import command, pass_session
from optuna_tuner.cli.output import document_option, dump, print_rows
from optuna_tuner.cli.session import Session
from optuna_tuner.values import Json

if TYPE_CHECKING:
    from optuna_tuner.memory.estimate import Estimate
    from optuna_tuner.memory.gpus import Gpu
    from optuna_tuner.memory.layout import Layout
    from optuna_tuner.memory.model import ModelFacts

GIB = 1 << 30
SIZE = click.IntRange(min=1)


@command(
    example="optuna-tuner fit ./Llama-3.3-70B-Instruct --gpu H200 --tp 2\n"
    "optuna-tuner fit Qwen/Qwen3-30B-A3B --gpu H100 --engine sglang --max-model-len 32768 -o json"
)
@click.argument("model")
@click.option("--gpu", "gpu_name", required=True, help="Kind of GPU, such as H200; a wrong name lists the known ones.")
@click.option("--tp", default=1, show_default=True, type=SIZE, help="GPUs that share each layer.")
@click.option("--pp", default=1, show_default=True, type=SIZE, help="Pipeline stages.")
@click.option("--dp", default=1, show_default=True, type=SIZE, help="Replicas.")
@click.option("--ep", default=1, show_default=True, type=SIZE, help="GPUs over which whole experts are spread.")
@click.option("--attn-dp", default=1, show_default=True, type=SIZE, help="SGLang's --attn-dp-size.")
@click.option("--engine", type=click.Choice(["vllm", "sglang"]), default="vllm", show_default=True, help="Engine.")
@click.option("--engine-version", "version", default="", help="Its version; the newest known one where none is given.")
@click.option("--dtype", default="auto", show_default=True, help="As the engine's flag.")
@click.option("--quantization", default="", help="As the engine's flag, for a checkpoint that is not quantized.")
@click.option("--kv-cache-dtype", default="auto", show_default=True, help="As the engine's flag.")
@click.option("--max-model-len", default=0, type=click.IntRange(min=0), help="Longest sequence; 0: the model's own.")
@click.option("--max-num-seqs", default=0, type=click.IntRange(min=0), help="Largest batch; 0: the engine's own.")
@click.option(
    "--max-num-batched-tokens",
    "batched_tokens",
    default=0,
    type=click.IntRange(min=0),
    help="Tokens in a step (SGLang: chunked prefill size); 0: the engine's own.",
)
@click.option(
    "--gpu-memory-utilization",
    "--mem-fraction-static",
    "memory_fraction",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of the memory for weights and KV cache; the engine's own where none is given.",
)
@document_option
@pass_session
def fit(session: Session, /, model: str, gpu_name: str, output: str, **flags: str | float | None) -> None:
    """Say whether a model fits on these GPUs, how many tokens its KV cache holds, and how many requests.

    MODEL is a folder with a config.json, such a file, or a model's name where its files are in the local Hugging Face
    cache. Nothing is downloaded and no GPU is needed. The answer may be "does not know". Exit code 1 where it does not
    fit.
    """
    from optuna_tuner.memory import facts  # noqa: PLC0415  it reads data files, which only this command needs
    from optuna_tuner.memory.estimate import Verdict, estimate  # noqa: PLC0415  likewise
    from optuna_tuner.memory.gpus import gpu  # noqa: PLC0415  likewise
    from optuna_tuner.memory.layout import Layout, Settings  # noqa: PLC0415  likewise

    card, known = gpu(gpu_name), facts.read(model)
    sizes = {name: int(flags.pop(name) or 1) for name in ("tp", "pp", "dp", "ep")}
    layout = Layout(**sizes, attention_dp=int(flags.pop("attn_dp") or 1))
    found = estimate(known, card, layout, Settings(**flags))  # type: ignore[arg-type]  # click has seen to their types
    if output == "table":
        _show(session, known, card, layout, found)
    else:
        dump(_document(known, card, layout, found), output)
    if found.verdict is Verdict.DOES_NOT_FIT:
        click.get_current_context().exit(1)


def _show(session: Session, known: ModelFacts, card: Gpu, layout: Layout, found: Estimate) -> None:
    style = {"fits": "bold green", "does not fit": "bold red"}.get(found.verdict, "bold yellow")
    session.out.print(f"{found.verdict.capitalize()}: ", style=style, end="")
    session.out.print(f"{found.why}.", highlight=False)
    if found.weights_bytes:
        print_rows(session, ("", "", ""), _rows(known, card, layout, found))
    for doubt in found.doubts:
        session.note(f"Doubt: {doubt}.")


def _rows(known: ModelFacts, card: Gpu, layout: Layout, found: Estimate) -> list[tuple[str, str, str]]:
    settings = found.settings
    kept = "for context, activations and graphs" if settings.engine == "vllm" else "for the context; graphs are outside"
    share = f"{settings.memory_fraction or 0:g} of it for weights and KV cache"
    return [
        ("model", known.architecture, f"{known.parameters / 1e9:.2f} billion parameters"),
        ("GPUs", f"{layout.gpus} x {card.name}", f"{_gib(card.usable)} each; {share}"),
        ("weights", _gib(found.weights_bytes), "on the GPU that holds most"),
        ("engine", _gib(found.reserve_bytes), kept),
        ("KV cache", _gib(found.pool_bytes), f"+- {_gib(found.error_bytes)}, the model's stated error"),
        ("a token", f"{found.kv_bytes_per_token:,} B", "of KV cache on each GPU, in a long sequence"),
        ("tokens", f"{found.kv_tokens:,}", "in the KV cache of one replica"),
        ("requests", f"{found.largest_concurrency:,}", f"of {found.context:,} tokens at once, in all replicas"),
    ]


def _document(known: ModelFacts, card: Gpu, layout: Layout, found: Estimate) -> dict[str, Json]:
    from dataclasses import asdict  # noqa: PLC0415  only for programs

    return {
        "model": known.architecture,
        "parameters": known.parameters,
        "gpu": asdict(card),
        "layout": asdict(layout),
        **asdict(found),
    }


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
