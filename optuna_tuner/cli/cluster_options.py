"""Options that say which cluster a command looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict, TypeVar

import click

if TYPE_CHECKING:
    from optuna_tuner.deployers.cluster_options import ClusterOptions

Decorated = TypeVar("Decorated", bound=Callable[..., object])


class Where(TypedDict):
    """The cluster, as a study names it."""

    kubeconfig: str | None
    context: str | None
    namespace: str


def cluster_options(function: Decorated) -> Decorated:
    """Add what says which cluster."""
    for option in (
        click.option("--namespace", default="default", show_default=True, help="Namespace of the servers."),
        click.option("--context", help="Context of the kubeconfig; default: its current."),
        click.option("--kubeconfig", help="Default: KUBECONFIG, else ~/.kube/config, else the pod's own."),
    ):
        function = option(function)
    return function


def read_cluster_options(where: Where) -> ClusterOptions:
    """As the deployers take them."""
    from pydantic import ValidationError  # noqa: PLC0415  --help does without it

    from optuna_tuner.deployers.cluster_options import ClusterOptions  # noqa: PLC0415  likewise

    try:
        return ClusterOptions.model_validate(where)
    except ValidationError as error:
        raise click.UsageError("; ".join(str(each["msg"]) for each in error.errors())) from error
