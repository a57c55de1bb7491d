"""Apparent open and shut times of a record that misses events shorter than its resolution.

An apparent opening is at least one resolution long and ends where a shutting at least that
long begins; shorter shuttings inside it go unseen. Hawkes, Jalali & Colquhoun 1990 (Phil
Trans R Soc A 332:511, exact law) and 1992 (Phil Trans R Soc B 337:383, asymptotic law),
called HJC; vectors for bursts from Colquhoun, Hawkes & Srodzinski 1996 (Phil Trans R Soc A
354:2555), called CHS.
"""

from dataclasses import dataclass
from functools import cached_property
from math import factorial

import numpy as np
from jaxtyping import Float
from scipy import linalg
from scipy.optimize import brentq

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.exponentials import Exponentials, Modes, modes
from gabatone.kernels.receptor.partition import Partition

_CLOSE = 1e-9


@dataclass(frozen=True)
class MissedEvents:
    """A channel seen with a resolution; the apparent openings are those of `channel`'s open class.

    Parameters
    ----------
    channel : Partition
    resolution_s : float
        Shortest event that is seen, of either class, above 0.
    n_exact : int
        Apparent openings shorter than ``(n_exact + 1) * resolution_s`` follow the exact law
        and longer ones the asymptotic law.
    """

    channel: Partition
    resolution_s: float
    n_exact: int = 2

    def __post_init__(self):
        require("resolution_s", self.resolution_s, above=0.0)
        require("n_exact", self.n_exact, least=1)

    @cached_property
    def swapped(self) -> "MissedEvents":
        """The same record with open and shut exchanged."""
        return MissedEvents(self.channel.swapped, self.resolution_s, self.n_exact)

    @cached_property
    def seen_shut(self) -> Float[np.ndarray, "open shut"]:
        """Q_AF exp(Q_FF resolution): rates of shutting for long enough to be seen."""
        return self.channel.leave @ linalg.expm(self.channel.swapped.within * self.resolution_s)

    def reduced(self, s: float) -> Float[np.ndarray, "open open"]:
        """H(s) of HJC 1992: rates among open states with the unseen shuttings folded in, 1/s."""
        return self._reduced(s)[0]

    @cached_property
    def roots_per_s(self) -> Float[np.ndarray, " root"]:
        """The real roots, all below 0, of ``det(s I - H(s))``, fastest first (HJC 1992 eqs 52-58).

        H(s) falls as s rises, so each of its eigenvalues meets s exactly once. Raises
        `Failure` as `modes`, and ``no_root`` where the search finds no crossing.
        """
        lowest = modes(self.channel.within).values[0] * (1.0 + 1e-9)
        return np.array([self._root(j, lowest) for j in range(len(self.channel.within))])

    @cached_property
    def mean_time(self) -> Float[np.ndarray, "open open"]:
        """Mean apparent time in each open state beyond the first resolution, s: ``-H(0)^-1``."""
        return np.linalg.inv(-self.reduced(0.0))

    @cached_property
    def next_class(self) -> Float[np.ndarray, "open shut"]:
        """Where the next apparent shutting starts, given where this opening did (HJC's eG_AF)."""
        return self.mean_time @ self.seen_shut

    @cached_property
    def entry(self) -> Float[np.ndarray, " open"]:
        """Law of the first state of an apparent opening; raises `BadInput` as `Partition.entry`."""
        self.channel.entry  # noqa: B018  (refuses a channel that never opens)
        cycle = self.next_class @ self.swapped.next_class
        design = np.vstack([cycle.T - np.eye(len(cycle)), np.ones(len(cycle))])
        wanted = np.append(np.zeros(len(cycle)), 1.0)
        return np.linalg.lstsq(design, wanted, rcond=None)[0]

    @property
    def mean_s(self) -> float:
        """Mean apparent open time, s, the first resolution included: the slope of its transform at 0."""
        slope = np.eye(len(self.mean_time)) - self._reduced(0.0)[1]
        return float(
            self.resolution_s + self.entry @ self.mean_time @ slope @ self.next_class.sum(axis=1)
        )

    def asymptotic(self) -> Exponentials:
        """The law of long apparent openings, as a density of the time beyond the first resolution."""
        ends = self.seen_shut.sum(axis=1)
        amplitude = np.array([self.entry @ term @ ends for term in self._terms])
        return Exponentials(-self.roots_per_s, amplitude / -self.roots_per_s)

    def still_open(self, t_s) -> Float[np.ndarray, "time open open"]:
        """HJC's R_A at `t_s` - resolution: no shutting seen and in state j, from i, `t_s` [time].

        0 below the resolution.
        """
        beyond = np.atleast_1d(np.asarray(t_s, float)) - self.resolution_s
        # a duration of exactly one resolution must not fall below it by rounding
        beyond = np.where(np.abs(beyond) < 1e-9 * self.resolution_s, 0.0, beyond)
        found = np.zeros((len(beyond), *self.channel.within.shape))
        late = beyond >= self.n_exact * self.resolution_s
        if np.any(late):
            decay = np.exp(beyond[late, None] * self.roots_per_s)
            found[late] = np.einsum("tr,rij->tij", decay, self._terms)
        for m in range(self.n_exact):
            now = ~late & (beyond >= m * self.resolution_s)
            if np.any(now):
                found[now] += (-1) ** m * self._missed(m, beyond[now] - m * self.resolution_s)
        return found

    def transition_density(self, t_s) -> Float[np.ndarray, "time open shut"]:
        """HJC's eG_AF(t), 1/s: an apparent opening of `t_s` [time] from i, then a shutting from j."""
        return self.still_open(t_s) @ self.seen_shut

    def density(self, t_s) -> Float[np.ndarray, " time"]:
        """Density of the apparent open time, 1/s, at `t_s` [time]."""
        return self.entry @ self.transition_density(t_s).sum(axis=2).T

    def exact_coefficients(self, m: int) -> Float[np.ndarray, "power rate open open"]:
        """C[r, i] of the m-th exact term ``sum C[r, i] t^r exp(-rate_i t)`` (HJC 1990).

        The rates are minus the eigenvalues of the generator, smallest (0) first. The m-th
        term counts from m + 1 resolutions on, with sign (-1)^m. Raises `Failure`
        ``near_defective`` where two rates are nearly equal; `still_open` does not need them.
        """
        spectrum = self._spectrum
        rates, a = -spectrum.values[::-1], self.channel.is_open
        if np.min(np.diff(rates)) <= _CLOSE * rates[-1]:
            raise Failure(
                "near_defective",
                "two relaxation rates of the scheme are nearly equal, so the coefficients are not "
                "determined; use still_open or transition_density",
            )
        project = np.einsum("ki,ij->ikj", spectrum.right[:, ::-1], spectrum.left[::-1])
        back = linalg.expm(self.channel.swapped.within * self.resolution_s)
        back = back @ self.channel.swapped.leave
        kernel = project[:, a][:, :, ~a] @ back
        found = project[:, a][:, :, a][None]
        for _ in range(m):
            found = _convolve(kernel, rates, found)
        return found

    @cached_property
    def _spectrum(self) -> Modes:
        return modes(self.channel.generator)

    @cached_property
    def _shut_modes(self) -> Modes:
        return modes(self.channel.swapped.within)

    def _reduced(self, s: float) -> tuple[np.ndarray, np.ndarray]:
        """H(s) and its slope in s."""
        shut, tau = self._shut_modes, self.resolution_s
        x = (s - shut.values) * tau
        small = np.abs(x) < 1e-3
        safe = np.where(small, 1.0, x)
        # integrals of exp(-x v) and of v exp(-x v) over 0 <= v <= 1
        zeroth = np.where(small, 1 - x / 2 + x**2 / 6 - x**3 / 24, -np.expm1(-safe) / safe)
        first = np.where(
            small,
            1 / 2 - x / 3 + x**2 / 8 - x**3 / 30,
            (-np.expm1(-safe) - safe * np.exp(-safe)) / safe**2,
        )
        to, back = self.channel.leave @ shut.right, shut.left @ self.channel.swapped.leave
        value = self.channel.within + (to * (tau * zeroth)) @ back
        return value, -(to * (tau**2 * first)) @ back

    def _root(self, j: int, lowest: float) -> float:
        def excess(s: float) -> float:
            return float(modes(self.reduced(s)).values[j]) - s

        low = -min(1.0 / self.resolution_s, -lowest)
        while excess(low) < 0.0 and low > lowest:
            low = max(2.0 * low, lowest)
        if excess(low) < 0.0 or excess(0.0) > 0.0:
            raise Failure(
                "no_root",
                f"eigenvalue {j} of H(s) meets s nowhere between {low:.6g} and 0 1/s; "
                "the scheme is far from detailed balance or never shuts for long enough",
            )
        return float(brentq(excess, low, 0.0, xtol=1e-300, rtol=8.9e-16))

    @cached_property
    def _terms(self) -> np.ndarray:
        """[root, open, open] of the asymptotic law."""
        terms = []
        for j, root in enumerate(self.roots_per_s):
            value, slope = self._reduced(root)
            found = modes(value)
            right, left = found.right[:, j], found.left[j]
            terms.append(np.outer(right, left) / (1.0 - left @ slope @ right))
        return np.array(terms)

    def _missed(self, m: int, t_s) -> np.ndarray:
        """The m-th exact term at `t_s` [time] >= 0, as a corner of one larger matrix exponential.

        Van Loan 1978 (IEEE Trans Autom Control 23:395): nested convolutions without
        eigenvalues, so that equal rates do no harm.
        """
        a, k = np.flatnonzero(self.channel.is_open), len(self.channel.generator)
        link = np.zeros((k, k))
        back = linalg.expm(self.channel.swapped.within * self.resolution_s)
        link[np.ix_(~self.channel.is_open, self.channel.is_open)] = (
            back @ self.channel.swapped.leave
        )
        chain = np.kron(np.eye(m + 1), self.channel.generator) + np.kron(np.eye(m + 1, k=1), link)
        whole = linalg.expm(chain * np.asarray(t_s, float)[:, None, None])
        return whole[:, a][:, :, m * k + a]


def _convolve(kernel, rates, earlier) -> np.ndarray:
    """Coefficients of ``integral of K(t - s) E(s)`` for K = sum kernel[j] exp(-rates[j] t)."""
    powers, n = earlier.shape[:2]
    found = np.zeros((powers + 1, *earlier.shape[1:]))
    for i in range(n):
        for r in range(powers):
            found[r + 1, i] += kernel[i] @ earlier[r, i] / (r + 1)
            for j in range(n):
                if j == i:
                    continue
                gap, both = rates[i] - rates[j], kernel[j] @ earlier[r, i]
                found[0, j] += both * factorial(r) / gap ** (r + 1)
                for power in range(r + 1):
                    share = factorial(r) / (factorial(power) * gap ** (r - power + 1))
                    found[power, i] -= both * share
    return found


@dataclass(frozen=True)
class BurstEnds:
    """CHS vectors: law of the state a burst starts in, and chance of a long shutting from each shut state."""

    start: Float[np.ndarray, " open"]
    end: Float[np.ndarray, " shut"]


def burst_ends(seen: MissedEvents, t_crit_s: float) -> BurstEnds:
    """Start and end of a burst between apparent shuttings longer than `t_crit_s` (CHS eqs 5.11, 5.8).

    Raises `BadInput` for a critical time in the range of the exact law.
    """
    shut = seen.swapped
    if not t_crit_s >= (shut.n_exact + 1) * shut.resolution_s:
        raise BadInput(
            "t_crit_s",
            t_crit_s,
            f"below {shut.n_exact + 1} resolutions, where the asymptotic law does not hold",
            "raise it, or lower the resolution",
        )
    tail = np.exp(shut.roots_per_s * (t_crit_s - shut.resolution_s)) / -shut.roots_per_s
    longer = np.einsum("r,rij->ij", tail, shut._terms) @ shut.seen_shut
    start = shut.entry @ longer
    return BurstEnds(start / start.sum(), longer.sum(axis=1))


@dataclass(frozen=True)
class Record:
    """Idealised intervals: durations, s, and whether each is open; neighbours differ."""

    duration_s: Float[np.ndarray, " interval"]
    is_open: np.ndarray

    def bursts(self, t_crit_s: float) -> list[np.ndarray]:
        """Durations of each burst, open first and last, between shuttings longer than `t_crit_s`.

        What comes before the first opening is left out, and so is the last burst, whose end
        was not seen.
        """
        first = int(np.argmax(self.is_open))
        time, opened = self.duration_s[first:], self.is_open[first:]
        cuts = np.flatnonzero(~opened & (time > t_crit_s))
        starts = np.concatenate([[0], cuts + 1])
        return [time[a:b] for a, b in zip(starts[:-1], cuts, strict=True)]


def resolve(duration_s, is_open, resolution_s: float) -> Record:
    """What is seen of the true intervals [interval] with a resolution.

    Unresolved intervals at the start are dropped; each later one, and what follows it in
    the class of the interval before, lengthens that interval. Raises `BadInput` for
    durations that are not positive, and where nothing is long enough to be seen.
    """
    duration = np.asarray(duration_s, float)
    require("duration_s", duration, least=0.0)
    seen_s, seen_open = [], []
    for time, opened in zip(duration, np.asarray(is_open, bool), strict=True):
        if seen_s and (time < resolution_s or bool(opened) == seen_open[-1]):
            seen_s[-1] += time
        elif time >= resolution_s:
            seen_s.append(float(time))
            seen_open.append(bool(opened))
    if not seen_s:
        raise BadInput(
            "resolution_s", resolution_s, "no interval is that long", "lower the resolution"
        )
    return Record(np.array(seen_s), np.array(seen_open))


def log_likelihood(seen: MissedEvents, bursts: list, t_crit_s: float) -> float:
    """Log likelihood (durations in s) of bursts of apparent intervals, with CHS vectors at both ends.

    `bursts` is a list of durations [interval], open first and last, as `Record.bursts` gives.
    """
    ends = burst_ends(seen, t_crit_s)
    times = np.concatenate(bursts)
    opened = np.concatenate([np.arange(len(b)) % 2 == 0 for b in bursts])
    steps = [
        seen.transition_density(times[opened]),
        seen.swapped.transition_density(times[~opened]),
    ]
    at, total = [0, 0], 0.0
    for burst in bursts:
        law = ends.start
        for k in range(len(burst)):
            law = law @ steps[k % 2][at[k % 2]]
            at[k % 2] += 1
            size = law.sum()
            total += np.log(size)
            law = law / size
        total += np.log(law @ ends.end)
    return float(total)


def two_state_solutions(open_s: float, shut_s: float, resolution_s: float) -> list[tuple]:
    """True (mean open, mean shut) times that give these apparent means in a two-state channel.

    The apparent mean is ``(m_o + m_s) exp(r / m_s) - m_s`` for openings and the like for
    shuttings (Colquhoun & Hawkes 1995, in Sakmann & Neher, Single-Channel Recording, 2nd
    ed., eqs 117-122); usually two solutions, the slower first. Empty where there is none.
    """
    require("apparent means", [open_s, shut_s, resolution_s], above=0.0)

    def opening(shut: float) -> float:
        return (open_s + shut) * np.exp(-resolution_s / shut) - shut

    def excess(log_shut: float) -> float:
        shut = np.exp(log_shut)
        opened = opening(shut)
        if opened <= 0:
            return np.nan
        return np.log((opened + shut) / (shut_s + opened)) + resolution_s / opened

    grid = np.log(np.geomspace(resolution_s * 1e-2, shut_s, 4001))
    values = np.array([excess(x) for x in grid])
    cross = np.flatnonzero(values[:-1] * values[1:] < 0)
    shuts = [np.exp(brentq(excess, grid[k], grid[k + 1], xtol=1e-15)) for k in cross]
    return [(float(opening(s)), float(s)) for s in reversed(shuts)]
