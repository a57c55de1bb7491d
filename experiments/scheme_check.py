"""``gabatone scheme check``: simulated channels of a scheme beside its theory.

Every statistic is a number of channels with an exact binomial law, or a sum of squares over
replicates with a gamma law of the right mean, variance and skewness; the theory comes from matrix
exponentials of the generator, the simulation from `Channels`.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from gabatone.experiments import progress as bars
from gabatone.experiments import scheme_inputs as read
from gabatone.kernels.errors import BadInput

FALSE_ALARM = 1e-4  # of all verdicts together, with a correct simulation
REPLICATES, PATCH = 500, 200  # patches, and channels in each, for the variance
LEAST_CHANNELS, MOST_CHANNELS = 100, 10_000_000
SEED = {"response": 0, "variance": 1, "open": 2, "shut": 3, "correlation": 4, "noise": 5}


@dataclass(frozen=True)
class Compared:
    """One panel: simulation and theory over x, their scatter, and chances of the deviations.

    ``paths`` is the same quantity from paths at equilibrium, shown and held to nothing.
    """

    x: np.ndarray
    ours: np.ndarray
    theory: np.ndarray
    error: np.ndarray
    p: np.ndarray | None
    paths: np.ndarray | None = None


@dataclass(frozen=True)
class Checked:
    """All panels of one scheme."""

    notes: dict
    panels: dict[str, Compared] = field(default_factory=dict)

    @property
    def _held(self) -> dict[str, Compared]:
        return {name: panel for name, panel in self.panels.items() if panel.p is not None}

    @property
    def bound(self) -> float:
        """Deviate that the worst of all entries exceeds with chance `FALSE_ALARM`."""
        entries = sum(len(panel.p) for panel in self._held.values())
        return float(stats.norm.isf(FALSE_ALARM / entries / 2))

    def verdicts(self) -> list[dict]:
        """One row for each panel that is held to its theory."""
        rows = []
        for name, panel in self._held.items():
            worst = float(stats.norm.isf(max(panel.p.min(), 1e-300) / 2))
            rows.append(
                {
                    "check": name,
                    "entries": len(panel.p),
                    "worst deviate": worst,
                    "bound": self.bound,
                    "verdict": "met" if worst <= self.bound else "missed",
                }
            )
        return rows

    @property
    def passed(self) -> bool:
        """Whether every panel is met."""
        return all(row["verdict"] == "met" for row in self.verdicts())


def checked(
    name: str, *, gaba=None, steroid=None, temperature=None, n="20000", seed="0", quiet=False
) -> Checked:
    """Simulate a scheme and compare, every argument in its text form."""
    number, chosen = read.whole("--n", n), read.whole("--seed", seed)
    if not LEAST_CHANNELS <= number <= MOST_CHANNELS:
        cause = f"outside {LEAST_CHANNELS} to {MOST_CHANNELS}"
        raise BadInput("--n", n, cause, "give a number of channels in that range")
    level = None if gaba is None else read.quantity("--gaba", gaba, "concentration")
    scheme, background = read.load(name, read.read_steroid(steroid), temperature)
    return compare(scheme, background, level, number, chosen, quiet=quiet)


def compare(
    scheme, background: dict, gaba_M, n: int, seed: int, *, theory=None, only=None, quiet=True
) -> Checked:
    """Compare `n` simulated channels of ``scheme`` with the law of ``theory`` (the same by default).

    ``only`` names the panels wanted, all by default.
    """
    import jax

    from gabatone.kernels.receptor.partition import partition
    from gabatone.kernels.receptor.relaxation import equilibrium_dose_response

    law = scheme if theory is None else theory
    if gaba_M is None:
        gaba_M = equilibrium_dose_response(law, "GABA", background).ec50_M
    level = {**background, "GABA": gaba_M}
    channel, keys = partition(law, level), jax.random.key(seed)
    tasks = {
        "response": lambda key: _response(key, scheme, law, background, n),
        "variance": lambda key: _variance(key, scheme, law, background),
        "open": lambda key: _dwell(key, scheme, channel, level, n),
        "shut": lambda key: _dwell(key, scheme, channel.swapped, level, n),
        "correlation": lambda key: _correlation(key, scheme, channel, level, n),
        "noise": lambda key: _noise(key, scheme, channel, level),
    }
    notes = {
        "scheme": scheme.name,
        "channels": n,
        "seed": seed,
        "response and variance": "1 mM GABA for 1 ms",
        "dwell times and noise": f"{gaba_M:.4g} M GABA",
        **{name: f"{conc:g} M" for name, conc in background.items()},
        "mean open time, s": f"{_mean_s(channel):.4g}",
        "mean shut time, s": f"{_mean_s(channel.swapped):.4g}",
    }
    bar, panels = bars.Guarded(bars.choose(quiet)), {}
    bar.init(scheme.name, len(tasks))
    try:
        for name in only or tasks:
            bar.step(0, name)
            panels[name] = tasks[name](jax.random.fold_in(keys, SEED[name]))
            bar.step(1)
    finally:
        bar.close_all()
    return Checked(notes, panels)


def _mean_s(channel) -> float:
    from gabatone.kernels.receptor.dwell import open_time

    return open_time(channel).mean_s


def _run(key, scheme, drive, n: int, time, p0=None):
    from gabatone.kernels.engine.channels import Channels
    from gabatone.kernels.engine.simulate import simulate

    time = np.asarray(time, float)
    return simulate(
        key, scheme, drive, engine=Channels(), n=n, t1_s=float(time[-1]), save_s=time, p0=p0
    )


def _pulse(background: dict):
    from gabatone.kernels.drive.ligand import Pulse, Tonic

    drive = Pulse(read.PULSE_M, 0.0, read.PULSE_S)
    for ligand, level in background.items():
        drive = drive + Tonic(level, ligand)
    return drive


def _held(level: dict):
    from gabatone.kernels.drive.ligand import Tonic

    drives = [Tonic(conc, ligand) for ligand, conc in level.items()]
    return sum(drives[1:], drives[0])


def _law(scheme, drive, time) -> np.ndarray:
    import jax

    from gabatone.kernels.engine.master import Master
    from gabatone.kernels.engine.simulate import simulate

    key, time = jax.random.key(0), np.asarray(time, float)
    trace = simulate(key, scheme, drive, engine=Master(), t1_s=float(time[-1]), save_s=time)
    return np.clip(np.asarray(trace.open_probability), 0.0, 1.0)


RESPONSE_S = np.concatenate([np.linspace(1e-4, 2e-3, 20), np.geomspace(2.5e-3, 0.5, 40)])
VARIANCE_S = np.array([5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.03, 0.1])


def _response(key, scheme, law, background: dict, n: int) -> Compared:
    drive = _pulse(background)
    p = _law(law, drive, RESPONSE_S)
    count = np.asarray(_run(key, scheme, drive, n, RESPONSE_S).open_count)
    return _share(RESPONSE_S, count, n, p)


def _share(x, count, n: int, p, scale=1.0) -> Compared:
    count = np.round(np.asarray(count, float))
    error = scale * np.sqrt(p * (1 - p) / n)
    return Compared(x, scale * count / n, scale * p, error, _binomial(count, n, p))


def _binomial(count, n: int, p) -> np.ndarray:
    """Two-sided chances of counts with their exact law."""
    tail = np.minimum(stats.binom.cdf(count, n, p), stats.binom.sf(count - 1, n, p))
    return np.clip(2 * tail, 0.0, 1.0)


def _variance(key, scheme, law, background: dict) -> Compared:
    """Scatter of the open number over patches of independent channels, about its exact mean."""
    import jax

    drive = _pulse(background)
    p = _law(law, drive, VARIANCE_S)
    counts = np.array(
        [
            np.asarray(
                _run(jax.random.fold_in(key, r), scheme, drive, PATCH, VARIANCE_S).open_count
            )
            for r in range(REPLICATES)
        ]
    )
    binomial = stats.binom(PATCH, p)
    mean, var = binomial.mean(), binomial.var()
    square = ((counts - mean) ** 2).mean(axis=0)
    # moments of the squared deviation, from the counts' own law
    k = np.arange(PATCH + 1)[:, None]
    weight = stats.binom.pmf(k, PATCH, p)
    moments = [(weight * ((k - mean) ** 2 - var) ** j).sum(axis=0) for j in (2, 3)]
    spread = np.sqrt(moments[0] / REPLICATES)
    skew = moments[1] / moments[0] ** 1.5 / np.sqrt(REPLICATES)
    return Compared(VARIANCE_S, square, var, spread, gamma_chance((square - var) / spread, skew))


def gamma_chance(z, skew) -> np.ndarray:
    """Two-sided chance of a standardised sum of that skewness, by the gamma law that matches it."""
    shape, turn = 4.0 / np.maximum(np.abs(skew), 1e-6) ** 2, np.where(skew < 0, -1.0, 1.0)
    at = np.maximum(shape + turn * z * np.sqrt(shape), 0.0)
    return np.clip(2 * np.minimum(stats.gamma.cdf(at, shape), stats.gamma.sf(at, shape)), 0, 1)


def _dwell(key, scheme, channel, level: dict, n: int) -> Compared:
    """Stays in the open class of `channel`: those still there at log-spaced times.

    Every channel starts where a stay starts at equilibrium, and the other class is made
    absorbing, so that the channels still inside are those whose stay is longer. Beside them:
    complete stays of channels at equilibrium, whose numbers in a bin have no simple law.
    """
    import jax

    from gabatone.kernels.receptor.dwell import open_time

    stay = open_time(channel)
    start = np.zeros(scheme.n_states)
    start[channel.is_open] = channel.entry
    edge = np.geomspace(stay.mean_s * 1e-2, stay.mean_s * 10, 31)
    trace = _run(key, _absorbing(scheme, channel.is_open), _held(level), n, edge, start)
    inside = np.asarray(trace.occupancy)[:, channel.is_open].sum(axis=1)
    survivor = np.clip(stay.survivor(edge), 0.0, 1.0)
    # drawn as the share per bin of log time, held as survivors and as bins
    bins, chance = -np.diff(inside), -np.diff(survivor)
    middle = np.sqrt(edge[1:] * edge[:-1])
    width = np.diff(np.log(edge))
    p = np.concatenate([_binomial(inside, n, survivor), _binomial(bins, n, chance)])
    error = np.sqrt(chance * (1 - chance) / n) / width
    paths = _stays(jax.random.fold_in(key, 1), scheme, channel, level, edge)
    return Compared(middle, bins / n / width, chance / width, error, p, paths / width)


def _stays(key, scheme, channel, level: dict, edge, channels: int = 400) -> np.ndarray:
    """Share of the stays in the open class of `channel` that end in each bin of `edge`.

    A run of length T holds complete stays of length t in proportion to T - t.
    """
    from gabatone.kernels.engine.channels import Channels
    from gabatone.kernels.engine.records import Dwells
    from gabatone.kernels.engine.simulate import simulate
    from gabatone.kernels.receptor.dwell import open_time

    length = 100 * sum(open_time(part).mean_s for part in (channel, channel.swapped))
    names = tuple(s for s, inside in zip(scheme.states, channel.is_open, strict=True) if inside)
    trace = simulate(
        key,
        scheme,
        _held(level),
        engine=Channels(),
        n=channels,
        t1_s=float(length),
        save_s=float(length),
        p0=channel.equilibrium,
        record=Dwells(edge, (("stay", names),)),
    )
    entries_per_s = float(channel.equilibrium[channel.is_open] @ channel.leave.sum(axis=1))
    seen = channels * entries_per_s * (length - np.sqrt(edge[1:] * edge[:-1]))
    return np.where(seen > 0, trace.recorded.counts[0] / np.maximum(seen, 1e-300), np.nan)


def _absorbing(scheme, inside):
    """The scheme without the steps that start outside the mask ``inside`` [state]."""
    import equinox as eqx

    log_rate = np.where(np.asarray(inside)[list(scheme.source)], scheme.log_rate, -np.inf)
    return eqx.tree_at(lambda s: s.log_rate, scheme, log_rate)


def _correlation(key, scheme, channel, level: dict, n: int) -> Compared:
    """Open again after a lag: channels that start open as at equilibrium."""
    from gabatone.kernels.receptor.relaxation import autocovariance

    p = channel.equilibrium * channel.is_open
    share = float(p.sum())
    slow = _slowest_s(channel)
    lag = np.geomspace(slow * 1e-4, slow * 5, 40)
    again = np.clip(autocovariance(channel, lag) / share + share, 0.0, 1.0)
    count = np.asarray(_run(key, scheme, _held(level), n, lag, p / share).open_count)
    found = _share(lag, count, n, again, scale=share)
    return Compared(lag, found.ours - share**2, found.theory - share**2, found.error, found.p)


def _slowest_s(channel) -> float:
    rates = np.sort(-np.linalg.eigvals(channel.generator).real)
    return float(1.0 / rates[1])


def _noise(key, scheme, channel, level: dict, channels: int = 500, segments: int = 16) -> Compared:
    """Spectrum of an equilibrium record, shown beside theory and held to nothing.

    Ten samples for each mean stay in the shorter of the two classes; the upper three quarters of
    the band, where sampling folds power back, are left out.
    """
    from gabatone.kernels.receptor.dwell import open_time
    from gabatone.kernels.receptor.relaxation import noise_spectrum

    points = 4096
    step = 0.1 * min(open_time(part).mean_s for part in (channel, channel.swapped))
    time = np.arange(points * segments + 1) * step
    trace = _run(key, scheme, _held(level), channels, time, channel.equilibrium)
    record = np.asarray(trace.open_count)[1:].reshape(segments, points)
    record = record - channels * float(channel.equilibrium @ channel.is_open)
    window = np.hanning(points)
    power = np.abs(np.fft.rfft(record * window, axis=1)) ** 2
    power = 2 * step * power.mean(axis=0) / (window**2).sum() / channels
    frequency = np.fft.rfftfreq(points, step)
    edges = np.unique(np.round(np.geomspace(2, points // 8, 40)).astype(int))
    size = np.diff(edges)
    middle = np.add.reduceat(frequency[: edges[-1]], edges[:-1]) / size
    ours = np.add.reduceat(power[: edges[-1]], edges[:-1]) / size
    theory = noise_spectrum(channel, middle)
    return Compared(middle, ours, theory, theory / np.sqrt(segments * size), None)


def draw(path, found: Checked) -> None:
    """Draw simulation over theory, one panel for each comparison."""
    from matplotlib.figure import Figure

    labels = {
        "response": ("ms", 1e3, "open probability, +- 2 SE"),
        "variance": ("ms", 1e3, f"variance of {PATCH} channels"),
        "open": ("ms", 1e3, "open times, share per ln t"),
        "shut": ("ms", 1e3, "shut times, share per ln t"),
        "correlation": ("ms", 1e3, "autocovariance of one channel"),
        "noise": ("Hz", 1.0, "one-sided spectrum of one channel, 1/Hz"),
    }
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    verdicts = {row["check"]: row["verdict"] for row in found.verdicts()}
    for axis, (name, panel) in zip(figure.subplots(2, 3).flat, found.panels.items(), strict=True):
        unit, scale, title = labels[name]
        x = panel.x * scale
        axis.fill_between(
            x, panel.theory - 2 * panel.error, panel.theory + 2 * panel.error, color="0.8", lw=0
        )
        axis.plot(x, panel.theory, color="black", lw=1, label="theory")
        axis.plot(x, panel.ours, "o", ms=2.5, color="#c8442f", label="simulated")
        if panel.paths is not None:
            axis.plot(x, panel.paths, "x", ms=3.5, color="#3b7dbd", label="equilibrium paths")
            axis.legend(frameon=False, fontsize="small")
        axis.set(xlabel=unit, title=f"{title}: {verdicts.get(name, 'shown')}", xscale="log")
        axis.title.set_fontsize("medium")
        if name == "noise":
            axis.set_yscale("log")
    figure.axes[0].legend(frameon=False, fontsize="small")
    figure.suptitle(f"{found.notes['scheme']}, {found.notes['channels']} channels")
    read.save_figure(path, figure)
