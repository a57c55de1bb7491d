"""No link is decoration: cut any arrow of the chain and predicted HAM-D moves."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.handlers import seed, substitute

from gabatone.experiments.chain import build_chain_study, build_tissue, read_trials, tabulate
from gabatone.experiments.plan import read_plan
from gabatone.inference.model import design, mean_change, prior_medians, sample_parameters
from gabatone.kernels.body.dosing import Schedule
from gabatone.kernels.neuron.release import load_inhibition
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid

ARM = ("202B", "BRX90", 60.0)
SMALL = [
    "neurons.number=24",
    "neurons.duration=1.5 s",
    'neurons.levels=["0 nM", "4 nM", "15 nM", "30 nM", "60 nM", "120 nM", "250 nM", "1000 nM"]',
]


def settings_with(*overrides):
    return read_plan("brexanolone", overrides=[*SMALL, *overrides]).settings


def firing(tissue, settings):
    return tabulate(jax.random.key(0), tissue, settings)


def score(settings, tissue, table, *, draw_changes=None, **regimens):
    """HAM-D change of one drug arm at 60 h with every fitted parameter at its prior median."""
    trials = read_trials(settings.fit)
    study = build_chain_study(tissue, table, trials, settings, **regimens)
    data = design(study, trials)
    sites = prior_medians(study, trials.settings, data)
    draw = seed(substitute(sample_parameters, sites), jax.random.key(0))(
        study, trials.settings, data
    )
    draw = {**draw, **(draw_changes or {})}
    change = np.asarray(mean_change(draw, study, trials.settings, data))
    row = [(r.trial, r.arm, r.time_h) for r in trials.rows].index(ARM)
    return float(change[row])


@pytest.fixture(scope="module")
def whole():
    settings = settings_with()
    tissue = build_tissue(settings)
    table = firing(tissue, settings)
    return settings, tissue, table, score(settings, tissue, table)


def swapped(tissue, synaptic=None, extrasynaptic=None, **changes):
    old = tissue.inhibition
    new = load_inhibition(synaptic or old.synaptic, extrasynaptic or old.extrasynaptic, **changes)
    return eqx.tree_at(lambda t: t.inhibition, tissue, new)


def test_drug_helps_in_the_whole_chain(whole):
    settings, tissue, table, intact = whole
    none = Schedule("none", [0.0], [60.0], [0.0])
    assert intact < score(settings, tissue, table, BRX90=none) - 2.0


def test_cut_dose_to_plasma(whole):
    settings, tissue, table, intact = whole
    assert (
        abs(score(settings, tissue, table, BRX90=Schedule("none", [0.0], [60.0], [0.0])) - intact)
        > 2.0
    )


def test_cut_plasma_to_receptor_site(whole):
    settings, tissue, table, intact = whole
    assert (
        abs(score(settings, tissue, table, draw_changes={"kp_eff": jnp.asarray(0.0)}) - intact)
        > 2.0
    )


def test_cut_steroid_to_kinetics(whole):
    settings, tissue, _, intact = whole
    inert = eqx.tree_at(lambda s: (s.c_open, s.c_desensitized), load_steroid(), (1.0, 1.0))
    deaf = swapped(
        tissue,
        *(
            load_scheme(name).at_temperature(37.0).with_steroid(inert)
            for name in (settings.receptor.synaptic, settings.receptor.extrasynaptic)
        ),
    )
    table = firing(deaf, settings)
    # nothing depends on the steroid any more, so firing against inhibition has no slope to fit
    assert np.ptp(table.tonic_S) < 0.02 * table.tonic_S.mean()
    assert np.ptp(table.spikes) < 0.1 * table.spikes.mean()


@pytest.mark.parametrize(
    "changes", [{"n_extrasynaptic": 1}, {"n_extrasynaptic": 1, "n_synapses": 1}]
)
def test_cut_kinetics_to_conductance(whole, changes):
    settings, tissue, whole_table, _ = whole
    table = firing(swapped(tissue, **changes), settings)
    fall = table.spikes[-1] / table.spikes[1]
    assert fall > 10 * (whole_table.spikes[-1] / whole_table.spikes[1] + 0.005)


def test_cut_conductance_to_firing(whole):
    settings, tissue, table, intact = whole
    # GABA that reverses far above threshold excites: the same conductance no longer silences
    excited = eqx.tree_at(lambda t: t.population.gaba_reversal_V, tissue, -0.045)
    flipped = firing(excited, settings)
    assert flipped.spikes[-1] > 5 * max(table.spikes[-1], 1)


def test_cut_firing_to_symptom(whole):
    settings, tissue, table, intact = whole
    assert (
        abs(score(settings, tissue, table, draw_changes={"gain": jnp.asarray(0.0)}) - intact) > 2.0
    )
    flat = eqx.tree_at(
        lambda t: t.spikes, table, np.linspace(1.001, 1.0, len(table.spikes)) * table.spikes[1]
    )
    assert abs(score(settings, tissue, flat) - intact) > 2.0


def test_master_in_place_of_channels_leaves_the_score(whole):
    settings, tissue, _, intact = whole
    mean = settings_with("receptor.engine=master")
    table = firing(tissue, mean)
    assert table.engine == "Master"
    # 0.15 points is the scatter of the score between seeds at this small number of neurons
    assert abs(score(mean, tissue, table) - intact) < 0.15


@pytest.mark.parametrize(
    "override",
    [
        "receptor.synaptic=jones_westbrook_1995",
        "receptor.ambient_gaba=1 uM",
        "receptor.steroid=ganaxolone",
        # below some 600 nM the drug saturates the receptors all the same
        "exposure.local_pool=700 nM",
    ],
)
def test_changing_a_link_moves_firing_or_score(whole, override):
    _, _, table, intact = whole
    settings = settings_with(override)
    tissue = build_tissue(settings)
    other = firing(tissue, settings)
    moved = np.abs(other.spikes - table.spikes).max() > 0.02 * table.spikes.max()
    assert moved or abs(score(settings, tissue, other) - intact) > 0.02
