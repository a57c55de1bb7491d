"""A generator whose states fall into two classes, and solves that lose no digit.

The field writes A for the open states and F for the shut ones (Colquhoun & Hawkes 1981,
Proc R Soc B 211:205; 1982, Phil Trans R Soc B 300:1, called CH82 below). Everything here
runs on the host in float64.
"""

from dataclasses import dataclass, replace
from math import factorial

import jax
import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse.csgraph import connected_components

from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.scheme import KineticScheme
from gabatone.kernels.receptor.spectral import steady_state

_TERMS = 16  # 0.5**16 / 16! is below the last digit


@dataclass(frozen=True)
class Partition:
    """States split into a class that is watched (`is_open`) and the rest.

    Parameters
    ----------
    generator : float [state, state]
        Transition rates, 1/s, rows that sum to zero.
    is_open : bool [state]
        The open class; any other subset may stand here.
    equilibrium : float [state]
        Stationary occupancy.
    """

    generator: Float[np.ndarray, "state state"]
    is_open: Bool[np.ndarray, " state"]
    equilibrium: Float[np.ndarray, " state"]

    @property
    def swapped(self) -> "Partition":
        """The same channel with the two classes exchanged, so that its openings are the shuttings."""
        return replace(self, is_open=~self.is_open)

    @property
    def open_probability(self) -> float:
        """Equilibrium probability of the open class."""
        return float(self.equilibrium[self.is_open].sum())

    def block(self, rows, columns) -> Float[np.ndarray, "from to"]:
        """Rates from the states of mask `rows` to those of mask `columns`."""
        return self.generator[np.ix_(rows, columns)]

    @property
    def within(self) -> Float[np.ndarray, "open open"]:
        """Q_AA, the sub-generator of the open class."""
        return self.block(self.is_open, self.is_open)

    @property
    def leave(self) -> Float[np.ndarray, "open shut"]:
        """Q_AF, the rates from open to shut states."""
        return self.block(self.is_open, ~self.is_open)

    @property
    def openings_per_s(self) -> float:
        """Openings per second of one channel at equilibrium."""
        return float(self._influx.sum())

    @property
    def _influx(self) -> np.ndarray:
        return self.equilibrium[~self.is_open] @ self.block(~self.is_open, self.is_open)

    @property
    def entry(self) -> Float[np.ndarray, " open"]:
        """Law of the state in which a sojourn in the open class starts (CH82 eq. 3.63).

        Raises `BadInput` where the class is never entered at equilibrium.
        """
        flux = self._influx
        if not flux.sum() > 0:
            raise BadInput(
                "is_open",
                np.flatnonzero(self.is_open).tolist(),
                "at equilibrium the channel does not move between this class and the other states",
                "give a concentration at which it opens and shuts, or other states",
            )
        return flux / flux.sum()

    @property
    def next_class(self) -> Float[np.ndarray, "open shut"]:
        """G_AF: where the sojourn that follows starts, given the state this one started in."""
        return mean_times(self.within, self.leave.sum(axis=1), self.leave)

    @property
    def time_left(self) -> Float[np.ndarray, " open"]:
        """Mean time to the next shutting from each open state, s."""
        ones = np.ones((self.is_open.sum(), 1))
        return mean_times(self.within, self.leave.sum(axis=1), ones)[:, 0]


def partition(scheme: KineticScheme, conc_M: dict, states=None) -> Partition:
    """The classes of a scheme at constant concentrations ``{ligand: mol/L}``.

    `states` names the states to watch (or is a mask [state]); None for the open ones.
    Raises `BadInput` for a class that is empty or holds every state, and where the
    equilibrium depends on the start.
    """
    with jax.enable_x64(True):
        generator = np.asarray(scheme.generator(conc_M))
    return partition_of(generator, scheme.is_open if states is None else _mask(scheme, states))


def partition_of(generator, is_open) -> Partition:
    """The classes of a generator [state, state]; raises `BadInput` as `partition` does."""
    generator, is_open = np.array(generator, float), np.array(is_open, bool)
    if generator.shape != (len(is_open), len(is_open)):
        raise BadInput("generator", generator.shape, "not [state, state]", "give one row per state")
    _require_generator(generator)
    require_split(is_open)
    return Partition(generator, is_open, equilibrium(generator))


def require_split(is_open) -> None:
    """Raise `BadInput` for a mask that holds no state or all."""
    if not np.any(is_open) or np.all(is_open):
        raise BadInput(
            "is_open",
            np.asarray(is_open).tolist(),
            "a class that is never left or never entered has no dwell times",
            "name some states but not all",
        )


def _require_generator(generator) -> None:
    off = generator[~np.eye(len(generator), dtype=bool)]
    wrong = not np.all(np.isfinite(generator)) or np.any(off < 0)
    if wrong or np.any(np.abs(generator.sum(axis=1)) > 1e-9 * np.abs(generator).max()):
        raise BadInput(
            "generator",
            generator.tolist(),
            "rates must be finite and not negative, with rows that sum to zero",
            "put minus the sum of each row's rates on the diagonal",
        )


def _mask(scheme: KineticScheme, states) -> np.ndarray:
    chosen = np.asarray(states)
    if chosen.dtype == bool and chosen.shape == (scheme.n_states,):
        return chosen
    unknown = [name for name in states if name not in scheme.states]
    if unknown:
        raise BadInput(
            "states",
            unknown,
            f"not in scheme {scheme.name}",
            f"use some of {', '.join(scheme.states)}",
        )
    return np.isin(scheme.states, list(states))


def equilibrium(generator) -> Float[np.ndarray, " state"]:
    """Stationary occupancy [state] in float64; 0 for states that the channel leaves for good.

    Raises `BadInput` where two sets of states are each never left.
    """
    generator = np.asarray(generator, float)
    n_sets, label = connected_components(generator > 0, directed=True, connection="strong")
    apart = label[:, None] != label[None, :]
    left = np.unique(label[np.any((generator > 0) & apart, axis=1)])
    closed = np.setdiff1d(np.arange(n_sets), left)
    if len(closed) > 1:
        sets = [np.flatnonzero(label == k).tolist() for k in closed]
        raise BadInput(
            "generator",
            sets,
            "each of these sets of states is never left, so the equilibrium depends on the start",
            "give the missing rates, or concentrations that are not 0",
        )
    stays = np.flatnonzero(label == closed[0])
    law = np.zeros(len(generator))
    with jax.enable_x64(True):
        law[stays] = np.asarray(steady_state(generator[np.ix_(stays, stays)]))
    return law


def stay_law(within, exit_per_s, t_s) -> Float[np.ndarray, "*time state state"]:
    """``exp(S t)`` for the sub-generator S of a set of states, at times [...] >= 0.

    Entry [i, j] is the chance of being in j at t, from i, without having left the set, whose
    total rate out is `exit_per_s` [state] (zeros for a whole generator). Uniformisation
    (Jensen 1953) of a short step, doubled up to each time, with what has left kept as one
    more state: no entry is subtracted from another, and rows keep their sum.
    """
    n, t = len(within), np.asarray(t_s, float)
    rates = np.zeros((n + 1, n + 1))
    rates[:n, :n], rates[:n, n] = within, exit_per_s
    np.fill_diagonal(rates, 0.0)
    speed = max(float(rates.sum(axis=1).max()), np.finfo(float).tiny)
    jump = rates / speed
    np.fill_diagonal(jump, np.maximum(1.0 - jump.sum(axis=1), 0.0))
    doublings = np.ceil(np.log2(np.maximum(2.0 * speed * t, 1.0))).astype(int)
    short = speed * t / 2.0**doublings
    term, total = np.eye(n + 1), np.zeros((*t.shape, n + 1, n + 1))
    for k in range(_TERMS):
        total += (short**k / factorial(k))[..., None, None] * term
        term = term @ jump
    total /= total.sum(axis=-1, keepdims=True)
    for k in range(int(doublings.max(initial=0))):
        more = doublings > k
        twice = total[more] @ total[more]
        total[more] = twice / twice.sum(axis=-1, keepdims=True)
    return total[..., :n, :n]


def mean_times(within, exit_per_s, values) -> Float[np.ndarray, "state column"]:
    """``(-S)^-1 values`` for the sub-generator S of a set of states, `values` [state, column] >= 0.

    Column of ones: mean time in the set from each state; rates out: where it ends. Only
    the off-diagonal rates of `within` and the total rate out of the set `exit_per_s`
    [state] are used, and nothing is subtracted, so that every entry keeps its relative
    accuracy however slowly the set is left (Grassmann, Taksar & Heyman 1985, Oper Res
    33:1107, for a set that can be left). Every state must lead out.
    """
    rates, out = np.array(within, float), np.array(exit_per_s, float)
    found = np.array(values, float)
    np.fill_diagonal(rates, 0.0)
    total = np.empty(len(out))
    for k in range(len(out) - 1, -1, -1):
        total[k] = rates[k, :k].sum() + out[k]
        into = rates[:k, k] / total[k]
        rates[:k, :k] += np.outer(into, rates[k, :k])
        rates[np.arange(k), np.arange(k)] = 0.0
        out[:k] += into * out[k]
        found[:k] += np.outer(into, found[k])
    for k in range(len(out)):
        found[k] = (found[k] + rates[k, :k] @ found[:k]) / total[k]
    return found
