"""Channels and Counts against Master: mean, variance and two-time covariance, and the power to see 2 %.

Every comparison spends one share of the suite's false-alarm budget (helpers/statistics.py). Counts
of n independent channels are binomial at each time, so means are tested with exact p-values;
covariances with replicates whitened by the exact covariance.
"""

import jax
import numpy as np
import pytest

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic, Waveform
from gabatone.kernels.engine.channels import Channels
from gabatone.kernels.engine.counts import Counts
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
from helpers import law
from helpers.schemes import edge_named, scale_rate
from helpers.statistics import assert_detects, assert_pvalue

KEY = jax.random.key(77)
JONES = load_scheme("jones_westbrook_1995")
PRODUCT = load_scheme("default_synaptic_abg_mwc").with_steroid(load_steroid())
STEROID = Tonic(1e-7, "allopregnanolone")

CASES = {
    "pulse": (JONES, Pulse(1e-3, 0.0, 5e-3) + Tonic(2e-5), np.array([5e-4, 1e-3, 5e-3, 0.02, 0.2])),
    "steroid": (PRODUCT, Pulse(1e-3, 0.0, 1e-3) + STEROID, np.array([2e-4, 1e-3, 4e-3, 0.03, 0.2])),
    "decay": (
        JONES,
        Decay(3e-3, 2e-4, 1e-4) + Tonic(1e-6),
        np.array([2e-4, 5e-4, 2e-3, 0.01, 0.03]),
    ),
    "waveform": (
        JONES,
        Waveform([0.0, 2e-3, 5e-3, 0.02], [0.0, 1e-3, 1e-4, 2e-5]),
        np.array([1e-3, 2e-3, 5e-3, 0.01, 0.03]),
    ),
}
ENGINES = {"Channels": (Channels(), 2_000_000), "Counts": (Counts(), 10**9)}

cases = pytest.mark.parametrize("case", CASES)
engines = pytest.mark.parametrize("engine", ENGINES)


def simulated(engine, scheme, drive, time, n, key=KEY, p0=None):
    trace = simulate(
        key, scheme, drive, engine=engine, n=n, t1_s=float(time[-1]), save_s=time, p0=p0
    )
    return np.asarray(trace.occupancy)


def exact(scheme, drive, time, p0=None):
    return simulated(Master(), scheme, drive, time, 1, p0=p0)


# transitions whose rate a run from the resting state sees well, with the run that sees them
SEEN = {
    "pulse": [
        ("C0", "C1"),
        ("C1", "C2"),
        ("C2", "C1"),
        ("C2", "O2"),
        ("O2", "C2"),
        ("C2", "D2"),
        ("D2", "C2"),
    ],
    "decay": [("C0", "C1"), ("C1", "C2"), ("C2", "O2"), ("O2", "C2"), ("C2", "D2")],
    "waveform": [("C0", "C1"), ("C1", "C2"), ("C2", "O2"), ("O2", "C2"), ("C2", "D2")],
    "steroid": [("R0", "R1"), ("R1", "R2"), ("R2", "O2"), ("O2", "R2"), ("R2", "Df")],
}


@engines
@cases
def test_mean_and_power(case, engine):
    """The run agrees with its law at every time and state, and with no law of one rate 2 % higher."""
    scheme, drive, time = CASES[case]
    chosen, n = ENGINES[engine]
    counts = simulated(chosen, scheme, drive, time, n)
    assert_pvalue(law.binomial_p(counts, n, exact(scheme, drive, time)), f"{engine} mean, {case}")
    for start, stop in SEEN[case]:
        wrong = exact(scale_rate(scheme, edge_named(scheme, start, stop), 1.02), drive, time)
        name = f"{engine}, {start} -> {stop} 2 % too fast, {case}"
        assert_detects(p=law.binomial_p(counts, n, wrong), name=name)


@engines
def test_a_simulation_with_a_wrong_rate_is_found(engine):
    scheme, drive, time = CASES["pulse"]
    chosen, n = ENGINES[engine]
    wrong = scale_rate(scheme, edge_named(scheme, "O2", "C2"), 1.02)
    counts = simulated(chosen, wrong, drive, time, n)
    assert_detects(
        p=law.binomial_p(counts, n, exact(scheme, drive, time)), name=f"{engine} with a wrong rate"
    )


# the transitions that a run from rest sees too little of, from their own state
FROM = {
    ("C1", "C0"): 0.01,
    ("C1", "O1"): 0.004,
    ("C1", "D1"): 0.01,
    ("O1", "C1"): 0.002,
    ("D1", "C1"): 6.0,
}


@pytest.mark.parametrize("edge", FROM, ids="-".join)
def test_each_remaining_rate_from_its_own_state(edge):
    n, drive, time = 4_000_000, Tonic(0.0), FROM[edge] * np.array([0.5, 1.0])
    counts = simulated(Channels(), JONES, drive, time, n, p0=edge[0])
    p0 = (np.array(JONES.states) == edge[0]).astype(float)
    assert_pvalue(
        law.binomial_p(counts, n, exact(JONES, drive, time, p0)), f"Channels from {edge[0]}"
    )
    wrong = scale_rate(JONES, edge_named(JONES, *edge), 1.02)
    assert_detects(
        p=law.binomial_p(counts, n, exact(wrong, drive, time, p0)), name=f"{edge} 2 % too fast"
    )


ORDER = {
    "pulse": ("O2", "D2", "C2"),
    "steroid": ("O2", "Df", "O2+1S"),
    "decay": ("O2", "D2", "C1"),
}
REPLICATES = {"Channels": (600, 1000), "Counts": (400, 100_000)}


@pytest.mark.parametrize(
    ("case", "engine"), [*((case, "Channels") for case in ORDER), ("pulse", "Counts")]
)
def test_variance_and_two_time_covariance(case, engine):
    """Independent replicates of a small population: their scatter at three times and between them."""
    scheme, drive, _ = CASES[case]
    time, (replicates, n) = np.array([1e-3, 4e-3, 0.02]), REPLICATES[engine]
    states = [scheme.states.index(name) for name in ORDER[case]]
    p0 = np.asarray(
        scheme.initial_occupancy({"allopregnanolone": 1e-7} if scheme is PRODUCT else None)
    )
    samples = np.array(
        [
            simulated(ENGINES[engine][0], scheme, drive, time, n, jax.random.fold_in(KEY, r))
            for r in range(replicates)
        ]
    )[:, :, states].reshape(replicates, -1)
    mean, full = law.covariance(p0, law.transitions(scheme, drive, time), n)
    entries = len(states) * len(time)
    cov = full[:, states][:, :, :, states].reshape(entries, entries)
    assert_pvalue(
        law.gaussian_p(samples, mean[:, states].ravel(), cov), f"{engine} covariance, {case}"
    )
    # a channel that forgot its state between save times would leave no covariance between times
    apart = np.zeros_like(cov)
    for k in range(len(time)):
        block = slice(k * len(states), (k + 1) * len(states))
        apart[block, block] = cov[block, block]
    assert_detects(
        p=law.gaussian_p(samples, mean[:, states].ravel(), apart),
        name=f"no memory, {engine}, {case}",
    )
    # and channels that are not quite independent would scatter otherwise
    assert_detects(
        p=law.gaussian_p(samples, mean[:, states].ravel(), 1.8 * cov),
        name=f"scatter, {engine}, {case}",
    )


@engines
def test_start_law(engine):
    # none to two steroids on the closed and the open unliganded state; the rest cannot occur
    chosen, n = ENGINES[engine]
    start = np.asarray(PRODUCT.initial_occupancy({"allopregnanolone": 1e-7}))
    assert (start > 0).sum() == 6 and start[start > 0].min() < 1e-4
    counts = simulated(chosen, PRODUCT, STEROID + Tonic(0.0), np.array([0.0, 1e-4]), n)
    assert_pvalue(law.binomial_p(counts[0], n, start), f"{engine} start law")
    wrong = start * np.where(np.arange(27) < 9, 1.02, 1.0)
    assert_detects(
        p=law.binomial_p(counts[0], n, wrong / wrong.sum()),
        name=f"{engine} start with 2 % less steroid",
    )


@engines
def test_equilibrium_is_kept(engine):
    # started in the stationary law, every state keeps its share
    chosen, n = ENGINES[engine]
    n = min(n, 500_000)
    levels = {"GABA": 1e-6, "allopregnanolone": 1e-7}
    p0 = np.asarray(PRODUCT.steady_state(levels))
    counts = simulated(chosen, PRODUCT, Tonic(1e-6) + STEROID, np.array([0.05, 0.5]), n, p0=p0)
    assert_pvalue(law.binomial_p(counts, n, np.tile(p0, (2, 1))), f"{engine} equilibrium")
