"""Subunit compositions: names, what each one changes, and the directions that were read."""

import numpy as np
import pytest
from scipy.linalg import expm

from gabatone.experiments.scheme_numbers import Responses
from gabatone.kernels.card import STATUSES
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
from gabatone.kernels.receptor.composition import (
    composition_names,
    load_composition,
    scale_rates,
)
from gabatone.kernels.receptor.reversibility import cycle_ratios
from helpers.law import generator

WANTED = ("a1bg2", "a4bg2", "a4bd", "a5bg2", "a6bd")
NAMES = {
    "a4bd": ["alpha4-beta-delta", "alpha4beta3delta", "α4β2δ", "A4BD", "Alpha4 Beta Delta"],
    "a1bg2": ["alpha1-beta-gamma2", "alpha1beta2gamma2L", "α1β3γ2S"],
    "a6bd": ["alpha6-beta-delta", "a6b2d"],
}


@pytest.fixture(scope="module")
def found():
    """Responses of every composition without steroid."""
    return {name: Responses(load_composition(name).scheme) for name in composition_names()}


def test_the_five_kinds_and_their_places():
    assert set(WANTED) <= set(composition_names())
    place = {name: load_composition(name).place for name in WANTED}
    assert place == {
        "a1bg2": "synaptic",
        "a4bg2": "synaptic",
        "a4bd": "extrasynaptic",
        "a5bg2": "extrasynaptic",
        "a6bd": "extrasynaptic",
    }


@pytest.mark.parametrize("key", NAMES)
def test_many_ways_to_write_a_name(key):
    assert load_composition(key).key == key
    for name in NAMES[key]:
        assert load_composition(name).key == key


@pytest.mark.parametrize(
    ("name", "near"), [("a4bdd", "a4bd"), ("alpha5-beta-gamma3", "a5bg2"), ("alpha4", "a4b")]
)
def test_unknown_names_get_the_nearest(name, near):
    with pytest.raises(BadInput) as caught:
        load_composition(name)
    assert caught.value.field == "composition" and caught.value.value == name
    assert near in caught.value.fix
    with pytest.raises(BadInput, match="steroid"):
        load_composition("a4bd", steroid="progesteron")


@pytest.mark.parametrize("key", composition_names())
def test_every_change_has_a_card_and_a_status(key):
    kind = load_composition(key)
    scaled = [part for part in kind.cards if part.startswith("scale.")]
    base = load_scheme(kind.base)
    assert all(card.source and card.species and card.unit for card in kind.cards.values())
    assert kind.status in STATUSES and kind.place_status in STATUSES and kind.region and kind.why
    # rates that were changed are not passed off as read or fitted
    assert kind.status == ("assumed" if scaled else "derived")
    assert kind.scheme.facts.status == kind.status
    if not scaled:
        assert kind.scheme is base
        return
    assert kind.scheme.name == key
    factor = np.exp(kind.scheme.log_rate - base.log_rate)
    for e, symbol in enumerate(base.facts.symbols):
        card = kind.cards.get(f"scale.{symbol}")
        assert factor[e] == pytest.approx(1.0 if card is None else card.value, rel=1e-12)


@pytest.mark.parametrize("key", composition_names())
def test_cycles_stay_balanced_with_steroid_and_warmth(key):
    kind = load_composition(key)
    product = kind.scheme.with_steroid(kind.steroid).at_temperature(37.0)
    for cycle in cycle_ratios(product):
        assert abs(cycle.ratio - 1) < 1e-9
    q = generator(product, {"GABA": 1e-6, "allopregnanolone": 1e-7})
    law = np.asarray(product.steady_state({"GABA": 1e-6, "allopregnanolone": 1e-7}))
    flux = law[:, None] * q
    np.fill_diagonal(flux, 0.0)
    assert np.abs(flux - flux.T).max() < 1e-12 * flux.max()


def test_steroid_affinity_of_each():
    for key in composition_names():
        kind = load_composition(key)
        other = load_composition(key, steroid="ganaxolone")
        fold = kind.cards["steroid_K"].value
        for steroid in (kind.steroid, other.steroid):
            expected = fold * load_steroid(steroid.name).dissociation_closed_M
            assert float(steroid.dissociation_closed_M) == pytest.approx(expected, rel=1e-12)
    assert other.steroid.ligand == "ganaxolone"


def test_order_of_sensitivity_to_gaba(found):
    # Mortensen et al. 2012 (abstract): alpha6 receptors are the most sensitive to GABA
    ec50 = {name: r.ec50_M() for name, r in found.items()}
    assert min(ec50, key=ec50.get) == "a6bd"
    # native delta receptors: low micromolar (Sun et al. 2021, abstract)
    assert 1e-6 < ec50["a4bd"] < 1e-5
    assert ec50["a4bd"] / ec50["a6bd"] == pytest.approx(10.0, rel=0.02)


def test_alpha4_gamma2_against_alpha1_gamma2(found):
    # Lagrange et al. 2007 (abstract), three directions
    own, other = found["a4bg2"], found["a1bg2"]
    assert own.desensitization(0.1) > other.desensitization(0.1)
    assert own.pulse.weighted_decay_s() > other.pulse.weighted_decay_s()

    def recovered(r):
        """Share of the peak that a second pulse has 0.5 s after a step of 0.5 s."""
        rest, on = r.generator(0.0), r.generator(1e-3)
        p = r.start @ expm(on * 0.5) @ expm(rest * 0.5)
        again = max(float(p @ expm(on * t) @ r.scheme.is_open) for t in np.arange(1, 30) * 1e-4)
        return again / r.step.peak

    assert recovered(own) < 0.95 * recovered(other)


def test_deactivation_quickens_after_withdrawal(found):
    # Smith & Gong 2005 (abstract): slow part 80-140 ms before, 30-100 ms after
    fold = (
        found["a4bg2_withdrawal"].pulse.weighted_decay_s() / found["a1bg2"].pulse.weighted_decay_s()
    )
    assert 30 / 80 < fold < 100 / 140


def test_gain_of_a_saturating_response_at_delta_receptors():
    # PMC4054001 Table 4: 6.7 (SEM 0.7) with 1 uM at alpha4beta2delta; used to set the site
    kind = load_composition("a4bd")
    alone = Responses(kind.scheme)
    drugged = Responses(kind.scheme.with_steroid(kind.steroid), (("allopregnanolone", 1e-6),))
    assert 4.5 < drugged.at_dose(5e-5) / alone.at_dose(5e-5) < 9.0


def test_scaling_by_symbol():
    base = load_scheme("pugh_raman_2005_patch")
    with pytest.raises(BadInput, match="cycle"):
        scale_rates(base, {base.facts.symbols[symbol_in_the_loop(base)]: 2.0})
    with pytest.raises(BadInput, match="rate of pugh_raman_2005_patch"):
        scale_rates(base, {"konn": 2.0})
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadInput, match="factor of"):
            scale_rates(load_scheme("jones_westbrook_1995"), {"kon": factor})


def symbol_in_the_loop(scheme) -> int:
    """Number of a step of the cycle whose symbol no other step has."""
    (cycle,) = cycle_ratios(scheme)
    inside = {scheme.states.index(name) for name in cycle.states}
    return next(
        e
        for e, (i, j) in enumerate(zip(scheme.source, scheme.target, strict=True))
        if i in inside and j in inside and scheme.facts.symbols.count(scheme.facts.symbols[e]) == 1
    )
