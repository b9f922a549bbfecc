"""Getting tools that live in environments of their own, with progress on stderr."""

from __future__ import annotations

from optuna_tuner.cli.session import Session
from optuna_tuner.other_programs import KITS


def install_tool(session: Session, name: str) -> None:
    """Install a key of KITS into the tuner's own folder; at once when it is there. Raises EnvironmentFaultError."""
    kit, console = KITS[name], session.err
    if session.quiet or not console.is_terminal:
        kit.install(session.note)
        return
    with console.status(name) as status:
        kit.install(status.update)
    session.note(f"{name} {kit.version} is in {kit.folder()}")
