"""OUTSIDE: the shipped refit against every target; what it misses is a strict xfail with the distance."""

import jax
import numpy as np
import pytest

from gabatone.inference.calibrate import DELTA
from gabatone.inference.receptor_model import load_refit_steroid
from gabatone.inference.receptor_observables import Subject
from gabatone.inference.receptor_validation import score
from gabatone.inference.targets import load_targets
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.receptor.reversibility import cycle_ratios

TARGETS = {k: t for k, t in load_targets().items() if not k.startswith("curve.")}
HELD = [name for name, t in TARGETS.items() if t.lo is not None or t.hi is not None]
# how far outside the nearer bound, as a share of it
MISSED = {
    "slope_low": -0.132,
    "ec50_whole_cell": 0.591,
    "ec50_oocyte": -0.231,
    "haas_deactivation": -0.083,
    "zhu_fast": -0.409,
    "zhu_peak": 0.261,
    "cooper_decay_75nM": 1.202,
    "cooper_slow_2uM": 0.091,
    "cooper_peak_2uM": 0.401,
    "cooper_rise_2uM": -0.321,
}


def held(name):
    marks = ()
    if name in MISSED:
        reason = f"{TARGETS[name].use}: {MISSED[name]:+.0%} of the nearer bound outside the range"
        marks = pytest.mark.xfail(strict=True, reason=reason, raises=AssertionError)
    return pytest.param(name, marks=marks)


@pytest.fixture(scope="module")
def ours():
    with jax.enable_x64(True):
        subject = Subject(
            load_scheme("refit_synaptic_abg"), load_refit_steroid(), load_scheme(DELTA)
        )
        return score(subject, load_targets())


@pytest.mark.parametrize("name", [held(name) for name in HELD])
def test_target(ours, name):
    t = TARGETS[name]
    assert t.verdict(ours[name]) == "met", f"{ours[name]:.4g} {t.unit}, range {t.lo} to {t.hi}"


@pytest.mark.parametrize("name", list(MISSED))
def test_distance_of_a_miss_is_the_one_stated(ours, name):
    assert TARGETS[name].distance(ours[name]) == pytest.approx(MISSED[name], abs=0.006)


def test_no_calibration_target_but_the_slope_is_missed():
    assert [n for n in MISSED if TARGETS[n].use == "calibration"] == ["slope_low"]


def test_cycles_of_scheme_and_site_are_balanced():
    product = load_refit_steroid().product(load_scheme("refit_synaptic_abg"))
    assert max(abs(c.ratio - 1) for c in cycle_ratios(product)) < 1e-9
    assert np.all(np.isfinite(product.log_rate))
