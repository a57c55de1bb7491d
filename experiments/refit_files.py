"""A fitted scheme and steroid site as files that `load_scheme` and the catalogue can read."""

import jax
import numpy as np

from gabatone.inference.receptor_model import Topology, build_scheme, build_steroid

_HEAD = """# GABA-A kinetic scheme; rates in s^-1 and M^-1 s^-1. effective rate = value * factor * [ligand, M]
key = "{key}"
name = "synaptic alpha1beta2gamma2 refitted to read observables ({topology})"
citation = "fitted here: gabatone run refit-receptor"
doi = ""
receptor = "alpha1beta2gamma2 (gamma2S for kinetics, gamma2L for L, EC50 and steroid)"
preparation = "fit to HEK293 outside-out and oocyte observables"
temperature = "22-24 C"
temperature_C = 23.0
temperature_C_status = "read"
species = "recombinant"
status = "derived"
where = "optimum of the refit; targets with sources in inference/targets.csv, before and after in docs/refit.md"
notes = "N agonist sites: beta_n = alpha E_N g^(phi (N-n)), E_n = 1/(L g^n), g = c^(2/N); see docs/refit.md"
conductance_note = "27 pS main level assumed for every open state (Barberis 2007: 27.7 +/- 0.8 pS read)"
initial_state = "equilibrium at 0 GABA"
"""


def texts(topology: Topology, numbers: dict, key: str = "refit_synaptic_abg") -> tuple[str, str]:
    """Scheme file and steroid file (TOML text) of the free numbers of a topology."""
    with jax.enable_x64(True):
        scheme = build_scheme(topology, numbers)
        steroid = build_steroid(numbers)
    parts = [_HEAD.format(key=key, topology=topology.name)]
    bound = scheme.facts.bound_agonists
    for k, state in enumerate(scheme.states):
        parts.append(
            f'[[states]]\nname = "{state}"\nkind = "{scheme.kinds[k]}"\n'
            f"conductance_pS = {scheme.conductance_pS[k]:g}\nbound_agonists = {bound[k]}\n"
        )
    for k, (i, j) in enumerate(zip(scheme.source, scheme.target, strict=True)):
        factor = scheme.facts.factors[k]
        value = float(np.exp(scheme.log_rate[k])) / factor
        unit = "M^-1 s^-1" if scheme.ligands[k] else "s^-1"
        parts.append(
            f'[[transitions]]\nfrom = "{scheme.states[i]}"\nto = "{scheme.states[j]}"\n'
            f'value = {value:.6g}\nunit = "{unit}"\nligand = "{scheme.ligands[k]}"\n'
            f'factor = {factor:g}\nsymbol = "{scheme.facts.symbols[k]}"\n'
        )
    return "\n".join(parts), _steroid_text(steroid)


def _steroid_text(steroid) -> str:
    fitted = "optimum of the refit of scheme and site to inference/targets.csv"
    kept = "not moved by the data: the prior of the refit"
    fixed = "kept from the steroid site of the catalogue"
    rows = (
        ("n_sites", steroid.n_sites, "count", "recalled", fixed),
        ("K_closed", float(steroid.dissociation_closed_M) * 1e6, "uM", "derived", fitted),
        ("c_open", float(steroid.c_open), "ratio", "derived", fitted),
        ("c_desensitized", float(steroid.c_desensitized), "ratio", "derived", fitted),
        ("koff_closed", float(steroid.unbinding_closed_per_s), "1/s", "assumed", fixed),
        ("phi_open", float(steroid.phi_open), "fraction", "assumed", kept),
        ("phi_desensitized", float(steroid.phi_desensitized), "fraction", "assumed", kept),
    )
    parts = ["# Steroid site refitted jointly with refit_synaptic_abg; see docs/refit.md.\n"]
    for name, value, unit, status, source in rows:
        parts.append(
            f'[{name}]\nvalue = {value:.6g}\nunit = "{unit}"\nstatus = "{status}"\n'
            f'source = "{source}"\nspecies = "recombinant"\n'
        )
    return "\n".join(parts)
