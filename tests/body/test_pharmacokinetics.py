import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.linalg import expm

from gabatone.kernels.body.dosing import Schedule, load_schedule
from gabatone.kernels.body.pharmacokinetics import (
    BREXANOLONE,
    BrexanolonePopulation,
    TwoCompartment,
    amounts_ug,
    area_ng_h_per_mL,
    load_brexanolone_population,
    plasma_ng_per_mL,
)
from gabatone.kernels.errors import BadInput
from helpers.statistics import assert_detects, assert_z

POPULATION = load_brexanolone_population()
TYPICAL = POPULATION.typical(82.9)
TIME_H = np.array([0.0, 0.3, 2.0, 4.0, 13.7, 24.0, 41.0, 52.0, 56.0, 60.0, 61.0, 90.0, 300.0])


def reference_amounts(model, schedule, weight_kg, time_h):
    """Amounts by matrix exponentials from break to break, the input as a third constant state."""
    cl, v1, q, v2 = (
        float(x)
        for x in (
            model.clearance_L_per_h,
            model.central_volume_L,
            model.intercompartmental_clearance_L_per_h,
            model.peripheral_volume_L,
        )
    )
    intervals = list(
        zip(
            np.asarray(schedule.start_h),
            np.asarray(schedule.stop_h),
            np.asarray(schedule.rate_ug_per_kg_h),
            strict=True,
        )
    )

    def at(time):
        state, now = np.array([0.0, 0.0, 1.0]), 0.0
        stops = [b for b in np.union1d(schedule.breaks_h, [time]) if 0 < b <= time]
        for stop in stops:
            middle = 0.5 * (now + stop)
            rate = sum(r * weight_kg for a, b, r in intervals if a <= middle < b)
            flow = [[-(cl + q) / v1, q / v2, rate], [q / v1, -q / v2, 0.0], [0.0, 0.0, 0.0]]
            state = expm(np.array(flow) * (stop - now)) @ state
            now = stop
        return state[:2]

    return np.array([at(t) for t in time_h]).T


@pytest.mark.parametrize("name", ["BRX90", "BRX60", "PBO"])
def test_closed_form_against_matrix_exponential(name):
    schedule = load_schedule(name)
    ours = np.array(amounts_ug(TYPICAL, schedule, 82.9, TIME_H))
    theirs = reference_amounts(TYPICAL, schedule, 82.9, TIME_H)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


logs = st.floats(-2.0, 2.0)


@settings(max_examples=40)
@given(
    st.tuples(logs, logs, logs, logs),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 20), st.floats(0, 200)), max_size=4),
    st.floats(30, 150),
)
def test_closed_form_for_any_kinetics_and_schedule(log10, infusions, weight_kg):
    model = TwoCompartment(*(10.0 ** np.array(log10)))
    ends = np.cumsum([x for gap, length, _ in infusions for x in (gap, length)])
    schedule = Schedule("any", ends[0::2], ends[1::2], [rate for *_, rate in infusions])
    ours = np.array(amounts_ug(model, schedule, weight_kg, TIME_H))
    theirs = reference_amounts(model, schedule, weight_kg, TIME_H)
    # an amount that has all but left is the reference's own rounding
    scale = float(schedule.total_dose_ug_per_kg) * weight_kg
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-11 * scale + 1e-12)
    assert np.all(ours >= 0)


def test_a_wrong_clearance_is_found():
    schedule = load_schedule("BRX90")
    wrong = POPULATION.typical(82.9 * 1.001)
    ours = np.array(amounts_ug(wrong, schedule, 82.9, TIME_H[1:]))
    assert not np.allclose(ours, reference_amounts(TYPICAL, schedule, 82.9, TIME_H[1:]), rtol=1e-5)


def test_nothing_before_the_start_and_splitting_changes_nothing():
    whole = Schedule("whole", [5.0], [15.0], [40.0])
    halves = Schedule("halves", [5.0, 9.0], [9.0, 15.0], [40.0, 40.0])
    one, two = (plasma_ng_per_mL(TYPICAL, s, 70.0, TIME_H) for s in (whole, halves))
    np.testing.assert_allclose(one, two, rtol=1e-13)
    assert np.all(np.asarray(one)[TIME_H <= 5.0] == 0)


def test_area_is_the_integral_of_the_curve():
    schedule = load_schedule("BRX90")

    def curve(t):
        return float(plasma_ng_per_mL(TYPICAL, schedule, 82.9, np.array([t]))[0])

    for stop in (3.0, 60.0, 80.0):
        pieces = [0.0, *[b for b in schedule.breaks_h if 0 < b < stop], stop]
        area = sum(
            quad(curve, a, b, epsrel=1e-10)[0] for a, b in zip(pieces, pieces[1:], strict=False)
        )
        ours = float(area_ng_h_per_mL(TYPICAL, schedule, 82.9, np.array([stop]))[0])
        np.testing.assert_allclose(ours, area, rtol=1e-9)
    forever = float(area_ng_h_per_mL(TYPICAL, schedule, 82.9, np.array([np.inf]))[0])
    np.testing.assert_allclose(forever, 4200 * 82.9 / 89.8, rtol=1e-12)


def test_float32_is_enough():
    exact = np.asarray(plasma_ng_per_mL(TYPICAL, load_schedule("BRX90"), 82.9, TIME_H))
    with jax.enable_x64(False):
        single = load_brexanolone_population().typical(82.9)
        ours = plasma_ng_per_mL(single, load_schedule("BRX90"), 82.9, TIME_H.astype(np.float32))
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, exact, rtol=2e-5, atol=1e-6)


def test_gradient_against_differences():
    schedule = load_schedule("BRX90")

    def total(log_parameters):
        model = TwoCompartment(*jnp.exp(log_parameters))
        return jnp.sum(plasma_ng_per_mL(model, schedule, 82.9, TIME_H))

    at = jnp.log(jnp.array([89.8, 117.0, 37.9, 470.0]))
    ours = np.asarray(jax.jit(jax.grad(total))(at))
    h = 1e-5
    slope = [(total(at + h * e) - total(at - h * e)) / (2 * h) for e in jnp.eye(4)]
    np.testing.assert_allclose(ours, np.asarray(slope), rtol=1e-7)


def test_many_subjects_at_once_as_by_vmap():
    schedule = load_schedule("BRX60")
    weight = jnp.linspace(50.0, 120.0, 7)
    batch = POPULATION.sample(jax.random.key(3), 7, weight)
    together = plasma_ng_per_mL(batch, schedule, weight, TIME_H)
    mapped = jax.vmap(plasma_ng_per_mL, (0, None, 0, None))(
        batch, schedule, weight, jnp.asarray(TIME_H)
    )
    assert together.shape == (7, TIME_H.size)
    np.testing.assert_allclose(together, mapped, rtol=1e-14)


def test_weight_scales_clearance_and_volume():
    heavy = POPULATION.typical(2 * 82.9)
    np.testing.assert_allclose(heavy.clearance_L_per_h / TYPICAL.clearance_L_per_h, 2**0.75)
    np.testing.assert_allclose(heavy.peripheral_volume_L / TYPICAL.peripheral_volume_L, 2.0)


def log_moments_z(model, population):
    """z of both means, both variances and the covariance of the log parameters."""
    typical = population.typical(82.9)
    x = np.log(np.asarray(model.clearance_L_per_h / typical.clearance_L_per_h))
    y = np.log(np.asarray(model.central_volume_L / typical.central_volume_L))
    vx, vy = population.log_clearance_variance, population.log_central_volume_variance
    cxy, n = population.log_clearance_volume_covariance, x.size
    return np.sqrt(n) * np.array(
        [
            x.mean() / np.sqrt(vx),
            y.mean() / np.sqrt(vy),
            ((x**2).mean() - vx) / (np.sqrt(2) * vx),
            ((y**2).mean() - vy) / (np.sqrt(2) * vy),
            ((x * y).mean() - cxy) / np.sqrt(vx * vy + cxy**2),
        ]
    )


def test_spread_between_women():
    women = POPULATION.sample(jax.random.key(11), 20_000)
    assert_z(log_moments_z(women, POPULATION), "log clearance and volume moments")
    cards = {f: getattr(POPULATION, f) for f in POPULATION.__dataclass_fields__}
    cards["log_clearance_volume_covariance"] = 0.0
    apart = BrexanolonePopulation(**cards).sample(jax.random.key(11), 20_000)
    assert_detects(log_moments_z(apart, POPULATION), "clearance and volume drawn apart")


def test_a_woman_does_not_depend_on_how_many_are_drawn():
    few, many = (POPULATION.sample(jax.random.key(5), n) for n in (3, 50))
    np.testing.assert_array_equal(few.central_volume_L, many.central_volume_L[:3])


@pytest.mark.parametrize("weight", [0.0, -70.0, np.nan, np.inf])
def test_a_bad_weight_is_named(weight):
    for use in (
        lambda: POPULATION.typical(weight),
        lambda: plasma_ng_per_mL(TYPICAL, load_schedule("BRX90"), weight, TIME_H),
    ):
        with pytest.raises(BadInput, match="weight_kg = "):
            use()


def test_bad_kinetics_and_cards_are_named(tmp_path):
    with pytest.raises(BadInput, match="central_volume_L = -1.0: must be above 0"):
        TwoCompartment(1.0, -1.0, 1.0, 1.0)
    with pytest.raises(BadInput, match=r"time_h\[1\] = nan"):
        plasma_ng_per_mL(TYPICAL, load_schedule("BRX90"), 70.0, np.array([0.0, np.nan]))
    path = tmp_path / "mine.toml"
    path.write_text(BREXANOLONE.read_text().replace("[molar_mass]", "[mass]"))
    with pytest.raises(BadInput, match="mine.toml: molar_mass"):
        load_brexanolone_population(path)
    path.write_text(BREXANOLONE.read_text().replace("value = 0.106", "value = 1.06"))
    with pytest.raises(BadInput, match="not positive definite"):
        load_brexanolone_population(path)
