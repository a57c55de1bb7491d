"""The receptor refit: every published observable before and after, calibration and validation apart."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

import jax
import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field

from gabatone.experiments import refit_figures, refit_files
from gabatone.experiments.checks import Check
from gabatone.experiments.plan import SettingsTable
from gabatone.inference.calibrate import DELTA, Problem, optimise
from gabatone.inference.calibrate import FILE as JUDGEMENTS
from gabatone.inference.receptor_model import TOPOLOGIES, free_numbers, numbers_at
from gabatone.inference.receptor_observables import Subject
from gabatone.inference.receptor_posterior import predict, sample
from gabatone.inference.receptor_validation import score, steroid_trade_off
from gabatone.inference.targets import load_targets
from gabatone.kernels.card import read_cards
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid

__all__ = ["CHAIN", "QUICK", "Settings", "run"]

CHAIN = ("optima", "scores", "posterior", "predicted", "trade_off")
SITE_GRID = {
    "c_desensitized": (0.1, 0.22, 0.6, 1.0),
    "phi_open": (0.0, 0.5, 1.0),
    "phi_desensitized": (0.0, 0.5, 1.0),
}
BEFORE = "default_synaptic_abg_mwc"
Name = Literal[
    "one_open", "own_last_site", "two_open", "third_site", "two_open_own", "third_site_own"
]
Count = Annotated[int, Field(ge=1)]


class FitSettings(SettingsTable):
    """Topologies that are fitted, calibration rows left out of the fit, and the work of each fit."""

    topologies: Annotated[tuple[Name, ...], Field(min_length=1)]
    leave_out: tuple[str, ...] = ()
    starts: Count
    steps: Count


class PosteriorSettings(SettingsTable):
    """The topology whose posterior is drawn, and the size of that."""

    topology: Name
    warmup: Count
    samples: Annotated[int, Field(ge=8)]
    chains: Count


class Settings(SettingsTable):
    """Settings of the receptor refit."""

    fit: FitSettings
    posterior: PosteriorSettings


QUICK = {
    "fit.topologies": ["third_site_own"],
    "fit.starts": 1,
    "fit.steps": 40,
    "posterior.warmup": 20,
    "posterior.samples": 20,
    "posterior.chains": 1,
}


def run(plan, bench) -> None:
    """Fit, compare and sample; fill the bench."""
    settings, key = plan.settings, jax.random.key(plan.seed)
    chosen = settings.posterior.topology
    if chosen not in settings.fit.topologies:
        raise BadInput(
            "posterior.topology",
            chosen,
            "is not among fit.topologies",
            f"use one of {list(settings.fit.topologies)}",
        )
    targets = load_targets()
    problems = {
        name: Problem(TOPOLOGIES[name], targets, settings.fit.leave_out)
        for name in settings.fit.topologies
    }
    options = {"starts": settings.fit.starts, "steps": settings.fit.steps, "throw": not plan.quick}
    optima = {
        name: bench.stage(
            f"optima.{name}", lambda name=name: optimise(key, problems[name], **options)
        )
        for name in problems
    }
    bench.stage("optima", lambda: list(optima))
    scores = bench.stage("scores", lambda: _scores(targets, problems, optima))
    drawn = bench.stage(
        "posterior",
        lambda: sample(
            key,
            problems[chosen],
            optima[chosen],
            warmup=settings.posterior.warmup,
            samples=settings.posterior.samples,
            chains=settings.posterior.chains,
            throw=not plan.quick,
        ),
    )
    seen = bench.stage("predicted", lambda: predict(problems[chosen], drawn.z))
    traded = bench.stage("trade_off", lambda: _trade_off(problems[chosen], optima[chosen]))
    _report(bench, chosen, targets, problems, optima, scores, drawn, seen, traded)


def _trade_off(problem, optimum) -> dict:
    """Steroid observables over a grid of c_desensitized and the two shares, all else as fitted."""
    rows = [
        dict(zip(SITE_GRID, values, strict=True))
        for values in itertools.product(*SITE_GRID.values())
    ]
    with jax.enable_x64(True):
        subject = problem.subject(optimum.z)
    found = steroid_trade_off(subject, rows)
    return {name: np.array([row[name] for row in rows]) for name in SITE_GRID} | found


def _scores(targets, problems, optima) -> dict:
    """Every target's observable for the default and each fitted scheme; two at a time, since each compiles."""
    subjects = {BEFORE: Subject(load_scheme(BEFORE), load_steroid(), load_scheme(DELTA))}
    with jax.enable_x64(True):
        subjects |= {name: problems[name].subject(optima[name].z) for name in problems}
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda subject: score(subject, targets), subjects.values())
        return dict(zip(subjects, found, strict=True))


def _report(bench, chosen, targets, problems, optima, scores, drawn, seen, traded) -> None:
    shown = {name: t for name, t in targets.items() if not name.startswith("curve.")}
    rows = target_rows(shown, scores, chosen, seen)
    bench.table(
        "targets",
        pd.DataFrame(rows),
        "Every target before (default scheme and steroid site) and after; the interval is 90 % of the "
        "posterior for what was fitted.",
    )
    bench.table(
        "topologies",
        pd.DataFrame(topology_rows(shown, optima, scores)),
        "Loss and verdicts of each topology.",
    )
    bench.table(
        "by_topology", pd.DataFrame(_wide(shown, scores)), "Each target under each topology."
    )
    bench.table(
        "parameters",
        pd.DataFrame(parameter_rows(problems[chosen], optima[chosen], drawn)),
        "Free numbers: prior, optimum and posterior. learned = 1 - posterior sd / prior sd of the "
        "coordinate: near 0, the data said nothing.",
    )
    bench.table(
        "trade_off",
        pd.DataFrame(traded),
        "Steroid observables when only c_desensitized and the two shares are changed: ec50_ratio and "
        "delta_gain are calibration, the rest validation.",
    )
    for check in checks_of(shown, scores, chosen):
        bench.check(check)
    for name, free in free_numbers(TOPOLOGIES[chosen]).items():
        bench.card(free.card, f"prior.{name}")
    for name, card in read_cards(JUDGEMENTS).items():
        bench.card(card, f"refit.{name}")
    bench.posterior(_groups(drawn))
    numbers = {k: float(v) for k, v in numbers_at(TOPOLOGIES[chosen], optima[chosen].z).items()}
    scheme, steroid = refit_files.texts(TOPOLOGIES[chosen], numbers)
    bench.directory.write_text("tables/refit_scheme.toml", scheme)
    bench.directory.write_text("tables/refit_steroid.toml", steroid)
    bench.figure(
        "curve", refit_figures.curve(targets, problems, optima), "Deactivation after 2 ms of 10 mM."
    )
    bench.figure(
        "doses", refit_figures.doses(problems, optima), "Peak of a 0.5 s step against GABA."
    )
    bench.figure("verdicts", refit_figures.verdicts(rows), "Ours over published, before and after.")
    _sections(bench, chosen, rows, optima, drawn)


def target_rows(targets, scores, chosen, seen) -> list[dict]:
    """One row per target: published, before, after, verdicts and distances from the range."""
    rows = []
    for name, t in targets.items():
        before, after = scores[BEFORE][name], scores[chosen][name]
        low, high = np.quantile(seen[name], (0.05, 0.95)) if name in seen else (np.nan, np.nan)
        rows.append(
            {
                "id": name,
                "use": t.use,
                "quantity": t.quantity,
                "unit": t.unit,
                "published": np.nan if t.value is None else t.value,
                "error": np.nan if t.error is None else t.error,
                "lo": np.nan if t.lo is None else t.lo,
                "hi": np.nan if t.hi is None else t.hi,
                "before": before,
                "after": after,
                "post_q05": low,
                "post_q95": high,
                "verdict_before": t.verdict(before),
                "verdict_after": t.verdict(after),
                "off_before": t.distance(before),
                "off_after": t.distance(after),
                "protocol": t.protocol,
                "temperature_C": t.temperature_C,
                "source": t.source,
                "status": t.status,
            }
        )
    return rows


def topology_rows(targets, optima, scores) -> list[dict]:
    """One row per scheme: loss, starts, and how many targets of each use are met."""
    rows = []
    for name, found in scores.items():
        row = {"scheme": name, "loss": np.nan, "starts_within_half": 0, "gradient": np.nan}
        if name in optima:
            best = optima[name]
            row["loss"] = best.loss
            row["starts_within_half"] = int((best.losses < best.loss + 0.5).sum())
            row["gradient"] = float(np.min(best.gradients))
        for use in ("calibration", "validation"):
            held = [t.verdict(found[k]) for k, t in targets.items() if t.use == use]
            row[f"{use}_met"], row[f"{use}_missed"] = held.count("met"), held.count("missed")
        rows.append(row)
    return rows


def _wide(targets, scores) -> list[dict]:
    return [
        {"id": k, "use": t.use, "lo": t.lo, "hi": t.hi} | {n: s[k] for n, s in scores.items()}
        for k, t in targets.items()
    ]


def parameter_rows(problem, optimum, drawn) -> list[dict]:
    """One row per free number: prior median and factor, optimum, posterior quantiles, what was learned."""
    with jax.enable_x64(True):
        best = {k: float(v) for k, v in numbers_at(problem.topology, optimum.z).items()}
    rows = []
    for k, (name, free) in enumerate(free_numbers(problem.topology).items()):
        q = np.quantile(drawn.samples[name], (0.05, 0.5, 0.95))
        rows.append(
            {
                "number": name,
                "unit": free.card.unit,
                "prior_median": free.card.value,
                "prior_sd": free.spread,
                "scale": free.scale,
                "optimum": best[name],
                "q05": q[0],
                "median": q[1],
                "q95": q[2],
                "learned": 1 - float(drawn.z[..., k].std()),
                "r_hat": drawn.diagnostics[name]["r_hat"],
                "ess": min(
                    drawn.diagnostics[name]["ess_bulk"], drawn.diagnostics[name]["ess_tail"]
                ),
            }
        )
    return rows


def checks_of(targets, scores, chosen) -> list[Check]:
    """Each target before and after as a check; its use stands in the id and in the quantity."""
    return [
        Check(
            f"{t.use}.{name}.{when}",
            f"{t.quantity} ({t.use}, {when} the refit)",
            t.unit,
            t.value,
            t.lo,
            t.hi,
            scores[which][name],
            f"{t.source}: {t.where_seen}",
            t.status,
        )
        for name, t in targets.items()
        for when, which in (("before", BEFORE), ("after", chosen))
    ]


def _groups(drawn) -> dict:
    dims = ("chain", "draw")
    return {
        "posterior": xr.Dataset({name: (dims, value) for name, value in drawn.samples.items()}),
        "sample_stats": xr.Dataset(
            {
                "diverging": (dims, drawn.diverging),
                "acceptance_rate": (dims, drawn.accept),
                "n_steps": (dims, drawn.leapfrog_steps),
            }
        ),
    }


def _sections(bench, chosen, rows, optima, drawn) -> None:
    def names(use, when, verdict):
        found = [r["id"] for r in rows if r["use"] == use and r[f"verdict_{when}"] == verdict]
        return ", ".join(found) or "none"

    bench.headline(
        "Refit of the synaptic receptor and the steroid site",
        "Fitted to numbers seen in sources; each target before and after, what was fitted and what was "
        "not told apart. Research software; it gives no medical advice.",
    )
    bench.section(
        "Before and after",
        f"Fitted topology: {chosen}.\n\nCalibration, missed before: "
        f"{names('calibration', 'before', 'missed')}; after: {names('calibration', 'after', 'missed')}."
        f"\n\nValidation, missed before: {names('validation', 'before', 'missed')}; after: "
        f"{names('validation', 'after', 'missed')}.",
        ["verdicts", "curve", "doses"],
        ["targets"],
    )
    said = "; ".join(f"{n}: {', '.join(o.problems)}" for n, o in optima.items() if o.problems)
    bench.section(
        "Topologies",
        "A variant is worth its extra numbers where its loss is lower by more than they cost. "
        f"Convergence: {said or 'every fit converged'}.",
        (),
        ["topologies", "by_topology"],
    )
    bench.section(
        "What one site cannot do",
        "A peak that falls needs steroid that speeds entry into desensitized states; a large shift of "
        "the EC50 needs desensitized states it favours little. The table shows both over a grid.",
        (),
        ["trade_off"],
    )
    bench.section(
        "Posterior",
        f"{int(drawn.diverging.sum())} divergent transitions. "
        f"Limits missed: {'; '.join(drawn.problems) or 'none'}.",
        (),
        ["parameters"],
    )
