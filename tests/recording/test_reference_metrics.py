"""Our measures on the curve of every scheme, against the metrics recorded beside the curves.

Agree to the digits printed: peak, 10-90 % rise, desensitization, largest response, EC50 and 20-80 %
slope for 500 ms steps and for 1 ms pulses. The same definition, but read on samples whose interval
was not recorded: time of the peak (2.5 us), half decay and area over peak, for which the recorded
value has to lie where reading at intervals up to 0.25 ms puts it. Another definition: the
two-exponential fits, whose amplitudes are tied to the peak on an unrecorded grid; of them
the single exponential (`destexhe_1994_2state`) can be compared; its second component, recorded with
no amplitude, must fail by name here.
"""

import numpy as np
import pytest

from gabatone.kernels.errors import Failure
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.recording.dose import read_hill
from gabatone.kernels.recording.measure import (
    area_over_peak,
    decay_time,
    peak,
    rise_time,
    time_to_peak,
)
from gabatone.kernels.recording.responses import decay_fit, desensitization
from helpers import law
from helpers.curves import PULSE_TIME_S, STEP_TIME_S, columns, rows_of

ROWS = rows_of("reference_metrics")
METRICS = {row["scheme"]: {k: row[k] for k in row} for row in ROWS}
every = pytest.mark.parametrize("name", METRICS)


def printed(name, column, found, scale=1.0):
    """Equal to the six digits that are printed, with one unit of the last for their rounding."""
    text = METRICS[name][column]
    assert found * scale == pytest.approx(float(text), rel=1e-5), column


def along(generator, p, time):
    """Probabilities [time, state] from `p` under a constant generator, by its eigenvectors."""
    rate, vector = np.linalg.eig(generator)
    return np.real((p @ vector) * np.exp(np.outer(time, rate)) @ np.linalg.inv(vector))


def fine_pulse(name):
    """Open probability [time] of the 1 ms pulse: 1 us steps to 8 ms, 50 us to 508 ms, 1 ms to 2.001 s."""
    scheme = load_scheme(name)
    on, off = (law.generator(scheme, c) for c in ({"GABA": 1e-3}, {}))
    during = along(on, np.asarray(scheme.initial_occupancy(None), float), 1e-6 * np.arange(1001))
    later = np.concatenate([np.arange(1, 7001) * 1e-6, 7e-3 + np.arange(1, 10_001) * 5e-5])
    later = np.append(later, 0.507 + 1e-3 * np.arange(1, 1494))
    path = np.concatenate([during, along(off, during[-1], later)])
    time = np.append(1e-6 * np.arange(1001), 1e-3 + later)
    return time, path[:, scheme.is_open].sum(axis=1)


@pytest.fixture(scope="module")
def pulses():
    return {name: fine_pulse(name) for name in METRICS}


@every
def test_peak_and_rise(pulses, name):
    time, p = pulses[name]
    printed(name, "peak_po", float(peak(time, p)))
    printed(name, "rise_10_90_ms", float(rise_time(time, p, baseline_s=float(p[0]))), 1e3)
    found = 1e3 * float(time_to_peak(time, p, onset_s=0.0))
    assert found == pytest.approx(float(METRICS[name]["t_peak_ms"]), abs=2.5e-3)


@every
def test_half_decay_and_area_over_peak(pulses, name):
    time, p = pulses[name]
    recorded = METRICS[name]
    k = int(np.argmax(p))
    half, area = [], []
    for interval in (1e-6, 5e-5, 1e-4, 2e-4, 2.5e-4):
        for phase in (0.25, 0.5, 0.75, 1.0):
            # samples at that interval that start at the peak, then off it by the phase
            at = np.append(time[k], np.arange(time[k] + phase * interval, 2.001, interval))
            if interval == 1e-6:
                at = time[k:]
            read, where = np.interp(at, time, p), {"baseline_s": float(p[0])}
            half.append(1e3 * float(decay_time(at, read, fraction=0.5, **where)))
            area.append(1e3 * float(area_over_peak(at, read, **where)))
    # the recorded peak stands on a grid of 2.5 us
    for column, found in (("t_half_decay_ms", half), ("decay_area_over_peak_ms", area)):
        low, high = min(found) - 2.5e-3, max(found) + 2.5e-3
        assert low < float(recorded[column]) < high, column
        # and the interval says something: it is no wider than 2 % (1 us of 0.6 ms for the fastest)
        assert high - low < 0.02 * float(recorded[column]) + 0.02, column


@every
def test_desensitization(name):
    curve = columns(f"{name}__step_1mM_4s")
    time, p = 1e-3 * curve["time_ms"], curve["p_open"]
    for column, at in (("desens_frac_500ms_1mM", 0.5), ("desens_frac_4s_1mM", 4.0)):
        found, recorded = float(desensitization(time, p, at_s=at)), float(METRICS[name][column])
        # the curve has samples every 0.01 ms around its peak
        near = int(np.argmax(p))
        bend = 1.0 - min(p[near - 1], p[min(near + 1, len(p) - 1)]) / p[near]
        assert found == pytest.approx(recorded, abs=bend + 5e-7)


@every
def test_ec50_and_slope_of_steps_and_of_pulses(name):
    scheme, doses = load_scheme(name), np.geomspace(1e-8, 3e-2, 66)
    start, mask = np.asarray(scheme.initial_occupancy(None), float), scheme.is_open
    off, in_pulse = law.generator(scheme, {}), PULSE_TIME_S <= 1e-3 * (1 + 1e-9)
    step, pulse = [], []
    for conc in doses:
        on = law.generator(scheme, {"GABA": conc})
        step.append(along(on, start, STEP_TIME_S)[:, mask].sum(axis=1).max())
        during = along(on, start, PULSE_TIME_S[in_pulse])
        after = along(off, during[-1], PULSE_TIME_S[~in_pulse] - 1e-3)
        pulse.append(np.concatenate([during, after])[:, mask].sum(axis=1).max())
    rest = float(start[mask].sum())
    # half of the response above rest
    steps = read_hill(doses, np.array(step) - rest, application="0.5 s step")
    printed(name, "peak_ec50_uM_500ms_step", steps.ec50_M, 1e6)
    printed(name, "peak_hill_20_80", steps.hill)
    printed(name, "peak_po_max", steps.top + rest)
    pulses = read_hill(doses, np.array(pulse) - rest, application="1 ms pulse")
    printed(name, "brief_1ms_peak_ec50_uM", pulses.ec50_M, 1e6)


def test_the_single_exponential_decay_is_the_recorded_one(pulses):
    time, p = pulses["destexhe_1994_2state"]
    fit = decay_fit(time, p, 1, stop_s=0.5)
    printed("destexhe_1994_2state", "decay_tau_fast_ms", fit.tau_s[0], 1e3)
    printed("destexhe_1994_2state", "decay_tau_weighted_ms", fit.weighted_tau_s, 1e3)


def test_a_component_recorded_as_empty_fails_by_name(pulses):
    time, p = pulses["destexhe_1994_2state"]
    assert float(METRICS["destexhe_1994_2state"]["decay_A_fast"]) == 1.0
    with pytest.raises(Failure, match="merged_components|spare_component|slow_component"):
        decay_fit(time, p, 2, stop_s=0.5)
