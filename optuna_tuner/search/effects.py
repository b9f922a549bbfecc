"""What each coordinate does by itself, as a kernel of scikit-learn."""

from __future__ import annotations

import math

import numpy as np
from sklearn.gaussian_process.kernels import Kernel, NormalizedKernelMixin, StationaryKernelMixin

from optuna_tuner.search.encoding import Matrix, Vector


class Effects(StationaryKernelMixin, NormalizedKernelMixin, Kernel):  # type: ignore[misc]
    """The mean over the coordinates of a Matern kernel (5/2) of each: of functions that are sums of effects.

    That is an additive Gaussian process of the first order (Duvenaud, Nickisch and Rasmussen 2011). What one flag does
    is learnt from all trials then, and not only from those that are alike in all other flags.
    """

    def __init__(self, lengths: float | Vector = 1.0) -> None:
        """`lengths` are those of the coordinates, or of each; by default that of its whole range."""
        self.lengths = lengths

    def __call__(
        self,
        points: Matrix,
        others: Matrix | None = None,
        eval_gradient: bool = False,  # noqa: FBT001, FBT002  scikit-learn's signature
    ) -> Matrix | tuple[Matrix, Matrix]:
        """Covariances of the points with the others, or with each other; there is no hyperparameter to derive by."""
        others = points if others is None else others
        covariances = np.zeros((len(points), len(others)))
        lengths = np.broadcast_to(self.lengths, points.shape[1])
        for mine, theirs, length in zip(points.T, others.T, lengths, strict=True):
            values, places = np.unique(mine, return_inverse=True)  # of thousands of candidates, a flag has a few
            gaps = np.abs(values[:, None] - theirs) * (math.sqrt(5) / length)
            covariances += ((1 + gaps + gaps**2 / 3) * np.exp(-gaps))[places]
        covariances /= points.shape[1]
        return (covariances, np.empty((*covariances.shape, 0))) if eval_gradient else covariances
