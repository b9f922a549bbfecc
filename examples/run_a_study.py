"""A study in ten lines, from Python. It takes some seconds: the server is a fake with exact times.

Run it: `python examples/run_a_study.py`. For a real server, change the model and the engine:
`{"name": "tiny", "path": "builtin"}` and `{"kind": "llama_cpp"}`.
"""

from optuna_tuner import Tuner
from optuna_tuner.spec.study import StudySpec

STUDY = StudySpec.model_validate(
    {
        "name": "ten lines",
        "model": {"name": "fake", "path": "/nowhere"},
        "engine": {"kind": "fake"},
        "benchmark": {"kind": "http", "scenario": "D(16,8)", "concurrency": [8], "requests": 16},
        "space": {"slots": {"type": "choice", "choices": [1, 2, 4, 8]}},
        "goals": {"objectives": [{"metric": "ttft_ms.p99", "direction": "minimize"}]},
        "budget": {"trials": 4},
    }
)


def main() -> None:
    """Run the study and say what was found."""
    tuner = Tuner()
    study = tuner.run(STUDY)
    for trial in study.trials:
        print(trial.number, trial.state, dict(trial.params), trial.values)
    print(study.best.text)
    print(study.comparison.text)
    tuner.close()


if __name__ == "__main__":
    main()
