"""`Counts`: exact numbers of channels in each state, at a cost that does not grow with n."""

from dataclasses import replace
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata

from gabatone.kernels.bounds import require
from gabatone.kernels.drive.segments import Segments, compile_drive
from gabatone.kernels.engine.binomial import (
    ATTEMPTS,
    MOST_IN_INT32,
    MOST_IN_INT64,
    MOST_LANES,
    binomial,
    one_binomial,
    real_of,
)
from gabatone.kernels.engine.master import propagators
from gabatone.kernels.engine.protocol import Engine, Request
from gabatone.kernels.engine.stepping import block_of, block_size
from gabatone.kernels.engine.streams import key_words
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.errors import BadInput, Failure

_BLOCK = 4096  # windows of one compiled call
_BLOCK_ENTRIES = 1 << 22  # of its propagators, where a scheme has many states


class Deals(NamedTuple):
    """Laws [law, from, to] as chains of binomials, the likeliest outcome of each row first."""

    order: np.ndarray | jax.Array  # [law, from, place] the outcome in that place
    p: np.ndarray | jax.Array  # [law, from, place] its share of what is left, or 1 - share
    mirrored: np.ndarray | jax.Array  # [law, from, place] which of the two it is: the smaller one


class Counts(Engine):
    """Exact multinomial transitions between save times and breaks of the drive.

    Over a step with propagator P the channels of state i are dealt to states by
    Multinomial(N_i, P[i]), drawn as a chain of binomials (`binomial`); the law is that of n
    independent channels. Where a concentration changes inside a step, P comes from the
    fourth-order Magnus scheme of `Master`. Each draw has its own counter (step, states), so
    results depend neither on `block` nor on the precision of the rest of the program.

    Counts are int64 with float64 arithmetic, up to 2**53 channels; on a TPU, which has neither,
    int32 with float32 arithmetic up to 2**30.

    Parameters
    ----------
    substeps : int
        Parts of a step to begin with where a concentration changes inside it.
    block : int
        Steps whose propagators are held at a time.

    Raises
    ------
    BadInput
        For more channels than that, and for a bad setting.
    Failure
        ``undecided_draw`` where a binomial was not drawn in 255 attempts: a propagator is not
        finite.
    """

    substeps: int = eqx.field(static=True, default=8)
    block: int = eqx.field(static=True, default=_BLOCK)

    exact: ClassVar[bool] = True

    def __check_init__(self):
        require("Counts.substeps", self.substeps, least=1)
        require("Counts.block", self.block, least=1, most=1 << 20)

    def run(self, key, request: Request) -> Trace:
        """Counts int [time, state] of ``request.n`` channels."""
        counts = deal_populations(key_words(key)[None], [request], self)[0]
        return Trace(request.save_s, counts, request.scheme, request.n, "Counts", counts=True)


def deal_populations(words, requests: list[Request], engine: Counts) -> list[np.ndarray]:
    """Counts int64 [time, state] of each request; all are of one scheme and have one end.

    `words` (uint32 [population, 2]) name the draws of each; what they are does not depend on
    the company a population is in.
    """
    scheme, wide = requests[0].scheme, jax.default_backend() != "tpu"
    kind, most = (np.int64, MOST_IN_INT64) if wide else (np.int32, MOST_IN_INT32)
    for n in (request.n for request in requests):
        if n > most:
            raise BadInput("n", n, f"more than {most} channels", "use engine=Master()")
    cut = _cut_all(requests)
    keep = [np.searchsorted(s.edge_s, r.save_s) for s, r in zip(cut, requests, strict=True)]
    windows = np.array([int(k[-1]) for k in keep])
    size = min(engine.block, max(16, _BLOCK_ENTRIES // scheme.n_states**2))
    size = block_size(int(windows.max()), size) if windows.max() else 1
    found = [np.empty((len(k), scheme.n_states), np.int64) for k in keep]
    with jax.enable_x64(wide):
        now = _begin(words, requests, kind)
        for first in range(0, max(int(windows.max()), 1), size):
            which, laws = _laws_of(scheme, cut, first, size, engine.substeps)
            count = np.clip(windows - first, 0, size).astype(np.int32)
            at_start = now
            now, path = _deal(words, first + 1, count, now, which, laws)
            path = np.concatenate([at_start[:, None], path], axis=1)
            for rows, kept, taken in zip(found, keep, path, strict=True):
                here = (kept >= first) & (kept <= first + size)
                rows[here] = taken[kept[here] - first]
    return found


def _cut_all(requests) -> list[Segments]:
    """The drive of each request in windows; a drive that several share is cut once."""
    made, cut = {}, []
    for r in requests:
        name = (id(r.drive), id(r.save_s), r.t1_s)
        if name not in made:
            made[name] = compile_drive(r.drive, r.scheme.ligand_names, r.t1_s, cuts_s=r.save_s)
        cut.append(made[name])
    return cut


def _begin(words, requests, kind) -> np.ndarray:
    """Counts [population, state] at t = 0: one deal, draw 0, of all channels from one state."""
    states = requests[0].scheme.n_states
    p0 = np.stack([np.asarray(r.p0, np.float64) for r in requests])
    laws = np.tile(p0[:, None], (1, states, 1))
    start = np.zeros((len(requests), states), kind)
    start[:, 0] = [r.n for r in requests]
    one = np.ones(len(requests), np.int32)
    return _deal(words, 0, one, start, np.arange(len(requests), dtype=np.int32)[:, None], laws)[0]


def _laws_of(scheme, cut: list[Segments], first: int, size: int, substeps: int):
    """``(which [population, step], laws [law, state, state])`` of a block of windows."""
    made, laws, which, total = {}, [], [], 0
    for segments in cut:
        if id(segments) not in made:
            numbers, steps = _distinct(scheme, block_of(segments, first, size), substeps)
            made[id(segments)] = numbers + total
            laws.append(steps)
            total += len(steps)
        which.append(made[id(segments)])
    return np.stack(which).astype(np.int32), np.concatenate(laws)


def _distinct(scheme, block: Segments, substeps: int) -> tuple[np.ndarray, np.ndarray]:
    """Propagators of a block with the number of its own for each window; repeats in a row share one."""
    if block.smooth:
        return np.arange(len(block.length_s)), np.asarray(propagators(scheme, block, substeps))
    rows = np.column_stack([block.level, np.round(block.length_s, 15)])
    new = np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])
    length = rows[new, -1]
    few = replace(
        block,
        edge_s=np.concatenate([[0.0], np.cumsum(length)]),
        level=block.level[new],
        slope=block.slope[new],
        amplitude=block.amplitude[new],
        bound=block.bound[new],
    )
    return np.cumsum(new) - 1, np.asarray(propagators(scheme, few, substeps))


def _deal(words, first: int, count, start, which, laws) -> tuple[np.ndarray, np.ndarray]:
    """``(counts at the end, counts after each step)``; raises `Failure` for a draw left undecided."""
    # padded to few sizes, so that another drive or number of populations seldom compiles anew
    populations = len(start)
    words, count, start, which = (
        np.pad(x, ((0, _spare(populations)), *((0, 0),) * (np.ndim(x) - 1)))
        for x in (np.asarray(words), count, start, which)
    )
    spare = _spare(len(laws), least=16)
    laws = np.pad(np.asarray(laws, np.float64), ((0, spare), (0, 0), (0, 0)), mode="edge")
    deals = law_deals(laws)
    deals = deals._replace(p=deals.p.astype(real_of(start.dtype)))
    walk = walk_lane_by_lane if jax.default_backend() == "cpu" else walk_all_lanes
    now, path, decided = walk(words, np.uint32(first), count, start, which, deals)
    if not bool(decided):
        raise Failure(
            "undecided_draw",
            f"a binomial between steps {first} and {first + which.shape[1]} was not drawn in "
            f"{ATTEMPTS} attempts; are all rates and concentrations finite?",
        )
    return np.asarray(now)[:populations], np.asarray(path)[:populations]


def _spare(number: int, least: int = 1) -> int:
    """What is missing to the next power of two."""
    return max(least, 1 << int(np.ceil(np.log2(number)))) - number


def law_deals(laws) -> Deals:
    """Chains of binomials for the rows of `laws` [..., outcome]; host arrays stay on the host.

    Shares come from sums that begin with the rarest outcome, so that each chance keeps its
    relative size. A row of zeros gives NaN, which no draw decides.
    """
    xp = np if isinstance(laws, np.ndarray) else jnp
    order = xp.argsort(-laws, axis=-1, stable=True)
    ranked = xp.maximum(xp.take_along_axis(laws, order, axis=-1), 0.0)
    tail = xp.cumsum(ranked[..., ::-1], axis=-1)[..., ::-1]
    below = xp.concatenate([tail[..., 1:], xp.zeros_like(tail[..., :1])], axis=-1)
    whole = xp.where(tail > 0, tail, 1.0)
    share, rest = ranked / whole, below / whole
    return Deals(order.astype(xp.int32), xp.minimum(share, rest), share > rest)


def _lane_by_lane(words, first, count, start, which, deals: Deals):
    (populations, states), zero = start.shape, jnp.int32(0)

    def binomials(who, draw, law, i, left, new, fine):
        def more(at):
            place, left, _, _ = at
            return (left > 0) & (place < states - 1)

        def take(at):
            place, left, new, fine = at
            lane = (i * states + place).astype(jnp.uint32)
            k, decided = one_binomial(words[who], draw, lane, left, deals.p[law, i, place])
            k = jnp.where(deals.mirrored[law, i, place], left - k, k)
            return place + 1, left - k, _put(new, deals.order[law, i, place], k), fine & decided

        place, left, new, fine = jax.lax.while_loop(more, take, (jnp.int32(0), left, new, fine))
        return _put(new, deals.order[law, i, place], left), fine

    def step(who, t, at):
        now, path, fine = at
        draw, law = first + t.astype(jnp.uint32), which[who, t]

        def source(i, at):
            return binomials(who, draw, law, i, now[i], *at)

        new, fine = jax.lax.fori_loop(zero, jnp.int32(states), source, (jnp.zeros_like(now), fine))
        return new, jax.lax.dynamic_update_slice(path, new[None, None], (who, t, zero)), fine

    def population(who, at):
        end, path, fine = at
        now, path, fine = jax.lax.fori_loop(
            zero, count[who], lambda t, at: step(who, t, at), (start[who], path, fine)
        )
        return jax.lax.dynamic_update_index_in_dim(end, now, who, 0), path, fine

    path = jnp.zeros((*which.shape, states), start.dtype)
    return jax.lax.fori_loop(
        zero, jnp.int32(populations), population, (start, path, jnp.bool_(True))
    )


def _put(counts, state, number):
    return jax.lax.dynamic_update_index_in_dim(counts, counts[state] + number, state, 0)


@jax.jit
def walk_lane_by_lane(words, first, count, start, which, deals: Deals):
    """Step each population by itself, one binomial at a time: the form for a CPU.

    Returns ``(counts at the end [population, state], counts after each step [population, step,
    state], whether all draws were decided)``; rows after ``count`` steps are 0.
    """
    # one kernel without a dispatch for each operation: 10 times as fast, the same numbers
    with set_xla_metadata(xla_cpu_small_call="true", inlineable="false"):
        return jax.jit(_lane_by_lane)(words, first, count, start, which, deals)


@jax.jit
def walk_all_lanes(words, first, count, start, which, deals: Deals):
    """The same integers as `walk_lane_by_lane`, all populations and states at once."""

    def advance(at, t):
        now, fine = at
        law = which[:, t]
        chosen = jax.tree.map(lambda x: x[law], deals)
        draw = first + t.astype(jnp.uint32)
        each = jax.vmap(lambda w, n, d: _deal_rows(w, draw, n, d))
        taken, decided = each(words, now, chosen)
        going = t < count
        now = jnp.where(going[:, None], taken.sum(axis=1, dtype=now.dtype), now)
        return (now, fine & jnp.all(decided | ~going[:, None])), jnp.where(going[:, None], now, 0)

    steps = jnp.arange(which.shape[1])
    (now, fine), path = jax.lax.scan(advance, (start, jnp.bool_(True)), steps)
    return now, jnp.swapaxes(path, 0, 1), fine


def multinomial(key, number, law, draw=0):
    """Independent rows of Multinomial(number [row], law [row, outcome]) by conditional binomials.

    `number` is int32 or int64 (see `binomial`); `key` and `draw` name the random bits of all
    rows. Returns counts [row, outcome] and whether each row was decided. Raises `BadInput` for
    more than 2**24 rows x outcomes, whose names would meet those of second attempts.
    """
    if np.size(law) > MOST_LANES:
        cause = f"more than {MOST_LANES} rows x outcomes"
        raise BadInput("law", np.shape(law), cause, "call for fewer rows, each time with a draw")
    deals = law_deals(jnp.asarray(law, real_of(number.dtype)))
    return _deal_rows(key_words(key), jnp.asarray(draw, jnp.uint32), number, deals)


def _deal_rows(words, draw, number, deals: Deals):
    rows, outcomes = deals.p.shape

    def take(at, item):
        left, fine = at
        place, p, mirrored = item
        lane = jnp.arange(rows, dtype=jnp.uint32) * np.uint32(outcomes) + place
        k, decided = binomial(words, draw, lane, left, p, mirrored)
        return (left - k, fine & decided), k

    places = jnp.arange(outcomes - 1, dtype=jnp.uint32)
    chain = (places, deals.p[:, :-1].T, deals.mirrored[:, :-1].T)
    (left, fine), taken = jax.lax.scan(take, (number, jnp.ones(rows, bool)), chain)
    taken = jnp.concatenate([taken.T, left[:, None]], axis=1)
    back = jnp.argsort(deals.order, axis=-1)
    return jnp.take_along_axis(taken, back, axis=1), fine
