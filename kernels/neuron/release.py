"""The GABA-A receptors of a neuron, and the law they follow under random releases."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.card import read_cards
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.scheme import KineticScheme
from gabatone.kernels.receptor.spectral import magnus_step, squarings_for, steady_state

# ages of a transient, in time constants, at which the bound on its concentration is renewed
TRANSIENT_AGES = np.array(
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0]
)
_RELEASE = 1


class Inhibition(eqx.Module):
    """The GABA-A receptors of one neuron, all in SI.

    Synaptic receptors stand in groups that share one cleft: a release sets the cleft to
    `cleft_peak_M` above ambient, from which it decays with `cleft_decay_s`. Extrasynaptic
    receptors see ambient GABA only. Both schemes may be product schemes with a steroid.
    """

    synaptic: KineticScheme
    extrasynaptic: KineticScheme
    n_synapses: int = eqx.field(static=True)
    receptors_per_synapse: int = eqx.field(static=True)
    n_extrasynaptic: int = eqx.field(static=True)
    release_rate_Hz: float
    cleft_peak_M: float
    cleft_decay_s: float
    ambient_M: float

    def __check_init__(self):
        for field in ("n_synapses", "receptors_per_synapse", "n_extrasynaptic"):
            require(f"inhibition.{field}", getattr(self, field), least=1)
        for field in ("release_rate_Hz", "cleft_peak_M", "ambient_M"):
            require(f"inhibition.{field}", getattr(self, field), least=0.0)
        require("inhibition.cleft_decay_s", self.cleft_decay_s, above=0.0)
        open_conductance_S(self.synaptic)
        open_conductance_S(self.extrasynaptic)


def inhibition_cards() -> dict:
    """Cards of the default receptor numbers and GABA levels."""
    return read_cards(Path(__file__).with_name("inhibition.toml"))


def load_inhibition(synaptic: KineticScheme, extrasynaptic: KineticScheme, **changes) -> Inhibition:
    """The default `Inhibition` of the cards with the given schemes; `changes` override fields."""
    cards = {name: card.value for name, card in inhibition_cards().items()}
    fields = {
        "n_synapses": int(cards["synapses"]),
        "receptors_per_synapse": int(cards["receptors_per_synapse"]),
        "n_extrasynaptic": int(cards["extrasynaptic_receptors"]),
        "release_rate_Hz": cards["release_rate"],
        "cleft_peak_M": cards["cleft_peak"],
        "cleft_decay_s": cards["cleft_decay"],
        "ambient_M": cards["ambient_gaba"],
    }
    return Inhibition(synaptic, extrasynaptic, **{**fields, **changes})


def release_steps(
    key, inhibition: Inhibition, n_neurons: int, n_steps: int, step_s: float
) -> list[np.ndarray]:
    """Grid steps of the Poisson releases of every synapse (neuron-major), increasing, each once."""
    total = n_neurons * inhibition.n_synapses
    if inhibition.release_rate_Hz == 0:
        return [np.zeros(0, np.int64)] * total
    mean = inhibition.release_rate_Hz * n_steps * step_s
    most = int(mean + 10 * np.sqrt(mean + 1) + 10)
    bits = np.asarray(
        jax.random.bits(jax.random.fold_in(key, _RELEASE), (total, most), jnp.uint32), np.float64
    )
    times = np.cumsum(-np.log((bits + 0.5) / 2.0**32) / inhibition.release_rate_Hz, axis=1)
    steps = np.floor(times / step_s).astype(np.int64)
    return [np.unique(row[row < n_steps]) for row in steps]


def open_conductance_S(scheme: KineticScheme) -> float:
    """Conductance of an open channel, S; `BadInput` if the open states differ."""
    levels = np.unique(np.asarray(scheme.conductance_pS)[scheme.is_open])
    if len(levels) != 1:
        raise BadInput(
            f"{scheme.name}: conductance_pS",
            levels.tolist(),
            "open states of different conductance",
            "use a scheme with one open conductance in a neuron",
        )
    return float(levels[0]) * 1e-12


def transient_squarings(inhibition: Inhibition, steroid_M: dict) -> int | None:
    """Bound on squarings for `transient` at steroid levels up to `steroid_M`; None where traced."""
    step = np.diff(TRANSIENT_AGES).max() * inhibition.cleft_decay_s / 8
    return squarings_for(
        inhibition.synaptic,
        {"GABA": inhibition.ambient_M + inhibition.cleft_peak_M, **steroid_M},
        step,
    )


def transient(inhibition: Inhibition, steroid_M: dict, most: int | None = None):
    """One cleft transient: its propagator [state, state] and the seconds open from each state [state]."""
    scheme, ages = inhibition.synaptic, TRANSIENT_AGES * inhibition.cleft_decay_s
    open_mask = jnp.asarray(scheme.is_open, float)

    def generator(t):
        gaba = inhibition.ambient_M + inhibition.cleft_peak_M * jnp.exp(
            -t / inhibition.cleft_decay_s
        )
        return scheme.generator({"GABA": gaba, **steroid_M})

    def window(through, span):
        h, seen = (span[1] - span[0]) / 8, [through]
        for k in range(8):
            seen.append(seen[-1] @ magnus_step(generator, span[0] + k * h, h, most=most))
        return seen[-1], (np.array([1, 4, 2, 4, 2, 4, 2, 4, 1]) / 3) @ (
            jnp.stack(seen) @ open_mask
        ) * h

    through, parts = jax.lax.scan(
        window, jnp.eye(scheme.n_states), np.stack([ages[:-1], ages[1:]], axis=1)
    )
    return through, parts.sum(axis=0)


def law_before_release(inhibition: Inhibition, steroid_M: dict, through):
    """Law [state] of synaptic receptors at a random moment between releases.

    Releases are a Poisson process of rate r and each starts a fresh transient. With T the
    propagator of a transient (`through`) and R = r (r - Q)^-1 that of the wait for the next
    release, the law before a release solves pi = pi T R; a Poisson process sees time averages
    (Wolff 1982, Oper Res 30:223), so it is also the law at a random moment of waiting.
    Releases that cut a transient short (one in fifty at 2 Hz) are neglected.
    """
    scheme, rate = inhibition.synaptic, jnp.asarray(inhibition.release_rate_Hz, float)
    waiting = scheme.generator({"GABA": inhibition.ambient_M, **steroid_M})
    eye = jnp.eye(scheme.n_states)
    return steady_state(through @ jnp.linalg.solve(rate * eye - waiting, rate * eye) - eye)
