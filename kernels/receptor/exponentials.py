"""Sums of exponentials and geometrics, and the decompositions that give them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import linalg

from gabatone.kernels.errors import Failure

_BALANCED = 1e-9  # cycles this close to detailed balance are taken as balanced
_WORST = 1e7  # digits lost in a decomposition: half of float64's


@dataclass(frozen=True)
class Exponentials:
    """A density ``sum_i areas[i] rates[i] exp(-rates[i] t)``, fastest component first.

    Areas may be negative; they sum to the probability of a time above 0.
    """

    rates_per_s: Float[np.ndarray, " component"]
    areas: Float[np.ndarray, " component"]

    @property
    def tau_s(self) -> Float[np.ndarray, " component"]:
        """Time constants, s."""
        return 1.0 / self.rates_per_s

    @property
    def amplitudes_per_s(self) -> Float[np.ndarray, " component"]:
        """Density of each component at t = 0, 1/s."""
        return self.areas * self.rates_per_s

    @property
    def mean_s(self) -> float:
        """Mean, s."""
        return float(self.areas @ self.tau_s)

    def density(self, t_s) -> Float[np.ndarray, " *time"]:
        """Probability density, 1/s, at times [...] >= 0."""
        return np.asarray(self._decay(t_s) @ self.amplitudes_per_s)

    def survivor(self, t_s) -> Float[np.ndarray, " *time"]:
        """Probability of lasting longer than times [...] >= 0."""
        return np.asarray(self._decay(t_s) @ self.areas)

    def _decay(self, t_s) -> np.ndarray:
        return np.exp(-np.asarray(t_s, float)[..., None] * self.rates_per_s)


@dataclass(frozen=True)
class Geometrics:
    """A law of counts ``P(r) = sum_i amplitudes[i] ratios[i]**(r - 1)``, r = 1, 2, ..., largest ratio first."""

    ratios: Float[np.ndarray, " component"]
    amplitudes: Float[np.ndarray, " component"]

    def probability(self, r) -> Float[np.ndarray, " *count"]:
        """Probability of each count `r` >= 1."""
        powers = self.ratios ** (np.asarray(r, float)[..., None] - 1.0)
        return np.asarray(powers @ self.amplitudes)

    @property
    def mean(self) -> float:
        """Mean count."""
        return float(self.amplitudes @ (1.0 / (1.0 - self.ratios) ** 2))


@dataclass(frozen=True)
class Modes:
    """``matrix = right @ diag(values) @ left`` with real values, smallest first."""

    values: Float[np.ndarray, " mode"]
    right: Float[np.ndarray, "state mode"]
    left: Float[np.ndarray, "mode state"]


def modes(matrix) -> Modes:
    """Real eigenvalues of a (sub-)generator or any matrix of non-negative off-diagonal entries.

    A matrix in detailed balance is made symmetric by its own weights first, so that its
    eigenvalues are real and its eigenvectors well conditioned. Raises `Failure`:
    ``complex_rates`` where it oscillates, ``near_defective`` where the eigenvectors are so
    close to one another that half of the digits are lost.
    """
    matrix = np.asarray(matrix, float)
    scale = balance(matrix)
    scaled = scale[:, None] * matrix / scale[None, :]
    size = np.abs(scaled).max(initial=0.0)
    if _symmetric(scaled):
        values, vectors = linalg.eigh((scaled + scaled.T) / 2.0)
        return Modes(values, vectors / scale[:, None], vectors.T * scale[None, :])
    values, left, right = linalg.eig(scaled, left=True)
    if np.any(np.abs(values.imag) > 1e-12 * size):
        raise Failure(
            "complex_rates",
            "the scheme is far from detailed balance and relaxes with oscillations, so it has no "
            "real components; use the density, survivor or spectrum, which need none",
        )
    overlap = np.einsum("sm,sm->m", left.conj(), right)
    if np.abs(overlap).min() < 1.0 / _WORST:
        raise Failure(
            "near_defective",
            "two components have almost the same rate and eigenvector, so their areas cannot be "
            "told apart; use the density, survivor or moments, which need no components",
        )
    order = np.argsort(values.real)
    right, left = right.real[:, order], (left.conj() / overlap.conj()).real[:, order]
    left = left / np.einsum("sm,sm->m", left, right)
    return Modes(values.real[order], right / scale[:, None], left.T * scale[None, :])


def return_modes(within, again) -> Modes:
    """Modes of ``(-within)^-1 again``: where a stay begins anew, for rates `again` of coming back.

    Where both matrices are balanced by the same weights, from one symmetric pair, so that
    any number of ways that never come back (eigenvalues 0) does no harm. Raises as `modes`.
    """
    scale = balance(within + again)
    stay, back = (scale[:, None] * m / scale[None, :] for m in (within, again))
    if not (_symmetric(stay) and _symmetric(back)):
        return modes(np.linalg.solve(-within, again))
    stay, back = (stay + stay.T) / -2.0, (back + back.T) / 2.0
    values, vectors = linalg.eigh(back, stay)
    return Modes(values, vectors / scale[:, None], vectors.T @ stay * scale[None, :])


def _symmetric(matrix) -> bool:
    return bool(np.all(np.abs(matrix - matrix.T) <= _BALANCED * np.abs(matrix)))


def balance(matrix) -> Float[np.ndarray, " state"]:
    """Square roots of weights under which each pair of states is in balance, along a spanning forest.

    ``scale[i] * matrix[i, j] / scale[j]`` is symmetric if all cycles balance.
    """
    matrix = np.asarray(matrix, float)
    log_scale, seen = np.zeros(len(matrix)), np.zeros(len(matrix), bool)
    for root in range(len(matrix)):
        trail = [] if seen[root] else [root]
        seen[root] = True
        while trail:
            i = trail.pop()
            for j in np.flatnonzero(~seen & (matrix[i] > 0) & (matrix[:, i] > 0)):
                log_scale[j] = log_scale[i] + 0.5 * np.log(matrix[i, j] / matrix[j, i])
                seen[j] = True
                trail.append(int(j))
    return np.exp(log_scale - log_scale.max(initial=0.0))
