"""Temperature: transition-state theory step by step, balanced cycles, and what a file may say."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import constants

from gabatone.experiments.scheme_numbers import Responses
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid, scheme_names
from gabatone.kernels.receptor.reversibility import cycle_ratios
from gabatone.kernels.receptor.summary import summarise
from gabatone.kernels.receptor.temperature import (
    Enthalpies,
    activation_from_q10,
    enthalpies_from_q10,
    eyring_log_speed,
    pairs_of,
    q10_from_activation,
)
from helpers.schemes import reversible_schemes, write_scheme

R = constants.R / 1000
T0 = 23.0 + 273.15
STATES = [("C", "closed"), ("A", "closed"), ("O", "open"), ("D", "desensitized")]
LOOP = [
    ("C", "A", 1e6, "GABA"),
    ("A", "C", 100.0),
    ("A", "O", 500.0),
    ("O", "A", 200.0),
    ("O", "D", 30.0),
    ("D", "O", 10.0),
    ("D", "A", 20.0),
    ("A", "D", 150.0),
]


def step(edge, **more):
    start, stop, value, ligand = (*edge, "")[:4]
    unit = "M^-1 s^-1" if ligand else "s^-1"
    return {"from": start, "to": stop, "value": value, "ligand": ligand, "unit": unit, **more}


def write(tmp_path, changes=None, heights=None, edges=LOOP):
    """The loop scheme with further keys on some transitions and enthalpies of some states."""
    rows = [step(edge, **(changes or {}).get(k, {})) for k, edge in enumerate(edges)]
    path = write_scheme(tmp_path / "mine.toml", STATES, rows)
    text = path.read_text()
    for name, value in (heights or {}).items():
        text = text.replace(
            f'name = "{name}"\n', f'name = "{name}"\nenthalpy_kJ_per_mol = {value}\n'
        )
    path.write_text(text)
    return path


def with_enthalpies(scheme, state, barrier):
    own = Enthalpies(np.array(state), np.array(barrier), pairs_of(scheme.source, scheme.target)[0])
    return eqx.tree_at(lambda s: s.enthalpies, scheme, own, is_leaf=lambda x: x is None)


numbers = st.floats(-150.0, 150.0)


@settings(max_examples=40)
@given(made=reversible_schemes(), draw=st.data(), celsius=st.floats(0.0, 45.0))
def test_rates_are_those_of_eyring(made, draw, celsius):
    # rates at both temperatures from free energies with k_B, h and entropies written out
    base = made.scheme
    pair, pairs = pairs_of(base.source, base.target)
    height = np.array([draw.draw(numbers) for _ in base.states])
    barrier = np.array([draw.draw(numbers) for _ in pairs])
    start = np.array(base.source)

    def rate(kelvin, entropy):
        free = barrier[list(pair)] - height[start] - kelvin * entropy
        return np.log(constants.k * kelvin / constants.h) - free / (R * kelvin)

    # entropies of activation that give the scheme its rates at 23 C
    entropy = R * (base.log_rate - rate(T0, np.zeros(len(start))))
    np.testing.assert_allclose(rate(T0, entropy), base.log_rate, rtol=1e-9, atol=1e-9)
    warm = with_enthalpies(base, height, barrier).at_temperature(celsius)
    kelvin = celsius + 273.15
    np.testing.assert_allclose(warm.log_rate, rate(kelvin, entropy), rtol=1e-9, atol=1e-9)
    for cycle in cycle_ratios(warm):
        assert abs(np.log(cycle.ratio)) < 1e-8
    # van 't Hoff: the law at equilibrium follows the enthalpies of the states
    cold = np.log(made.equilibrium(1e-6))
    expected = cold - height / R * (1 / kelvin - 1 / T0)
    expected = np.exp(expected - expected.max())
    levels = {"GABA": 1e-6} if "GABA" in base.ligand_names else {}
    np.testing.assert_allclose(
        warm.steady_state(levels), expected / expected.sum(), rtol=1e-7, atol=1e-12
    )


def test_the_path_between_temperatures_does_not_matter(tmp_path):
    scheme = load_scheme(write(tmp_path, heights={"A": -20.0, "O": 35.5, "D": 3.0}))
    direct = scheme.at_temperature(37.0)
    around = scheme.at_temperature(5.0).at_temperature(41.0).at_temperature(37.0)
    np.testing.assert_allclose(around.log_rate, direct.log_rate, rtol=1e-12)
    assert direct.facts.temperature_C == 37.0 and "enthalpies" in direct.facts.temperature
    np.testing.assert_allclose(
        direct.at_temperature(23.0).log_rate, scheme.log_rate, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", scheme_names())
def test_without_numbers_of_its_own_a_scheme_keeps_the_exact_q10_law(name):
    scheme = load_scheme(name)
    assert scheme.enthalpies is None
    warm = scheme.at_temperature(37.0)
    speed = 2.4 ** ((37.0 - scheme.facts.temperature_C) / 10)
    np.testing.assert_allclose(np.exp(warm.log_rate - scheme.log_rate), speed, rtol=1e-12)
    before, after = cycle_ratios(scheme), cycle_ratios(warm)
    assert [c.states for c in before] == [c.states for c in after]
    np.testing.assert_allclose([c.ratio for c in after], [c.ratio for c in before], rtol=1e-10)


def test_the_q10_read_as_an_enthalpy():
    height = activation_from_q10(2.4, 23.0)
    assert abs(height - 63.5) < 0.05
    assert abs(q10_from_activation(height, 23.0) - 2.4) < 1e-12
    # how far it falls behind the power law, as documented
    for celsius, percent in ((34.0, 0.3), (37.0, 1.5)):
        lag = 1 - np.exp(eyring_log_speed(height, 23.0, celsius)) / 2.4 ** ((celsius - 23) / 10)
        assert abs(100 * lag - percent) < 0.05


def test_each_step_has_its_own_q10_over_ten_degrees(tmp_path):
    # on the loop, forward and reverse share a Q10, so that it stays balanced
    own = {0: 1.5, 1: 3.2, 2: 4.0, 3: 4.0, 6: 2.0, 7: 2.0}
    path = write(tmp_path, {k: {"q10": v} for k, v in own.items()})
    scheme = load_scheme(path)
    warm = scheme.at_temperature(33.0)
    expected = [own.get(k, 2.4) for k in range(8)]
    np.testing.assert_allclose(np.exp(warm.log_rate - scheme.log_rate), expected, rtol=1e-12)
    # binding of GABA has an enthalpy of its own now: affinity falls with temperature
    tables = summarise(warm)
    heights = {s["name"]: s["enthalpy_kJ_per_mol"] for s in tables["states"]}
    assert heights["C"] == 0 and heights["A"] < 0 and heights["O"] == pytest.approx(heights["A"])
    assert tables["transitions"][2]["activation_kJ_per_mol"] == pytest.approx(
        activation_from_q10(4.0, 23.0)
    )
    assert "enthalpy_kJ_per_mol" not in summarise(load_scheme("jones_westbrook_1995"))["states"][0]


def test_q10s_that_unbalance_a_cycle_are_refused(tmp_path):
    with pytest.raises(BadInput) as caught:
        load_scheme(write(tmp_path, {2: {"q10": 3.0}}))
    error = caught.value
    assert error.field.startswith("mine.toml: q10 around cycle ")
    assert sorted(error.field.rsplit(" ", 1)[1].split("-")) == ["A", "D", "O"]
    assert max(error.value, 1 / error.value) == pytest.approx(3.0 / 2.4)
    # the same numbers, made up for by another step of the cycle
    scheme = load_scheme(write(tmp_path, {2: {"q10": 3.0}, 7: {"q10": 3.0}}))
    for celsius in (5.0, 40.0):
        (cycle,) = cycle_ratios(scheme.at_temperature(celsius))
        assert abs(cycle.ratio - 1) < 1e-10


def test_any_q10s_do_for_a_tree():
    scheme = load_scheme("default_synaptic_abg_mwc")
    q10 = np.linspace(1.2, 4.0, len(scheme.source))
    own = enthalpies_from_q10(scheme.states, scheme.source, scheme.target, q10, 23.0)
    scheme = eqx.tree_at(lambda s: s.enthalpies, scheme, own, is_leaf=lambda x: x is None)
    warm = scheme.at_temperature(33.0)
    np.testing.assert_allclose(np.exp(warm.log_rate - scheme.log_rate), q10, rtol=1e-12)


def test_enthalpies_from_a_file(tmp_path):
    heights = {"C": 0.0, "A": -30.0, "O": 12.0}
    barrier = {2: {"barrier_enthalpy_kJ_per_mol": 70.0}}
    scheme = load_scheme(write(tmp_path, barrier, heights))
    default = activation_from_q10(2.4, 23.0)
    found = scheme.enthalpies.activation_kJ_per_mol(scheme.source)
    middle = (0.0 - 30.0) / 2 + default
    np.testing.assert_allclose(found[:4], [middle, middle + 30, 100.0, 58.0], rtol=1e-12)
    # D has the zero of the scale, and a barrier as high above the middle as the default
    np.testing.assert_allclose(found[4:6], [default - 6.0, default + 6.0], rtol=1e-12)
    (cycle,) = cycle_ratios(scheme.at_temperature(37.0))
    assert abs(cycle.ratio - 1) < 1e-10
    # a Q10 given in the call takes the place of them all
    given = scheme.at_temperature(33.0, q10=3.0)
    np.testing.assert_allclose(np.exp(given.log_rate - scheme.log_rate), 3.0, rtol=1e-12)


BAD_FILES = {
    "Q10 of 0": ({2: {"q10": 0.0}}, {}, "transitions[2].q10", "above 0"),
    "negative Q10": ({2: {"q10": -1.0}}, {}, "transitions[2].q10", "above 0"),
    "infinite Q10": ({2: {"q10": float("inf")}}, {}, "transitions[2].q10", "finite"),
    "NaN Q10": ({2: {"q10": float("nan")}}, {}, "transitions[2].q10", "finite"),
    "text Q10": ({2: {"q10": "fast"}}, {}, "transitions[2].q10", "not a number"),
    "infinite state": ({}, {"O": "inf"}, "states[2].enthalpy_kJ_per_mol", "finite"),
    "NaN state": ({}, {"O": "nan"}, "states[2].enthalpy_kJ_per_mol", "finite"),
    "infinite barrier": (
        {4: {"barrier_enthalpy_kJ_per_mol": float("inf")}},
        {},
        "transitions[4].barrier_enthalpy_kJ_per_mol",
        "finite",
    ),
    "two heights of one barrier": (
        {2: {"barrier_enthalpy_kJ_per_mol": 60.0}, 3: {"barrier_enthalpy_kJ_per_mol": 61.0}},
        {},
        "transitions[3].barrier_enthalpy_kJ_per_mol",
        "both directions",
    ),
    "both ways": ({2: {"q10": 3.0}}, {"O": 10.0}, "transitions[2].q10", "either"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_temperature_keys(tmp_path, case):
    changes, heights, field, word = BAD_FILES[case]
    with pytest.raises(BadInput, match=re.escape(field)) as caught:
        load_scheme(write(tmp_path, changes, heights))
    assert caught.value.field == f"mine.toml: {field}" and word in str(caught.value)


@pytest.mark.parametrize("q10", [0.0, -2.4, float("nan"), float("inf")])
def test_a_q10_is_finite_and_positive(q10):
    with pytest.raises(BadInput, match="q10"):
        load_scheme("jones_westbrook_1995").at_temperature(34.0, q10=q10)
    with pytest.raises(BadInput, match="q10"):
        activation_from_q10(q10, 23.0)


def test_gradients_by_enthalpies(tmp_path):
    scheme = load_scheme(write(tmp_path, heights={"A": -20.0, "O": 15.0}))

    def po(own):
        warm = eqx.tree_at(lambda s: s.enthalpies, scheme, own).at_temperature(37.0)
        return warm.open_probability(warm.steady_state({"GABA": 3e-5}))

    def rate(own):
        warm = eqx.tree_at(lambda s: s.enthalpies, scheme, own).at_temperature(37.0)
        return warm.generator({"GABA": 3e-5})[1, 2]

    own = jax.tree.map(jnp.asarray, scheme.enthalpies)
    slopes = jax.jit(lambda o: (jax.grad(po)(o), jax.grad(rate)(o)))(own)
    for k, (quantity, field) in enumerate(((po, "state_kJ_per_mol"), (rate, "barrier_kJ_per_mol"))):
        slope = getattr(slopes[k], field)
        values = np.asarray(getattr(own, field))
        for n in range(len(values)):
            moved = [
                quantity(
                    eqx.tree_at(
                        lambda o, field=field: getattr(o, field),
                        own,
                        values + h * (np.arange(len(values)) == n),
                    )
                )
                for h in (-0.02, -0.01, 0.01, 0.02)
            ]
            expected = (8 * (moved[2] - moved[1]) - (moved[3] - moved[0])) / 0.12
            np.testing.assert_allclose(slope[n], expected, rtol=1e-6, atol=1e-9)
        assert float(jnp.abs(slope).max()) > 1e-4
    # at equilibrium only states matter
    assert float(jnp.abs(slopes[0].barrier_kJ_per_mol).max()) < 1e-15


def test_steroid_binding_warms_with_the_rest(tmp_path):
    scheme = load_scheme(write(tmp_path, heights={"A": -20.0, "O": 15.0, "D": 7.0}))
    steroid = load_steroid()
    product = scheme.with_steroid(steroid)
    warm = product.at_temperature(33.0)
    for cycle in cycle_ratios(warm):
        assert abs(cycle.ratio - 1) < 1e-9
    speed = dict(
        zip(
            zip(warm.source, warm.target, strict=True),
            warm.log_rate - product.log_rate,
            strict=True,
        )
    )
    base = scheme.at_temperature(33.0).log_rate - scheme.log_rate
    for e, (i, j) in enumerate(zip(scheme.source, scheme.target, strict=True)):
        for m in range(3):
            np.testing.assert_allclose(speed[i + 4 * m, j + 4 * m], base[e], rtol=1e-10)
    for i in range(8):
        for way in ((i, i + 4), (i + 4, i)):
            np.testing.assert_allclose(speed[way], np.log(2.4), rtol=1e-10)


@pytest.fixture(scope="module")
def warm_pulse():
    """The default synaptic scheme at 34 C after 1 mM for 1 ms."""
    return Responses(load_scheme("default_synaptic_abg_mwc").at_temperature(34.0)).pulse


# synaptic currents of dentate granule cells at 34-35 C, one exponential: Otis & Mody 1992
IPSC_DECAY_S = (4.2e-3, 7.2e-3)


def test_decay_of_synaptic_currents_at_34_degrees(warm_pulse):
    assert IPSC_DECAY_S[0] < warm_pulse.decay_s() < IPSC_DECAY_S[1]


@pytest.mark.xfail(strict=True, reason="amplitude-weighted decay is 23 ms against 4.2 to 7.2")
def test_weighted_decay_of_synaptic_currents_at_34_degrees(warm_pulse):
    assert IPSC_DECAY_S[0] < warm_pulse.weighted_decay_s() < IPSC_DECAY_S[1]
