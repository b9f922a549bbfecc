"""How the front of a study with several objectives grew."""

from __future__ import annotations

from collections.abc import Mapping

from optuna_tuner.results.views import StudyView


def hypervolumes(study: StudyView) -> Mapping[int, float]:
    """After each feasible trial of the search: the hypervolume of all until then, as a share of what it is at last."""
    import numpy as np  # noqa: PLC0415  takes a while to import, as scipy does

    from optuna_tuner.search.hypervolume import hypervolume, reference_of, scaled  # noqa: PLC0415  as above

    objectives = study.spec.goals.objectives
    own = [each for each in study.trials if each.feasible and each.same_as is None and not each.kind.again]
    found = {each.number: each.values for each in own if each.number is not None}
    if not found:
        return {}
    signs = np.array([1.0 if each.direction == "maximize" else -1.0 for each in objectives])
    points = np.column_stack([scaled(column) for column in (np.array(list(found.values())) * signs).T])
    reference = reference_of(points)
    end = hypervolume(points, reference)
    return {number: hypervolume(points[:count], reference) / end for count, number in enumerate(found, 1)}
