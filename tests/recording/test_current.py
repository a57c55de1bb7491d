"""Driving force: the constant-field equation written out, its limits, and Nernst."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import constants

from gabatone.kernels.card import read_cards
from gabatone.kernels.drive.ligand import Pulse
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.recording.current import (
    SOLUTION_CARDS,
    ConstantField,
    Ohmic,
    Solutions,
    current_pA,
    load_solutions,
)

levels = st.floats(1.0, 200.0)


def flux_pA(solutions, holding_mV, permeability=1.0):
    """The flux equation as printed, for each ion by itself, in arbitrary units."""
    kelvin = solutions.temperature_C + 273.15
    u = constants.value("Faraday constant") * holding_mV * 1e-3 / (constants.R * kelvin)
    total = 0.0
    for inside, outside, p in (
        (solutions.chloride_in_mM, solutions.chloride_out_mM, 1.0),
        (
            solutions.bicarbonate_in_mM,
            solutions.bicarbonate_out_mM,
            solutions.bicarbonate_permeability,
        ),
    ):
        total += permeability * p * u * (inside - outside * np.exp(u)) / (1.0 - np.exp(u))
    return total


@settings(max_examples=12)
@given(levels, levels, levels, levels, st.floats(0.0, 1.0), st.floats(0.0, 40.0))
def test_the_current_is_the_flux_equation_with_the_slope_at_reversal_set_to_one(
    ci, co, bi, bo, p, celsius
):
    solutions = Solutions(ci, co, celsius, bi, bo, p)
    holding = np.array([-97.3, -61.7, -20.1, 13.3, 58.9])
    ours = np.asarray(ConstantField(solutions).force_mV(holding))
    # the slope of the flux at reversal, by the derivative of the printed equation
    u = float(solutions.reversal_mV) / float(solutions.thermal_mV)
    inside, outside = ci + p * bi, co + p * bo
    if abs(u) > 0.02:
        slope = -u * outside * np.exp(u) / (1.0 - np.exp(u)) / float(solutions.thermal_mV)
        np.testing.assert_allclose(ours, flux_pA(solutions, holding) / slope, rtol=1e-8, atol=1e-8)
    assert np.sign(ours[0]) == -1 or -97.3 > float(solutions.reversal_mV)
    np.testing.assert_allclose(np.exp(u), inside / outside, rtol=1e-12)


@settings(max_examples=12)
@given(levels, st.floats(-150.0, 150.0), st.floats(0.0, 40.0))
def test_equal_solutions_are_ohmic(level, holding, celsius):
    same = ConstantField(Solutions(level, level, celsius))
    assert float(same.force_mV(holding)) == pytest.approx(holding, abs=1e-10)


@settings(max_examples=12)
@given(levels, levels, st.floats(0.0, 40.0))
def test_chloride_alone_reverses_at_nernst(inside, outside, celsius):
    found = Solutions(inside, outside, celsius).reversal_mV
    kelvin = celsius + 273.15
    nernst = 1e3 * constants.R * kelvin / constants.value("Faraday constant")
    assert float(found) == pytest.approx(nernst * np.log(inside / outside), abs=1e-9)


@settings(max_examples=12)
@given(levels, levels, st.floats(0.1, 1.0))
def test_the_slope_at_the_reversal_is_the_conductance(inside, outside, p):
    field = ConstantField(Solutions(inside, outside, 25.0, 15.0, 25.0, p))
    rest = field.solutions.reversal_mV
    assert float(jax.grad(lambda v: field.force_mV(v))(rest)) == pytest.approx(1.0, abs=1e-9)
    assert float(field.force_mV(rest)) == pytest.approx(0.0, abs=1e-9)


def test_more_chloride_outside_lets_more_current_out():
    # outward rectification of an anion channel with little chloride inside
    field = ConstantField(load_solutions())
    rest = field.solutions.reversal_mV
    up, down = (float(field.force_mV(rest + d)) for d in (50.0, -50.0))
    assert up > 50.0 > -down > 0.0


def test_bicarbonate_pulls_the_reversal_above_chloride():
    mixed = load_solutions()
    alone = Solutions(mixed.chloride_in_mM, mixed.chloride_out_mM, mixed.temperature_C)
    assert float(mixed.reversal_mV) > float(alone.reversal_mV) + 5.0
    # written out from the cards: 26.73 mV ln((5 + 0.18 16) / (133.5 + 0.18 26))
    assert float(mixed.reversal_mV) == pytest.approx(-76.551, abs=1e-3)
    assert all(card.firm for card in read_cards(SOLUTION_CARDS).values())


def test_a_trace_and_its_conductance_give_the_same_current():
    trace = simulate(
        jax.random.key(1),
        load_scheme("jones_westbrook_1995"),
        Pulse(1e-3, 0.0, 1e-3),
        n=20,
        t1_s=5e-3,
        save_s=1e-3,
    )
    found = current_pA(trace, -60.0, Ohmic(0.0))
    np.testing.assert_allclose(found, trace.current_pA(-60.0, 0.0))
    np.testing.assert_allclose(found, current_pA(trace.conductance_S * 1e12, -60.0, Ohmic(0.0)))
    # one open channel of 27 pS at -60 mV
    assert float(current_pA(27.0, -60.0, Ohmic(0.0))) == pytest.approx(-1.62)


def test_holding_and_concentrations_are_differentiable():
    def at(inside):
        return ConstantField(Solutions(inside, 133.5, 37.0)).force_mV(-60.0)

    step = 1e-5
    numeric = (at(5.0 + step) - at(5.0 - step)) / (2 * step)
    assert float(jax.grad(at)(5.0)) == pytest.approx(float(numeric), rel=1e-6)
    assert np.isfinite(jax.grad(lambda v: ConstantField(load_solutions()).force_mV(v))(0.0))


@pytest.mark.parametrize(
    "values",
    [(0.0, 130.0, 25.0), (5.0, -1.0, 25.0), (5.0, np.nan, 25.0), (5.0, 130.0, -300.0)],
)
def test_bad_solutions_are_refused(values):
    with pytest.raises(BadInput, match="Solutions"):
        Solutions(*values)


def test_float32_keeps_six_digits():
    wide = np.asarray(ConstantField(load_solutions()).force_mV(np.array([-60.0, 0.0, 40.0])))
    with jax.enable_x64(False):
        narrow = ConstantField(load_solutions()).force_mV(np.array([-60.0, 0.0, 40.0]))
        assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, wide, rtol=2e-6)
