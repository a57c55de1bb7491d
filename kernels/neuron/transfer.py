"""From steroid at the receptor to relative firing: the link between channels and symptoms.

Two steps, each with its own error. What the receptors do is exact: mean tonic conductance
and mean synaptic charge come from the schemes at every concentration, through a spline whose
error is tested. What the neurons do is simulated: firing under the conductances of
individual channels at a few concentrations, smoothed as a Poisson regression on the log of
the mean inhibitory conductance.
"""

from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import Failure
from gabatone.kernels.neuron.population import Population, fire
from gabatone.kernels.neuron.release import (
    TRANSIENT_AGES,
    Inhibition,
    law_before_release,
    open_conductance_S,
    transient,
    transient_squarings,
)
from gabatone.kernels.neuron.synapse import (
    phasic_conductance_S,
    tonic_conductance_S,
)

_SCALE_NM = (
    20.0  # where the concentration axis turns from linear to logarithmic; a matter of spacing only
)
_KNOTS = 32
_DEGREE = 5
_BATCH = 16


class Potentiation(eqx.Module):
    """Mean inhibition of one neuron at each steroid level [level], by the schemes themselves.

    ``tonic_S`` is the mean extrasynaptic conductance, ``phasic_S`` the mean conductance of all
    synaptic receptors under Poisson releases, ``charge_Ss`` the integral of conductance that
    one release adds to a rested synapse.
    """

    conc_M: np.ndarray
    tonic_S: np.ndarray
    phasic_S: np.ndarray
    charge_Ss: np.ndarray

    @property
    def total_S(self) -> np.ndarray:
        """Mean inhibitory conductance [level]."""
        return self.tonic_S + self.phasic_S


class FiringTable(eqx.Module):
    """Simulated firing at each steroid level [level] under the same excitatory input and releases."""

    conc_M: np.ndarray
    tonic_S: np.ndarray
    phasic_S: np.ndarray
    spikes: np.ndarray
    neuron_seconds: float
    engine: str = eqx.field(static=True)

    @property
    def rate_Hz(self) -> np.ndarray:
        """Mean rate per neuron [level]."""
        return self.spikes / self.neuron_seconds


class Transfer(eqx.Module):
    """Relative firing as a smooth function of the steroid at the receptor; 1 at the untreated level.

    ``transfer(conc_nM)`` is ``exp(-sum_k coefficient[k] d^(k+1))`` with d the log of mean
    inhibitory conductance over its untreated value: a cubic spline of the schemes' own answer.
    Levels above the last knot are held there.
    """

    knots: Array | np.ndarray
    pieces: Array | np.ndarray  # [4, knot - 1] polynomial coefficients, highest power first
    coefficients: Array | np.ndarray
    untreated_log_S: float | Array

    def log_conductance(self, conc_nM) -> Float[Array, "..."]:
        """Log of the mean inhibitory conductance (S) at `conc_nM`, any shape."""
        u = jnp.clip(jnp.log1p(jnp.asarray(conc_nM) / _SCALE_NM), self.knots[0], self.knots[-1])
        at = jnp.clip(
            jnp.searchsorted(jnp.asarray(self.knots), u, side="right") - 1,
            0,
            self.knots.shape[0] - 2,
        )
        x = u - jnp.asarray(self.knots)[at]
        a, b, c, d = (jnp.asarray(self.pieces)[k, at] for k in range(4))
        return ((a * x + b) * x + c) * x + d

    @eqx.filter_jit
    def __call__(self, conc_nM) -> Float[Array, "..."]:
        """Firing relative to the untreated neuron at `conc_nM` of steroid, any shape."""
        d = self.log_conductance(conc_nM) - self.untreated_log_S
        return jnp.exp(-sum(a * d ** (k + 1) for k, a in enumerate(jnp.asarray(self.coefficients))))


def potentiate(inhibition: Inhibition, ligand: str, conc_M) -> Potentiation:
    """Mean tonic and phasic inhibition at each steroid level `conc_M` [level], from the schemes.

    Mean phasic conductance is the time average over waits and transients (`law_before_release`).
    The charge of one release on a rested synapse is its transient plus the tail
    ``-(p - p_inf)(Q - 1 p_inf)^-1`` (deviation matrix; Coolen-Schrijner & van Doorn 2002).
    Releases that cut a transient short (one in fifty at 2 Hz) are neglected.
    """
    conc_M = np.asarray(conc_M, float)
    require("conc_M", conc_M, least=0.0)
    most = transient_squarings(inhibition, {ligand: conc_M.max()})
    # equal batches, the last one padded, so that one program serves any number of levels
    levels = np.append(conc_M, np.zeros(-len(conc_M) % _BATCH)).reshape(-1, _BATCH)
    means = np.concatenate(
        [np.asarray(_means(inhibition, ligand, batch, most)) for batch in levels], axis=1
    )
    tonic, phasic, charge = means[:, : len(conc_M)]
    each = open_conductance_S(inhibition.synaptic) * inhibition.receptors_per_synapse
    tonic = tonic * inhibition.n_extrasynaptic * open_conductance_S(inhibition.extrasynaptic)
    return Potentiation(conc_M, tonic, phasic * each * inhibition.n_synapses, charge * each)


@eqx.filter_jit
def _means(inhibition: Inhibition, ligand: str, conc_M, most: int | None):
    synaptic, extrasynaptic = inhibition.synaptic, inhibition.extrasynaptic
    rate, length = inhibition.release_rate_Hz, TRANSIENT_AGES[-1] * inhibition.cleft_decay_s
    open_mask = jnp.asarray(synaptic.is_open, float)

    def level(c):
        conc = {"GABA": inhibition.ambient_M, ligand: c}
        tonic = extrasynaptic.open_probability(extrasynaptic.steady_state(conc))
        waiting, rest = synaptic.generator(conc), synaptic.steady_state(conc)
        through, seconds_open = transient(inhibition, {ligand: c}, most)
        before = law_before_release(inhibition, {ligand: c}, through)
        phasic = (1 - rate * length) * before @ open_mask + rate * before @ seconds_open
        after = rest @ through
        tail = -jnp.linalg.solve((waiting - rest[None, :]).T, after - rest) @ open_mask
        return tonic, phasic, rest @ (seconds_open - open_mask * length) + tail

    return jnp.stack(jax.lax.map(level, jnp.asarray(conc_M)))


def tabulate_firing(
    key,
    inhibition: Inhibition,
    population: Population,
    ligand: str,
    conc_M,
    *,
    duration_s: float,
    step_s: float,
    discard_s: float,
    engine=None,
    progress=None,
    workers: int = 2,
) -> FiringTable:
    """Simulate the population at each steroid level with individual receptor channels.

    Excitation, releases and channel streams depend on the key alone, so levels differ by the
    steroid only. `engine` is `Channels` (default) or `Master` (mean conductances). The result
    does not depend on `workers`, the number of levels simulated side by side.
    """
    conc_M, n, steps = np.asarray(conc_M, float), population.n_neurons, round(duration_s / step_s)

    def level(c):
        steroid = {ligand: float(c)}
        tonic = tonic_conductance_S(key, inhibition, steroid, n, steps, step_s, engine)
        phasic = phasic_conductance_S(key, inhibition, steroid, n, steps, step_s, engine)
        firing = fire(key, population, tonic + phasic, step_s=step_s, discard_s=discard_s)
        if progress is not None:
            progress()
        return tonic.mean(), phasic.mean(), int(np.asarray(firing.spike_count).sum())

    first = level(conc_M[0])  # compiles once before the others run side by side
    with ThreadPoolExecutor(workers) as pool:
        rows = [first, *pool.map(level, conc_M[1:])]
    tonic, phasic, spikes = (np.array(column, float) for column in zip(*rows, strict=True))
    return FiringTable(
        conc_M,
        tonic,
        phasic,
        spikes,
        n * (duration_s - discard_s),
        "Channels" if engine is None else type(engine).__name__,
    )


def build_transfer(
    inhibition: Inhibition, ligand: str, untreated_M: float, table: FiringTable
) -> Transfer:
    """The smooth `Transfer` of simulated firing; refuses one that does not fall with inhibition.

    Raises
    ------
    Failure
        ``silent_neurons`` if the untreated neurons hardly fire, ``transfer_fit`` if no smooth
        fall of firing with inhibition fits what was simulated.
    """
    top = float(table.conc_M.max())
    knots = np.linspace(0.0, np.log1p(top * 1e9 / _SCALE_NM), _KNOTS)
    exact = potentiate(
        inhibition, ligand, np.append(_SCALE_NM * 1e-9 * np.expm1(knots), table.conc_M)
    )
    log_S = np.log(exact.total_S)
    spline = CubicSpline(knots, log_S[:_KNOTS])
    untreated = float(spline(np.log1p(untreated_M * 1e9 / _SCALE_NM)))
    if table.spikes.max() < 50:
        raise Failure(
            "silent_neurons",
            f"only {table.spikes.max():.0f} spikes in {table.neuron_seconds:g} "
            "neuron-seconds; raise the excitatory drive, or simulate more neurons for longer",
        )
    coefficients = _poisson_fit(log_S[_KNOTS:] - untreated, table.spikes)
    return Transfer(knots, spline.c, coefficients, untreated)


def _poisson_fit(d: np.ndarray, spikes: np.ndarray) -> np.ndarray:
    """Coefficients a of ``log rate = b - sum_k a_k d^(k+1)`` by Poisson maximum likelihood.

    Where few spikes let the free fit rise again with inhibition, every a is held at 0 or more.
    """
    columns = np.stack([np.ones_like(d)] + [-(d ** (k + 1)) for k in range(_DEGREE)], axis=1)
    scale = spikes.sum()

    def loss(beta):
        log_mean = np.clip(columns @ beta, -50, 50)
        mean = np.exp(log_mean)
        return (mean - spikes * log_mean).sum() / scale, columns.T @ (mean - spikes) / scale

    start = np.append(np.log(spikes.max()), np.full(_DEGREE, 0.3))
    powers = np.arange(1, _DEGREE + 1)
    span = np.linspace(d.min(), d.max(), 500)[:, None]
    for least in (None, 0.0):
        found = minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(None, None)] + [(least, None)] * _DEGREE,
            options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-9},
        )
        slope = (found.x[1:] * powers * span ** (powers - 1)).sum(axis=1)
        if np.isfinite(found.fun) and slope.min() > 0:
            return found.x[1:]
    raise Failure(
        "transfer_fit",
        f"no smooth fall of firing with inhibition fits spikes {spikes.tolist()}; "
        "likely cause: too few spikes. Simulate more neurons, or for longer",
    )
