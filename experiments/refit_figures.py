"""The figures of the receptor refit."""

import jax
import numpy as np
from matplotlib.figure import Figure

from gabatone.inference.receptor_observables import CURVE_TIME_S, DOSES_M, kinetics
from gabatone.inference.receptor_protocols import step_peaks
from gabatone.inference.targets import published_curve
from gabatone.kernels.receptor.catalogue import load_scheme

DEFAULT = "default_synaptic_abg_mwc"


def _schemes(problems, optima) -> dict:
    fitted = {name: problems[name].subject(optima[name].z).scheme for name in problems}
    return {DEFAULT: load_scheme(DEFAULT), **fitted}


def curve(targets, problems, optima) -> Figure:
    """Deactivation after a short pulse: published band, default and fitted schemes."""
    figure = Figure(figsize=(7, 4))
    axis = figure.add_subplot()
    value, error = published_curve(targets, CURVE_TIME_S)
    time_ms = CURVE_TIME_S * 1e3
    axis.fill_between(time_ms, value - error, value + error, color="#cccccc", label="published")
    with jax.enable_x64(True):
        for name, scheme in _schemes(problems, optima).items():
            ours = np.asarray(jax.jit(lambda s=scheme: kinetics(s)["curve"])())
            axis.plot(time_ms, ours, lw=1.2, ls="--" if name == DEFAULT else "-", label=name)
    axis.set(xscale="log", xlabel="time after the pulse (ms)", ylabel="share of the first value")
    axis.legend(frameon=False)
    return figure


def doses(problems, optima) -> Figure:
    """Dose-response of the step peak for default and fitted schemes."""
    figure = Figure(figsize=(7, 4))
    axis = figure.add_subplot()
    with jax.enable_x64(True):
        for name, scheme in _schemes(problems, optima).items():
            ours = np.asarray(jax.jit(lambda s=scheme: step_peaks(s, DOSES_M))())
            axis.plot(DOSES_M * 1e6, ours, "--" if name == DEFAULT else "-", lw=1.2, label=name)
    axis.set(xscale="log", yscale="log", xlabel="GABA (µM)", ylabel="peak open probability")
    axis.legend(frameon=False)
    return figure


def verdicts(rows) -> Figure:
    """Ours over the published number before and after; filled where the target is met."""
    held = [row for row in rows if np.isfinite(row["published"]) and row["published"] > 0]
    figure = Figure(figsize=(7, 0.3 * len(held) + 1.2))
    axis = figure.add_subplot()
    for when, colour in (("before", "#5b6770"), ("after", "#c8442f")):
        for k, row in enumerate(held):
            met = row[f"verdict_{when}"] == "met"
            axis.plot(
                row[when] / row["published"],
                -k,
                "o",
                color=colour,
                mfc=colour if met else "white",
                label=when if k == 0 else None,
            )
    axis.axvline(1.0, color="#999999", lw=0.8)
    axis.set(xscale="log", xlabel="ours over published (filled: inside the range)")
    axis.set_yticks([-k for k in range(len(held))], [f"{r['id']} ({r['use'][:3]})" for r in held])
    axis.legend(frameon=False)
    return figure
