"""Gaussian processes of few and noisy numbers: learnt, told, and asked. With scikit-learn."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel

from optuna_tuner.search.effects import Effects
from optuna_tuner.search.encoding import Matrix, Vector

VARIANCES = (
    0.02,
    20.0,
)  # of what flags do each by itself, and of what they do together; that of all that was seen is 1
TYPICAL_LENGTH = 1.0  # of a coordinate, before anything was seen: as long as its whole range
SPREAD_OF_LENGTHS = 3.0  # standard deviation of their logarithm
LEARNT_FROM = 60  # trials, evenly over the study: what learning the hyperparameters costs grows with their cube
CLIMBS = 25  # iterations: more change the hyperparameters, and not what is asked next
SMALLEST = 1e-6  # of a standard deviation, to divide by
JITTER = 1e-6  # of the variance of the targets: equal points would have no triangular root


def learnt(points: Matrix, targets: Vector) -> Kernel:
    """The most probable hyperparameters of a process that has these values."""
    some = np.linspace(0, len(targets) - 1, min(len(targets), LEARNT_FROM)).round().astype(int)
    lengths = np.full(points.shape[1], TYPICAL_LENGTH)
    shape = Matern(length_scale=lengths, length_scale_bounds=(0.05, 20.0), nu=2.5)
    together = ConstantKernel(1.0, VARIANCES) * shape
    kernel = ConstantKernel(1.0, VARIANCES) * Effects() + together + WhiteKernel(0.01, (1e-5, 0.3))
    return _fitted(kernel, points[some], targets[some], _climb).kernel_


def shortened(kernel: Kernel, factors: Vector) -> Kernel:
    """The same with each coordinate's lengths multiplied by a factor."""
    theta = kernel.theta.copy()
    theta[2:-1] += np.log(factors)
    shorter = kernel.clone_with_theta(theta)
    shorter.k1.k1.k2.lengths = factors * shorter.k1.k1.k2.lengths
    return shorter


def told(kernel: Kernel, points: Matrix, targets: Vector) -> GaussianProcessRegressor:
    """A process with these hyperparameters that has these values."""
    return _fitted(kernel, points, targets, None)


def predicted(process: GaussianProcessRegressor, points: Matrix) -> tuple[Vector, Vector]:
    """Means and standard deviations; never quite 0, which the second ones may fall below by rounding."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Predicted variances smaller than 0")
        mean, deviation = process.predict(points, return_std=True)
    return mean, np.maximum(deviation, SMALLEST)


def drawn(process: GaussianProcessRegressor, points: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """So many draws of the true values at these points together, without the noise of a measurement; a row a draw."""
    mean, covariance = believed(process, points)
    draws: Matrix = mean + rng.standard_normal((count, len(points))) @ np.linalg.cholesky(covariance).T
    return draws


def believed(process: GaussianProcessRegressor, points: Matrix) -> tuple[Vector, Matrix]:
    """Means and covariance of the true values at these points, without the noise of a measurement."""
    mean, covariance = process.predict(points, return_cov=True)
    scale = float(process._y_train_std) ** 2  # noqa: SLF001  scikit-learn has no other way to the scale of the targets
    noise = process.kernel_.k2.noise_level
    return mean, covariance - (noise - JITTER) * scale * np.eye(len(points))


Climb = Callable[..., tuple[Vector, float]]


def _fitted(kernel: Kernel, points: Matrix, targets: Vector, optimizer: Climb | None) -> GaussianProcessRegressor:
    process = GaussianProcessRegressor(kernel, normalize_y=True, alpha=1e-8, optimizer=optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound: the parameter does not matter
        process.fit(points, targets)
    return process


def _climb(loss: Callable[..., tuple[float, Vector]], start: Vector, bounds: Matrix) -> tuple[Vector, float]:
    """Few trials say little of many lengths, so these stay near what is typical."""
    typical = math.log(TYPICAL_LENGTH)

    def with_prior(theta: Vector) -> tuple[float, Vector]:
        value, gradient = loss(theta, eval_gradient=True)
        away = theta[2:-1] - typical  # the first two are variances, the last is the noise
        pull = np.zeros_like(theta)
        pull[2:-1] = away / SPREAD_OF_LENGTHS**2
        return value + 0.5 * float((away**2).sum()) / SPREAD_OF_LENGTHS**2, gradient + pull

    found = minimize(with_prior, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": CLIMBS})
    return found.x, found.fun
