"""Figure and numbers of docs/langevin.md: the diffusion approximation beside the law of channels.

``python -m gabatone.experiments.langevin_page docs`` rewrites both.
"""

import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from gabatone.kernels.drive.ligand import Pulse, Tonic
from gabatone.kernels.engine.grid import grid_step
from gabatone.kernels.engine.langevin import Langevin, langevin_paths
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.protocol import Request
from gabatone.kernels.engine.streams import key_words
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.receptor.spectral import propagator

SIZES = (10, 100, 1000)
COLOURS = {10: "#c8442f", 100: "#e59a2f", 1000: "#3b7dbd"}
BEGIN, END = "<!-- numbers: begin -->", "<!-- numbers: end -->"


def pulse_moments(key, n: int, replicates: int = 4000) -> dict:
    """Mean and variance of the open fraction after 1 mM for 1 ms from rest, and exact ones."""
    scheme, time = load_scheme("jones_westbrook_1995"), np.arange(1, 101) * 2e-4
    drive, start = Pulse(1e-3, 0.0, 1e-3), np.eye(7)[0]
    request = Request(scheme, drive, n, 0.02, time, None, start)
    found = langevin_paths(Langevin(2e-5), jax.random.split(key, replicates), request)
    opened = found @ scheme.is_open
    exact = Master().run(key, request)
    share = np.asarray(exact.open_probability)
    each = np.asarray(exact.occupancy)
    spread = found.var(axis=0, ddof=1) * n / np.maximum(each * (1 - each), 1e-12)
    return {
        "time_s": time,
        "mean": opened.mean(axis=0),
        "variance": opened.var(axis=0, ddof=1) * n,
        "exact_mean": share,
        "exact_variance": share * (1 - share),
        "negative": (found < 0).mean(axis=(0, 2)),
        "worst_ratio": spread.max(axis=1),
    }


def crossings(key, n: int, conc_M: float = 1e-5, replicates: int = 1000) -> dict:
    """First time at which the open channels exceed their mean by 3 standard deviations.

    In equilibrium at `conc_M`. The limit is half-way between two numbers of channels, which
    suits a continuous fraction best. Both methods are looked at every 0.1 ms for 0.1 s; -1
    stands for never.
    """
    scheme, time = load_scheme("jones_westbrook_1995"), np.arange(1001) * 1e-4
    start = np.asarray(scheme.steady_state({"GABA": conc_M}), np.float64)
    share = float(start @ scheme.is_open)
    need = int(np.ceil(n * share + 3 * np.sqrt(n * share * (1 - share))))
    request = Request(scheme, Tonic(conc_M), n, 0.1, time, None, start)
    keys = jax.random.split(jax.random.fold_in(key, 1), replicates)
    found = langevin_paths(Langevin(5e-5), keys, request) @ scheme.is_open * n
    step = propagator(scheme.generator({"GABA": conc_M}), 1e-4)
    state = jax.random.categorical(key, jnp.log(start), shape=(replicates * n,)).astype(jnp.int32)
    opened = channels_open(key_words(key), state, step, jnp.asarray(scheme.is_open), replicates)
    return {
        "time_s": time,
        "need": need,
        "variance_ratio": found[:, -1].var(ddof=1) / (n * share * (1 - share)),
        "exact": first_above(np.asarray(opened).T, need - 0.5),
        "langevin": first_above(found, need - 0.5),
    }


@partial(jax.jit, static_argnames="replicates")
def channels_open(words, state, step, is_open, replicates: int):
    """Open channels [time, replicate] of populations moved 1000 steps by `step`, all exact."""

    def advance(state, k):
        count = is_open[state].reshape(replicates, -1).sum(axis=1)
        return grid_step(words, state, k, step), count

    return jax.lax.scan(advance, state, jnp.arange(1, 1002))[1]


def first_above(paths: np.ndarray, limit: float) -> np.ndarray:
    """Index of the first sample above `limit` of each path [replicate, time]; -1 for none."""
    above = paths > limit
    return np.where(above.any(axis=1), above.argmax(axis=1), -1)


def crossed_by(first: np.ndarray, length: int) -> np.ndarray:
    """Share of the paths that have crossed by each sample [time]."""
    hits = np.bincount(first[first >= 0], minlength=length)
    return np.cumsum(hits) / len(first)


def figure(moments: dict, crossing: dict) -> Figure:
    """Mean, variance and first crossing for each number of channels."""
    page = Figure(figsize=(13, 3.8), layout="constrained")
    mean, variance, cross = page.subplots(1, 3)
    for n in SIZES:
        data, colour = moments[n], COLOURS[n]
        mean.plot(data["time_s"] * 1e3, data["mean"], color=colour, label=f"Langevin, n = {n}")
        variance.plot(data["time_s"] * 1e3, data["variance"], color=colour)
        length = len(crossing[n]["time_s"])
        at = crossing[n]["time_s"] * 1e3
        cross.plot(at, crossed_by(crossing[n]["langevin"], length), color=colour)
        cross.plot(at, crossed_by(crossing[n]["exact"], length), color=colour, ls="--")
    exact = moments[SIZES[0]]
    for axis, name in ((mean, "exact_mean"), (variance, "exact_variance")):
        axis.plot(exact["time_s"] * 1e3, exact[name], "k--", label="exact")
        axis.set_xlabel("time after 1 mM GABA for 1 ms (ms)")
    mean.set(title="mean open fraction")
    mean.legend()
    variance.set(title="variance of the open fraction, times n")
    cross.set(
        title="first crossing, solid Langevin, dashed exact",
        xlabel="time at 10 uM GABA (ms)",
        ylabel="share of runs that have crossed",
    )
    return page


def table(moments: dict, crossing: dict) -> str:
    """The numbers as a Markdown table."""
    head = ("n", "pulse: negative fractions", "variance, open", "variance, worst state")
    head += ("10 uM: variance, open", "limit, channels", "crossed in 0.1 s, exact")
    head += ("crossed, Langevin", "greatest distance")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for n in SIZES:
        data, cross = moments[n], crossing[n]
        length = len(cross["time_s"])
        exact, found = (crossed_by(cross[key], length) for key in ("exact", "langevin"))
        late = data["time_s"] > 1e-3
        cells = (
            f"{n}",
            f"{100 * data['negative'].mean():.0f} %",
            f"{(data['variance'] / data['exact_variance'])[late].mean():.2f} x",
            f"{data['worst_ratio'][late].max():.2f} x",
            f"{cross['variance_ratio']:.2f} x",
            f"{cross['need']}",
            f"{100 * exact[-1]:.1f} %",
            f"{100 * found[-1]:.1f} %",
            f"{np.abs(exact - found).max():.3f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(docs: Path, seed: int = 0) -> None:
    """Write ``figures/langevin.png`` and the numbers of ``langevin.md`` below `docs`."""
    key = jax.random.key(seed)
    with jax.enable_x64(True):
        moments = {n: pulse_moments(jax.random.fold_in(key, n), n) for n in SIZES}
        crossing = {n: crossings(jax.random.fold_in(key, 10**6 + n), n) for n in SIZES}
    figure(moments, crossing).savefig(docs / "figures" / "langevin.png", dpi=110)
    page = docs / "langevin.md"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    text = f"{before}{BEGIN}\n\n{table(moments, crossing)}\n\n{END}{after}"
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
