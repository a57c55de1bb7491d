"""Neurosteroid sites: an allosteric ligand of a scheme, with three readings of its binding.

`Steroid.product` binds and unbinds explicitly. `Steroid.quasi_static` holds the number of bound
steroids fixed for each channel, `Steroid.fast` lets binding equilibrate at once: they are the
limits of the product for unbinding much slower and much faster than everything else.
"""

from dataclasses import replace
from math import comb

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.mixture import Mixture
from gabatone.kernels.receptor.scheme import (
    EQUILIBRIUM,
    KineticScheme,
    SchemeFacts,
    SteroidCopies,
    default_q10,
)
from gabatone.kernels.receptor.temperature import Enthalpies, activation_from_q10, pairs_of

ACTIONS = ("potentiator", "antagonist")


class Steroid(eqx.Module):
    """An allosteric site with equal, independent copies and an affinity for each kind of state.

    A receptor in state i with m steroids bound has its equilibrium weight multiplied by
    ``binom(N, m) (S/K)^m c_kind(i)^-m`` (concerted-transition model: Germann et al. 2019,
    Wang et al. 2022). A step between kinds i and j carries the factor ``(c_i/c_j)^m``,
    shared by `phi` between the two directions, so that every mixed cycle is balanced.

    Parameters
    ----------
    dissociation_closed_M : float
        K of a site on a closed receptor, aqueous equivalent, mol/L.
    c_open, c_desensitized : float
        ``K_open = c_open K``; below 1 the steroid favours that kind of state.
    unbinding_closed_per_s : float
    phi_open, phi_desensitized : float
        Share of the energy that speeds entry into the open or desensitized state.
    action : str
        ``"potentiator"``, or ``"antagonist"`` for the 3beta and sulfate class, which favours
        desensitized over open states.

    Raises `BadInput` for a number that is not finite, a K, c or unbinding rate that is not
    above 0, a share outside 0 to 1, no site, an unknown action, or an antagonist that
    favours open states at least as much as desensitized ones.
    """

    dissociation_closed_M: float | Array
    c_open: float | Array
    c_desensitized: float | Array
    unbinding_closed_per_s: float | Array
    phi_open: float | Array
    phi_desensitized: float | Array
    n_sites: int = eqx.field(static=True)
    ligand: str = eqx.field(static=True)
    name: str = eqx.field(static=True)
    status: str = eqx.field(static=True, default="assumed")
    where: str = eqx.field(static=True, default="")
    action: str = eqx.field(static=True, default="potentiator")

    def __check_init__(self):
        for field in (
            "dissociation_closed_M",
            "c_open",
            "c_desensitized",
            "unbinding_closed_per_s",
        ):
            require(f"{self.name}.{field}", getattr(self, field), above=0.0)
        for field in ("phi_open", "phi_desensitized"):
            require(f"{self.name}.{field}", getattr(self, field), least=0.0, most=1.0)
        require(f"{self.name}.n_sites", self.n_sites, least=1)
        if self.action not in ACTIONS:
            raise BadInput(f"{self.name}.action", self.action, "unknown", f"use one of {ACTIONS}")
        if self.action == "antagonist" and not _traced(self.c_open, self.c_desensitized):
            if self.c_desensitized >= min(self.c_open, 1.0):
                raise BadInput(
                    f"{self.name}.c_desensitized",
                    float(self.c_desensitized),
                    "an antagonist of this class favours desensitized over open and closed states",
                    "give a c_desensitized below 1 and below c_open",
                )

    def bias(self, kind: str):
        """Affinity ratio ``c`` of a kind of state (1 for closed)."""
        return {"closed": 1.0, "open": self.c_open, "desensitized": self.c_desensitized}[kind]

    def weight(self, kind: str, conc_M) -> Float[Array, " copies"]:
        """Equilibrium weight of 0..N bound steroids on a state of `kind` at `conc_M` (mol/L)."""
        m = np.arange(self.n_sites + 1)
        choose = np.array([comb(self.n_sites, int(k)) for k in m])
        return choose * (jnp.asarray(conc_M) / (self.dissociation_closed_M * self.bias(kind))) ** m

    def product(self, scheme: KineticScheme) -> KineticScheme:
        """Explicit binding: the scheme on (state x bound steroids), named ``+1S``, ``+2S``, ...

        State ``i`` with ``m`` steroids stands at index ``m * n_states + i``. Both gating with
        m bound and binding or unbinding in every state are explicit transitions. Applied to a
        product it adds independent sites of a second steroid (``+1S+1S`` holds one of each).
        Where the scheme has enthalpies, those of its steps are kept with steroid bound,
        and binding has that of the default Q10 in both directions.
        """
        n, edges = scheme.n_states, []
        for m in range(self.n_sites + 1):
            edges += self._gating_edges(scheme, m)
        for m in range(self.n_sites):
            edges += self._binding_edges(scheme, m)
        source, target, ligands, log_rate, symbols = zip(*edges, strict=True)
        copies = range(self.n_sites + 1)
        start = "closed"
        if scheme.initial != EQUILIBRIUM:
            start = scheme.kinds[scheme.states.index(scheme.initial)]
        return KineticScheme(
            log_rate=_stack(log_rate),
            conductance_pS=np.tile(scheme.conductance_pS, self.n_sites + 1),
            name=f"{scheme.name} x {self.name}",
            states=tuple(f"{s}+{m}S" if m else s for m in copies for s in scheme.states),
            kinds=scheme.kinds * (self.n_sites + 1),
            source=source,
            target=target,
            ligands=ligands,
            initial=scheme.initial,
            facts=_derived(
                scheme.facts,
                bound_agonists=scheme.facts.bound_agonists * (self.n_sites + 1),
                symbols=symbols,
                factors=(1.0,) * len(symbols),
            ),
            copies=SteroidCopies(
                self.ligand,
                self.n_sites,
                n,
                self.dissociation_closed_M * self.bias(start),
                scheme.copies,
            ),
            enthalpies=self._enthalpies(scheme, source, target),
        )

    def fast(self, scheme: KineticScheme, conc_M) -> KineticScheme:
        """Binding at equilibrium in every state at the constant level `conc_M` (mol/L).

        Each state keeps the binomial law of m for its kind, with ``x_i = S/(K c_i)``, and a
        step i -> j has its rate averaged over that law::

            k_ij sum_m law_i(m) f_ij^m = k_ij ((1 + x_i f_ij) / (1 + x_i))^N

        where ``f_ij`` is the factor of one bound steroid. ``x_i f_ij = x_j f_ji``, so forward
        over reverse is ``((1 + x_j)/(1 + x_i))^N`` times what it was: every cycle stays
        balanced, and the law at equilibrium is that of `product` summed over m. Exact in
        the limit of fast unbinding (error of order gating rate over unbinding rate); for real
        steroids, which unbind more slowly than channels gate, use the other two readings.
        """
        _require_level(self, conc_M)
        change = [
            self._mean_factor(scheme.kinds[i], scheme.kinds[j], conc_M)
            for i, j in zip(scheme.source, scheme.target, strict=True)
        ]
        return self._changed(scheme, change, "in fast equilibrium")

    def quasi_static(self, scheme: KineticScheme, conc_M, background_M=None) -> Mixture:
        """Bound steroids fixed for each channel: one scheme for every m, and the law of m.

        The law is that of sites at equilibrium at the constant level `conc_M` (mol/L) while the
        receptor is in its initial state: the named one, or the equilibrium at 0 GABA. With
        `background_M` ({ligand: mol/L}) it is at equilibrium at those levels instead. Exact
        in the limit of slow unbinding, for runs much shorter than 1 / unbinding rate.
        Averages are over outcomes of the schemes, never over m inside a rate.
        """
        _require_level(self, conc_M)
        if background_M is None and scheme.initial != EQUILIBRIUM:
            weight = self.weight(scheme.kinds[scheme.states.index(scheme.initial)], conc_M)
        else:
            resting = scheme.steady_state(dict(background_M or {}))
            weight = sum(resting[i] * self.weight(k, conc_M) for i, k in enumerate(scheme.kinds))
        frozen = tuple(
            self._changed(
                scheme,
                [
                    m * self._entry_shift(scheme.kinds[i], scheme.kinds[j])
                    for i, j in zip(scheme.source, scheme.target, strict=True)
                ],
                f"with {m} bound",
            )
            for m in range(self.n_sites + 1)
        )
        return Mixture(weight / weight.sum(), frozen)

    def _mean_factor(self, kind_from: str, kind_to: str, conc_M):
        """Log of the mean factor on the step ``kind_from -> kind_to`` at binding equilibrium."""
        x = conc_M / (self.dissociation_closed_M * self.bias(kind_from))
        gain = self._entry_shift(kind_from, kind_to)
        # plain numbers stay on the host, in double precision
        xp = jnp if isinstance(x, jax.Array) or isinstance(gain, jax.Array) else np
        return self.n_sites * (xp.log1p(x * xp.exp(gain)) - xp.log1p(x))

    def _changed(self, scheme: KineticScheme, log_factor, how: str) -> KineticScheme:
        fields = {f: getattr(scheme, f) for f in scheme.__dataclass_fields__}
        log_rate = [scheme.log_rate[e] + shift for e, shift in enumerate(log_factor)]
        return KineticScheme(
            **{
                **fields,
                "log_rate": _stack(log_rate),
                "name": f"{scheme.name}, {self.name} {how}",
                "facts": _derived(scheme.facts, factors=(1.0,) * len(log_rate)),
            }
        )

    def _enthalpies(self, scheme: KineticScheme, source, target) -> Enthalpies | None:
        own = scheme.enthalpies
        if own is None:
            return None
        n = scheme.n_states
        pair, pairs = pairs_of(source, target)
        inner = dict(
            zip(pairs_of(scheme.source, scheme.target)[1], own.barrier_kJ_per_mol, strict=True)
        )
        binding = activation_from_q10(default_q10(), scheme.facts.temperature_C)
        barrier = [
            own.state_kJ_per_mol[i % n] + binding
            if i % n == j % n
            else inner[min(i % n, j % n), max(i % n, j % n)]
            for i, j in pairs
        ]
        state = [own.state_kJ_per_mol[i] for i in range(n)] * (self.n_sites + 1)
        return Enthalpies(_stack(state), _stack(barrier), pair)

    def _gating_edges(self, scheme, m: int) -> list[tuple]:
        n, out = scheme.n_states, []
        symbols = scheme.facts.symbols or ("",) * len(scheme.source)
        for e, (i, j) in enumerate(zip(scheme.source, scheme.target, strict=True)):
            shift = m * self._entry_shift(scheme.kinds[i], scheme.kinds[j])
            out.append(
                (i + m * n, j + m * n, scheme.ligands[e], scheme.log_rate[e] + shift, symbols[e])
            )
        return out

    def _entry_shift(self, kind_from: str, kind_to: str):
        """Log factor per bound steroid on the step ``kind_from -> kind_to``."""
        if kind_from == kind_to:
            return 0.0
        phi = self.phi_desensitized if "desensitized" in (kind_from, kind_to) else self.phi_open
        gain = _log(self.bias(kind_from)) - _log(self.bias(kind_to))
        entering = kind_to == "desensitized" or (kind_to == "open" and kind_from == "closed")
        return gain * phi if entering else gain * (1 - phi)

    def _binding_edges(self, scheme, m: int) -> list[tuple]:
        n, out = scheme.n_states, []
        on = (
            _log(self.unbinding_closed_per_s)
            - _log(self.dissociation_closed_M)
            + np.log(self.n_sites - m)
        )
        for i, kind in enumerate(scheme.kinds):
            off = _log(self.unbinding_closed_per_s) + np.log(m + 1) + _log(self.bias(kind))
            out.append((i + m * n, i + (m + 1) * n, self.ligand, on, "steroid_on"))
            out.append((i + (m + 1) * n, i + m * n, "", off, "steroid_off"))
        return out


def _require_level(steroid: Steroid, conc_M) -> None:
    require(f"concentration of {steroid.ligand}", conc_M, least=0.0)


def _derived(facts: SchemeFacts, **changes) -> SchemeFacts:
    return replace(facts, **{"status": "derived", **changes})


def _traced(*values) -> bool:
    return any(isinstance(v, jax.core.Tracer) for v in values)


def _log(x):
    return np.log(x) if isinstance(x, float | int | np.ndarray) else jnp.log(x)


def _stack(values):
    if all(isinstance(v, float | np.floating) for v in values):
        return np.array(values, float)
    return jnp.stack([jnp.asarray(v, float) for v in values])
