"""A scheme as plain data, for printing and for JSON."""

import numpy as np

from gabatone.kernels.receptor.reversibility import cycle_ratios
from gabatone.kernels.receptor.scheme import KineticScheme


def summarise(scheme: KineticScheme) -> dict:
    """Everything a reader needs of a scheme: facts, states, transitions with units, cycles with ratio.

    ``value`` is the rate constant of one step without its statistical ``factor``;
    the effective rate is value * factor * [ligand]. States and transitions carry their
    enthalpy and activation enthalpy where the scheme has any.
    """
    facts = scheme.facts
    return {
        "key": scheme.name,
        "citation": facts.citation,
        "doi": facts.doi,
        "receptor": facts.receptor,
        "preparation": facts.preparation,
        "temperature": facts.temperature,
        "temperature_C": facts.temperature_C,
        "temperature_C_status": facts.temperature_C_status,
        "species": facts.species,
        "status": facts.status,
        "where": facts.where,
        "notes": facts.notes,
        "known_misfits": list(facts.known_misfits),
        "steroid_site": facts.steroid_site,
        "enthalpy_source": facts.enthalpy_source,
        "conductance_note": facts.conductance_note,
        "initial": scheme.initial,
        "states": _states(scheme),
        "transitions": _transitions(scheme),
        "cycles": [{"states": list(c.states), "ratio": c.ratio} for c in cycle_ratios(scheme)],
        "warnings": list(facts.warnings),
    }


def _states(scheme: KineticScheme) -> list[dict]:
    agonists = scheme.facts.bound_agonists or (None,) * scheme.n_states
    rows = [
        {"name": s, "kind": k, "conductance_pS": float(g), "bound_agonists": b}
        for s, k, g, b in zip(
            scheme.states, scheme.kinds, scheme.conductance_pS, agonists, strict=True
        )
    ]
    if scheme.enthalpies is not None:
        for row, height in zip(rows, scheme.enthalpies.state_kJ_per_mol, strict=True):
            row["enthalpy_kJ_per_mol"] = float(height)
    return rows


def _transitions(scheme: KineticScheme) -> list[dict]:
    factors = scheme.facts.factors or (1.0,) * len(scheme.source)
    symbols = scheme.facts.symbols or ("",) * len(scheme.source)
    rates = np.exp(np.asarray(scheme.log_rate, float))
    rows = [
        {
            "from": scheme.states[i],
            "to": scheme.states[j],
            "value": float(f"{rate / factor:.12g}"),
            "unit": "M^-1 s^-1" if ligand else "s^-1",
            "ligand": ligand,
            "factor": factor,
            "symbol": symbol,
        }
        for i, j, ligand, rate, factor, symbol in zip(
            scheme.source, scheme.target, scheme.ligands, rates, factors, symbols, strict=True
        )
    ]
    if scheme.enthalpies is not None:
        activation = scheme.enthalpies.activation_kJ_per_mol(scheme.source)
        for row, height in zip(rows, activation, strict=True):
            row["activation_kJ_per_mol"] = float(height)
    return rows
