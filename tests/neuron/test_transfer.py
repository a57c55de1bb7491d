"""The smooth link from steroid to firing: exact where it can be, its errors bounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gabatone.kernels.errors import Failure
from gabatone.kernels.neuron.population import fire, load_population
from gabatone.kernels.neuron.release import load_inhibition
from gabatone.kernels.neuron.transfer import FiringTable, build_transfer, potentiate
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid

LIGAND, UNTREATED_NM = "allopregnanolone", 4.0
LEVELS_NM = np.array([0, 4, 15, 30, 50, 80, 120, 250, 1000, 10000.0])
HELD_OUT_NM = np.array([8, 22, 40, 65, 100, 160.0])


@pytest.fixture(scope="module")
def inhibition():
    steroid = load_steroid()
    return load_inhibition(
        *(
            load_scheme(name).at_temperature(37.0).with_steroid(steroid)
            for name in ("default_synaptic_abg_mwc", "default_extrasynaptic_abd_mwc")
        )
    )


@pytest.fixture(scope="module")
def mean_firing(inhibition):
    """Firing of many neurons under the exact mean conductance at any level, same excitation."""
    population = load_population("traub_miles", 700)

    def rate(levels_nM):
        total = potentiate(inhibition, LIGAND, levels_nM * 1e-9).total_S
        spikes = [
            np.asarray(
                fire(
                    jax.random.key(0),
                    population,
                    jnp.full((40_000, 700), g, jnp.float32),
                    step_s=1e-4,
                    discard_s=0.25,
                ).spike_count
            ).sum()
            for g in total
        ]
        return FiringTable(
            levels_nM * 1e-9, total, total * 0, np.array(spikes, float), 700 * 3.75, "mean"
        )

    return rate


@pytest.fixture(scope="module")
def transfer(inhibition, mean_firing):
    return build_transfer(inhibition, LIGAND, UNTREATED_NM * 1e-9, mean_firing(LEVELS_NM))


def test_receptor_part_of_the_table_is_the_scheme_to_half_a_percent(inhibition, transfer):
    levels_nM = np.concatenate([np.geomspace(0.3, 9900, 120), [0.0, 1.0, 3.9]])
    exact = potentiate(inhibition, LIGAND, levels_nM * 1e-9).total_S
    table = np.exp(np.asarray(transfer.log_conductance(levels_nM)))
    assert np.abs(table / exact - 1).max() < 0.005


def test_neuron_part_of_the_table_holds_at_levels_it_never_saw(transfer, mean_firing):
    untreated = mean_firing(np.array([UNTREATED_NM])).rate_Hz[0]
    simulated = mean_firing(HELD_OUT_NM).rate_Hz / untreated
    assert np.abs(np.asarray(transfer(HELD_OUT_NM)) - simulated).max() < 0.005


def test_untreated_is_one_and_firing_falls(transfer):
    assert float(transfer(UNTREATED_NM)) == pytest.approx(1.0, abs=1e-6)
    assert np.all(np.diff(np.asarray(transfer(np.linspace(0, 12_000, 3000)))) <= 1e-9)
    assert float(transfer(1e6)) == float(transfer(LEVELS_NM[-1]))


def test_gradient_is_finite_and_does_not_jump_at_knots(transfer):
    slope = jax.vmap(jax.grad(lambda c: transfer(c)))
    knots_nM = 20.0 * np.expm1(np.asarray(transfer.knots)[1:-1])
    left, right = (
        slope(jnp.asarray(knots_nM * (1 - 1e-9))),
        slope(jnp.asarray(knots_nM * (1 + 1e-9))),
    )
    assert bool(jnp.all(jnp.isfinite(left)))
    assert float(jnp.abs(left - right).max()) < 1e-8


def test_silent_neurons_are_a_named_failure(inhibition):
    table = FiringTable(LEVELS_NM * 1e-9, LEVELS_NM, LEVELS_NM, np.zeros(10), 10.0, "mean")
    with pytest.raises(Failure, match="silent_neurons"):
        build_transfer(inhibition, LIGAND, 4e-9, table)
