import types

import jax
import numpy as np
import pytest

from gabatone.inference.arviz_data import from_groups, to_arviz
from gabatone.inference.model import covariances, design, masked
from gabatone.inference.predict import (
    COLUMNS,
    arm_means,
    compare_with_constant,
    drug_minus_placebo,
    new_arms,
    predict_arms,
    predict_curves,
    structural,
    summary,
    thin,
)
from gabatone.inference.score import misses, published_intervals, score
from gabatone.kernels.errors import BadInput
from helpers.statistics import assert_consistent

KEY = jax.random.key(7)


@pytest.fixture(scope="module")
def table(posterior, left_out, study, trials):
    return predict_arms(KEY, posterior, left_out, study, trials)


@pytest.fixture(scope="module")
def entries(posterior, left_out, study, trials, table):
    return score(KEY, posterior, left_out, study, trials, table)


def test_arm_table_has_the_stated_columns(table):
    assert tuple(table) == COLUMNS
    assert {len(column) for column in table.values()} == {26}
    rows = list(zip(table["trial"], table["arm"], table["time_h"], strict=True))
    assert rows == sorted(rows)


def test_intervals_are_ordered_and_a_new_arm_is_less_certain(table):
    lo, mean, hi = (np.array(table[n]) for n in ("lo95", "predicted_mean", "hi95"))
    assert np.all(lo < mean) and np.all(mean < hi)
    new = np.array(table["new_arm_hi95"]) - np.array(table["new_arm_lo95"])
    assert np.all(new > hi - lo)
    assert np.all(np.array(table["se"]) > 0)


def test_arm_mean_is_the_conditional_mean(posterior, study, trials):
    data = design(study, trials)
    draw = {name: value[0] for name, value in posterior.draws.items()}
    n = 4000
    same = {name: np.repeat(np.asarray(value)[None], n, axis=0) for name, value in draw.items()}
    ours = arm_means(KEY, same, study, trials)
    sampling, residual = (np.asarray(x) for x in covariances(draw, data))
    mean = structural({k: v[:1] for k, v in same.items()}, study, trials)[0]
    weight = residual @ np.linalg.inv(np.asarray(masked(sampling + residual, np.ones(26, bool))))
    centre = mean + weight @ (data.observed - mean)
    sd = np.sqrt(np.diag(residual - weight @ residual))
    assert_consistent(z=(ours.mean(axis=0) - centre) / (sd / np.sqrt(n)), name="conditional mean")
    ratio = ours.var(axis=0, ddof=1) / sd**2
    assert_consistent(z=(ratio - 1) / np.sqrt(2 / n), name="conditional variance")


def test_new_arm_has_all_three_kinds_of_spread(posterior, study, trials):
    data = design(study, trials)
    n = 4000
    same = {k: np.repeat(np.asarray(v)[:1], n, axis=0) for k, v in posterior.draws.items()}
    ours = new_arms(KEY, same, study, trials)
    sampling, residual = covariances({k: v[0] for k, v in same.items()}, data)
    ratio = ours.var(axis=0, ddof=1) / np.diag(sampling + residual)
    assert_consistent(z=(ratio - 1) / np.sqrt(2 / n), name="new-arm variance")


def test_curves_agree_with_the_arms_at_the_visits(posterior, study, trials):
    course = predict_curves(posterior, study, trials, n_draws=50)
    at_visits = structural(thin(posterior.draws, 50), study, trials).mean(axis=0)
    for i, row in enumerate(trials.rows):
        at = np.flatnonzero(course["time_h"] == row.time_h)[0]
        np.testing.assert_allclose(course[f"{row.trial} {row.arm}"]["mean"][at], at_visits[i])


def test_summary_has_a_row_for_each_scalar(posterior):
    rows = summary(posterior)
    assert {r["parameter"] for r in rows} == set(posterior.diagnostics)
    assert all(r["lo95"] < r["median"] < r["hi95"] for r in rows)


def test_contrasts_pair_drug_and_placebo(trials):
    pairs = drug_minus_placebo(trials)
    assert len(pairs) == 15
    for d, p in pairs:
        drug, placebo = trials.rows[d], trials.rows[p]
        assert (drug.trial, drug.time_h, placebo.arm) == (placebo.trial, placebo.time_h, "PBO")


def test_printed_intervals_are_the_read_ones():
    assert {place: value[:2] for place, value in published_intervals().items()} == {
        ("202B", "BRX60", 60.0): (-8.8, -2.2),
        ("202B", "BRX90", 60.0): (-6.9, -0.5),
        ("202C", "BRX90", 60.0): (-4.5, -0.5),
    }


def test_entries_have_the_fields_and_honest_verdicts(entries):
    fields = {
        "id",
        "quantity",
        "unit",
        "published",
        "lo",
        "hi",
        "ours",
        "source",
        "status",
        "verdict",
    }
    assert len({e["id"] for e in entries}) == len(entries)
    for e in entries:
        assert set(e) == fields
        assert e["verdict"] in ("met", "missed", "shown")
        if e["id"].startswith(("contrast", "dose", "immediate")):
            assert (e["verdict"] == "met") == (e["lo"] <= e["ours"] <= e["hi"]), e
    known = {e["id"]: e for e in entries}
    for name, published in {
        "202B_BRX60_60h": -5.5,
        "202B_BRX90_60h": -3.7,
        "202C_BRX90_60h": -2.5,
        "202B_BRX60_day30": -5.63,
        "202B_BRX90_day30": -3.8,
        "202C_BRX90_day30": 0.54,
    }.items():
        for kind in ("fit", "left_out"):
            np.testing.assert_allclose(known[f"contrast_{kind}_{name}"]["published"], published)


def test_every_miss_is_named(entries, table):
    lines = misses(entries)
    assert len(lines) == sum(e["verdict"] == "missed" for e in entries)
    outside = sum(
        not lo <= y <= hi
        for y, lo, hi in zip(
            table["observed"], table["new_arm_lo95"], table["new_arm_hi95"], strict=True
        )
    )
    assert outside == sum(line.startswith("new_arm_") for line in lines)


def test_the_constant_effect_is_scored_beside_ours(left_out, study, trials):
    rows = compare_with_constant(left_out, study, trials)
    assert [r["visits"] for r in rows] == ["all", "onset to 8 h", "60 h", "day 30"]
    assert sum(r["contrasts"] for r in rows[1:]) == rows[0]["contrasts"] == 15
    onset = rows[1]
    # near 0 at onset, where a constant effect claims 4 points
    assert onset["ours_rmse"] < 0.5 * onset["constant_rmse"]


def test_predictions_need_every_left_out_fit(posterior, left_out, study, trials):
    fewer = {name: one for name, one in left_out.items() if name != "202C"}
    with pytest.raises(BadInput, match="202C"):
        predict_arms(KEY, posterior, fewer, study, trials)
    with pytest.raises(BadInput, match="left_out"):
        compare_with_constant({name: posterior for name in trials.names}, study, trials)


def test_arviz_data_has_the_groups_and_labels(posterior, study, trials, tmp_path):
    predictive = new_arms(KEY, posterior.draws, study, trials)
    data = to_arviz(posterior, trials, predictive)
    assert data["posterior"]["gain"].shape == posterior.samples["gain"].shape
    assert list(data["posterior"]["latent_arm"].values) == ["202A PBO", "202A BRX90"]
    assert data["posterior_predictive"]["change"].dims == ("chain", "draw", "row")
    assert int(data["sample_stats"]["diverging"].sum()) == posterior.divergences
    np.testing.assert_array_equal(
        data["observed_data"]["change"], [r.observed for r in trials.rows]
    )


@pytest.mark.parametrize("version, nested", [("0.23.4", False), ("1.2.0", True)])
def test_arviz_is_called_in_the_form_of_its_version(version, nested):
    seen = {}

    def from_dict(*args, **kwargs):
        seen.update(args=args, kwargs=kwargs)

    groups = {"posterior": {"gain": np.zeros((1, 2))}}
    from_groups(
        types.SimpleNamespace(__version__=version, from_dict=from_dict), groups, {"dims": {}}
    )
    assert seen["args"] == ((groups,) if nested else ())
    assert ("posterior" in seen["kwargs"]) != nested
