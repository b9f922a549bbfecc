"""The package's own data files: text that the package vouches for, read as fast as it can be."""

from __future__ import annotations

from optuna_tuner.values import Json


def read_yaml(text: str) -> Json:
    """The value of a YAML text, by the loader in C where PyYAML has it: ten times as fast. Raises yaml.YAMLError.

    Files of users are read by `optuna_tuner.spec.yaml_nodes`, which knows the place of each value and bounds them.
    """
    import yaml  # noqa: PLC0415  only who reads a file pays for it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: Json = yaml.load(text, Loader=loader)  # noqa: S506  both are safe loaders
    return found
