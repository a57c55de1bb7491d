"""The figures of the brexanolone report."""

import numpy as np
from matplotlib.figure import Figure

COLOURS = {"before": "#5b6770", "plateau": "#c8442f", "free-drug extreme": "#3b7dbd"}
ARMS = {"BRX90": "#c8442f", "BRX60": "#e59a2f", "PBO": "#5b6770"}


def chain(exposure, traces, scene, firing, smooth, curves, arms) -> Figure:
    """One row of panels, each the cause of the next."""
    figure = Figure(figsize=(16, 3.6), layout="constrained")
    axes = figure.subplots(1, 5)
    _plasma(axes[0], exposure)
    _open(axes[1], traces, "extrasynaptic")
    _tonic(axes[2], scene)
    _transfer(axes[3], firing, smooth)
    _trial(axes[4], curves, arms, "202B")
    titles = (
        "dose to plasma",
        "plasma to channels",
        "channels to current",
        "current to firing",
        "firing to score (202B)",
    )
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title)
    return figure


def exposure(data, schedule) -> Figure:
    """Infusion rate above, concentrations below."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 3))
    time = data["time_h"].values
    rate = sum(
        np.where((time >= float(a)) & (time < float(b)), float(r), 0.0)
        for a, b, r in zip(
            schedule.start_h, schedule.stop_h, schedule.rate_ug_per_kg_h, strict=True
        )
    )
    top.step(time, rate, where="post", color="black")
    top.set_ylabel("ug/kg/h")
    bottom.plot(
        time,
        data["shown_effect_site_nM"],
        color=COLOURS["plateau"],
        label="effect site (Kp_eff x total + pool)",
        lw=2,
    )
    bottom.plot(
        time, data["shown_free_nM"], color=COLOURS["free-drug extreme"], label="unbound drug only"
    )
    bottom.set(
        xlabel="time since start of infusion (h)", ylabel="nM", yscale="log", ylim=(0.05, None)
    )
    right = bottom.secondary_yaxis("right", functions=(lambda x: x * 0.3185, lambda x: x / 0.3185))
    right.set_ylabel("ng/mL")
    bottom.legend()
    return figure


def open_probability(traces) -> Figure:
    """Both populations: individual channels over the exact mean."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axis, name in zip(figure.subplots(1, 2), ("synaptic", "extrasynaptic"), strict=True):
        _open(axis, traces, name)
        axis.set_title(f"{name}, {traces.attrs['n_channels']} channels")
    return figure


def currents(scene) -> Figure:
    """Tonic and phasic current of one neuron at each level, the last second."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    time = scene["time"].values
    late = time >= time[-1] - 1.0
    axes = figure.subplots(scene.sizes["level"], 1, sharex=True, sharey=True)
    for axis, level in zip(axes, scene["level"].values, strict=True):
        one = scene.sel(level=level)
        both = one["tonic_pA"] + one["phasic_pA"]
        axis.plot(time[late], both[late], color=COLOURS[level], lw=0.6, label="tonic + phasic")
        axis.plot(time[late], one["tonic_pA"][late], color="black", lw=0.6, label="tonic")
        axis.set(title=level, ylabel="pA")
    axes[0].legend(loc="upper right")
    axes[-1].set_xlabel("time (s)")
    return figure


def firing(scene, table, smooth) -> Figure:
    """Voltage of one neuron at each level, and relative firing against steroid."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 2))
    time = scene["time"].values
    axes = left.subplots(scene.sizes["level"], 1, sharex=True, sharey=True)
    for axis, level in zip(axes, scene["level"].values, strict=True):
        axis.plot(time, scene["voltage_mV"].sel(level=level)[0], color=COLOURS[level], lw=0.5)
        axis.set(
            title=f"{level}: {float(scene['rate_Hz'].sel(level=level).mean()):.1f} Hz", ylabel="mV"
        )
    axes[-1].set_xlabel("time (s)")
    _transfer(right.subplots(), table, smooth)
    return figure


def arms(curves, table) -> Figure:
    """One panel a trial."""
    trials = list(dict.fromkeys(table["trial"]))
    figure = Figure(figsize=(5 * len(trials), 4.5), layout="constrained")
    for axis, trial in zip(
        np.atleast_1d(figure.subplots(1, len(trials), sharey=True)), trials, strict=True
    ):
        _trial(axis, curves, table, trial)
    return figure


def _plasma(axis, data):
    for name in ("BRX90", "BRX60"):
        axis.plot(data["time_h"], data[f"{name}_ng_per_mL"], color=ARMS[name], label=name)
    axis.set(xlabel="time (h)", ylabel="plasma brexanolone (ng/mL)")
    axis.legend()


def _open(axis, traces, name):
    for level in traces["level"].values:
        one, time = traces.sel(level=level), traces[f"{name}_time_s"].values * 1e3
        axis.plot(
            time, one[f"{name}_channels"], color=COLOURS[level], lw=0.7, alpha=0.8, label=level
        )
        axis.plot(time, one[f"{name}_master"], color="black", lw=0.8)
    axis.legend()
    axis.set(xlabel="time (ms)", ylabel=f"{name} open probability", ylim=(0, None))


def _tonic(axis, scene):
    time = scene["time"].values
    late = time >= time[-1] - 0.5
    for level in scene["level"].values:
        one = scene.sel(level=level)
        axis.plot(
            time[late] * 1e3,
            (one["tonic_pA"] + one["phasic_pA"])[late],
            color=COLOURS[level],
            lw=0.5,
            label=level,
        )
    axis.legend()
    axis.set(xlabel="time (ms)", ylabel="GABA-A current at -60 mV (pA)", ylim=(0, None))


def _transfer(axis, table, smooth):
    axis.plot(
        table["steroid_nM"], table["relative_rate"], "o", color="black", label="simulated neurons"
    )
    fine = np.linspace(0, 400, 400)
    axis.plot(fine, smooth(fine), color=COLOURS["plateau"], label="smooth table")
    axis.set(
        xlabel="steroid at the receptor (nM)",
        ylabel="firing relative to untreated",
        ylim=(0, None),
        xlim=(-10, 400),
    )
    axis.legend()


def _trial(axis, curves, table, trial):
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    for arm, colour in ARMS.items():
        mine = [row for row in rows if (row["trial"], row["arm"]) == (trial, arm)]
        if not mine:
            continue
        curve, time = curves[f"{trial} {arm}"], np.maximum(curves["time_h"], 0.5)
        axis.plot(time, curve["mean"], color=colour, label=arm)
        axis.fill_between(time, curve["lo95"], curve["hi95"], color=colour, alpha=0.15, lw=0)
        # arms stand a little apart, or their bars would hide each other
        hours = (
            np.array([row["time_h"] for row in mine])
            * {"BRX90": 1.04, "BRX60": 1.0, "PBO": 0.96}[arm]
        )
        observed = np.array([row["observed"] for row in mine])
        axis.errorbar(
            hours,
            observed,
            1.96 * np.array([row["se"] for row in mine]),
            fmt="o",
            color=colour,
            ms=4,
        )
        axis.vlines(
            hours,
            [r["new_arm_lo95"] for r in mine],
            [r["new_arm_hi95"] for r in mine],
            color=colour,
            lw=0.6,
            ls=":",
        )
    axis.set(
        title=trial,
        xlabel="time since start of infusion (h)",
        ylabel="HAM-D-17 change (points)",
        xscale="log",
        xlim=(1, 1000),
    )
    axis.legend()
