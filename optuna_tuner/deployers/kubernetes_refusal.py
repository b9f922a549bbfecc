"""That an API server understood, and said no: known without the client, which is heavy."""

from __future__ import annotations

from http import HTTPStatus

from optuna_tuner.errors import DeployerError

WEBHOOK = "admission webhook"  # in the words of one that will not have an object; it may answer 403, as for rights


class RefusedError(DeployerError):
    """Its answer, with the status of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_of_rights(self) -> bool:
        """Whether it is we who may not."""
        return self.status == HTTPStatus.FORBIDDEN and WEBHOOK not in str(self)
