"""What several objectives are worth together: the space that a front dominates, and what is expected to be added to it.

Larger is better in every objective. Both are sums over slabs of the first one: how thick a slab is, times the same
question about the objectives that are left. So they are exact for any number of objectives (the expectation for two as
in Emmerich, Deutz and Klinkenberg 2011); the effort grows with the front's size to the power of that number, less one.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from optuna_tuner.search.encoding import Matrix, Vector

BEYOND = 0.1  # of the range that was seen: so much worse than the worst lies the reference, so that all count
LEAST_RANGE = 0.01  # also where all are the same


def scaled(values: Vector) -> Vector:
    """Logarithms of positive numbers, or of all negative ones, where less was better; else shares of their range."""
    if (values > 0).all():
        return np.log(values)
    if (values < 0).all():
        return -np.log(-values)
    return values / (np.ptp(values) or 1.0)


def reference_of(points: Matrix) -> Vector:
    """What counts for nothing, where these were seen: somewhat worse than all of them, in every objective."""
    reference: Vector = points.min(axis=0) - BEYOND * (np.ptp(points, axis=0) + LEAST_RANGE)
    return reference


def front_of(points: Matrix) -> Matrix:
    """Those that none of the others beats, each once."""
    left = points[np.argsort(-points.sum(axis=1), kind="stable")]  # nothing that comes later beats the first one
    front: list[Vector] = []
    while len(left):
        front.append(left[0])
        left = left[(left > left[0]).any(axis=1)]
    return np.array(front).reshape(-1, points.shape[1])


def hypervolume(points: Matrix, reference: Vector) -> float:
    """Of what is dominated by any of the points and dominates the reference."""
    if points.shape[1] == 1:
        return float(points.max(initial=reference[0]) - reference[0])
    floors = _floors(points, reference)
    return sum(
        float(thick) * hypervolume(_beyond(points, floor), reference[1:])
        for floor, thick in zip(floors[:-1], np.diff(floors), strict=True)
    )


def expected_gain(mean: Matrix, deviation: Matrix, front: Matrix, reference: Vector) -> Vector:
    """What each candidate, a row, is expected to add to the hypervolume; its objectives are independent and normal."""
    if front.shape[1] == 1:
        return _above(mean[:, 0], deviation[:, 0], float(front.max(initial=reference[0])))
    floors = _floors(front, reference)
    above = [*(_above(mean[:, 0], deviation[:, 0], floor) for floor in floors), np.zeros(len(mean))]
    gain: Vector = np.zeros(len(mean))
    for floor, here, further in zip(floors, above[:-1], above[1:], strict=True):
        rest = expected_gain(mean[:, 1:], deviation[:, 1:], _beyond(front, floor), reference[1:])
        gain += (here - further) * rest
    return gain


def _floors(points: Matrix, reference: Vector) -> Vector:
    """Where slabs of the first objective begin, the lowest one at the reference."""
    floors: Vector = np.unique(np.append(np.maximum(points[:, 0], reference[0]), reference[0]))
    return floors


def _beyond(points: Matrix, floor: float) -> Matrix:
    """What is left, in the other objectives, of those that are better than a floor in the first one."""
    return front_of(points[points[:, 0] > floor][:, 1:])


def _above(mean: Vector, deviation: Vector, floor: float) -> Vector:
    """By how much a normal number is expected to exceed the floor."""
    lead = (mean - floor) / deviation
    excess: Vector = deviation * (lead * ndtr(lead) + np.exp(-0.5 * lead**2) / math.sqrt(2 * math.pi))
    return excess
