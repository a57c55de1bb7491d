"""Receptors of model neurons: individual channels against the mean, releases, stationary law."""

import jax
import numpy as np
import pytest

from gabatone.kernels.engine.channels import Channels
from gabatone.kernels.engine.master import Master
from gabatone.kernels.errors import BadInput
from gabatone.kernels.neuron.release import load_inhibition, open_conductance_S, release_steps
from gabatone.kernels.neuron.synapse import phasic_conductance_S, tonic_conductance_S
from gabatone.kernels.neuron.transfer import potentiate
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
from helpers.statistics import assert_detects, assert_z

STEROID = {"allopregnanolone": 6e-8}
STEP = 1e-4


@pytest.fixture(scope="module")
def tissue():
    steroid = load_steroid()
    schemes = (
        load_scheme(name).at_temperature(37.0).with_steroid(steroid)
        for name in ("default_synaptic_abg_mwc", "default_extrasynaptic_abd_mwc")
    )
    return load_inhibition(*schemes)


def changed(inhibition, **changes):
    fields = {name: getattr(inhibition, name) for name in inhibition.__dataclass_fields__}
    return type(inhibition)(**{**fields, **changes})


def test_tonic_channels_follow_the_mean(tissue):
    n, steps = 40, 400
    conductance = tonic_conductance_S(jax.random.key(3), tissue, STEROID, n, steps, STEP)
    scheme = tissue.extrasynaptic
    p = float(scheme.open_probability(scheme.steady_state({"GABA": tissue.ambient_M, **STEROID})))
    total = n * tissue.n_extrasynaptic
    counts = conductance[[0, steps // 2, steps - 1]].sum(axis=1) / open_conductance_S(scheme)
    assert_z((counts - total * p) / np.sqrt(total * p * (1 - p)), "tonic open count")
    wrong = float(
        scheme.open_probability(scheme.steady_state({"GABA": 1.3 * tissue.ambient_M, **STEROID}))
    )
    assert_detects(
        (counts[0] - total * wrong) / np.sqrt(total * wrong), "tonic count at 30 % more GABA"
    )


def test_phasic_channels_follow_the_mean_response_to_the_same_releases(tissue):
    inhibition = changed(tissue, n_synapses=4)
    n, steps, key = 150, 1500, jax.random.key(5)
    channels = phasic_conductance_S(key, inhibition, STEROID, n, steps, STEP, Channels())
    mean = phasic_conductance_S(key, inhibition, STEROID, n, steps, STEP, Master())
    difference = (channels - mean).mean(axis=0)
    assert_z(
        difference.mean() / (difference.std(ddof=1) / np.sqrt(n)),
        "phasic conductance, channels minus mean",
    )
    off = (channels - 1.25 * mean).mean(axis=0)
    assert_detects(off.mean() / (off.std(ddof=1) / np.sqrt(n)), "phasic conductance 25 % too large")


def test_mean_phasic_conductance_is_the_long_run_average(tissue):
    inhibition = changed(tissue, n_synapses=2)
    n, steps = 200, 8000
    mean = phasic_conductance_S(
        jax.random.key(11), inhibition, STEROID, n, steps, STEP, Master()
    ).mean(axis=0)
    theory = potentiate(inhibition, "allopregnanolone", [6e-8]).phasic_S[0]
    assert_z(
        (mean.mean() - theory) / (mean.std(ddof=1) / np.sqrt(n)), "stationary phasic conductance"
    )
    # without the law between releases the receptors start rested and give more
    rested = (
        potentiate(inhibition, "allopregnanolone", [6e-8]).charge_Ss[0]
        * 2
        * inhibition.release_rate_Hz
    )
    assert_detects((mean.mean() - rested) / (mean.std(ddof=1) / np.sqrt(n)), "rested synapses")


def test_charge_of_one_release_is_the_integral_of_its_response(tissue):
    from gabatone.kernels.drive.ligand import Decay, Tonic
    from gabatone.kernels.engine.simulate import simulate

    scheme = tissue.synaptic
    # no steroid: with it the slowest recovery outlasts any integration by hand
    rest = scheme.steady_state({"GABA": tissue.ambient_M})
    drive = Tonic(tissue.ambient_M) + Decay(tissue.cleft_peak_M, tissue.cleft_decay_s)
    time = np.concatenate([[0.0], np.geomspace(1e-6, 30.0, 3000)])
    trace = simulate(
        jax.random.key(0), scheme, drive, engine=Master(), t1_s=30.0, save_s=time, p0=rest
    )
    extra = np.asarray(trace.open_probability) - float(scheme.open_probability(rest))
    integral = np.trapezoid(extra, time) * tissue.receptors_per_synapse * open_conductance_S(scheme)
    ours = potentiate(tissue, "allopregnanolone", [0.0]).charge_Ss[0]
    assert abs(ours / integral - 1) < 1e-4


def test_releases_depend_on_the_key_only(tissue):
    one = release_steps(jax.random.key(1), tissue, 3, 50_000, STEP)
    assert len(one) == 3 * tissue.n_synapses
    assert all(np.all(np.diff(steps) > 0) for steps in one if len(steps) > 1)
    longer = release_steps(jax.random.key(1), tissue, 2, 50_000, STEP)
    assert all(np.array_equal(a, b) for a, b in zip(one, longer, strict=False))
    number, mean = sum(map(len, one)), len(one) * 5.0 * tissue.release_rate_Hz
    assert_z((number - mean) / np.sqrt(mean), "number of releases")


def test_no_release_leaves_the_standing_conductance(tissue):
    silent = changed(tissue, release_rate_Hz=0.0)
    conductance = phasic_conductance_S(jax.random.key(2), silent, STEROID, 8, 200, STEP)
    scheme = tissue.synaptic
    p = float(scheme.open_probability(scheme.steady_state({"GABA": tissue.ambient_M, **STEROID})))
    total = 8 * tissue.n_synapses * tissue.receptors_per_synapse
    count = conductance[-1].sum() / open_conductance_S(scheme)
    assert_z((count - total * p) / np.sqrt(total * p), "standing open count")


def test_conductance_does_not_depend_on_lanes(tissue):
    args = (jax.random.key(4), changed(tissue, n_extrasynaptic=300), STEROID, 3, 300, STEP)
    same = [
        tonic_conductance_S(*args, engine=Channels(lanes=lanes, chunk=chunk))
        for lanes, chunk in ((64, 512), (256, 1 << 12))
    ]
    assert np.array_equal(*same)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("release_rate_Hz", -1.0),
        ("cleft_decay_s", 0.0),
        ("n_extrasynaptic", 0),
        ("ambient_M", float("nan")),
    ],
)
def test_bad_numbers_are_named(tissue, field, value):
    with pytest.raises(BadInput, match=field):
        changed(tissue, **{field: value})
