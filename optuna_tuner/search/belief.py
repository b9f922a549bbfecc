"""What the trials so far say of configurations that were not tried: how good they are, and whether they hold.

Objectives and constraints are Gaussian processes, on the logarithm where it can be taken: flags multiply each other's
effects. Whether a server runs at all is a forest's vote, since memory and validity end at sharp edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property

import numpy as np
from scipy.stats import norm
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel

from optuna_tuner.search import processes
from optuna_tuner.search.encoding import Configuration, Encoding, Matrix, Vector
from optuna_tuner.search.evidence import Evidence, bounded
from optuna_tuner.search.expectation import Expected
from optuna_tuner.search.hypervolume import expected_gain, front_of, hypervolume, reference_of, scaled
from optuna_tuner.search.pace import Pace

TREES = 40
NOISE = 0.02  # of one measurement: where no more is left to learn than that, nothing is (Huang et al. 2006)
LIKELY = 0.5  # what rather fails than runs counts even less than its chance: failures cost minutes, and teach little
WORTHWHILE = 0.01  # an improvement by less, as a share, is not looked for: it would drown in the noise
DOUBT = 4  # so many times shorter are the lengths of numbers then


class Belief:
    """Made of the evidence; `pending` are configurations that others are trying now.

    What is expected of configurations is where belief in the objective begins; it counts for one objective, whose
    values have one sign.
    """

    def __init__(
        self,
        encoding: Encoding,
        evidence: Sequence[Evidence],
        pending: Sequence[Configuration],
        rng: np.random.Generator,
        expected: Expected | None = None,
    ) -> None:
        self._encoding, self._rng = encoding, rng
        self._evidence = evidence
        self._ran = [each for each in evidence if each.ran]
        self._points = encoding.points([each.configuration for each in self._ran])
        self._others, self._pending = pending, encoding.points(pending) if pending else None
        self._expects = expected or Expected()
        self._lengths: Vector = np.ones(len(encoding.graded))  # times those that are learnt
        self._learnt: dict[int | str, Kernel] = {}  # by an objective's place, or a constraint's name

    def doubting(self) -> Belief:
        """The same with shorter lengths: less sure of what lies between the values of numbers that were tried.

        Few trials fit many lengths, and the most probable ones may be too long by far (Wang and de Freitas 2014). Of
        switches and words, between whose values nothing lies, it is as sure as before.
        """
        other = copy(self)
        other._lengths = np.where(self._encoding.graded, 1 / DOUBT, 1.0)  # noqa: SLF001  one of us
        for made_with_lengths in ("_objectives", "_constraints", "_best", "_known"):
            other.__dict__.pop(made_with_lengths, None)
        return other

    def runs(self, configurations: Sequence[Configuration]) -> Vector:
        """The probability that the server runs at all."""
        if self._forest is None:
            return np.ones(len(configurations))
        votes: Matrix = self._forest.predict_proba(self._encoding.features(configurations))
        return votes[:, list(self._forest.classes_).index(True)]

    def worth(self, configurations: Sequence[Configuration]) -> Vector:
        """The expected improvement over the best that is known, times the probability that everything holds.

        The improvement is by the time that a trial takes. With several objectives, it is the expected increase of the
        hypervolume of the front, as a share of it, whatever the time: else the quick end of the front drew all trials.
        Where nothing holds yet, that probability alone. At least one configuration must have run.
        """
        points = self._encoding.points(configurations)
        runs = self.runs(configurations)
        holds: Vector = runs * np.minimum(1.0, runs / LIKELY) * self._kept(points)
        if self._best is None:
            return holds
        predictions = [processes.predicted(each, points) for each in self._objectives]
        if len(predictions) > 1:
            return holds * self._increase(*(np.column_stack(each) for each in zip(*predictions, strict=True)))
        ((mean, deviation),) = predictions
        lead = (mean + self._expected(configurations) - self._best - WORTHWHILE) / deviation
        gain: Vector = deviation * (lead * norm.cdf(lead) + norm.pdf(lead)) * (1 - NOISE / np.hypot(deviation, NOISE))
        return gain * holds / self._pace(points)

    def _increase(self, mean: Matrix, deviation: Matrix) -> Vector:
        """The share by which each is expected to increase the front's hypervolume; a column an objective."""
        front, reference = front_of(self._known), reference_of(self._known)
        gain = expected_gain(mean - WORTHWHILE, deviation, front, reference)
        to_learn: Vector = 1 - NOISE / np.hypot(deviation.max(axis=1), NOISE)
        return to_learn * gain / hypervolume(front, reference)

    def losses(self, one: Configuration, others: Sequence[Configuration]) -> tuple[Vector, Vector, Vector]:
        """How much each of the others is behind one of them: a share, its standard deviation, the probability to hold.

        For one objective, whose values have one sign.
        """
        points = self._encoding.points([one, *others])
        mean, covariance = processes.believed(self._objective, points)
        mean = mean + self._expected([one, *others])
        lead = mean[0] - mean[1:]
        variance = covariance[0, 0] + covariance.diagonal()[1:] - 2 * covariance[0, 1:]
        shares = -np.expm1(-lead) if self._is_more_better else np.expm1(lead)
        slope = np.exp(-lead) if self._is_more_better else np.exp(lead)
        return shares, slope * np.sqrt(np.maximum(0.0, variance)), self.runs(others) * self._kept(points[1:])

    @property
    def _is_more_better(self) -> bool:
        return any((each.values or (0.0,))[0] > 0 for each in self._ran)  # else values are the negative of what is told

    @cached_property
    def _has_shares(self) -> bool:
        """Whether there is one objective, whose values have one sign: its logarithm was taken then."""
        values = [value for each in self._ran for value in each.values or ()]
        return len(values) == len(self._ran) and (min(values) > 0 or max(values) < 0)

    def _kept(self, points: Matrix) -> Vector:
        """The probability that a server that runs keeps every constraint."""
        kept: Vector = np.ones(len(points))
        for process in self._constraints:
            mean, deviation = processes.predicted(process, points)
            kept = kept * norm.cdf(-mean / deviation)
        return kept

    def gains(self, configurations: Sequence[Configuration], worlds: int) -> Matrix | None:
        """What each configuration gains over the best one, in so many worlds that agree with the evidence.

        Shares of that one's value, a row a world; zero where it gains nothing, does not run, or breaks a constraint.
        None where nothing holds yet, or where values have both signs, and so no shares. For one objective.
        """
        if self._best is None or not self._has_shares:
            return None
        compared = [self._best_configuration, *configurations]
        points = self._encoding.points(compared)
        truths = processes.drawn(self._objective, points, worlds, self._rng) + self._expected(compared)
        lead = np.maximum(0.0, truths[:, 1:] - truths[:, :1])
        holds = self._rng.random((worlds, 1)) < self.runs(configurations)  # what fails, fails for a common reason
        for process in self._constraints:
            holds &= processes.drawn(process, points[1:], worlds, self._rng) <= 0
        shares: Matrix = np.expm1(lead) if self._is_more_better else -np.expm1(-lead)
        return shares * holds

    @cached_property
    def _forest(self) -> ExtraTreesClassifier | None:
        """Votes on whether a server runs; None while all of them did, or none."""
        labels = [each.ran for each in self._evidence]
        if all(labels) or not any(labels):
            return None
        forest = ExtraTreesClassifier(TREES, max_features=0.5, random_state=int(self._rng.integers(2**31)))
        return forest.fit(self._encoding.features([each.configuration for each in self._evidence]), labels)

    @cached_property
    def _constraints(self) -> Sequence[GaussianProcessRegressor]:
        """One for each constraint that was broken; one that never was counts as kept."""
        names = {name: None for each in self._ran for name in each.excesses}
        told = [np.array([bounded(each.excesses.get(name, 0.0)) for each in self._ran]) for name in names]
        return [self._process(name, each) for name, each in zip(names, told, strict=True) if (each > 0).any()]

    @cached_property
    def _pace(self) -> Pace:
        return Pace(self._points, [each.took_s for each in self._ran])

    @property
    def _objective(self) -> GaussianProcessRegressor:
        """The first one: by how much it is better than expected."""
        return self._objectives[0]

    @cached_property
    def _objectives(self) -> Sequence[GaussianProcessRegressor]:
        values = np.array([each.values for each in self._ran], dtype=np.float64)
        expected = self._expected([each.configuration for each in self._ran])
        return [self._process(place, scaled(column) - expected) for place, column in enumerate(values.T)]

    def _expected(self, configurations: Sequence[Configuration]) -> Vector:
        return self._expects(configurations) if self._has_shares else np.zeros(len(configurations))

    @cached_property
    def _feasible(self) -> Sequence[Configuration]:
        return [each.configuration for each in self._ran if each.feasible]

    def _promise(self, configurations: Sequence[Configuration]) -> Vector:
        """The objective that is believed of each."""
        mean: Vector = self._objective.predict(self._encoding.points(configurations))
        return mean + self._expected(configurations)

    @cached_property
    def _best(self) -> float | None:
        """The objective that is believed of the best feasible configuration; None where there is none."""
        return float(self._promise(self._feasible).max()) if self._feasible else None

    @property
    def _best_configuration(self) -> Configuration:
        return self._feasible[int(self._promise(self._feasible).argmax())]

    @cached_property
    def _known(self) -> Matrix:
        """What is believed of the feasible, a column an objective; what is pending counts if it will hold."""
        points = self._encoding.points(self._feasible)
        if self._pending is not None:
            holds = self.runs(self._others) * self._kept(self._pending) > LIKELY
            points = np.vstack([points, self._pending[holds]])
        return np.column_stack([each.predict(points) for each in self._objectives])

    def _process(self, name: int | str, targets: Vector) -> GaussianProcessRegressor:
        """A Gaussian process of these targets; what is pending counts as if it had come out as expected."""
        if name not in self._learnt:
            self._learnt[name] = processes.learnt(self._points, targets)
        kernel = processes.shortened(self._learnt[name], self._lengths)
        process = processes.told(kernel, self._points, targets)
        if self._pending is None:
            return process
        known = np.vstack([self._points, self._pending])
        return processes.told(kernel, known, np.concatenate([targets, process.predict(self._pending)]))
