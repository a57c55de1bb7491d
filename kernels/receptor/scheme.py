"""The kinetic scheme: states, transitions and the generator they make."""

from dataclasses import dataclass, replace
from math import comb
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gabatone.kernels.bounds import require
from gabatone.kernels.card import read_cards
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.spectral import steady_state
from gabatone.kernels.receptor.temperature import Enthalpies

KINDS = ("closed", "open", "desensitized")
TEMPERATURE_CARDS = Path(__file__).with_name("temperature.toml")
EQUILIBRIUM = "equilibrium at 0 GABA"


@dataclass(frozen=True)
class SchemeFacts:
    """What is known about a scheme beside its rates; every field is text or a plain number."""

    citation: str = ""
    doi: str = ""
    receptor: str = ""
    preparation: str = ""
    temperature: str = ""
    temperature_C: float = 23.0
    temperature_C_status: str = "assumed"
    species: str = ""
    status: str = "assumed"
    where: str = ""
    notes: str = ""
    conductance_note: str = ""
    enthalpy_source: str = ""
    steroid_site: str = "common"
    known_misfits: tuple[str, ...] = ()
    bound_agonists: tuple[int, ...] = ()
    symbols: tuple[str, ...] = ()
    factors: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()


class SteroidCopies(eqx.Module):
    """How a product scheme was made: copy 0 of all base states, then copy 1, and so on.

    `dissociation_start_M` is the dissociation constant of a site on the state the scheme
    starts in; `inner` is the record of an earlier product where a second steroid was added.
    """

    ligand: str = eqx.field(static=True)
    n_sites: int = eqx.field(static=True)
    n_base_states: int = eqx.field(static=True)
    dissociation_start_M: Array | float
    inner: "SteroidCopies | None" = None

    @property
    def steroids(self) -> tuple[str, ...]:
        """Ligand names of all steroid sites, each once."""
        inner = () if self.inner is None else self.inner.steroids
        return tuple(dict.fromkeys((*inner, self.ligand)))

    def site_law(self, conc_M) -> Float[Array, " copies"]:
        """Binomial law of the number of steroids bound to a receptor that stands in its start state."""
        x = jnp.asarray(conc_M) / self.dissociation_start_M
        m = np.arange(self.n_sites + 1)
        weight = np.array([comb(self.n_sites, int(k)) for k in m]) * x**m
        return weight / weight.sum()

    def start_law(self, conc_M: dict) -> tuple[np.ndarray, Float[Array, " copies"]]:
        """Offset of every copy of a base state, and its probability at the steroid levels `conc_M`."""
        law = self.site_law(conc_M.get(self.ligand, 0.0))
        offset = self.n_base_states * np.arange(self.n_sites + 1)
        if self.inner is None:
            return offset, law
        below, inner_law = self.inner.start_law(conc_M)
        return (offset[:, None] + below).ravel(), (law[:, None] * inner_law).ravel()


class KineticScheme(eqx.Module):
    """A continuous-time Markov scheme of one receptor channel.

    The rate of edge `e` is ``exp(log_rate[e])`` in 1/s, or that times the
    concentration of ``ligands[e]`` (mol/L) where a ligand is named.

    Parameters
    ----------
    log_rate : float [edge]
        Natural log of the rate constants (1/s or 1/(M s)); -inf for a rate of 0.
    conductance_pS : float [state]
        Single-channel conductance of each state.
    states, kinds : tuple of str
        Names, and one of ``closed``, ``open``, ``desensitized`` for each.
    source, target : tuple of int [edge]
    ligands : tuple of str [edge]
        Name of the multiplying ligand, "" for none.
    initial : str
        A state's name, or ``"equilibrium at 0 GABA"``.
    enthalpies : Enthalpies or None
        Enthalpies of states and barriers; None where one Q10 speeds up all steps alike.
    """

    log_rate: Float[Array, " edge"] | np.ndarray
    conductance_pS: np.ndarray
    name: str = eqx.field(static=True)
    states: tuple[str, ...] = eqx.field(static=True)
    kinds: tuple[str, ...] = eqx.field(static=True)
    source: tuple[int, ...] = eqx.field(static=True)
    target: tuple[int, ...] = eqx.field(static=True)
    ligands: tuple[str, ...] = eqx.field(static=True)
    initial: str = eqx.field(static=True)
    facts: SchemeFacts = eqx.field(static=True, default=SchemeFacts())
    copies: SteroidCopies | None = None
    enthalpies: Enthalpies | None = None

    @property
    def n_states(self) -> int:
        """Number of states."""
        return len(self.states)

    @property
    def ligand_names(self) -> tuple[str, ...]:
        """Ligands that some transition depends on, in order of appearance."""
        return tuple(dict.fromkeys(name for name in self.ligands if name))

    @property
    def is_open(self) -> np.ndarray:
        """Boolean mask [state] of the conducting states."""
        return np.array([kind == "open" for kind in self.kinds])

    @property
    def open_states(self) -> tuple[str, ...]:
        """Names of the open states."""
        return tuple(s for s, k in zip(self.states, self.kinds, strict=True) if k == "open")

    def rates(self, conc_M: dict) -> Float[Array, " edge"]:
        """Rate of every edge, 1/s, at the concentrations ``{ligand: mol/L}`` (absent ligands are 0).

        Raises `BadInput` for a negative concentration or a ligand the scheme does not know.
        """
        conc = check_concentrations(self, conc_M)
        order = ("", *self.ligand_names)
        values = [1.0, *(conc[name] for name in self.ligand_names)]
        which = np.array([order.index(name) for name in self.ligands])
        if any(isinstance(v, jax.core.Tracer) for v in (self.log_rate, *values)):
            factor = jnp.stack([jnp.asarray(v, float) for v in values])[which]
            return jnp.exp(jnp.asarray(self.log_rate, float)) * factor
        # plain numbers stay on the host: nothing to compile
        return jnp.asarray(
            np.exp(np.asarray(self.log_rate, float)) * np.array(values, float)[which], float
        )

    def generator(self, conc_M: dict) -> Float[Array, "state state"]:
        """Generator Q, 1/s, with ``Q[i, j]`` the rate i -> j and rows that sum to zero."""
        rows, cols, shape = (
            np.array(self.source),
            np.array(self.target),
            (self.n_states, self.n_states),
        )
        rates = self.rates(conc_M)
        if isinstance(rates, jax.core.Tracer):
            off = jnp.zeros(shape).at[rows, cols].add(rates)
            return off - jnp.diag(off.sum(axis=1))
        off = np.zeros(shape)
        np.add.at(off, (rows, cols), np.asarray(rates, float))
        return jnp.asarray(off - np.diag(off.sum(axis=1)), float)

    def steady_state(self, conc_M: dict) -> Float[Array, " state"]:
        """Stationary occupancy at constant concentrations."""
        return steady_state(self.generator(conc_M))

    def open_probability(self, occupancy) -> Float[Array, " *time"]:
        """Sum of the open states' occupancy; the last axis of `occupancy` is the state."""
        return jnp.asarray(occupancy, float)[..., np.flatnonzero(self.is_open)].sum(axis=-1)

    def initial_occupancy(self, conc_M: dict | None = None) -> Float[Array, " state"]:
        """Occupancy at t = 0 by the scheme's own rule.

        The named state, or the equilibrium at 0 GABA; steroid sites are at equilibrium
        with the steroid level in `conc_M`, whose other ligands are ignored.
        """
        conc = dict(conc_M or {})
        steroids = () if self.copies is None else self.copies.steroids
        levels = {name: conc.get(name, 0.0) for name in steroids}
        if self.initial == EQUILIBRIUM:
            return self.steady_state(levels)
        base, none = self.states.index(self.initial), jnp.zeros(self.n_states)
        if self.copies is None:
            return none.at[base].set(1.0)
        offset, law = self.copies.start_law(levels)
        return none.at[base + offset].set(law)

    def with_steroid(self, steroid) -> "KineticScheme":
        """The product of this scheme with a `Steroid`'s sites; see `Steroid.product`."""
        return steroid.product(self)

    def at_temperature(self, celsius: float, *, q10: float | None = None) -> "KineticScheme":
        """The scheme at another temperature; the one it is at stands in ``facts.temperature_C``.

        A scheme with `enthalpies` follows transition-state theory step by step
        (`gabatone.kernels.receptor.temperature`). One without, or with a `q10` given here, has
        every rate multiplied by ``q10 ** ((celsius - reference) / 10)``; the default Q10
        and its source stand in ``temperature.toml``. A factor common to all steps only sets
        the pace, so every equilibrium and cycle ratio stays. That law is kept exactly
        rather than turned into one activation enthalpy: a single Q10 is a statement on the
        interval it is used for, whereas the enthalpy that gives 2.4 from 23 to 33 C
        lags it by 1.5 % at 37 C.

        Raises `BadInput` outside 0 to 45 C, and for a Q10 that is not finite and above 0.
        """
        if not 0.0 <= celsius <= 45.0:
            raise BadInput(
                "celsius",
                celsius,
                "outside the range of living tissue (0 to 45)",
                "give degrees Celsius",
            )
        if q10 is None and self.enthalpies is not None:
            shift = self.enthalpies.log_speed(self.source, self.facts.temperature_C, celsius)
            how = "enthalpies of states and barriers"
        else:
            q10 = default_q10() if q10 is None else q10
            require("q10", q10, above=0.0)
            shift = np.log(q10) * (celsius - self.facts.temperature_C) / 10.0
            how = f"Q10 {q10:g}"
        warm = eqx.tree_at(lambda s: s.log_rate, self, self.log_rate + shift)
        return _replace_facts(
            warm,
            temperature_C=float(celsius),
            temperature_C_status="derived",
            temperature=f"{celsius:g} C ({how})",
        )


def default_q10() -> float:
    """The Q10 of a step that has no number of its own; its source stands in ``temperature.toml``."""
    return read_cards(TEMPERATURE_CARDS)["q10_rates"].value


def check_concentrations(scheme: KineticScheme, conc_M: dict) -> dict:
    """Fill absent ligands with 0 and refuse unknown ones and negative or non-finite values."""
    for name, value in conc_M.items():
        if name not in scheme.ligand_names:
            raise BadInput(
                f"concentration of {name}",
                value,
                f"scheme {scheme.name} has no transition that depends on {name}",
                f"use one of {list(scheme.ligand_names)}, or scheme.with_steroid(...)",
            )
        if not isinstance(value, jax.core.Tracer) and not np.all(
            np.isfinite(value) & (np.asarray(value) >= 0)
        ):
            raise BadInput(
                f"concentration of {name}",
                value,
                "a concentration is finite and not negative",
                "give mol/L (1e-3 for 1 mM)",
            )
    return {name: conc_M.get(name, 0.0) for name in scheme.ligand_names}


def _replace_facts(scheme: KineticScheme, **changes) -> KineticScheme:
    fields = {f: getattr(scheme, f) for f in scheme.__dataclass_fields__}
    return KineticScheme(**{**fields, "facts": replace(scheme.facts, **changes)})
