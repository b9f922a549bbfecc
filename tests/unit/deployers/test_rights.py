"""The roles of the how-to pages are exactly what the deployers ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import yaml

from optuna_tuner.deployers.kubernetes_rights import OME_RIGHTS, OME_SHARED, RIGHTS, Right

PAGES = Path(__file__).parents[3] / "docs" / "how-to"


def granted(page: str, kind: str) -> set[Right]:
    """What the manifest of a page allows."""
    blocks = re.findall(r"```yaml\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL)
    [role] = [found for found in map(yaml.safe_load, blocks) if found.get("kind") == kind]
    return {
        (verb, f"{group}/{resource if '/' in resource else f'{resource}/'}")
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def asked(rights: Mapping[str, Iterable[Right]]) -> set[Right]:
    return {right for each in rights.values() for right in each}


@pytest.mark.parametrize(
    ("page", "rights"), [("deploy-with-kubernetes.md", RIGHTS), ("deploy-with-ome.md", OME_RIGHTS)]
)
def test_a_role_allows_what_is_asked_for_and_nothing_more(page: str, rights: Mapping[str, Iterable[Right]]) -> None:
    assert granted(page, "Role") == asked(rights)


def test_so_does_the_role_of_the_whole_cluster() -> None:
    assert granted("deploy-with-ome.md", "ClusterRole") == set(OME_SHARED)
