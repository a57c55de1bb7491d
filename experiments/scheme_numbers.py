"""What a scheme does in the standard protocols, as plain numbers and curves in double precision."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import expm
from scipy.optimize import brentq

from gabatone.kernels.receptor.scheme import KineticScheme
from gabatone.kernels.receptor.spectral import steady_state

PULSE_M, PULSE_S = 1e-3, 1e-3
DOSES_M = np.geomspace(1e-8, 1e-1, 43)
WINDOW_S = 2.0
_STEP_S, _PER_OCTAVE = 5e-6, 64


@dataclass(frozen=True)
class Curve:
    """Open probability over time in seconds."""

    time_s: np.ndarray
    p_open: np.ndarray

    @property
    def peak(self) -> float:
        """Largest open probability."""
        return float(self.p_open.max())

    def rise_s(self) -> float:
        """Time from 10 to 90 % of the way from the start to the peak."""
        top = int(self.p_open.argmax())
        share = (self.p_open[: top + 1] - self.p_open[0]) / (self.peak - self.p_open[0])
        low, high = np.interp([0.1, 0.9], share, self.time_s[: top + 1])
        return float(high - low)

    def decay_s(self) -> float:
        """Time from the peak until 1/e of it is left above the starting level."""
        time, left = self._falling()
        below = int(np.argmax(left < np.exp(-1.0)))
        return float(
            np.interp(-np.exp(-1.0), -left[below - 1 : below + 1], time[below - 1 : below + 1])
        )

    def weighted_decay_s(self, within_s: float = WINDOW_S) -> float:
        """Charge up to `within_s` after the peak over the peak: the amplitude-weighted decay time."""
        time, left = self._falling()
        inside = time <= within_s
        return float(np.trapezoid(left[inside], time[inside]))

    def _falling(self):
        top, rest = int(self.p_open.argmax()), self.p_open[0]
        return self.time_s[top:] - self.time_s[top], (self.p_open[top:] - rest) / (self.peak - rest)


@dataclass(frozen=True)
class Responses:
    """The standard protocols for one scheme, at fixed levels of other ligands (mol/L)."""

    scheme: KineticScheme
    background_M: tuple[tuple[str, float], ...] = ()

    def generator(self, gaba_M: float) -> np.ndarray:
        """Generator [state, state], 1/s."""
        level = {"": 1.0, "GABA": gaba_M, **dict(self.background_M)}
        scheme = self.scheme
        rates = np.exp(np.asarray(scheme.log_rate, float)) * [level[x] for x in scheme.ligands]
        q = np.zeros((scheme.n_states, scheme.n_states))
        np.add.at(q, (np.array(scheme.source), np.array(scheme.target)), rates)
        return q - np.diag(q.sum(axis=1))

    @cached_property
    def start(self) -> np.ndarray:
        """Occupancy before GABA is applied."""
        p = np.asarray(self.scheme.initial_occupancy(dict(self.background_M)), float)
        return p / p.sum()

    @cached_property
    def pulse(self) -> Curve:
        """1 ms of 1 mM GABA, followed for 20 s."""
        n = round(PULSE_S / _STEP_S)
        on, states = _follow(self.start, self.generator(PULSE_M), PULSE_S, n)
        off, after = _follow(states[-1], self.generator(0.0), 20.0)
        return Curve(np.append(on, on[-1] + off[1:]), self._open(np.vstack([states, after[1:]])))

    @cached_property
    def step(self) -> Curve:
        """1 mM GABA from 0 to 4 s."""
        time, states = _follow(self.start, self.generator(PULSE_M), 4.0)
        return Curve(time, self._open(states))

    @cached_property
    def doses(self) -> np.ndarray:
        """Peak open probability within 500 ms of each of `DOSES_M`."""
        return np.array([self.at_dose(conc) for conc in DOSES_M])

    def desensitization(self, at_s: float) -> float:
        """Share of the peak lost by `at_s` of the step."""
        return 1.0 - float(np.interp(at_s, self.step.time_s, self.step.p_open)) / self.step.peak

    def ec50_M(self) -> float:
        """Lowest concentration that gives half of the largest peak."""
        half = self.doses.max() / 2
        above = int(np.argmax(self.doses > half))
        low, high = np.log(DOSES_M[above - 1 : above + 1])
        return float(np.exp(brentq(lambda x: self.at_dose(np.exp(x)) - half, low, high, xtol=1e-6)))

    def at_dose(self, gaba_M: float) -> float:
        """Peak open probability of the 500 ms step at one concentration."""
        return float(self._open(_follow(self.start, self.generator(gaba_M), 0.5)[1]).max())

    def tonic(self, gaba_M: float) -> float:
        """Open probability at equilibrium with `gaba_M`."""
        return float(self._open(np.asarray(steady_state(self.generator(gaba_M)), float)))

    def _open(self, occupancy):
        return occupancy[..., self.scheme.is_open].sum(axis=-1)


def _follow(start, generator, until_s: float, n: int | None = None):
    """Occupancy at `n` even steps up to `until_s`, or at steps that double every 64 of them."""
    octaves = 1 if n else int(np.ceil(np.log2(until_s / (_PER_OCTAVE * _STEP_S) + 1)))
    per = n or _PER_OCTAVE
    dt = until_s / (per * (2**octaves - 1))
    step = expm(generator * dt)
    time, path = [np.zeros(1)], [np.asarray(start, float)[None]]
    for _ in range(octaves):
        time.append(time[-1][-1] + dt * np.arange(1, per + 1))
        path.append(_repeat(path[-1][-1], step, per))
        step, dt = step @ step, 2 * dt
    return np.concatenate(time), np.concatenate(path)


def _repeat(start, step, n: int) -> np.ndarray:
    """Occupancy after 1 to `n` steps, by doubling the part already known."""
    block, power = (start @ step)[None], step
    while len(block) < n:
        block = np.vstack([block, block @ power])
        power = power @ power
    return block[:n]
