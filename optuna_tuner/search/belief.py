"""What the trials so far say of configurations that were not tried: how good they are, and whether they hold.

Objectives and constraints are Gaussian processes, on the logarithm where it can be taken: flags multiply each other's
effects. Whether a server runs at all is a forest's vote, since memory and validity end at sharp edges.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from optuna_tuner.search.effects import Effects
from optuna_tuner.search.encoding import Configuration, Encoding, Matrix, Vector
from optuna_tuner.search.evidence import Evidence, bounded

TREES = 40
VARIANCES = (
    0.02,
    20.0,
)  # of what flags do each by itself, and of what they do together; that of all that was seen is 1
TYPICAL_LENGTH = 1.0  # of a coordinate, before anything was seen: as long as its whole range
SPREAD_OF_LENGTHS = 3.0  # standard deviation of their logarithm
LEARNT_FROM = 80  # trials, evenly over the study: what learning the hyperparameters costs grows with their cube
CLIMBS = 25  # iterations: more change the hyperparameters, and not what is asked next
NOISE = 0.02  # of one measurement: where no more is left to learn than that, nothing is (Huang et al. 2006)
LIKELY = 0.5  # what rather fails than runs counts even less than its chance: failures cost minutes, and teach little
WORTHWHILE = 0.01  # an improvement by less, as a share, is not looked for: it would drown in the noise
SMALLEST = 1e-6  # of a standard deviation, to divide by
JITTER = 1e-6  # of the variance of the targets: equal points would have no triangular root
AUGMENTATION = 0.05  # of the Chebyshev scalarization, as in ParEGO (Knowles 2006)


class Belief:
    """Made of the evidence; `pending` are configurations that others are trying now."""

    def __init__(
        self,
        encoding: Encoding,
        evidence: Sequence[Evidence],
        pending: Sequence[Configuration],
        rng: np.random.Generator,
    ) -> None:
        self._encoding, self._rng = encoding, rng
        self._evidence = evidence
        self._ran = [each for each in evidence if each.ran]
        self._points = encoding.points([each.configuration for each in self._ran])
        self._pending = encoding.points(pending) if pending else None

    def runs(self, configurations: Sequence[Configuration]) -> Vector:
        """The probability that the server runs at all."""
        if self._forest is None:
            return np.ones(len(configurations))
        votes: Matrix = self._forest.predict_proba(self._features(configurations))
        return votes[:, list(self._forest.classes_).index(True)]

    def worth(self, configurations: Sequence[Configuration]) -> Vector:
        """The expected improvement over the best that is known, times the probability that everything holds.

        Where nothing holds yet, that probability alone. At least one configuration must have run.
        """
        points = self._encoding.points(configurations)
        runs = self.runs(configurations)
        holds: Vector = runs * np.minimum(1.0, runs / LIKELY) * self._kept(points)
        if self._best is None:
            return holds
        mean, deviation = _predicted(self._objective, points)
        lead = (mean - self._best - WORTHWHILE) / deviation
        gain: Vector = deviation * (lead * norm.cdf(lead) + norm.pdf(lead)) * (1 - NOISE / np.hypot(deviation, NOISE))
        return gain * holds

    def losses(self, one: Configuration, others: Sequence[Configuration]) -> tuple[Vector, Vector, Vector]:
        """How much each of the others is behind one of them: a share, its standard deviation, the probability to hold.

        For one objective, whose values have one sign.
        """
        points = self._encoding.points([one, *others])
        mean, covariance = _believed(self._objective, points)
        lead = mean[0] - mean[1:]
        variance = covariance[0, 0] + covariance.diagonal()[1:] - 2 * covariance[0, 1:]
        shares = -np.expm1(-lead) if self._is_more_better else np.expm1(lead)
        slope = np.exp(-lead) if self._is_more_better else np.exp(lead)
        return shares, slope * np.sqrt(np.maximum(0.0, variance)), self.runs(others) * self._kept(points[1:])

    @property
    def _is_more_better(self) -> bool:
        return any((each.values or (0.0,))[0] > 0 for each in self._ran)  # else values are the negative of what is told

    def _kept(self, points: Matrix) -> Vector:
        """The probability that a server that runs keeps every constraint."""
        kept: Vector = np.ones(len(points))
        for process in self._constraints:
            mean, deviation = _predicted(process, points)
            kept = kept * norm.cdf(-mean / deviation)
        return kept

    def gains(self, configurations: Sequence[Configuration], worlds: int) -> Matrix | None:
        """What each configuration gains over the best one, in so many worlds that agree with the evidence.

        Shares of that one's value, a row a world; zero where it gains nothing, does not run, or breaks a constraint.
        None where nothing holds yet, or where values have both signs, and so no shares. For one objective.
        """
        values = np.array([each.values for each in self._ran], dtype=np.float64)
        if self._best is None or not ((values > 0).all() or (values < 0).all()):
            return None
        points = self._encoding.points(configurations)
        truths = _drawn(self._objective, np.vstack([self._best_point, points]), worlds, self._rng)
        lead = np.maximum(0.0, truths[:, 1:] - truths[:, :1])
        holds = self._rng.random((worlds, 1)) < self.runs(configurations)  # what fails, fails for a common reason
        for process in self._constraints:
            holds &= _drawn(process, points, worlds, self._rng) <= 0
        shares: Matrix = np.expm1(lead) if self._is_more_better else -np.expm1(-lead)
        return shares * holds

    @cached_property
    def _forest(self) -> ExtraTreesClassifier | None:
        """Votes on whether a server runs; None while all of them did, or none."""
        labels = [each.ran for each in self._evidence]
        if all(labels) or not any(labels):
            return None
        forest = ExtraTreesClassifier(TREES, max_features=0.5, random_state=int(self._rng.integers(2**31)))
        return forest.fit(self._features([each.configuration for each in self._evidence]), labels)

    @cached_property
    def _constraints(self) -> Sequence[GaussianProcessRegressor]:
        """One for each constraint that was broken; one that never was counts as kept."""
        names = {name: None for each in self._ran for name in each.excesses}
        told = [np.array([bounded(each.excesses.get(name, 0.0)) for each in self._ran]) for name in names]
        return [self._process(logarithms) for logarithms in told if (logarithms > 0).any()]

    @cached_property
    def _objective(self) -> GaussianProcessRegressor:
        return self._process(self._scalar())

    @cached_property
    def _best(self) -> float | None:
        """The expected objective of the best feasible configuration; None where there is none."""
        feasible = np.array([each.feasible for each in self._ran])
        return float(self._objective.predict(self._points[feasible]).max()) if feasible.any() else None

    @property
    def _best_point(self) -> Vector:
        """Of that configuration."""
        feasible = self._points[[each.feasible for each in self._ran]]
        best: Vector = feasible[self._objective.predict(feasible).argmax()]
        return best

    def _features(self, configurations: Sequence[Configuration]) -> Matrix:
        return np.hstack([self._encoding.points(configurations), self._encoding.products(configurations)])

    def _scalar(self) -> Vector:
        """One number a configuration, larger is better; several objectives are weighted at random, anew each time."""
        values = np.array([each.values for each in self._ran], dtype=np.float64)
        scaled = np.column_stack([_logarithm(column) for column in values.T])
        if scaled.shape[1] == 1:
            return scaled[:, 0]
        behind = (scaled - scaled.max(axis=0)) * self._rng.dirichlet(np.ones(scaled.shape[1]))
        scalar: Vector = behind.min(axis=1) + AUGMENTATION * behind.sum(axis=1)
        return scalar

    def _process(self, targets: Vector) -> GaussianProcessRegressor:
        """A Gaussian process of these targets; what is pending counts as if it had come out as expected."""
        points, count = self._points, len(targets)
        some = np.linspace(0, count - 1, min(count, LEARNT_FROM)).round().astype(int)
        process = _fitted(points[some], targets[some], _climb)
        if len(some) < count:
            process = _fitted(points, targets, None, process.kernel_)
        if self._pending is None:
            return process
        known = np.vstack([points, self._pending])
        expected = np.concatenate([targets, process.predict(self._pending)])
        return _fitted(known, expected, None, process.kernel_)


Climb = Callable[..., tuple[Vector, float]]


def _fitted(
    points: Matrix, targets: Vector, optimizer: Climb | None, kernel: object | None = None
) -> GaussianProcessRegressor:
    if kernel is None:
        lengths = np.full(points.shape[1], TYPICAL_LENGTH)
        shape = Matern(length_scale=lengths, length_scale_bounds=(0.05, 20.0), nu=2.5)
        together = ConstantKernel(1.0, VARIANCES) * shape
        kernel = ConstantKernel(1.0, VARIANCES) * Effects() + together + WhiteKernel(0.01, (1e-5, 0.3))
    process = GaussianProcessRegressor(kernel, normalize_y=True, alpha=1e-8, optimizer=optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound: the parameter does not matter
        process.fit(points, targets)
    return process


def _predicted(process: GaussianProcessRegressor, points: Matrix) -> tuple[Vector, Vector]:
    """Means and standard deviations; never quite 0, which the second ones may fall below by rounding."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Predicted variances smaller than 0")
        mean, deviation = process.predict(points, return_std=True)
    return mean, np.maximum(deviation, SMALLEST)


def _drawn(process: GaussianProcessRegressor, points: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """So many draws of the true values at these points together, without the noise of a measurement; a row a draw."""
    mean, covariance = _believed(process, points)
    drawn: Matrix = mean + rng.standard_normal((count, len(points))) @ np.linalg.cholesky(covariance).T
    return drawn


def _believed(process: GaussianProcessRegressor, points: Matrix) -> tuple[Vector, Matrix]:
    """Means and covariance of the true values at these points, without the noise of a measurement."""
    mean, covariance = process.predict(points, return_cov=True)
    scale = float(process._y_train_std) ** 2  # noqa: SLF001  scikit-learn has no other way to the scale of the targets
    noise = process.kernel_.k2.noise_level
    return mean, covariance - (noise - JITTER) * scale * np.eye(len(points))


def _climb(loss: Callable[..., tuple[float, Vector]], start: Vector, bounds: Matrix) -> tuple[Vector, float]:
    """The most probable hyperparameters; few trials say little of many lengths, so these stay near what is typical."""
    typical = math.log(TYPICAL_LENGTH)

    def with_prior(theta: Vector) -> tuple[float, Vector]:
        value, gradient = loss(theta, eval_gradient=True)
        away = theta[2:-1] - typical  # the first two are variances, the last is the noise
        pull = np.zeros_like(theta)
        pull[2:-1] = away / SPREAD_OF_LENGTHS**2
        return value + 0.5 * float((away**2).sum()) / SPREAD_OF_LENGTHS**2, gradient + pull

    found = minimize(with_prior, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": CLIMBS})
    return found.x, found.fun


def _logarithm(values: Vector) -> Vector:
    """Of positive numbers, or of all negative ones, where less was better; of others, shares of their range."""
    if (values > 0).all():
        return np.log(values)
    if (values < 0).all():
        return -np.log(-values)
    return values / (np.ptp(values) or 1.0)
