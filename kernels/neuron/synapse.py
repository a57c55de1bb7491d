"""Inhibitory conductance of model neurons from their individual GABA-A receptors."""

from functools import reduce

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.drive.ligand import Decay, Tonic
from gabatone.kernels.drive.segments import Segments, compile_drive
from gabatone.kernels.engine.channels import Channels, count_events
from gabatone.kernels.engine.draw import Shape
from gabatone.kernels.engine.master import propagators
from gabatone.kernels.engine.tables import (
    Job,
    Windows,
    has_rare_exits,
    rate_tables,
    start_tables,
)
from gabatone.kernels.neuron.release import (
    TRANSIENT_AGES,
    Inhibition,
    law_before_release,
    open_conductance_S,
    release_steps,
    transient,
    transient_squarings,
)
from gabatone.kernels.receptor.spectral import propagator

_SYNAPTIC, _EXTRASYNAPTIC = 2, 3


def tonic_conductance_S(
    key,
    inhibition: Inhibition,
    steroid_M: dict,
    n_neurons: int,
    n_steps: int,
    step_s: float,
    engine=None,
) -> np.ndarray:
    """Conductance [time, neuron] of the extrasynaptic receptors at constant GABA and steroid.

    `engine` is `Channels` (each receptor its own path) or `Master` (the mean).
    """
    scheme = inhibition.extrasynaptic
    conc = {"GABA": inhibition.ambient_M, **steroid_M}
    p0 = scheme.steady_state(conc)
    unit = open_conductance_S(scheme)
    if not isinstance(engine or Channels(), Channels):
        level = float(scheme.open_probability(p0)) * inhibition.n_extrasynaptic * unit
        return np.full((n_steps, n_neurons), level, np.float32)
    drive = Tonic(inhibition.ambient_M)
    for name, value in steroid_M.items():
        drive = drive + Tonic(value, name)
    segments = compile_drive(drive, scheme.ligand_names, n_steps * step_s, longest_s=1.0)
    windows, first = _grid_windows(segments, n_steps, step_s), np.zeros(n_neurons, np.int32)
    return _open_conductance(
        jax.random.fold_in(key, _EXTRASYNAPTIC),
        scheme,
        segments,
        windows,
        p0,
        first,
        first + len(segments.length_s),
        np.arange(n_neurons),
        inhibition.n_extrasynaptic,
        n_steps,
        step_s,
        engine,
    )


def phasic_conductance_S(
    key,
    inhibition: Inhibition,
    steroid_M: dict,
    n_neurons: int,
    n_steps: int,
    step_s: float,
    engine=None,
) -> np.ndarray:
    """Conductance [time, neuron] of the synaptic receptors under Poisson releases.

    Releases depend on the key only, so that drug conditions can be compared release by
    release. `engine` is `Channels` or `Master` (mean response to the same releases).
    """
    scheme = inhibition.synaptic
    releases = release_steps(key, inhibition, n_neurons, n_steps, step_s)
    p0 = _start_law(inhibition, tuple(steroid_M), tuple(steroid_M.values()))
    if not isinstance(engine or Channels(), Channels):
        return _mean_phasic(inhibition, steroid_M, p0, releases, n_neurons, n_steps, step_s)
    segments, start, stop = _release_windows(inhibition, steroid_M, releases, n_steps, step_s)
    windows = _grid_windows(segments, n_steps, step_s, segments.edge_s)
    owner = np.repeat(np.arange(n_neurons), inhibition.n_synapses)
    return _open_conductance(
        jax.random.fold_in(key, _SYNAPTIC),
        scheme,
        segments,
        windows,
        p0,
        start,
        stop,
        owner,
        inhibition.receptors_per_synapse,
        n_steps,
        step_s,
        engine,
    )


@eqx.filter_jit
def _law(inhibition: Inhibition, ligands, levels, most):
    steroid = dict(zip(ligands, levels, strict=True))
    return law_before_release(inhibition, steroid, transient(inhibition, steroid, most)[0])


def _start_law(inhibition, ligands, levels):
    """Law at t = 0: between releases if there are any, else at rest with ambient GABA."""
    steroid = dict(zip(ligands, levels, strict=True))
    if inhibition.release_rate_Hz == 0:
        return inhibition.synaptic.steady_state({"GABA": inhibition.ambient_M, **steroid})
    most = transient_squarings(inhibition, steroid)
    return np.maximum(np.asarray(_law(inhibition, ligands, jnp.asarray(levels, float), most)), 0.0)


def _release_windows(inhibition, steroid_M, releases, n_steps, step_s):
    """Windows of all synapses end to end, with the first and one-past-last window of each."""
    tau, t1 = inhibition.cleft_decay_s, n_steps * step_s
    count = np.array([len(r) for r in releases])
    synapse = np.repeat(np.arange(len(releases)), count)
    time = np.concatenate(releases) * step_s if count.sum() else np.zeros(0)
    following = np.append(time[1:], t1)
    following[np.cumsum(count)[count > 0] - 1] = t1
    begin = time[:, None] + tau * TRANSIENT_AGES
    end = np.concatenate([begin[:, 1:], np.full((len(time), 1), np.inf)], axis=1)
    end = np.minimum(end, following[:, None])
    height = np.where(
        np.arange(len(TRANSIENT_AGES)) < len(TRANSIENT_AGES) - 1,
        inhibition.cleft_peak_M * np.exp(-TRANSIENT_AGES),
        0.0,
    )
    keep = end - begin > 1e-12
    lead = np.array([r[0] * step_s if len(r) else t1 for r in releases])
    some = lead > 0
    owner = np.concatenate(
        [np.flatnonzero(some), np.broadcast_to(synapse[:, None], keep.shape)[keep]]
    )
    begins = np.concatenate([np.zeros(some.sum()), begin[keep]])
    ends = np.concatenate([lead[some], end[keep]])
    amplitude = np.concatenate([np.zeros(some.sum()), np.broadcast_to(height, keep.shape)[keep]])
    order = np.lexsort((begins, owner))
    ligands = inhibition.synaptic.ligand_names
    level = np.tile(
        [{"GABA": inhibition.ambient_M, **steroid_M}.get(name, 0.0) for name in ligands],
        (len(order), 1),
    )
    gaba = ligands.index("GABA")
    bound = level + amplitude[order, None] * (np.arange(len(ligands)) == gaba)
    segments = Segments(
        ligands,
        np.stack([begins[order], ends[order]]),
        level,
        np.zeros_like(level),
        amplitude[order, None],
        np.array([tau]),
        np.array([gaba]),
        bound,
    )
    edges = np.searchsorted(owner[order], np.arange(len(releases) + 1))
    return segments, edges[:-1].astype(np.int32), edges[1:].astype(np.int32)


def _grid_windows(segments: Segments, n_steps: int, step_s: float, spans=None) -> Windows:
    """Windows placed on the uniform grid 0, step, 2 step, ... (`spans` [2, window] if not end to end)."""
    start, stop = (segments.edge_s[:-1], segments.edge_s[1:]) if spans is None else spans
    first = np.ceil(start / step_s - 1e-9).astype(np.int64)
    f32 = np.float32
    row = np.zeros(len(start), np.int32)
    return Windows(
        row,
        np.zeros(1, f32),
        f32(stop - start),
        first.astype(np.int32),
        f32(first * step_s - start),
        f32(segments.level),
        f32(segments.slope),
        f32(segments.amplitude),
        np.zeros((1, len(segments.tau_s)), f32),
        f32(segments.bound),
    )


def _open_conductance(
    key, scheme, segments, windows, p0, first, stop, owner, per_group, n_steps, step_s, engine
):
    """Run the receptors of all groups as individual paths; conductance [time, neuron] in S."""
    row, rates = rate_tables(scheme, segments.bound, segments.ligands)
    is_open = scheme.is_open.astype(np.int32)
    weight = is_open[list(scheme.target)] - is_open[list(scheme.source)]
    n_neurons = int(owner.max()) + 1
    job = Job(
        rates,
        windows._replace(row=row),
        first,
        stop,
        owner.astype(np.int32),
        (-1.0 / segments.tau_s).astype(np.float32),
        segments.decay_ligand.astype(np.int32),
        *start_tables(np.asarray(p0)[None]),
        np.zeros(len(weight), np.int32),
        weight.astype(np.int32),
        np.float32(1.0 / step_s),
        np.zeros(1, bool),
    )
    shape = Shape(n_steps, n_neurons, 1, per_group, segments.smooth, rare=has_rare_exits(rates))
    events, starts, _ = count_events(
        key, job, None, len(first) * per_group, shape, engine or Channels()
    )
    opened = starts @ is_open.astype(np.int64)
    number = opened[:, None] + np.cumsum(events[:, :-1, 0], axis=1)
    return (number.T * open_conductance_S(scheme)).astype(np.float32)


def _mean_phasic(inhibition, steroid_M, p0, releases, n_neurons, n_steps, step_s) -> np.ndarray:
    """Expected conductance given the releases, by one propagator for each age of a transient."""
    scheme = inhibition.synaptic
    ages = int(np.ceil(TRANSIENT_AGES[-1] * inhibition.cleft_decay_s / step_s))
    drive = Decay(inhibition.cleft_peak_M, inhibition.cleft_decay_s) + Tonic(inhibition.ambient_M)
    for name, value in steroid_M.items():
        drive = drive + Tonic(value, name)
    segments = compile_drive(
        drive, scheme.ligand_names, ages * step_s, cuts_s=np.arange(1, ages) * step_s
    )
    pieces = np.asarray(propagators(scheme, segments, 4))
    into = np.minimum((segments.edge_s[:-1] + 1e-12) // step_s, ages - 1).astype(int)
    steps = [reduce(np.matmul, pieces[into == a]) for a in range(ages)]
    rest = propagator(scheme.generator({"GABA": inhibition.ambient_M, **steroid_M}), step_s)
    lane, age = _active(releases, ages, n_steps)
    open_mask = np.flatnonzero(scheme.is_open)
    owner = np.repeat(np.arange(n_neurons), inhibition.n_synapses)
    table = jnp.asarray(np.array(steps), jnp.float32)
    rest = jnp.asarray(rest, jnp.float32)

    @jax.jit
    def run(p, lane, age):
        def advance(p, now):
            lane, age = now
            moved = jnp.einsum("ms,mst->mt", p[jnp.minimum(lane, len(p) - 1)], table[age])
            seen = jax.ops.segment_sum(p[:, open_mask].sum(1), owner, n_neurons)
            return (p @ rest).at[lane].set(moved, mode="drop"), seen

        return jax.lax.scan(advance, p, (lane, age))[1]

    start = jnp.tile(jnp.asarray(p0, jnp.float32), (len(owner), 1))
    seen = run(start, jnp.asarray(lane), jnp.asarray(age))
    return np.asarray(
        seen * inhibition.receptors_per_synapse * open_conductance_S(scheme), np.float32
    )


def _active(releases, ages: int, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """For each step the synapses inside a transient and its age, padded to [step, most]."""
    rows = []
    for lane, steps in enumerate(releases):
        for k, step in enumerate(steps):
            last = min(step + ages, steps[k + 1] if k + 1 < len(steps) else n_steps, n_steps)
            at = np.arange(step, last)
            rows.append(np.stack([at, np.full(len(at), lane), at - step]))
    at, lane, age = np.concatenate(rows, axis=1) if rows else np.zeros((3, 0), int)
    order = np.argsort(at, kind="stable")
    at, lane, age = at[order], lane[order], age[order]
    first = np.searchsorted(at, np.arange(n_steps))
    rank = np.arange(len(at)) - first[at] if len(at) else at
    most = int(rank.max()) + 1 if len(at) else 1
    lanes = np.full((n_steps, most), len(releases), np.int32)
    years = np.zeros((n_steps, most), np.int32)
    lanes[at, rank], years[at, rank] = lane, age
    return lanes, years
