"""Many populations of one scheme, each under a drive of its own, as exact counts in one call."""

import jax
import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.drive.ligand import Drive
from gabatone.kernels.engine.counts import Counts, deal_populations
from gabatone.kernels.engine.protocol import Request
from gabatone.kernels.engine.simulate import require_rates, save_times, start_law
from gabatone.kernels.engine.streams import key_words
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.scheme import KineticScheme

_AT_ONCE = 1 << 24  # counts held by one compiled call
_MOST_OUTPUT_BYTES = 1 << 33


def simulate_populations(
    key,
    scheme: KineticScheme,
    drives,
    *,
    n=1,
    t1_s: float,
    save_s,
    p0=None,
    engine: Counts | None = None,
    first: int = 0,
) -> tuple[Trace, ...]:
    """Simulate one population of channels under each of `drives`, all of them as `Counts`.

    Population k draws by ``jax.random.fold_in(key, first + k)``: it gets the integers of
    ``simulate(jax.random.fold_in(key, first + k), scheme, drives[k], engine=Counts(), ...)``
    in whatever batch it is run. A drive object that stands several times is cut only once.

    Parameters
    ----------
    key : jax.random.key
    drives : sequence of Drive [population]
    n : int or array [population]
        Channels of each population.
    t1_s, save_s, p0
        As in `simulate`, the same for all populations.
    engine : Counts or None
    first : int
        Coordinate of the first population.

    Raises
    ------
    BadInput
        For what `simulate` refuses, and for an output of more than 8 GiB.
    """
    drives, engine = list(drives), Counts() if engine is None else engine
    number = _numbers(n, drives)
    require("t1_s", t1_s, above=0.0)
    require("first", first, least=0, most=2**32 - 1 - len(drives))
    require_rates(scheme)
    times, step = save_times(save_s, float(t1_s))
    _check_output(len(drives), len(times), scheme.n_states)
    start = {id(drive): start_law(scheme, drive, p0) for drive in drives}
    requests = [
        Request(scheme, drive, many, float(t1_s), times, step, start[id(drive)])
        for drive, many in zip(drives, number, strict=True)
    ]
    number_of = first + np.arange(len(requests), dtype=np.uint32)
    words = np.asarray(jax.vmap(lambda k: key_words(jax.random.fold_in(key, k)))(number_of))
    group = 1 << int(np.log2(max(1, _AT_ONCE // (engine.block * scheme.n_states))))
    counts = []
    for at in range(0, len(requests), group):
        some = slice(at, at + group)
        counts += deal_populations(words[some], requests[some], engine)
    return tuple(
        Trace(times, found, scheme, request.n, "Counts", counts=True)
        for found, request in zip(counts, requests, strict=True)
    )


def _check_output(populations: int, times: int, states: int) -> None:
    held = populations * times * states * 8
    if held > _MOST_OUTPUT_BYTES:
        raise BadInput(
            "drives",
            populations,
            f"their counts take {held / 2**30:.3g} GiB",
            f"run {int(populations * _MOST_OUTPUT_BYTES / held)} populations or fewer at a time, "
            "with first = the number of those before them",
        )


def _numbers(n, drives) -> list[int]:
    for k, drive in enumerate(drives):
        if not isinstance(drive, Drive):
            raise BadInput(
                f"drives[{k}]", type(drive).__name__, "not a Drive", "use Tonic or Pulse"
            )
    if not drives:
        raise BadInput("drives", [], "there is no population", "give at least one drive")
    many = np.asarray(n)
    if many.ndim > 1 or (many.ndim == 1 and len(many) != len(drives)):
        raise BadInput(
            "n", many.shape, f"there are {len(drives)} drives", "give one number, or one for each"
        )
    require("n", many, least=1)
    many = np.broadcast_to(many, len(drives))
    if many.dtype == bool or (many != np.floor(many)).any():
        raise BadInput("n", n, "not numbers of channels", "give whole numbers of 1 or more")
    return [int(x) for x in many]
