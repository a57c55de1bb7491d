"""A study with the published exposure and a stand-in for the neurons, fitted once for all tests."""

import jax
import jax.numpy as jnp
import pytest

from gabatone.inference.evidence.loader import REGIMENS, load_trials
from gabatone.inference.fit import fit, fit_leave_one_out
from gabatone.inference.sampler import Sampler
from gabatone.inference.study import build_study, time_grid
from gabatone.kernels.body.dosing import load_schedule
from gabatone.kernels.body.pharmacokinetics import load_brexanolone_population, plasma_ng_per_mL

WEIGHT_KG = 75.0
G_PER_MOL = 318.5
LOCAL_NM = 4.0
WARMUP = 250


def toy_transfer(conc_nM):
    """Not the neurons: any smooth fall of firing with steroid will do for these tests."""
    return 1.0 / (1.0 + 0.9 * conc_nM / (conc_nM + 120.0))


def make_study(transfer=toy_transfer, exposure=1.0, refine=1):
    schedules = {name: load_schedule(name) for name in REGIMENS}
    time_h = time_grid(
        jnp.concatenate([s.breaks_h for s in schedules.values()]), [2, 4, 8, 60, 696]
    )
    for _ in range(refine - 1):
        time_h = jnp.sort(jnp.concatenate([time_h, 0.5 * (time_h[1:] + time_h[:-1])]))
    typical = load_brexanolone_population().typical(WEIGHT_KG)
    plasma = {
        name: exposure * 1e3 / G_PER_MOL * plasma_ng_per_mL(typical, s, WEIGHT_KG, time_h)
        for name, s in schedules.items()
    }
    return build_study(time_h, plasma, transfer, LOCAL_NM)


@pytest.fixture(scope="session")
def made_study():
    """``made_study(transfer=..., exposure=..., refine=...)`` gives a variant of `study`."""
    return make_study


@pytest.fixture(scope="session")
def study():
    return make_study()


@pytest.fixture(scope="session")
def trials():
    return load_trials()


@pytest.fixture(scope="session")
def sampler(study, trials):
    return Sampler(study, trials.settings, WARMUP)


@pytest.fixture(scope="session")
def posterior(study, trials, sampler):
    return fit(jax.random.key(0), study, trials, warmup=WARMUP, samples=600, sampler=sampler)


@pytest.fixture(scope="session")
def left_out(study, trials, sampler):
    return fit_leave_one_out(
        jax.random.key(0), study, trials, warmup=WARMUP, samples=150, sampler=sampler, throw=False
    )
