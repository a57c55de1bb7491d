"""The fitted observables of a receptor and its steroid site, by target id.

Each is computed under the protocol its row of ``targets.csv`` states; all are functions of rates
that may be traced, so their gradients are exact.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from gabatone.inference.receptor_model import STEROID
from gabatone.inference.receptor_protocols import (
    after,
    area_tau,
    at_time,
    generator,
    half_dose,
    ladder,
    open_mask,
    peak,
    resting,
    rise_time,
    step_peaks,
)
from gabatone.kernels.receptor.scheme import KineticScheme
from gabatone.kernels.receptor.steroid import Steroid

# protocol, as stated in targets.csv
SATURATING_M = 1e-2
BRIEF_S, LONG_S = 2e-3, 3.0
FAST_S = 2.9e-3
STEROID_M = 1e-6
DELTA_GABA_M = 5e-5
DOSES_M = np.append(np.geomspace(0.3e-6, 3e-4, 11), SATURATING_M)
LOW_M = (1e-6, 1e-5)
CURVE_TIME_S = np.geomspace(5e-4, 0.7, 20)


class Subject(NamedTuple):
    """What is measured: a synaptic scheme, the steroid site, and a fixed delta scheme for the same site."""

    scheme: KineticScheme
    steroid: Steroid
    delta: KineticScheme


def kinetics(scheme) -> dict:
    """Observables of the scheme alone; ``curve`` is [time] at `CURVE_TIME_S`."""
    opened, start = open_mask(scheme), resting(scheme)
    bound, bare = generator(scheme, {"GABA": SATURATING_M}), generator(scheme, {"GABA": 0.0})
    time, path = ladder(bound, start, LONG_S, 18, 8)
    value = path @ opened
    top, when = peak(time, value)
    brief = after(bound, start, BRIEF_S)
    off_time, off = ladder(bare, brief, 0.8, 12, 8)
    return {
        "rise_time": rise_time(time, value),
        "peak_open": top,
        "left_2.9ms": at_time(time, value, when + FAST_S) / top,
        "residual_3s": value[-1] / top,
        "deactivation_3s": area_tau(bare, path[-1], opened),
        "curve": at_time(off_time, off @ opened, CURVE_TIME_S) / (brief @ opened),
    }


def observe(subject: Subject) -> dict:
    """All fitted observables by target id, and the deactivation ``curve``."""
    scheme, steroid = subject.scheme, subject.steroid
    found = kinetics(scheme)
    peaks = step_peaks(scheme, np.append(LOW_M, DOSES_M))
    low, alone = peaks[:2], peaks[2:]
    found["ec50"] = half_dose(DOSES_M, alone)
    found["slope_low"] = jnp.log(low[1] / low[0]) / np.log(LOW_M[1] / LOW_M[0])
    found["ec50_ratio"], found["delta_gain"] = steroid_shifts(subject, found["ec50"])
    closed, opened = resting(scheme)[0], resting(scheme)[scheme.states.index("O0")]
    found["L"] = closed / opened
    x = STEROID_M / steroid.dissociation_closed_M
    found["L_ratio"] = ((1 + x) / (1 + x / steroid.c_open)) ** steroid.n_sites
    return found


def steroid_shifts(subject: Subject, ec50_M=None):
    """Fold of the EC50 of the scheme, and gain of a saturating peak of the delta scheme, with steroid."""
    scheme, steroid, delta = subject
    if ec50_M is None:
        ec50_M = half_dose(DOSES_M, step_peaks(scheme, DOSES_M))
    with_drug = step_peaks(steroid.product(scheme), DOSES_M, {STEROID: STEROID_M})
    gain = step_peaks(steroid.product(delta), [DELTA_GABA_M], {STEROID: STEROID_M})[0]
    return half_dose(DOSES_M, with_drug) / ec50_M, gain / step_peaks(delta, [DELTA_GABA_M])[0]
