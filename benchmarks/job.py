"""Job J1 as plain arrays, its exact answer, and the check that every method must pass."""

import math
from dataclasses import dataclass

import numpy as np

SCHEME, START = "jones_westbrook_1995", "C0"
PEAK_M, PULSE_S, STOP_S, STEP_S = 1e-3, 1e-3, 0.2, 1e-4
DECAY_S = 1e-3  # of the smooth drive: 1 mM that decays, as much GABA x time as the pulse
STEPS = round(STOP_S / STEP_S)
WANTED_ERROR = 1e-4  # standard error of the open probability where it is largest
FALSE_ALARM = 1e-6  # chance that the comparison with Master stops a correct run


class Disagreement(Exception):
    """A method whose open counts are not those of the scheme."""


@dataclass(frozen=True)
class Job:
    """A scheme under two constant windows: `generators` [window, state, state] in 1/s."""

    scheme: str
    states: tuple[str, ...]
    generators: np.ndarray
    is_open: np.ndarray
    start: int
    stops_s: tuple[float, float] = (PULSE_S, STOP_S)
    step_s: float = STEP_S
    steps: int = STEPS

    @property
    def first_steps(self) -> int:
        """Grid steps in the first window."""
        return round(self.stops_s[0] / self.step_s)

    def edges(self) -> list[tuple[int, int, float, float]]:
        """``(source, target, rate in the first window, rate in the second)`` of every transition."""
        size = len(self.states)
        pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
        rates = [(i, j, *(float(q[i, j]) for q in self.generators)) for i, j in pairs]
        return [edge for edge in rates if edge[2] > 0 or edge[3] > 0]

    def events_per_window(self) -> list[float]:
        """Expected state changes of one channel in each window: rates times the exact time in each state."""
        from scipy.linalg import expm

        n = len(self.states)
        p, events, begin_s = np.eye(n)[self.start], [], 0.0
        for q, stop_s in zip(self.generators, self.stops_s, strict=True):
            block = np.zeros((2 * n, 2 * n))
            block[:n, :n], block[:n, n:] = q, np.eye(n)
            whole = expm(block * (stop_s - begin_s))
            events.append(float(-(p @ whole[:n, n:]) @ np.diag(q)))
            p, begin_s = p @ whole[:n, :n], stop_s
        return events


def pulse_job(scheme) -> Job:
    """The job of a gabatone scheme: 1 mM GABA for 1 ms, then none."""
    pair = [np.asarray(scheme.generator({"GABA": conc}), np.float64) for conc in (PEAK_M, 0.0)]
    return Job(
        scheme.name,
        tuple(scheme.states),
        np.stack(pair),
        np.asarray(scheme.is_open, bool),
        scheme.states.index(START),
    )


def drives() -> dict:
    """The constant drive of the job and the smooth one beside it."""
    from gabatone import Decay, Pulse

    return {"pulse": Pulse(PEAK_M, 0.0, PULSE_S), "decay": Decay(PEAK_M, DECAY_S)}


def mean_open(scheme, drive) -> np.ndarray:
    """Exact open probability [time] by `Master`."""
    import jax

    from gabatone import Master, simulate

    grid = dict(t1_s=STOP_S, save_s=STEP_S, p0=START)
    trace = simulate(jax.random.key(0), scheme, drive, engine=Master(), n=1, **grid)
    return np.asarray(trace.open_probability, np.float64)


def events_of_decay(scheme, *, fine: int = 20) -> float:
    """Expected number of state changes of one channel under the smooth drive.

    The exact occupancy by `Master` on a grid `fine` times as fine as the job's, times the rates
    of leaving at the concentration there, by the trapezoidal rule.
    """
    import jax

    from gabatone import Master, simulate

    grid = dict(t1_s=STOP_S, save_s=STEP_S / fine, p0=START)
    drive = drives()["decay"]
    trace = simulate(jax.random.key(0), scheme, drive, engine=Master(), n=1, **grid)
    time_s, occupancy = np.asarray(trace.time_s), np.asarray(trace.occupancy, np.float64)
    free, bound = (
        -np.diag(np.asarray(scheme.generator({"GABA": conc}), np.float64)) for conc in (0.0, 1.0)
    )
    level = PEAK_M * np.exp(-time_s / DECAY_S)
    return float(np.trapezoid(occupancy @ free + level * (occupancy @ (bound - free)), time_s))


def channels_for_error(mean: np.ndarray) -> int:
    """Channels that give `WANTED_ERROR` where the open probability varies most."""
    return math.ceil(float((mean * (1 - mean)).max()) / WANTED_ERROR**2)


def agreement(opened, n: int, mean: np.ndarray, checks: int) -> float:
    """Worst |z| of the open count against the mean at twelve spread times.

    Raises `Disagreement` where it is beyond what `FALSE_ALARM`, shared by `checks` such calls, allows.
    """
    from scipy.stats import norm

    opened = np.asarray(opened, np.float64)
    if opened.shape != mean.shape:
        raise Disagreement(f"{opened.shape} open counts where {mean.shape} are due")
    at = np.unique(np.geomspace(2, len(mean) - 1, 12).astype(int))
    deviation = opened[at] / n - mean[at]
    worst = float(np.max(np.abs(deviation) / np.sqrt(mean[at] * (1 - mean[at]) / n)))
    bound = float(norm.isf(FALSE_ALARM / checks / len(at) / 2))
    if not worst <= bound:
        raise Disagreement(f"disagrees with Master: |z| = {worst:.2f} > {bound:.2f}")
    return worst
