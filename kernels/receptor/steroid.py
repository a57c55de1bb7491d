"""Neurosteroid sites: an allosteric ligand that turns a scheme into its product scheme."""

from math import comb

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gabatone.kernels.receptor.scheme import KineticScheme, SchemeFacts, SteroidCopies


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

    def bias(self, kind: str):
        """Affinity ratio ``c`` of a kind of state (1 for closed)."""
        return {"closed": 1.0, "open": self.c_open, "desensitized": self.c_desensitized}[kind]

    def weight(self, kind: str, conc_M) -> Float[Array, " copies"]:
        """Equilibrium weight of 0..N bound steroids on a state of `kind` at `conc_M` (mol/L)."""
        m = np.arange(self.n_sites + 1)
        choose = np.array([comb(self.n_sites, int(k)) for k in m])
        return choose * (jnp.asarray(conc_M) / (self.dissociation_closed_M * self.bias(kind))) ** m

    def product(self, scheme: KineticScheme) -> KineticScheme:
        """The scheme on (state x bound steroids); state names gain ``+1S``, ``+2S``, ...

        State ``i`` with ``m`` steroids stands at index ``m * n_states + i``. Both gating with
        m bound and binding or unbinding in every state are explicit transitions.
        """
        n, edges = scheme.n_states, []
        for m in range(self.n_sites + 1):
            edges += self._gating_edges(scheme, m)
        for m in range(self.n_sites):
            edges += self._binding_edges(scheme, m)
        source, target, ligands, log_rate, symbols = zip(*edges, strict=True)
        copies = range(self.n_sites + 1)
        facts = scheme.facts
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
            facts=SchemeFacts(
                **{
                    **{f: getattr(facts, f) for f in facts.__dataclass_fields__},
                    "status": "derived",
                    "bound_agonists": facts.bound_agonists * (self.n_sites + 1),
                    "symbols": symbols,
                    "factors": (1.0,) * len(symbols),
                }
            ),
            copies=SteroidCopies(self.ligand, self.n_sites, n, self.dissociation_closed_M),
        )

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


def _log(x):
    return np.log(x) if isinstance(x, float | int | np.ndarray) else jnp.log(x)


def _stack(values):
    if all(isinstance(v, float | np.floating) for v in values):
        return np.array(values, float)
    return jnp.stack([jnp.asarray(v) for v in values])
