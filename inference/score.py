"""Published numbers the fit is held to, each with a verdict; nothing missed is left out.

``met``: our number lies inside the published interval. ``missed``: it does not. ``shown``: no
interval exists. Where a source prints no interval, it is derived from the standard errors of the two arms.
"""

import csv

import numpy as np
from gabatone.inference.evidence.loader import FOLDER, Trials
from gabatone.inference.predict import arm_means, compare_with_constant, drug_minus_placebo, left_out_contrasts
from gabatone.inference.study import Study

Z95 = 1.959963984540054


def score(key, posterior, left_out, study: Study, trials: Trials, table: dict) -> list[dict]:
    """Check entries {id, quantity, unit, published, lo, hi, ours, source, status, verdict}."""
    return [*_contrasts(key, posterior, left_out, study, trials), *_doses(key, posterior, study, trials),
            *_immediate(key, posterior, study, trials), *_coverage(table),
            *_naive(left_out, study, trials)]


def misses(entries: list[dict]) -> list[str]:
    """One line for each entry with verdict missed."""
    return [f"{e['id']}: ours {e['ours']:.3g}, published {e['published']:.3g} "
            f"({e['lo']:.3g} to {e['hi']:.3g}) {e['unit']}" for e in entries if e["verdict"] == "missed"]


def entry(id, quantity, unit, published, lo, hi, ours, source, status) -> dict:
    """One check entry; the verdict follows from the interval."""
    numbers = [None if x is None or not np.isfinite(x) else float(x) for x in (published, lo, hi, ours)]
    published, lo, hi, ours = numbers
    open_ = lo is None or hi is None or ours is None
    verdict = "shown" if open_ else "met" if lo <= ours <= hi else "missed"
    return {"id": id, "quantity": quantity, "unit": unit, "published": published, "lo": lo, "hi": hi,
            "ours": ours, "source": source, "status": status, "verdict": verdict}


def published_intervals() -> dict:
    """(trial, arm, time_h) -> (lo, hi, source) of the contrasts that print an interval that was read."""
    with (FOLDER / "hamd_change.csv").open(newline="", encoding="utf-8") as file:
        return {(r["trial"], r["arm"], float(r["time_h"])):
                (float(r["ci95_lo_points"]), float(r["ci95_hi_points"]), r["source"])
                for r in csv.DictReader(file)
                if r["measure"] == "LS_mean_difference" and r["ci95_lo_points"] and r["status"] == "read"}


def _when(hours) -> str:
    return "day 30" if hours == 696 else f"{hours:g} h"


def _contrasts(key, posterior, left_out, study, trials):
    pairs, observed, predicted = left_out_contrasts(left_out, study, trials)
    fitted = arm_means(key, posterior.draws, study, trials)
    sd = float(posterior.flat("sd_pooled_points").mean())
    printed = published_intervals()
    for k, (d, p) in enumerate(pairs):
        drug, placebo = trials.rows[d], trials.rows[p]
        place = (drug.trial, drug.arm, drug.time_h)
        half = Z95 * np.hypot(*(sd / np.sqrt(r.n) if r.se is None else r.se for r in (drug, placebo)))
        lo, hi, source = printed.get(place, (observed[k] - half, observed[k] + half, drug.source))
        status = "read" if place in printed else "derived"
        name = f"{drug.trial}_{drug.arm}_{_when(drug.time_h).replace(' ', '')}"
        what = f"HAM-D, {drug.arm} minus placebo, {drug.trial}, {_when(drug.time_h)}"
        for kind, ours, text in (("fit", float((fitted[:, d] - fitted[:, p]).mean()), "fitted"),
                                 ("left_out", float(predicted[:, k].mean()), "trial left out")):
            yield entry(f"contrast_{kind}_{name}", f"{what}, {text}", "points", observed[k], lo, hi, ours,
                        source, status)


def _doses(key, posterior, study, trials):
    """90 against 60 ug/kg/h: the fitted arms, and the part that exposure explains."""
    at = {(r.trial, r.arm, r.time_h): i for i, r in enumerate(trials.rows)}
    fitted = arm_means(key, posterior.draws, study, trials)
    for (trial, arm, hours), i in at.items():
        j = at.get((trial, "BRX60", hours))
        if arm == "BRX90" and j is not None and hours >= 60:
            high, low = trials.rows[i], trials.rows[j]
            gap = high.observed - low.observed
            half = Z95 * np.hypot(high.se, low.se)
            yield entry(f"dose_{trial}_{_when(hours).replace(' ', '')}",
                        f"HAM-D, BRX90 minus BRX60, {trial}, {_when(hours)}, fitted", "points", gap, gap - half,
                        gap + half, float((fitted[:, i] - fitted[:, j]).mean()), high.source, "derived")


def _immediate(key, posterior, study, trials):
    fitted = arm_means(key, posterior.draws, study, trials).mean(axis=0)
    rows = [i for i, r in enumerate(trials.rows) if r.time_h == 2 and r.arm == "PBO"]
    for i in rows:
        row = trials.rows[i]
        yield entry(f"immediate_{row.trial}", f"HAM-D fall of placebo by hour 2, {row.trial}, fitted", "points",
                    row.observed, row.observed - Z95 * row.se, row.observed + Z95 * row.se, fitted[i],
                    row.source, "derived")


def _coverage(table):
    n = len(table["observed"])
    for kind, lo, hi in (("that_arm", "lo95", "hi95"), ("new_arm", "new_arm_lo95", "new_arm_hi95")):
        for i in range(n):
            if not table[lo][i] <= table["observed"][i] <= table[hi][i]:
                place = f"{table['trial'][i]} {table['arm'][i]} {_when(table['time_h'][i])}"
                # published is the observed mean; the interval is ours, so the verdict is set here
                yield entry(f"{kind}_{place.replace(' ', '_')}", f"observed HAM-D change outside our 95 % interval, "
                            f"{kind.replace('_', ' ')}, {place}", "points", table["observed"][i], table[lo][i],
                            table[hi][i], table["predicted_mean"][i], "hamd_change.csv", "derived") \
                    | {"verdict": "missed"}
    inside = [sum(table[lo][i] <= table["observed"][i] <= table[hi][i] for i in range(n))
              for lo, hi in (("new_arm_lo95", "new_arm_hi95"),)]
    yield entry("new_arm_coverage", f"arm means inside the 95 % interval of a new arm, of {n}", "arm means",
                0.95 * n, None, None, inside[0], "hamd_change.csv", "derived")


def _naive(left_out, study, trials):
    for row in compare_with_constant(left_out, study, trials):
        name = row["visits"].replace(",", "").replace(" ", "_")
        yield entry(f"constant_effect_{name}", f"RMSE of {row['contrasts']} left-out contrasts against a constant "
                    f"-4 points ({row['visits']}); hi is the constant's", "points", row["constant_rmse"], 0.0,
                    row["constant_rmse"], row["ours_rmse"], "hamd_change.csv", "derived")
