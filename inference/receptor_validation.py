"""Observables that no fit sees, by target id: what a fitted scheme is held against.

The steroid is explicit here: the product scheme, at equilibrium with the steroid before GABA comes.
Brief pulses and steps use the exact propagator; the synaptic transient decays and is followed by
`Master`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from gabatone.inference.receptor_model import STEROID
from gabatone.inference.receptor_observables import CURVE_TIME_S, Subject, observe, steroid_shifts
from gabatone.inference.receptor_protocols import (
    after,
    area_tau,
    generator,
    ladder,
    open_mask,
    peak,
    resting,
    step_peaks,
)
from gabatone.inference.targets import published_curve
from gabatone.kernels.drive.ligand import Decay, Tonic
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.receptor.spectral import steady_state
from gabatone.kernels.receptor.steroid import Steroid

# protocol, as stated in targets.csv
PULSE_M, PULSE_S = 1e-3, 1e-3
PAIR_GAP_S = 0.2
ZHU_STEROID_M = 100e-9
COOPER_LOW_M, COOPER_HIGH_M = 75e-9, 2e-6
CLEFT_M, CLEFT_TAU_S = 3e-3, 2e-4
SYNAPSE_TIME_S = np.concatenate(
    [np.linspace(0.0, 3e-3, 121), 3e-3 * np.geomspace(1.0, 1500.0, 160)[1:]]
)


def score(subject: Subject, targets: dict) -> dict[str, float]:
    """Every target's observable by id, fitted and not, for plain (not traced) numbers."""
    with jax.enable_x64(True):
        found = dict(jax.jit(lambda: observe(subject))())
        curve, _ = published_curve(targets, CURVE_TIME_S)
        found["curve_rms"] = np.sqrt(np.mean((np.asarray(found.pop("curve")) - curve) ** 2))
        found |= jax.jit(lambda: _alone(subject.scheme))()
        found |= jax.jit(lambda: _with_steroid(subject))()
        found |= _synapse(subject)
    found["ec50_whole_cell"] = found["ec50_oocyte"] = found["ec50"]
    return {name: float(value) for name, value in found.items()}


def _alone(scheme) -> dict:
    opened, start = open_mask(scheme), resting(scheme)
    bare = generator(scheme, {"GABA": 0.0})

    def decay(conc_M, pulse_s):
        return area_tau(bare, after(generator(scheme, {"GABA": conc_M}), start, pulse_s), opened)

    time, path = ladder(generator(scheme, {"GABA": 1e-3}), start, 4.0, 18, 8)
    ambient = scheme_peak(scheme, resting_in(scheme, 1e-6), {})
    return {
        "resting_open": start @ opened,
        "mean_open_time": mean_open_time(scheme, 1e-2, 2e-3),
        "haas_deactivation": decay(1e-3, 2.5e-3),
        "haas_desensitization": 1 - path[-1] @ opened / peak(time, path @ opened)[0],
        "banks_patch": decay(1e-3, 2e-3),
        "dixon_deactivation": decay(3e-3, 1e-3),
        "ambient_reduction": 1 - ambient / scheme_peak(scheme, start, {}),
    }


def resting_in(scheme, gaba_M: float):
    """Equilibrium occupancy [state] in ambient GABA."""
    return jax.jit(steady_state)(generator(scheme, {"GABA": gaba_M}))


def scheme_peak(scheme, start, background_M: dict):
    """Peak open probability of a 1 mM, 1 ms pulse of GABA from the occupancy `start`."""
    opened = open_mask(scheme)
    on, off = (generator(scheme, {**background_M, "GABA": c}) for c in (PULSE_M, 0.0))
    time, path = ladder(on, start, PULSE_S, 8, 8)
    later, tail = ladder(off, path[-1], 5e-3, 8, 8)
    return jnp.maximum(peak(time, path @ opened)[0], peak(later, tail @ opened)[0])


def mean_open_time(scheme, gaba_M: float, pulse_s: float):
    """Mean open time over all openings of a response, s; openings without agonist are left out."""
    opened, start = open_mask(scheme), resting(scheme)
    bare = generator(scheme, {"GABA": 0.0})
    begin = after(generator(scheme, {"GABA": gaba_M}), start, pulse_s)
    lasting = jnp.linalg.solve((jnp.outer(jnp.ones_like(start), start) - bare).T, begin - start)
    leaving = (bare * opened[:, None] * (1 - opened)[None, :]).sum(axis=1)
    agonist = jnp.asarray([float(b > 0) for b in scheme.facts.bound_agonists])
    return (lasting @ (opened * agonist)) / (lasting @ (leaving * agonist))


def _with_steroid(subject: Subject) -> dict:
    product = subject.steroid.product(subject.scheme)
    bare, drug = (_zhu(product, level) for level in (0.0, ZHU_STEROID_M))
    folds = {f"zhu_{name}": drug[name] / bare[name] for name in bare}
    top = step_peaks(product, [1e-2], {STEROID: 1e-6}) / step_peaks(subject.scheme, [1e-2])
    return folds | {"steroid_peak_gain": top[0]}


def _zhu(product, level_M) -> dict:
    background = {STEROID: level_M}
    opened, start = open_mask(product), resting(product, background)
    on, off = (generator(product, {**background, "GABA": c}) for c in (PULSE_M, 0.0))
    rest = start @ opened
    end = after(on, start, PULSE_S)
    early, half, late, gap = (after(off, end, t) for t in (3e-3, 0.15, 0.3, PAIR_GAP_S - PULSE_S))
    first = scheme_peak(product, start, background) - rest
    second = scheme_peak(product, gap, background) - gap @ opened
    now, then = half @ opened - rest, late @ opened - rest
    return {
        "slow": 0.15 / jnp.log(now / then),
        "fast": 1 - (early @ opened - rest) / (end @ opened - rest),
        "peak": first,
        "recovery": 1 - second / first,
    }


def _synapse(subject: Subject) -> dict:
    product = subject.steroid.product(subject.scheme)
    bare, low, high = (ipsc(product, c) for c in (0.0, COOPER_LOW_M, COOPER_HIGH_M))
    return {
        "cooper_decay_75nM": low["decay"] / bare["decay"],
        "cooper_slow_2uM": high["slow"] / bare["slow"],
        "cooper_peak_2uM": high["peak"] / bare["peak"],
        "cooper_rise_2uM": high["rise"] / bare["rise"],
    }


def ipsc(product, steroid_M: float) -> dict[str, float]:
    """Peak, 10-90 % rise, weighted and slow decay (s) of the response to the synaptic transient.

    3 mM GABA decaying with 0.2 ms; the slow constant is that of the octave after the response has
    fallen to a tenth of its peak.
    """
    drive = Decay(CLEFT_M, CLEFT_TAU_S) + Tonic(steroid_M, ligand=STEROID)
    time = SYNAPSE_TIME_S
    trace = simulate(
        jax.random.key(0), product, drive, engine=Master(), t1_s=float(time[-1]), save_s=time
    )
    value = np.asarray(trace.open_probability)
    value = value - value[0]
    top = int(np.argmax(value))
    fall = value[top:][::-1]
    reached = {s: np.interp(s * value[top], fall, time[top:][::-1]) for s in (0.1, 0.05)}
    up = np.interp([0.1 * value[top], 0.9 * value[top]], value[: top + 1], time[: top + 1])
    return {
        "peak": float(value[top]),
        "rise": float(up[1] - up[0]),
        "decay": float(np.trapezoid(value[top:], time[top:]) / value[top]),
        "slow": float((reached[0.05] - reached[0.1]) / np.log(2.0)),
    }


def steroid_trade_off(subject: Subject, rows: list[dict]) -> dict[str, np.ndarray]:
    """Fitted and unfitted steroid observables [row] when fields of the steroid are replaced by `rows`.

    The scheme stays. Shows which observables pull the same field in different directions.
    """
    fields = tuple(rows[0])
    table = np.array([[row[name] for name in fields] for row in rows])
    with jax.enable_x64(True):

        def one(values):
            site = dict(zip(fields, values, strict=True))
            steroid = Steroid(
                **{
                    f: site.get(f, getattr(subject.steroid, f))
                    for f in subject.steroid.__dataclass_fields__
                }
            )
            found = _with_steroid(subject._replace(steroid=steroid))
            ratio, gain = steroid_shifts(subject._replace(steroid=steroid))
            return found | {"ec50_ratio": ratio, "delta_gain": gain}

        seen = jax.jit(lambda x: jax.lax.map(one, x))(jnp.asarray(table))
    return {name: np.asarray(value) for name, value in seen.items()}
