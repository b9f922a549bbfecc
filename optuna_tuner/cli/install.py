"""Getting tools that live in environments of their own, with progress on stderr."""

from __future__ import annotations

from optuna_tuner.benchmarks import genai_bench_env
from optuna_tuner.cli.session import Session


def install_genai_bench(session: Session) -> None:
    """Install genai-bench into the tuner's own folder; at once when it is there. Raises EnvironmentFaultError."""
    console = session.err
    if session.quiet or not console.is_terminal:
        genai_bench_env.install(session.note)
        return
    with console.status("genai-bench") as status:
        genai_bench_env.install(status.update)
    session.note(f"genai-bench {genai_bench_env.VERSION} is in {genai_bench_env.folder()}")
