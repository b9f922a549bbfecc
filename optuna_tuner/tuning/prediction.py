"""What aiconfigurator predicts, in the flags of a study: its best configurations are tried first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from optuna_tuner.contracts import Benchmark, Engine, Kinds
from optuna_tuner.errors import EnvironmentFaultError, Fault, SpecError
from optuna_tuner.other_programs import AICONFIGURATOR
from optuna_tuner.plugins import make
from optuna_tuner.spec.prior import Prior
from optuna_tuner.spec.prior_check import PREDICTABLE, length_misfits
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.aiconfigurator import Prediction, Question, predictions
from optuna_tuner.tuning.carrying import NOTHING_FOUND, Found, Taken, Way
from optuna_tuner.tuning.foreseen import anywhere
from optuna_tuner.tuning.model import model_paths
from optuna_tuner.values import Params, Scalar

NO_BOUND_MS = 1_000_000.0  # its own, of 2000 and 30 ms, would leave out what the study does not forbid
Flags = Mapping[str, Scalar]


def predicted(spec: StudySpec, kinds: Kinds, tried: Sequence[Flags] = ()) -> Found:
    """The configurations that a server of this study is predicted to be best with, without those tried already.

    Nothing but a remark where the program is not installed. Raises EnvironmentFaultError where one was named that is
    not there, and where it fails; SpecError where the study does not say how long requests are.
    """
    if spec.prior is None:
        return NOTHING_FOUND
    executable = AICONFIGURATOR.executable()
    program = executable.find(spec.prior.executable)
    if program is None:
        missing = executable.missing(spec.prior.executable) or ""
        if executable.chosen(spec.prior.executable):
            raise EnvironmentFaultError(missing)
        return Found(remarks=(f"nothing is predicted: {missing}",))
    benchmark = cast("Benchmark", make(kinds, "benchmarks", spec.benchmark))
    rows = predictions(program, question_of(spec, benchmark.mean_tokens()))
    return in_this_study(spec, kinds, rows, tried)


def question_of(spec: StudySpec, mean: tuple[int, int] | None) -> Question:
    """The question that the study asks; `mean` is its benchmark's. Raises SpecError where that is not enough."""
    prior = cast("Prior", spec.prior)
    misfits = list(length_misfits(prior, mean))
    if misfits or spec.engine.flags_of not in PREDICTABLE:
        message = misfits[0].message if misfits else f"nothing predicts for {spec.engine.flags_of}"
        raise SpecError([Fault(spec.name, 0, 0, "prior", message)])
    given = mean or (0, 0)
    path = model_paths(spec.model).path
    return Question(
        model=str(Path(path).resolve()) if Path(path).is_dir() else path,
        system=prior.system,
        gpus=prior.gpus,
        backend=spec.engine.flags_of,
        input_tokens=prior.input_tokens or given[0],
        output_tokens=prior.output_tokens or given[1],
        ttft_ms=_bound(spec, "ttft_ms"),
        tpot_ms=_bound(spec, "tpot_ms", "itl_ms"),
    )


def _bound(spec: StudySpec, *metrics: str) -> float:
    """The smallest upper bound that the study sets on any statistic of these."""
    bounds = [
        each.at_most
        for each in spec.goals.constraints
        if each.at_most is not None and each.at_most > 0 and each.metric.partition(".")[0] in metrics
    ]
    return min(bounds, default=NO_BOUND_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A prediction as one server of the study: with what flags, and on how many GPUs."""

    row: Prediction
    flags: Flags
    gpus: int

    @property
    def tok_s(self) -> float:
        """What the one server is predicted to generate in a second."""
        return self.row.tok_s_gpu * self.gpus

    def __str__(self) -> str:
        row, gpus = self.row, "1 GPU" if self.gpus == 1 else f"{self.gpus} GPUs"
        return (
            f"predicted, not measured: {row.tok_s_gpu:.0f} tokens/s/GPU on {gpus}, TTFT {row.ttft_ms:.0f} ms, "
            f"TPOT {row.tpot_ms:.1f} ms"
        )


def in_this_study(spec: StudySpec, kinds: Kinds, rows: Sequence[Prediction], tried: Sequence[Flags] = ()) -> Found:
    """The predictions that have a place in the study, what one server gives most with first."""
    engine = cast("Engine", make(kinds, "engines", spec.engine))
    way = Way(spec, engine, anywhere(spec, kinds))
    prior, room = cast("Prior", spec.prior), _Room(spec, way)
    placed = [each for row in rows if (each := room.placed(row)) is not None]
    placed.sort(key=lambda each: each.tok_s, reverse=True)
    sources = {f"prediction {number}": each for number, each in enumerate(placed, start=1)}
    taken: list[Taken] = []
    for one in way.carried((source, Params(flags=room.spoken(each.flags))) for source, each in sources.items()):
        if one.chosen not in tried and len(taken) < prior.best:
            taken.append(replace(one, changes=(*one.changes, str(sources[one.source]))))
    notes = [f"it simulated {rows[0].ran}; its figures are predictions"] if rows else []
    passed = len(rows) - len(placed)
    if passed:
        notes.append(f"{passed} of {len(rows)} predictions passed over: this study cannot have their parallelism")
    nothing = () if taken else ("aiconfigurator predicts nothing that can be tried here and is not tried already",)
    return Found(taken=tuple(taken), remarks=nothing, notes=tuple(notes))


class _Room:
    """What values a study has for flags."""

    def __init__(self, spec: StudySpec, way: Way) -> None:
        self._spec, self._way = spec, way
        self._fixed = {way.new_name(name): value for name, value in spec.fixed_flags.items()}

    def placed(self, row: Prediction) -> Placed | None:
        """As a server of the study; None where it cannot have the parallelism exactly."""
        sglang = self._spec.engine.flags_of == "sglang"
        gpus = cast("Prior", self._spec.prior).gpus
        replicas = 1 if sglang else self._replicas(row, gpus)
        spread, sizes = _sglang(row) if sglang else _vllm(row, replicas)
        whole_experts = sglang or row.moe_ep in {1, row.tp * row.dp}  # vLLM has all ranks share the experts, or none
        if row.cp != 1 or not whole_experts or not all(self._has(*each) for each in spread.items()):
            return None
        return Placed(row=row, flags={**spread, **sizes}, gpus=row.gpus * replicas)

    def _replicas(self, row: Prediction, gpus: int) -> int:
        """How many of the prediction's servers one server of the study is; vLLM's own data parallelism does that."""
        count = gpus // max(1, row.gpus)
        dense = row.moe_tp == row.moe_ep == 1  # else the replicas would share the experts, which was not simulated
        return count if dense and count > 1 and self._has("data_parallel_size", row.dp * count) else 1

    def spoken(self, flags: Flags) -> Flags:
        """Without those that go without saying: what is fixed to the same, and what is off and not searched."""
        return {name: value for name, value in flags.items() if self._way.place(name) or not self._has(name, value)}

    def _has(self, name: str, value: Scalar) -> bool:
        """Whether a server of the study can have exactly this; what is neither searched nor fixed is 1 or off."""
        place = self._way.place(name)
        if place is not None:
            return self._spec.space[place].takes(value)
        off = value is False or (type(value) is int and value == 1)
        return self._fixed.get(self._way.new_name(name), value if off else None) == value


def _vllm(row: Prediction, replicas: int) -> tuple[Flags, Flags]:
    """Parallelism, and sizes, which are of one rank in vLLM."""
    spread: Flags = {
        "tensor_parallel_size": row.tp,
        "pipeline_parallel_size": row.pp,
        "data_parallel_size": row.dp * replicas,
        "enable_expert_parallel": row.moe_ep > 1,
    }
    return spread, {"max_num_seqs": row.requests, "max_num_batched_tokens": row.step_tokens}


def _sglang(row: Prediction) -> tuple[Flags, Flags]:
    """Parallelism, and sizes.

    With DP attention SGLang's ranks of data parallelism are parts of the tensor parallel group (`--tp 8 --dp 8`, as
    aiconfigurator's own generator writes it), and it divides both sizes by their number (`chunked_prefill_size` in
    `server_args.py`, `max_running_requests` in `model_runner.py`): so both are given for all ranks.
    """
    spread: Flags = {
        "tp_size": row.tp * row.dp,
        "pp_size": row.pp,
        "dp_size": row.dp,
        "enable_dp_attention": row.dp > 1,
        "ep_size": row.moe_ep,
    }
    return spread, {"max_running_requests": row.requests_of_all, "chunked_prefill_size": row.prompt_tokens * row.dp}
