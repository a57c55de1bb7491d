"""What the receptors and neurons do at a few steroid levels: traces to look at and to check."""

import jax
import numpy as np
import xarray as xr

from gabatone.experiments.chain import Tissue
from gabatone.kernels.drive.ligand import Decay, Tonic
from gabatone.kernels.engine.channels import Channels
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.neuron.population import fire
from gabatone.kernels.neuron.synapse import phasic_conductance_S, tonic_conductance_S
from gabatone.kernels.neuron.transfer import potentiate

HOLDING_V = -0.06  # holding potential of the current traces; a protocol choice
_PICO = 1e12


def open_probability(key, tissue: Tissue, levels_M: dict, n: int) -> xr.Dataset:
    """Open probability [level, time] of both populations, by individual channels and by the master equation.

    Synaptic receptors see one release at 0 from rest; extrasynaptic ones ambient GABA.
    """
    inhibition, data, certificates = tissue.inhibition, {}, {}
    cases = {
        "synaptic": (
            inhibition.synaptic,
            Decay(inhibition.cleft_peak_M, inhibition.cleft_decay_s),
            0.1,
            1e-4,
        ),
        "extrasynaptic": (inhibition.extrasynaptic, None, 1.0, 5e-3),
    }
    for k, (name, (scheme, drive, t1, save)) in enumerate(cases.items()):
        rows = {"channels": [], "master": []}
        for label, level in levels_M.items():
            conc = {"GABA": inhibition.ambient_M, tissue.ligand: level}
            rest = scheme.steady_state(conc)
            around = Tonic(inhibition.ambient_M) + Tonic(level, tissue.ligand)
            drive_all = around if drive is None else around + drive
            for engine, rows_of in ((Channels(), rows["channels"]), (Master(), rows["master"])):
                trace = simulate(
                    jax.random.fold_in(key, k),
                    scheme,
                    drive_all,
                    engine=engine,
                    n=n,
                    t1_s=t1,
                    save_s=save,
                    p0=rest,
                )
                rows_of.append(np.asarray(trace.open_probability))
                if trace.certificate is not None:
                    certificates[f"{name}, {label}"] = trace.certificate.summary()
        time = f"{name}_time_s"
        for engine, values in rows.items():
            data[f"{name}_{engine}"] = (("level", time), np.array(values))
        data[time] = ((time,), np.asarray(trace.time_s))
    return xr.Dataset(
        data,
        coords={"level": list(levels_M), "steroid_M": ("level", list(levels_M.values()))},
        attrs={"n_channels": n, "certificates": certificates},
    )


def currents_and_spikes(
    key,
    tissue: Tissue,
    levels_M: dict,
    *,
    neurons: int,
    duration_s: float,
    step_s: float,
    discard_s: float,
    engine=None,
) -> xr.Dataset:
    """Tonic and phasic current of one neuron, voltage of three, firing of all, at each level."""
    steps, rows = (
        round(duration_s / step_s),
        {"tonic_pA": [], "phasic_pA": [], "voltage_mV": [], "rate_Hz": []},
    )
    force = HOLDING_V - tissue.population.gaba_reversal_V
    population = _few(tissue.population, neurons)
    for level in levels_M.values():
        steroid = {tissue.ligand: float(level)}
        tonic = tonic_conductance_S(key, tissue.inhibition, steroid, neurons, steps, step_s, engine)
        phasic = phasic_conductance_S(
            key, tissue.inhibition, steroid, neurons, steps, step_s, engine
        )
        firing = fire(
            key, population, tonic + phasic, step_s=step_s, discard_s=discard_s, recorded=(0, 1, 2)
        )
        rows["tonic_pA"].append(tonic[:, 0] * force * _PICO)
        rows["phasic_pA"].append(phasic[:, 0] * force * _PICO)
        rows["voltage_mV"].append(np.asarray(firing.voltage_V).T * 1e3)
        rows["rate_Hz"].append(np.asarray(firing.rate_Hz))
    dims = {
        "tonic_pA": ("level", "time"),
        "phasic_pA": ("level", "time"),
        "voltage_mV": ("level", "cell", "time"),
        "rate_Hz": ("level", "neuron"),
    }
    return xr.Dataset(
        {name: (dims[name], np.array(values, np.float32)) for name, values in rows.items()},
        coords={
            "level": list(levels_M),
            "time": np.arange(steps) * step_s,
            "steroid_M": ("level", list(levels_M.values())),
        },
    )


def inhibition_by_level(tissue: Tissue, levels_M: dict) -> dict:
    """Columns: mean tonic and phasic conductance, charge of a release, and folds over the first level."""
    means = potentiate(tissue.inhibition, tissue.ligand, list(levels_M.values()))
    return {
        "level": list(levels_M),
        "steroid_nM": means.conc_M * 1e9,
        "tonic_nS": means.tonic_S * 1e9,
        "phasic_nS": means.phasic_S * 1e9,
        "release_charge_pS_ms": means.charge_Ss * 1e15,
        "tonic_fold": means.tonic_S / means.tonic_S[0],
        "phasic_fold": means.phasic_S / means.phasic_S[0],
        "release_charge_fold": means.charge_Ss / means.charge_Ss[0],
    }


def _few(population, neurons: int):
    from dataclasses import replace

    return replace(population, n_neurons=neurons)
