"""The brexanolone experiment: one run from infusion pump to HAM-D change of the trial arms."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import xarray as xr

from gabatone.experiments import figures, pk_checks
from gabatone.experiments.chain import (
    Settings,
    build_chain_study,
    build_tissue,
    engine_of,
    exposure_numbers,
    exposure_of,
    read_trials,
    shown_schedule,
    stage_key,
    tabulate,
)
from gabatone.experiments.checks import Check
from gabatone.experiments.numbers import cards_of
from gabatone.experiments.scenes import currents_and_spikes, inhibition_by_level, open_probability
from gabatone.inference.arviz_data import to_arviz
from gabatone.inference.fit import fit, fit_leave_one_out
from gabatone.inference.predict import (
    compare_with_constant,
    new_arms,
    predict_arms,
    predict_curves,
    structural,
    summary,
    thin,
)
from gabatone.inference.sampler import Sampler
from gabatone.inference.score import score
from gabatone.kernels.errors import BadInput

__all__ = ["CHAIN", "QUICK", "Settings", "run"]

CHAIN = ("exposure", "channels", "posterior", "left_out", "without_inferred_times")
QUICK = {
    "receptor.shown": 2000,
    "neurons.number": 20,
    "neurons.duration": "1.5 s",
    "neurons.levels": ["0 nM", "4 nM", "20 nM", "50 nM", "100 nM", "300 nM"],
    "fit.warmup": 150,
    "fit.samples": 200,
    "fit.chains": 2,
}


def run(plan, bench) -> None:
    """Fill the bench with every link of the chain, from dose to trial arm."""
    settings, seed = plan.settings, plan.seed
    trials = read_trials(settings.fit)
    tissue = build_tissue(settings)
    bar = bench.progress("brexanolone", len(CHAIN))
    exposure = bench.stage("exposure", lambda: _exposure(settings))
    levels = _levels(exposure, settings)
    seen = bench.stage("channels", lambda: _side_by_side(seed, tissue, levels, settings))
    traces, table, scene = seen["traces"], seen["table"], seen["scene"]
    study = build_chain_study(tissue, table, trials, settings)
    fits = _fits(plan, bench, study, trials)
    bar.close()
    _report(plan, bench, tissue, trials, study, levels, exposure, traces, table, scene, fits)


def _exposure(settings) -> xr.Dataset:
    time = np.unique(
        np.concatenate([np.linspace(0, 120, 961), shown_schedule(settings.dose).breaks_h])
    )
    names = {"shown": shown_schedule(settings.dose)} | {
        n: pk_checks.schedule(n) for n in ("BRX90", "BRX60")
    }
    data = {}
    for name, schedule in names.items():
        seen = exposure_of(schedule, settings.exposure, time)
        data[f"{name}_ng_per_mL"] = ("time_h", np.asarray(seen.plasma_ng_per_mL))
        data[f"{name}_effect_site_nM"] = ("time_h", np.asarray(seen.effect_site_nM))
        data[f"{name}_free_nM"] = ("time_h", np.asarray(seen.free_nM))
    return xr.Dataset(data, coords={"time_h": time})


def _levels(exposure, settings) -> dict:
    """Steroid at the receptor before the dose, at plateau, and at plateau if only free drug counted (M)."""
    pool = exposure_numbers(settings.exposure)["local_pool_nM"]
    top = int(np.argmax(exposure["shown_effect_site_nM"].values))
    plateau = float(exposure["shown_effect_site_nM"][top])
    if plateau > settings.neurons.levels[-1]:
        raise BadInput(
            "neurons.levels",
            list(settings.neurons.levels),
            f"the infusion brings {plateau:.0f} nM to the receptors, above the last level",
            "add a level above it",
        )
    free = float(exposure["shown_free_nM"][top]) + pool
    return {"before": pool * 1e-9, "plateau": plateau * 1e-9, "free-drug extreme": free * 1e-9}


def _side_by_side(seed, tissue, levels, settings) -> dict:
    """Receptor traces, firing table and neuron traces; in threads, since compiling uses one core each."""
    with ThreadPoolExecutor(2) as pool:
        table = pool.submit(tabulate, stage_key(seed, "firing"), tissue, settings)
        traces = pool.submit(
            open_probability, stage_key(seed, "open"), tissue, levels, settings.receptor.shown
        )
        scene = pool.submit(_scene, seed, tissue, levels, settings)
        return {"traces": traces.result(), "table": table.result(), "scene": scene.result()}


def _scene(seed, tissue, levels, settings) -> xr.Dataset:
    neurons = settings.neurons
    return currents_and_spikes(
        stage_key(seed, "firing"),
        tissue,
        levels,
        neurons=min(16, neurons.number),
        duration_s=min(2.0, neurons.duration),
        step_s=neurons.step,
        discard_s=neurons.discard,
        engine=engine_of(settings),
    )


def _fits(plan, bench, study, trials):
    options = {
        "warmup": plan.settings.fit.warmup,
        "samples": plan.settings.fit.samples,
        "chains": plan.settings.fit.chains,
        "throw": not plan.quick,
    }
    sampler = Sampler(study, trials.settings, options["warmup"])
    key = stage_key(plan.seed, "fit")
    posterior = bench.stage(
        "posterior", lambda: fit(key, study, trials, sampler=sampler, **options)
    )
    left_out = bench.stage(
        "left_out", lambda: fit_leave_one_out(key, study, trials, sampler=sampler, **options)
    )
    fewer = trials.without_inferred_times()
    bare = bench.stage(
        "without_inferred_times", lambda: fit(key, study, fewer, sampler=sampler, **options)
    )
    return posterior, left_out, bare


def _report(
    plan, bench, tissue, trials, study, levels, exposure, traces, table, scene, fits
) -> None:
    posterior, left_out, bare = fits
    key = stage_key(plan.seed, "predict")
    arms = predict_arms(key, posterior, left_out, study, trials)
    bench.table(
        "arms",
        pd.DataFrame(arms),
        "Published arm means and ours: interval for that arm, and for a new "
        "arm of a trial that gave no data (leave-one-trial-out).",
    )
    bench.table("parameters", pd.DataFrame(summary(posterior)), "Posterior of each parameter.")
    bench.table(
        "parameters_without_inferred_times",
        pd.DataFrame(summary(bare)),
        "The same without the 12 rows whose visit time was inferred.",
    )
    bench.table(
        "inhibition",
        pd.DataFrame(inhibition_by_level(tissue, levels)),
        "Mean inhibition of a neuron.",
    )
    bench.table(
        "firing", pd.DataFrame(_firing(table, study)), "Simulated firing against the smooth table."
    )
    bench.table(
        "against_constant",
        pd.DataFrame(compare_with_constant(left_out, study, trials)),
        "Error of left-out drug-placebo contrasts (points): ours, and a constant effect of -4 points.",
    )
    bench.table(
        "free_drug_extreme",
        pd.DataFrame(_free_drug(plan, posterior, study, trials)),
        "Fitted change (points) at the last inpatient visit, and if only unbound drug reached the receptors.",
    )
    if plan.settings.dose.rate is not None:
        bench.table(
            "own_dose",
            _own_dose(plan, tissue, trials, table, posterior),
            "HAM-D-17 change (points) under your infusion, for women like those of 202B, without residuals.",
        )
    bench.trace("exposure", exposure)
    bench.trace("open_probability", traces)
    bench.trace("neurons", scene)
    bench.posterior(to_arviz(posterior, trials, new_arms(key, posterior.draws, study, trials)))
    for check in pk_checks.checks(plan.settings.exposure) + _entries(
        score(key, posterior, left_out, study, trials, arms)
    ):
        bench.check(check)
    for name, card in cards_of(plan.settings).items():
        bench.card(card, name)
    curves = predict_curves(posterior, study, trials)
    _draw(plan, bench, study, curves, exposure, traces, table, scene, arms)
    _sections(plan, bench, trials, levels, traces, scene, posterior, arms)


def _entries(entries) -> list[Check]:
    return [Check(**{k: v for k, v in entry.items() if k != "verdict"}) for entry in entries]


def _free_drug(plan, posterior, study, trials) -> dict:
    """Change at 60 h as fitted and with the unbound fraction in place of Kp_eff, without residuals."""
    draws, rows = (
        thin(posterior.draws, 200),
        [i for i, row in enumerate(trials.rows) if row.time_h == 60.0],
    )
    unbound = exposure_numbers(plan.settings.exposure)["unbound_fraction"]
    free = {**draws, "kp_eff": np.full_like(draws["kp_eff"], unbound)}
    changes = [structural(d, study, trials)[:, rows].mean(axis=0) for d in (draws, free)]
    return {
        "trial": [trials.rows[i].trial for i in rows],
        "arm": [trials.rows[i].arm for i in rows],
        "observed": [trials.rows[i].observed for i in rows],
        "kp_eff_total": changes[0],
        "unbound_only": changes[1],
    }


def _own_dose(plan, tissue, trials, table, posterior) -> pd.DataFrame:
    """Predicted curve of a 202B arm that gets the user's infusion instead of BRX90."""
    schedule = shown_schedule(plan.settings.dose)
    study = build_chain_study(tissue, table, trials, plan.settings, BRX90=schedule)
    curves = predict_curves(posterior, study, trials)
    return pd.DataFrame({"time_h": curves["time_h"], **curves["202B BRX90"]})


def _firing(table, study) -> dict:
    smooth = np.asarray(study.transfer(table.conc_M * 1e9))
    rate = table.rate_Hz
    untreated = float(rate @ smooth / (smooth @ smooth))
    return {
        "steroid_nM": table.conc_M * 1e9,
        "tonic_nS": table.tonic_S * 1e9,
        "phasic_nS": table.phasic_S * 1e9,
        "spikes": table.spikes,
        "rate_Hz": rate,
        "relative_rate": rate / untreated,
        "smooth_table": smooth,
        "difference": rate / untreated - smooth,
    }


def _draw(plan, bench, study, curves, exposure, traces, table, scene, arms) -> None:
    firing = _firing(table, study)
    bench.figure(
        "chain",
        figures.chain(exposure, traces, scene, firing, study.transfer, curves, arms),
        "From dose to score in one run: plasma, open probability, current, firing, HAM-D-17.",
    )
    bench.figure(
        "exposure",
        figures.exposure(exposure, shown_schedule(plan.settings.dose)),
        "Infusion rate, total plasma, effect site, and the free-drug extreme.",
    )
    bench.figure(
        "open_probability",
        figures.open_probability(traces),
        "Individual channels (coloured) over the exact mean (black).",
    )
    bench.figure("currents", figures.currents(scene), "Current of one neuron held at -60 mV.")
    bench.figure(
        "firing",
        figures.firing(scene, firing, study.transfer),
        "Voltage of one neuron, and firing against steroid.",
    )
    bench.figure(
        "arms",
        figures.arms(curves, arms),
        "HAM-D-17 change: posterior, published means with 95 % intervals, "
        "and the interval for a new arm.",
    )


def _sections(plan, bench, trials, levels, traces, scene, posterior, arms) -> None:
    kp_eff = exposure_numbers(plan.settings.exposure)["kp_eff"]
    free = f"{levels['free-drug extreme'] * 1e9:.1f} nM"
    top = f"{levels['plateau'] * 1e9:.0f} nM"
    rates = scene["rate_Hz"].mean("neuron").values
    bench.headline(
        "Brexanolone: from infusion to HAM-D",
        "One question through every scale: how does a dose become "
        "a change in mood? Research software; it gives no medical advice.",
    )
    bench.section("The chain", "Every arrow below is computed from the one before it.", ["chain"])
    bench.section(
        "Dose and concentration",
        "Two-compartment population model (Wald 2022) in closed form. Receptors "
        f"are driven with Kp_eff x total plasma plus a local pool ({top} at the top); "
        f"Kp_eff = {kp_eff:g} is assumed here and sampled in the fit. "
        f"If only unbound drug reached them it would be {free}: both extremes are shown throughout.",
        ["exposure"],
    )
    bench.section(
        "Receptors",
        "Synaptic receptors after one release, extrasynaptic receptors at ambient GABA."
        + "".join(f"\n\n{at}: {line}." for at, line in traces.attrs["certificates"].items()),
        ["open_probability"],
        ["inhibition"],
    )
    bench.section(
        "Current and firing",
        f"Mean rate {rates[0]:.1f} Hz before, {rates[1]:.2f} Hz at plateau, "
        f"{rates[2]:.1f} Hz at the free-drug extreme.",
        ["currents", "firing"],
        ["firing"],
    )
    bench.section(
        "Trials",
        f"Fitted to {int(trials.in_fit.sum())} arm means; {posterior.divergences} divergent "
        "transitions. The narrow band is for each arm given its own data, the wide one for a new arm of a "
        f"trial that gave none.\n\n{_outside(arms)}",
        ["arms"],
        ["arms", "free_drug_extreme", "against_constant"]
        + (["own_dose"] if plan.settings.dose.rate is not None else []),
    )
    bench.section(
        "Parameters", _quality(posterior), (), ["parameters", "parameters_without_inferred_times"]
    )


def _outside(arms) -> str:
    """Every published arm mean that its interval misses, by name."""
    said = []
    for name, lo, hi in (
        ("the arm's own interval", "lo95", "hi95"),
        ("the interval for a new arm", "new_arm_lo95", "new_arm_hi95"),
    ):
        missed = [
            f"{arms['trial'][i]} {arms['arm'][i]} at {arms['time_h'][i]:g} h"
            for i, seen in enumerate(arms["observed"])
            if not arms[lo][i] <= seen <= arms[hi][i]
        ]
        said.append(f"Outside {name}: {', '.join(missed) or 'none'}.")
    return " ".join(said)


def _quality(posterior) -> str:
    worst = max(d["r_hat"] for d in posterior.diagnostics.values())
    least = min(min(d["ess_bulk"], d["ess_tail"]) for d in posterior.diagnostics.values())
    text = f"Largest R-hat {worst:.4f}, smallest effective sample size {least:.0f}."
    return (
        text
        if not posterior.problems
        else text + " Limits missed: " + "; ".join(posterior.problems) + "."
    )
