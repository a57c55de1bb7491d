"""The one verb of the kernels: `simulate`."""

import numbers

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.drive.ligand import Drive
from gabatone.kernels.engine.channels import Channels
from gabatone.kernels.engine.counts import Counts
from gabatone.kernels.engine.memory import require_memory
from gabatone.kernels.engine.protocol import Engine, Request
from gabatone.kernels.engine.records import Dwells, Events, Occupancy, Readout, Record
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.scheme import KineticScheme

_MOST_CHANNELS = 10**18  # what a number can stand for; each engine has its own limit
_FASTEST = 1e25  # 1/s or 1/(M s): beyond any chemistry, and near what float32 can hold
COUNTS_PAY_ABOVE = 50_000  # channels that see one drive; below, individual paths cost less


def simulate(
    key,
    scheme: KineticScheme,
    drive: Drive,
    *,
    engine="auto",
    n: int = 1,
    t1_s: float,
    save_s,
    p0=None,
    record: Record | None = None,
) -> Trace:
    """Simulate `n` independent channels of `scheme` under `drive` from 0 to `t1_s`.

    Parameters
    ----------
    key : jax.random.key
    engine : Engine or "auto"
        "auto" takes `Counts` above 50,000 channels and `Channels` below; `Trace.engine` says which.
    n : int
        Number of channels.
    t1_s : float
        End of the simulation, s.
    save_s : float or array [time]
        A step in s, or the increasing times to save at, within 0 to `t1_s`.
    p0 : array [state], str or None
        Start law, a state's name, or None for the scheme's own rule with steroid sites at
        equilibrium with the steroid level of the drive at t = 0.
    record : Record or None
        What to keep: `Occupancy` (the default), `Readout`, `Events` or `Dwells`. The last two
        need individual paths, so "auto" then takes `Channels`.

    Raises
    ------
    BadInput
        For a ligand the scheme does not know, a bad time, count, start law, engine or record,
        and for a result that cannot fit in memory.
    Failure
        By name where no trustworthy result can be given: ``event_limit``, ``broken_certificate``.
    """
    record = Occupancy() if record is None else record
    request = checked_request(scheme, drive, n, t1_s, save_s, p0)._replace(record=record)
    trace = _choose(engine, request.n, record).run(key, request)
    if isinstance(record, Readout) and trace.recorded is None:
        return _project(trace, record)
    return trace


def checked_request(scheme, drive, n, t1_s, save_s, p0) -> Request:
    """The arguments of `simulate` as a `Request`; raises its `BadInput`."""
    if not isinstance(scheme, KineticScheme):
        raise BadInput(
            "scheme", type(scheme).__name__, "not a KineticScheme", "use load_scheme(name)"
        )
    if not isinstance(drive, Drive):
        raise BadInput(
            "drive",
            type(drive).__name__,
            "not a Drive",
            "use Tonic, Pulse, Decay, Train or Waveform",
        )
    if (
        isinstance(n, bool)
        or not isinstance(n, numbers.Real)
        or not (isinstance(n, int) or np.isfinite(n))
        or int(n) != n
        or not 1 <= n <= _MOST_CHANNELS
    ):
        raise BadInput(
            "n",
            f"{min(n, 10**300):.3g}" if isinstance(n, int) and n > 1e18 else n,
            "not a number of channels",
            f"give a whole number of 1 or more, up to {_MOST_CHANNELS:g}",
        )
    if isinstance(t1_s, bool) or not isinstance(t1_s, numbers.Real) or not 0 < t1_s < np.inf:
        raise BadInput("t1_s", t1_s, "not a length of time", "give seconds above 0")
    require_rates(scheme)
    times, step = save_times(save_s, float(t1_s))
    require_memory("number of save times", len(times), 16.0 * scheme.n_states)
    law = start_law(scheme, drive, p0)
    return Request(scheme, drive, int(n), float(t1_s), times, step, law)


def _project(trace: Trace, record: Readout) -> Trace:
    record.columns(trace.scheme)
    total = np.asarray(trace.occupancy) @ record.values
    total = total if trace.counts else total * float(trace.n)
    return eqx.tree_at(lambda t: t.recorded, trace, total, is_leaf=lambda x: x is None)


def require_rates(scheme: KineticScheme) -> None:
    """Raise `BadInput`, naming the transition, for a rate that is NaN or infinite."""
    if isinstance(scheme.log_rate, jax.core.Tracer):
        return
    log_rate = np.asarray(scheme.log_rate, np.float64)
    # a rate of 0 stands as -inf
    wrong = np.flatnonzero(np.isnan(log_rate) | (log_rate > np.log(_FASTEST)))
    if len(wrong):
        k = int(wrong[0])
        step = f"{scheme.states[scheme.source[k]]} -> {scheme.states[scheme.target[k]]}"
        raise BadInput(
            f"rate of {step}",
            float(np.exp(min(log_rate[k], 700.0))),
            f"not a finite rate below {_FASTEST:g}; a parameter may have overflowed or be NaN",
            "give a finite rate in 1/s, or 1/(M s) for a binding step",
        )


def save_times(save_s, t1_s: float) -> tuple[np.ndarray, float | None]:
    """The increasing save times of `simulate`, and their step where they are uniform."""
    try:
        save_s = np.asarray(save_s, np.float64)
    except (TypeError, ValueError) as error:
        cause, fix = "not a time", "give a step in s, or an array of times"
        raise BadInput("save_s", save_s, cause, fix) from error
    if np.ndim(save_s) == 0:
        step = float(save_s)
        if not 0 < step <= t1_s:
            raise BadInput(
                "save_s",
                step,
                f"not a step between 0 and t1_s = {t1_s}",
                "give seconds, or an array of times",
            )
        number = int(np.floor(t1_s / step * (1 + 1e-12))) + 1
        require_memory(f"save_s = {step:g}: number of save times", number, 8.0 * 16)
        return np.minimum(np.arange(number) * step, t1_s), step
    times = np.asarray(save_s, float)
    if (
        times.ndim != 1
        or times.size == 0
        or not np.isfinite(times).all()
        or (np.diff(times) <= 0).any()
        or times[0] < 0
        or times[-1] > t1_s * (1 + 1e-12)
    ):
        raise BadInput(
            "save_s",
            times.tolist()[:5],
            f"not increasing times within 0 to t1_s = {t1_s}",
            "give increasing seconds",
        )
    return np.minimum(times, t1_s), None


def start_law(scheme: KineticScheme, drive: Drive, p0):
    """The start law [state] that `simulate` makes of its `p0`."""
    if p0 is None:
        level = {}
        for part in drive.parts():
            if part.ligand in scheme.ligand_names:
                at = np.zeros(1)
                here = part.level(at, at)[0][0] + sum(a[0] for a, _ in part.decays(at, at))
                level[part.ligand] = level.get(part.ligand, 0.0) + here
        return scheme.initial_occupancy(level)
    if isinstance(p0, str):
        if p0 not in scheme.states:
            raise BadInput(
                "p0", p0, "not a state of the scheme", f"use one of {list(scheme.states)}"
            )
        return jnp.zeros(scheme.n_states).at[scheme.states.index(p0)].set(1.0)
    law = jnp.asarray(p0, float)
    if law.shape != (scheme.n_states,):
        raise BadInput(
            "p0",
            law.shape,
            f"the scheme has {scheme.n_states} states",
            "give one probability for each",
        )
    if not isinstance(law, jax.core.Tracer) and (
        not bool(jnp.all(law >= 0)) or abs(float(law.sum()) - 1) > 1e-6
    ):
        raise BadInput(
            "p0",
            np.asarray(law).tolist(),
            "not a probability vector",
            "give entries of 0 or more that sum to 1",
        )
    return law


def _choose(engine, n: int, record: Record) -> Engine:
    if not isinstance(record, Record):
        raise BadInput(
            "record",
            record,
            "not a record",
            "use Occupancy(), Readout(...), Events() or Dwells(...)",
        )
    paths = isinstance(record, Events | Dwells)
    if isinstance(engine, Engine):
        if paths and not isinstance(engine, Channels):
            raise BadInput(
                "record",
                type(record).__name__,
                f"{type(engine).__name__} does not follow single channels",
                'use engine=Channels() or "auto"',
            )
        return engine
    if isinstance(engine, str) and engine == "auto":
        return Counts() if n > COUNTS_PAY_ABOVE and not paths else Channels()
    raise BadInput(
        "engine",
        engine,
        "not an engine",
        'use "auto", Channels(), Counts(), Grid(dt_s), Master() or Langevin(dt_s)',
    )
