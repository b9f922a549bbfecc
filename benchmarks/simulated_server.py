"""The simulated server against the model that it is made of: in closed form, played step by step, and over HTTP.

    python benchmarks/simulated_server.py

For one server of each engine and some loads: what `levels.py` works out for a queue at rest; what the batches come to
on a clock of their own; and what the load client `http` measures at the server's real process. Nothing of it is a
figure of vLLM or SGLang. docs/how-to/rehearse-without-a-gpu.md has a run.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from optuna_tuner.benchmarks.http import Http, HttpOptions
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Target
from optuna_tuner.engines.simulated import Simulated, SimulatedOptions
from optuna_tuner.memory.facts import of
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.simulation.accelerators import accelerator
from optuna_tuner.simulation.batch import Replica
from optuna_tuner.simulation.levels import Group
from optuna_tuner.simulation.outcome import resolved, steps_of
from optuna_tuner.simulation.place import Place
from optuna_tuner.simulation.playing import ClosedLoop
from optuna_tuner.simulation.server import Server
from optuna_tuner.simulation.traffic import Traffic
from optuna_tuner.spec.files import load_study
from optuna_tuner.values import Endpoint, Metrics, Model, Params, RequestSlo, Slot

ROOT = Path(__file__).parents[1]
NAMES = ("ttft_ms.mean", "tpot_ms.mean", "e2e_latency_ms.mean", "output_throughput_tok_s")
LOADS = (1, 4, 16)
ROUNDS = 6
TRAFFIC = Traffic(input_tokens=512, output_tokens=64, levels=LOADS, requests=ROUNDS)
SCENARIO = "N(512,1)/(64,19)"
HERE = Slot(name="here", host="here")
PORT = 18765


def main() -> None:
    """Print the table."""
    print(f"{TRAFFIC.input_tokens} tokens in, {TRAFFIC.output_tokens} out; closed form / step by step / over HTTP")
    for name in ("simulated-vllm", "simulated-sglang"):
        engine = load_study(ROOT / "studies" / f"{name}.yaml", InstalledKinds()).engine
        options = SimulatedOptions.model_validate(dict(engine.options))
        measured = dict(zip(LOADS, _measured(options), strict=True))
        for load in LOADS:
            kinds = (_at_rest(options, load), _played(options, load), measured[load])
            figures = "; ".join(f"{each} " + " / ".join(f"{kind[each]:.0f}" for kind in kinds) for each in NAMES)
            print(f"{name} {load:3} in flight: {figures}", flush=True)


def _server(options: SimulatedOptions) -> tuple[Place, Server]:
    place = Place(
        version=str(options.version),
        accelerator=accelerator(options.gpu),
        gpus=options.gpus,
        facts=of(options.config or {}),
        max_model_len=8192,
    )
    found = resolved(options.like, place, {})
    if not isinstance(found, Server):
        raise SystemExit(found.why)
    return place, found


def _at_rest(options: SimulatedOptions, load: int) -> Metrics:
    place, server = _server(options)
    return Group(steps_of(place, server, {}), server, TRAFFIC).level(load).metrics


def _played(options: SimulatedOptions, load: int) -> Metrics:
    place, server = _server(options)
    replica = Replica(steps_of(place, server, {}), server)
    return ClosedLoop(replica=replica, traffic=TRAFFIC, clients=load, requests=ROUNDS * load).play()


def _measured(options: SimulatedOptions) -> Iterator[Mapping[str, float]]:
    model = Model(name="simulated", path="nowhere", tokenizer="nowhere")
    engine = Simulated(options)
    with _process(engine, model) as endpoint, tempfile.TemporaryDirectory() as folder:
        for load in LOADS:
            client = Http(
                HttpOptions.model_validate(
                    {"scenario": SCENARIO, "concurrency": [load], "requests": ROUNDS * load, "warm_up_requests": 1}
                )
            )
            target = Target(
                endpoint=endpoint,
                model=model,
                folder=Path(folder),
                seed=load,
                slo=RequestSlo(),
                success_rate=1.0,
                slot=HERE,
            )
            yield next(iter(client.run(target, Deadline.after(300)))).metrics


@contextmanager
def _process(engine: Simulated, model: Model) -> Iterator[Endpoint]:
    launch = engine.render(model, Params(), HERE)
    argv = [{"{host}": "127.0.0.1", "{port}": str(PORT)}.get(word, word) for word in launch.argv]
    endpoint = Endpoint(url=f"http://127.0.0.1:{PORT}", model=model.name)
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        try:
            poll(lambda: engine.identify(endpoint), Deadline.after(60))
            yield endpoint
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
