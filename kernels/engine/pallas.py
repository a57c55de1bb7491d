"""The path loop as one fused kernel: lanes stay in registers from their first event to their last.

One program follows a block of channels with the very draws of `draw.advance` and adds its
events to the table in device memory by atomic additions. The streams are those of `paths`, so
the integers are the same wherever logarithm and exponential round alike: bit for bit in the
interpreter on a CPU. Lowered through Triton for NVIDIA devices.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from gabatone.kernels.engine.draw import Shape, advance, settle
from gabatone.kernels.engine.paths import begin_states, event_place, first_lanes, next_lanes
from gabatone.kernels.engine.tables import Job

LANES = 128  # one to a thread of four warps
_PER_LANE = 64  # channels that a lane follows one after the other
_SPARE = 8  # draws between two looks at whether anyone is still busy


class _Column:
    """A column of a flat table in device memory, loaded where it is asked for."""

    def __init__(self, ref, size: int, first: int = 0, step: int = 1):
        self.ref, self.shape, self.first, self.step = ref, (size,), first, step

    def __getitem__(self, index):
        return self.ref[self.first + index * self.step]


class _Table:
    """Rows or columns of a flat table: ``table[:, k]``, ``len``, iteration over rows."""

    def __init__(self, ref, shape: tuple[int, ...]):
        self.ref, self.shape = ref, shape

    def __getitem__(self, at):
        _, column = at
        return _Column(self.ref, self.shape[0], column, self.shape[1])

    def __iter__(self):
        for row in range(self.shape[0]):
            yield _Column(self.ref, self.shape[1], row * self.shape[1])


@partial(jax.jit, static_argnames=("chunk", "shape", "interpret"))
def run_fused(
    words,
    job: Job,
    first_channel,
    n_channels,
    most_events,
    *,
    chunk: int,
    shape: Shape,
    interpret: bool = False,
):
    """`paths.run_paths` for one group and a uniform grid of save times, without an audit.

    Returns its ``(table, starts, stuck)``; `interpret` runs the kernel on any platform, slowly.
    """
    n_states = job.start_state.shape[1]
    per_program = LANES * _PER_LANE
    programs = max(1, -(-chunk // per_program))
    end = first_channel + n_channels
    begin, starts = begin_states(
        words, job, first_channel, end, 0 if shape.one_start else chunk, shape
    )
    leaves, tree = jax.tree.flatten(job)
    dims = [jnp.shape(x) for x in leaves]
    # an empty table still needs an address
    flat = [
        jnp.ravel(x) if np.prod(d) else jnp.zeros(1, x.dtype)
        for x, d in zip(leaves, dims, strict=True)
    ]
    flat = [x.astype(jnp.int32) if x.dtype == bool else x for x in flat]
    size = (shape.n_bins + 1) * shape.n_columns
    span = jnp.stack([first_channel, end, most_events, words[0], words[1]]).astype(jnp.uint32)

    def kernel(span_ref, begin_ref, *refs):
        tables, (_, _, events_ref, stuck_ref) = refs[: len(flat)], refs[len(flat) :]
        _follow(span_ref, begin_ref, _job_of(tree, tables, dims), events_ref, stuck_ref, shape)

    events, stuck = pl.pallas_call(
        kernel,
        grid=(programs,),
        out_shape=(
            jax.ShapeDtypeStruct((size,), jnp.int32),
            jax.ShapeDtypeStruct((programs,), jnp.uint32),
        ),
        input_output_aliases={2 + len(flat): 0, 3 + len(flat): 1},
        interpret=interpret,
        compiler_params=None if interpret else plgpu.CompilerParams(num_warps=4),
    )(span, begin, *flat, jnp.zeros(size, jnp.int32), jnp.full(programs, end, jnp.uint32))
    return events.reshape(1, -1, shape.n_columns), starts.reshape(1, n_states), stuck


def _job_of(tree, refs, dims) -> Job:
    """The job's tables as seen from inside the kernel."""
    seen = []
    for ref, dim in zip(refs, dims, strict=True):
        if len(dim) == 0:
            seen.append(ref[0])
        else:
            seen.append(_Column(ref, dim[0]) if len(dim) == 1 else _Table(ref, dim))
    job = jax.tree.unflatten(tree, seen)
    return job


def _follow(span_ref, begin_ref, job: Job, events_ref, stuck_ref, shape: Shape):
    """All channels of one program, from their starts to the end of the last window."""
    first, end, most = span_ref[0], span_ref[1], span_ref[2]
    words = (span_ref[3], span_ref[4])
    program = pl.program_id(0)
    mine = first + program.astype(jnp.uint32) * np.uint32(LANES * _PER_LANE)
    stop = jnp.minimum(mine + np.uint32(LANES * _PER_LANE), end)
    begin = _Column(begin_ref, begin_ref.shape[0])

    def turn(_, lane):
        place, added = event_place(job, None, lane, shape)
        # an atomic addition on the device; lanes may meet in one cell
        jax.ref.addupdate(events_ref, place, added)
        lane = settle(lane, shape)
        move = advance(words, job, lane, shape)
        return next_lanes(words, job, begin, lane, move, first, stop, LANES, shape)

    def going(lane):
        busy = lane.channel < stop
        late = busy & (lane.event > most)
        return (jnp.sum(busy.astype(jnp.int32)) > 0) & (jnp.sum(late.astype(jnp.int32)) == 0)

    channel = mine + jnp.arange(LANES, dtype=jnp.uint32)
    lane = first_lanes(words, job, begin, first, channel, shape)
    lane = jax.lax.while_loop(going, lambda lane: jax.lax.fori_loop(0, _SPARE, turn, lane), lane)
    late = (lane.channel < stop) & (lane.event > most)
    who = jnp.min(jnp.where(late, lane.channel, end).astype(jnp.int32))
    stuck_ref[program] = who.astype(jnp.uint32)
