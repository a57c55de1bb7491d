from pathlib import Path

import jax
import numpy as np
import pytest

from gabatone.kernels import body
from gabatone.kernels.body.dosing import load_schedule
from gabatone.kernels.body.pharmacokinetics import load_brexanolone_population, plasma_ng_per_mL
from gabatone.kernels.card import read_cards
from gabatone.kernels.drive.exposure import expose, nanomolar
from gabatone.kernels.errors import BadInput

POPULATION = load_brexanolone_population()
CARDS = read_cards(Path(body.__file__).parent / "cards" / "exposure.toml")
TIME_H = np.array([0.0, 24.0, 52.0, 60.0, 200.0])
NORMAL = {
    "weight_kg": 82.9,
    "time_h": TIME_H,
    "kp_eff": CARDS["kp_eff"].value,
    "local_pool_nM": CARDS["local_pool"].value,
    "unbound_fraction": CARDS["unbound_fraction"].value,
    "molar_mass_g_per_mol": POPULATION.molar_mass_g_per_mol,
}


def exposure(schedule="BRX90", **changes):
    return expose(POPULATION.typical(82.9), load_schedule(schedule), **{**NORMAL, **changes})


def test_each_concentration_follows_from_plasma():
    got = exposure(kp_eff=2.0)
    plasma = plasma_ng_per_mL(POPULATION.typical(82.9), load_schedule("BRX90"), 82.9, TIME_H)
    np.testing.assert_array_equal(got.plasma_ng_per_mL, plasma)
    np.testing.assert_allclose(got.plasma_nM, plasma / 318.5 * 1000, rtol=1e-14)
    np.testing.assert_allclose(got.effect_site_nM, 2 * got.plasma_nM + 4.0, rtol=1e-14)
    np.testing.assert_allclose(got.free_nM, 0.01 * got.plasma_nM, rtol=1e-14)


def test_without_drug_only_the_local_pool_is_left():
    got = exposure("PBO")
    assert np.all(np.asarray(got.plasma_nM) == 0)
    assert np.all(np.asarray(got.effect_site_nM) == CARDS["local_pool"].value)


def test_ng_per_mL_as_nM():
    np.testing.assert_allclose(nanomolar(78.0, 318.5), 244.9, atol=0.05)


def test_many_women_and_traced_numbers():
    women = POPULATION.sample(jax.random.key(0), 4)
    got = expose(women, load_schedule("BRX60"), **NORMAL)
    assert got.effect_site_nM.shape == (4, TIME_H.size)
    slope = jax.jit(jax.jacobian(lambda kp: exposure(kp_eff=kp).effect_site_nM))(1.0)
    np.testing.assert_allclose(slope, exposure().plasma_nM, rtol=1e-12)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weight_kg", 0.0),
        ("weight_kg", -1.0),
        ("kp_eff", -0.1),
        ("kp_eff", np.nan),
        ("local_pool_nM", -4.0),
        ("unbound_fraction", 1.5),
        ("molar_mass_g_per_mol", 0.0),
    ],
)
def test_bad_numbers_are_named(field, value):
    with pytest.raises(BadInput) as caught:
        exposure(**{field: value})
    assert caught.value.field == field


def test_a_negative_concentration_is_named():
    with pytest.raises(BadInput, match=r"conc_ng_per_mL\[1\] = -2.0"):
        nanomolar(np.array([1.0, -2.0]), 318.5)


def test_assumed_numbers_say_so():
    assert {CARDS[name].status for name in ("kp_eff", "local_pool", "ambient_gaba")} == {"assumed"}
    assert CARDS["unbound_fraction"].status == "read"
    low, high = CARDS["ambient_gaba_low"].value, CARDS["ambient_gaba_high"].value
    assert low <= CARDS["ambient_gaba"].value <= high
