"""How long a channel stays in a class of states: ideal open and shut times.

Notation of Colquhoun & Hawkes 1982 (Phil Trans R Soc B 300:1), CH82 below: a stay that
starts in the law `start` and moves by the sub-generator S lasts longer than t with
probability ``start exp(S t) u``.
"""

from dataclasses import dataclass
from math import factorial

import numpy as np
from jaxtyping import Float

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.exponentials import Exponentials, modes
from gabatone.kernels.receptor.partition import Partition, mean_times, stay_law


@dataclass(frozen=True)
class PhaseType:
    """Law of the time until a Markov chain leaves a set of states.

    Make it with `phase_type`. Values come from matrix exponentials and solves, so they
    need no decomposition and hold for any generator.

    Parameters
    ----------
    start : float [state]
        Where the chain starts; what is missing to 1 has left at once (a time of 0).
    within : float [state, state]
        Sub-generator, 1/s.
    exit_per_s : float [state]
        Total rate out of the set from each state.
    """

    start: Float[np.ndarray, " state"]
    within: Float[np.ndarray, "state state"]
    exit_per_s: Float[np.ndarray, " state"]

    @property
    def at_zero(self) -> float:
        """Probability that the time is 0."""
        return float(max(0.0, 1.0 - self.start.sum()))

    def density(self, t_s) -> Float[np.ndarray, " *time"]:
        """Probability density, 1/s, at times [...] >= 0, beside the mass `at_zero`."""
        return np.asarray(self._law_at(t_s) @ self.exit_per_s)

    def survivor(self, t_s) -> Float[np.ndarray, " *time"]:
        """Probability of lasting longer than times [...] >= 0."""
        return np.asarray(self._law_at(t_s).sum(axis=-1))

    def moment(self, k: int) -> float:
        """Mean of the k-th power of the time, s^k."""
        values = np.ones((len(self.start), 1))
        for _ in range(k):
            values = mean_times(self.within, self.exit_per_s, values)
        return float(factorial(k) * self.start @ values[:, 0])

    @property
    def mean_s(self) -> float:
        """Mean, s."""
        return self.moment(1)

    @property
    def variance_s2(self) -> float:
        """Variance, s^2."""
        return self.moment(2) - self.moment(1) ** 2

    def exponentials(self) -> Exponentials:
        """The density as a sum of exponentials, fastest first.

        Raises `Failure` (``complex_rates``, ``near_defective``) where there is no such sum
        with real rates and areas to be trusted; density and survivor are there all the same.
        """
        found = modes(self.within)
        areas = (self.start @ found.right) * (found.left.sum(axis=1))
        mixture = Exponentials(-found.values, areas)
        if np.any(found.values >= 0) or not np.isclose(mixture.mean_s, self.mean_s, rtol=1e-6):
            raise Failure(
                "near_defective",
                f"the components have mean {mixture.mean_s:.6g} s where the time has "
                f"{self.mean_s:.6g} s: rates differ by too many orders of magnitude; "
                "use the density, survivor or moments",
            )
        return mixture

    def _law_at(self, t_s) -> np.ndarray:
        require("t_s", t_s, least=0.0)
        return self.start @ stay_law(self.within, self.exit_per_s, t_s)


def phase_type(start, within, exit_per_s) -> PhaseType:
    """A `PhaseType` of the states that can be reached from `start`.

    Raises `BadInput` where the chain can get stuck in the set.
    """
    start, within = np.asarray(start, float), np.asarray(within, float)
    exit_per_s = np.asarray(exit_per_s, float)
    reached = _closure(start > 0, within > 0)
    stuck = reached & ~_closure(exit_per_s > 0, within.T > 0)
    if np.any(stuck):
        raise BadInput(
            "states",
            np.flatnonzero(stuck).tolist(),
            "these states of the class are entered and never left, so the time has no end",
            "give concentrations at which the channel leaves them, or other states",
        )
    return PhaseType(start[reached], within[np.ix_(reached, reached)], exit_per_s[reached])


def _closure(seed, leads_to) -> np.ndarray:
    """States reached from the mask `seed` over ``leads_to[i, j]``."""
    reached = np.array(seed, bool)
    for _ in range(len(reached)):
        reached = reached | leads_to[reached].any(axis=0)
    return reached


def open_time(channel: Partition) -> PhaseType:
    """Duration of one opening at equilibrium (CH82 eq. 3.64).

    Raises `BadInput` where the channel never opens, or never shuts again.
    """
    return phase_type(channel.entry, channel.within, channel.leave.sum(axis=1))


def shut_time(channel: Partition) -> PhaseType:
    """Duration of one shutting at equilibrium; raises as `open_time`."""
    return open_time(channel.swapped)


def time_to_leave(channel: Partition, start) -> PhaseType:
    """Time to the first exit from the open class of a channel in law `start` [state] at t = 0.

    A channel that starts outside the class has left at time 0; see `PhaseType.at_zero`.
    """
    inside = np.asarray(start, float)[channel.is_open]
    return phase_type(inside, channel.within, channel.leave.sum(axis=1))


def visits_per_opening(channel: Partition) -> Float[np.ndarray, " open"]:
    """Mean number of visits to each open state during one opening.

    The expected time there over the mean length of one visit.
    """
    times = mean_times(channel.within, channel.leave.sum(axis=1), np.eye(len(channel.within)))
    return channel.entry @ times * -np.diagonal(channel.within)
