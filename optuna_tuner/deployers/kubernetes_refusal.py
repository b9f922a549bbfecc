"""That an API server understood, and said no: known without the client, which is heavy."""

from __future__ import annotations

from optuna_tuner.errors import DeployerError


class RefusedError(DeployerError):
    """Its answer, with the status of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
