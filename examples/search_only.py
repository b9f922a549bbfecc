"""The search alone, for an evaluation of one's own: here a server that is a formula.

Run it: `python examples/search_only.py`. Replace `evaluate` by what measures your system.
"""

from __future__ import annotations

from collections.abc import Mapping

from optuna_tuner import Search
from optuna_tuner.values import Cause, Scalar

SPACE = {
    "tensor_parallel_size": {"type": "choice", "choices": [1, 2, 4, 8]},
    "max_num_seqs": {"type": "choice", "choices": [16, 32, 64, 128, 256, 512]},
    "enable_chunked_prefill": {"type": "switch"},
}
GOALS = {
    "objectives": [{"metric": "tokens_per_s", "direction": "maximize"}],
    "constraints": [{"metric": "ttft_ms.p99", "at_most": 500}],
}


def evaluate(params: Mapping[str, Scalar]) -> dict[str, float] | Cause:
    """Metrics by name, or why there are none."""
    gpus, sequences = int(params["tensor_parallel_size"]), int(params["max_num_seqs"])
    if sequences > 128 * gpus:
        return Cause.OUT_OF_MEMORY_POOL
    chunked = bool(params["enable_chunked_prefill"])
    speed = 40 * sequences * gpus**0.7 / (1 + sequences / 200)
    return {"tokens_per_s": speed * (0.9 if chunked else 1.0), "ttft_ms.p99": sequences * (2 if chunked else 5) / gpus}


def main() -> None:
    """Fifteen configurations, and the best of them."""
    search = Search(SPACE, GOALS, seed=1, rules=["tensor_parallel_size == 8"])
    for _ in range(15):
        suggestion = search.ask()
        search.tell(suggestion.number, evaluate(suggestion.params))
    for best in search.best():
        print(best.number, dict(best.params), best.values)


if __name__ == "__main__":
    main()
