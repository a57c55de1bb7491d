"""Published numbers the fit is held to, each with a verdict; nothing missed is left out.

``met``: our number lies inside the published interval. ``missed``: it does not. ``shown``: no
interval exists. Where a source prints no interval, it is derived from the standard errors of the two arms.
"""

import csv

import numpy as np

from gabatone.inference.evidence.loader import FOLDER, Trials
from gabatone.inference.predict import (
    arm_means,
    compare_with_constant,
    left_out_contrasts,
)
from gabatone.inference.study import Study

Z95 = 1.959963984540054


def score(key, posterior, left_out, study: Study, trials: Trials, table: dict) -> list[dict]:
    """Check entries {id, quantity, unit, published, lo, hi, ours, source, status, verdict}."""
    fitted = arm_means(key, posterior.draws, study, trials).mean(axis=0)
    sd = float(posterior.flat("sd_pooled_points").mean())
    return [
        *_contrasts(fitted, sd, left_out, study, trials),
        *_doses(fitted, sd, trials),
        *_immediate(fitted, sd, trials),
        *_coverage(table),
        *_naive(left_out, study, trials),
    ]


def misses(entries: list[dict]) -> list[str]:
    """One line for each entry with verdict missed."""
    return [
        f"{e['id']}: ours {e['ours']:.3g}, published {e['published']:.3g} "
        f"({e['lo']:.3g} to {e['hi']:.3g}) {e['unit']}"
        for e in entries
        if e["verdict"] == "missed"
    ]


def entry(id, quantity, unit, published, lo, hi, ours, source, status) -> dict:
    """One check entry; the verdict follows from the interval."""
    numbers = [
        None if x is None or not np.isfinite(x) else float(x) for x in (published, lo, hi, ours)
    ]
    published, lo, hi, ours = numbers
    open_ = lo is None or hi is None or ours is None
    verdict = "shown" if open_ else "met" if lo <= ours <= hi else "missed"
    return {
        "id": id,
        "quantity": quantity,
        "unit": unit,
        "published": published,
        "lo": lo,
        "hi": hi,
        "ours": ours,
        "source": source,
        "status": status,
        "verdict": verdict,
    }


def published_intervals() -> dict:
    """(trial, arm, time_h) -> (lo, hi, source) of the contrasts that print an interval that was read."""
    with (FOLDER / "hamd_change.csv").open(newline="", encoding="utf-8") as file:
        return {
            (r["trial"], r["arm"], float(r["time_h"])): (
                float(r["ci95_lo_points"]),
                float(r["ci95_hi_points"]),
                r["source"],
            )
            for r in csv.DictReader(file)
            if r["measure"] == "LS_mean_difference"
            and r["ci95_lo_points"]
            and r["status"] == "read"
        }


def _when(hours) -> str:
    return "day 30" if hours == 696 else f"{hours:g} h"


def _se(row, sd) -> float:
    return sd / np.sqrt(row.n) if row.se is None else row.se


def _contrasts(fitted, sd, left_out, study, trials):
    pairs, observed, predicted = left_out_contrasts(left_out, study, trials)
    printed = published_intervals()
    for k, (d, p) in enumerate(pairs):
        drug, placebo = trials.rows[d], trials.rows[p]
        place = (drug.trial, drug.arm, drug.time_h)
        half = Z95 * np.hypot(_se(drug, sd), _se(placebo, sd))
        lo, hi, source = printed.get(place, (observed[k] - half, observed[k] + half, drug.source))
        status = "read" if place in printed else "derived"
        name = f"{drug.trial}_{drug.arm}_{_when(drug.time_h).replace(' ', '')}"
        what = f"HAM-D, {drug.arm} minus placebo, {drug.trial}, {_when(drug.time_h)}"
        for kind, ours, text in (
            ("fit", fitted[d] - fitted[p], "fitted"),
            ("left_out", float(predicted[:, k].mean()), "trial left out"),
        ):
            yield entry(
                f"contrast_{kind}_{name}",
                f"{what}, {text}",
                "points",
                observed[k],
                lo,
                hi,
                ours,
                source,
                status,
            )


def _doses(fitted, sd, trials):
    """90 against 60 ug/kg/h after the doses differ, fitted arms."""
    at = {(r.trial, r.arm, r.time_h): i for i, r in enumerate(trials.rows)}
    for (trial, arm, hours), i in at.items():
        j = at.get((trial, "BRX60", hours))
        if arm == "BRX90" and j is not None and hours >= 60:
            high, low = trials.rows[i], trials.rows[j]
            gap = high.observed - low.observed
            half = Z95 * np.hypot(_se(high, sd), _se(low, sd))
            yield entry(
                f"dose_{trial}_{_when(hours).replace(' ', '')}",
                f"HAM-D, BRX90 minus BRX60, {trial}, {_when(hours)}, fitted",
                "points",
                gap,
                gap - half,
                gap + half,
                fitted[i] - fitted[j],
                high.source,
                "derived",
            )


def _immediate(fitted, sd, trials):
    rows = [i for i, r in enumerate(trials.rows) if r.time_h == 2 and r.arm == "PBO"]
    for i in rows:
        row = trials.rows[i]
        half = Z95 * _se(row, sd)
        yield entry(
            f"immediate_{row.trial}",
            f"HAM-D fall of placebo by hour 2, {row.trial}, fitted",
            "points",
            row.observed,
            row.observed - half,
            row.observed + half,
            fitted[i],
            row.source,
            "derived",
        )


def _coverage(table):
    """Every observed mean outside one of our intervals by name, and how many lie inside."""
    n = len(table["observed"])
    for kind, words in (("that_arm", "the mean of that arm"), ("new_arm", "a new arm")):
        lo, hi = (table[f"new_arm_{x}95" if kind == "new_arm" else f"{x}95"] for x in ("lo", "hi"))
        inside = [lo[i] <= table["observed"][i] <= hi[i] for i in range(n)]
        for i in range(n):
            if not inside[i]:
                place = f"{table['trial'][i]} {table['arm'][i]} {_when(table['time_h'][i])}"
                # here lo and hi are ours and published lies outside them
                yield entry(
                    f"{kind}_{place.replace(' ', '_')}",
                    f"observed HAM-D change outside our 95 % interval "
                    f"of {words}, {place}; lo and hi are ours",
                    "points",
                    table["observed"][i],
                    lo[i],
                    hi[i],
                    table["predicted_mean"][i],
                    "hamd_change.csv",
                    "derived",
                ) | {"verdict": "missed"}
        yield entry(
            f"{kind}_coverage",
            f"observed arm means inside our 95 % interval of {words}, of {n}",
            "arm means",
            n,
            None,
            None,
            sum(inside),
            "hamd_change.csv",
            "derived",
        )


def _naive(left_out, study, trials):
    for row in compare_with_constant(left_out, study, trials):
        name = row["visits"].replace(",", "").replace(" ", "_")
        yield entry(
            f"constant_effect_{name}",
            f"RMSE of {row['contrasts']} left-out contrasts against a constant "
            f"-4 points ({row['visits']}); hi is the constant's; in standard errors {row['ours_rms_z']:.2f} "
            f"against {row['constant_rms_z']:.2f}",
            "points",
            row["constant_rmse"],
            0.0,
            row["constant_rmse"],
            row["ours_rmse"],
            "hamd_change.csv",
            "derived",
        )
