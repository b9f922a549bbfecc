"""What a study file says elsewhere that does not go with a load client in the cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from optuna_tuner.deployers.cluster_options import ClusterOptions
from optuna_tuner.values import Json

Misfit = tuple[tuple[str | int, ...], str]


def misfits(study: Mapping[str, Json], options: ClusterOptions) -> Iterator[Misfit]:
    """A tokenizer that is a path which the load client does not see."""
    model = study.get("model")
    known = model if isinstance(model, dict) else {}
    place = "tokenizer" if isinstance(known.get("tokenizer"), str) else "path"
    path = known.get(place)
    if options.load_client is None or not isinstance(path, str) or not PurePosixPath(path).is_absolute():
        return
    seen = [PurePosixPath(volume.target) for volume in options.load_client.volumes]
    if not any(PurePosixPath(path).is_relative_to(target) for target in seen):
        how = "mount it (deployer.load_client.volumes), or name a model on a hub by model.tokenizer"
        yield ("model", place), f"the load client does not see the tokenizer {path}: {how}"
