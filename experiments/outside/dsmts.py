"""The stochastic part of the SBML test suite: published means and standard deviations.

The suite's own rule (|z| < 3 and |y| < 5 at each of 50 times) trips on correct programs. Here
each case has three statistics for each output, all with a stated false-alarm rate:

- the mean at each time, by the published mean and variance;
- the mean square about the published mean at each time;
- the sum over all times, whose scatter is taken from the runs.

The first two are sums over independent runs. Their chance is that of the gamma (Pearson III) law
with the same first three cumulants, exact for normal counts; cumulants come from `network_laws`.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy import stats

from gabatone.experiments.outside.network_laws import central_moments
from gabatone.experiments.outside.shorthand import Model, read_shorthand
from gabatone.kernels.engine.network import evaluate

MUST_PASS = (1, 3, 5, 7, 13, 15, 17, 21, 23, 27, 31, 35, 37, 39)
ALSO = (9, 11, 19, 25)
FALSE_ALARM = 1e-4  # of `rows` as a whole, with a correct simulator
RUNS, QUICK_RUNS = 10_000, 1_000
SOURCE = "SBML test suite 3.4.0, stochastic cases"
_HERE = Path(__file__).parent
_WHAT = {
    "start": "certain counts",
    "mean": "mean",
    "scatter": "mean square about the published mean",
    "sum": "sum over the times",
}


@dataclass(frozen=True)
class Published:
    """Means and standard deviations [time] of one output."""

    time: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


@dataclass(frozen=True)
class Case:
    """One case: its model and what was published of each output."""

    number: int
    model: Model
    outputs: dict[str, Published]

    @property
    def name(self) -> str:
        """The suite's own name of the case."""
        return f"{self.number:05d}"


@cache
def cases() -> dict[int, Case]:
    """Every case that can be simulated, by its number."""
    expected: dict[str, dict[str, list]] = {}
    for row in _read("dsmts_expected.csv"):
        numbers = [float(row[key]) for key in ("time", "mean", "sd")]
        expected.setdefault(row["case"], {}).setdefault(row["variable"], []).append(numbers)
    found = {}
    for row in _read("dsmts_index.csv"):
        number = int(row["case"])
        if number in (*MUST_PASS, *ALSO):
            outputs = {
                name: Published(*np.array(table).T) for name, table in expected[row["case"]].items()
            }
            found[number] = Case(
                number, read_shorthand(row["case"], row["model_shorthand"]), outputs
            )
    return found


def _read(name: str) -> list[dict]:
    with (_HERE / name).open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def counts_of(case: Case, key, n: int, parameters: dict | None = None) -> dict[str, np.ndarray]:
    """Simulate `n` runs, with other `parameters` if given; counts [run, time] of each output."""
    from gabatone.kernels.engine.reactions import simulate_network

    network, time = case.model.network.with_parameters(**(parameters or {})), _time(case)
    trace = simulate_network(key, network, n=n, t1_s=float(time[-1]), save_s=time, paths=True)
    counts = {name: trace.paths[:, :, s] for s, name in enumerate(network.species)}
    values = {**network.parameters, **counts}
    return {name: evaluate(case.model.rules.get(name, name), values) for name in case.outputs}


def _time(case: Case) -> np.ndarray:
    return next(iter(case.outputs.values())).time


def law_of(case: Case, parameters: dict | None = None) -> dict[str, np.ndarray]:
    """Mean and central moments 2, 3, 4, 6 [time, 5] of every output of a case (`network_laws`)."""
    network = case.model.network.with_parameters(**(parameters or {}))
    each = [
        {s: float(s == one) for s in network.species} | network.parameters
        for one in network.species
    ]
    rules = [case.model.rules.get(name, name) for name in case.outputs]
    weights = [[evaluate(rule, values) for values in each] for rule in rules]
    moments = central_moments(network, weights, _time(case))
    return dict(zip(case.outputs, moments, strict=True))


def p_values(outputs: dict[str, Published], laws: dict, counts: dict) -> dict[str, np.ndarray]:
    """Two-sided chances of ``output.mean`` [time], ``.scatter`` [time] and ``.sum`` [1].

    `laws` is that of `law_of`, `counts` that of `counts_of`. Where the published standard
    deviation is 0 the counts must be the published number: chance 1 or 0.
    """
    found = {}
    for name, published in outputs.items():
        x, moving = counts[name].astype(float), published.sd > 0
        still = np.all(x[:, ~moving] == published.mean[~moving])
        found[f"{name}.start" if moving.any() else f"{name}.mean"] = np.array([float(still)])
        if not moving.any():
            continue
        n, x, mean, var = len(x), x[:, moving], published.mean[moving], published.sd[moving] ** 2
        third, fourth, sixth = laws[name][moving, 2:].T
        z = np.sqrt(n / var) * (x.mean(0) - mean)
        found[f"{name}.mean"] = _chance(z, third / var**1.5 / np.sqrt(n))
        square = ((x - mean) ** 2).mean(0)
        spread = fourth - var**2
        skew = (sixth - 3 * fourth * var + 2 * var**3) / spread**1.5 / np.sqrt(n)
        found[f"{name}.scatter"] = _chance(np.sqrt(n / spread) * (square - var), skew)
        total = x.sum(axis=1)
        z = (total.mean() - mean.sum()) / (total.std(ddof=1) / np.sqrt(n))
        found[f"{name}.sum"] = 2 * stats.norm.sf(np.abs(np.atleast_1d(z)))
    return found


def _chance(z, skew) -> np.ndarray:
    """Two-sided chance of a standardised sum with that skewness, by Pearson's type III law."""
    z, skew = np.broadcast_arrays(np.atleast_1d(z), np.atleast_1d(skew))
    p = np.empty(z.shape)
    plain = np.abs(skew) < 1e-6
    p[plain] = 2 * stats.norm.sf(np.abs(z[plain]))
    turn = np.sign(skew[~plain])
    shape = 4.0 / skew[~plain] ** 2
    at = np.maximum(shape + turn * z[~plain] * np.sqrt(shape), 0.0)
    p[~plain] = 2 * np.minimum(stats.gamma.cdf(at, shape), stats.gamma.sf(at, shape))
    return np.minimum(p, 1.0)


def rows(*, quick: bool = False, seed: int = 0, progress=None) -> list[dict]:
    """Simulate every case and hold it to the suite; rows with the keys of ``checks.json``.

    Each row is the worst standard deviate of its times, held to a bound that all rows
    together pass with chance ``1 - FALSE_ALARM``. `progress(note)` is called before each case.
    """
    import jax

    from gabatone.experiments.checks import Check

    n, found = QUICK_RUNS if quick else RUNS, {}
    for number, case in cases().items():
        if progress is not None:
            progress(f"case {case.name}")
        counts = counts_of(case, jax.random.fold_in(jax.random.key(seed), number), n)
        for name, p in p_values(case.outputs, law_of(case), counts).items():
            found[f"dsmts.{case.name}.{name}"] = p
    share = FALSE_ALARM / sum(len(p) for p in found.values())
    bound = float(stats.norm.isf(share / 2))
    return [
        Check(
            id,
            f"{_WHAT[id.split('.')[-1]]} of {id.split('.')[-2]}, worst deviate of {len(p)}, "
            f"{n} runs",
            "sd",
            0.0,
            0.0,
            bound,
            float(stats.norm.isf(max(p.min(), 1e-300) / 2)),
            SOURCE,
            "read",
        ).row()
        for id, p in found.items()
    ]
