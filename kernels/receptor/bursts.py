"""Bursts of openings, and the shut time that best tells gaps within from gaps between them.

Colquhoun & Hawkes 1982 (CH82) split the shut states: B holds those whose visits lie within
a burst, C the others. A burst begins with an opening that follows a visit to C and ends
when the last opening before the next such visit ends. Conditioning on what comes next turns
every quantity into the time that a Markov chain spends in a set (Doob's h-transform).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import brentq

from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.dwell import PhaseType, phase_type
from gabatone.kernels.receptor.exponentials import Exponentials, Geometrics, return_modes
from gabatone.kernels.receptor.partition import Partition, mean_times

CRITERIA = ("percent", "number", "total")


@dataclass(frozen=True)
class Bursts:
    """Bursts of a channel at equilibrium; make it with `bursts`.

    Parameters
    ----------
    channel : Partition
    is_brief : bool [state]
        The shut states B.
    start : float [open]
        Law of the first open state of a burst (CH82 eq. 3.2).
    back, on : float [brief]
        Probability from each B state of opening before C is visited, and the rest.
    """

    channel: Partition
    is_brief: Bool[np.ndarray, " state"]
    start: Float[np.ndarray, " open"]
    back: Float[np.ndarray, " brief"]
    on: Float[np.ndarray, " brief"]

    @property
    def last(self) -> Float[np.ndarray, " open"]:
        """Probability that an opening is its burst's last, from the state it starts in (CH82 eq. 3.4).

        It shuts into C, or into B with no opening before C.
        """
        n_b = self.is_brief.sum()
        return self._leaving[:, :n_b] @ self.on + self._leaving[:, n_b:].sum(axis=1)

    @property
    def per_s(self) -> float:
        """Bursts per second of one channel."""
        return float(self.channel.equilibrium[self.channel.is_open] @ self._end_per_s)

    def length(self) -> PhaseType:
        """Burst length, first opening to end of the last (CH82 eq. 3.17)."""
        a, b, _ = self._masks
        block, back = self.channel.block, self._back_safe
        within = np.block(
            [
                [block(a, a), block(a, b) * self.back],
                [block(b, a) / back[:, None], _conditioned(block(b, b), self.back)],
            ]
        )
        start = np.concatenate([self.start, np.zeros(b.sum())])
        return phase_type(start, within, np.concatenate([self._end_per_s, np.zeros(b.sum())]))

    def open_time(self) -> PhaseType:
        """Total time open during a burst (CH82 eq. 3.23)."""
        a, b, _ = self._masks
        again = self.channel.block(a, b) @ self._brief_to_open
        return phase_type(self.start, self.channel.within + again, self._end_per_s)

    def shut_time(self) -> PhaseType:
        """Total time shut within a burst, 0 for a burst of one opening (CH82 eq. 3.40)."""
        a, b, _ = self._masks
        block, next_brief = self.channel.block, self._open_to_brief * self.back
        reopen = block(b, a) / self._back_safe[:, None]
        within = _conditioned(block(b, b), self.back) + reopen @ next_brief
        return phase_type(self.start @ next_brief, within, reopen @ self.last)

    def openings(self) -> Geometrics:
        """Number of openings per burst (CH82 eqs 3.5, 3.9); raises `Failure` as `return_modes`."""
        a, b, _ = self._masks
        again = self.channel.block(a, b) @ self._brief_to_open
        found = return_modes(self.channel.within, again)
        amplitudes = (self.start @ found.right) * (found.left @ self.last)
        return Geometrics(found.values[::-1], amplitudes[::-1])

    @property
    def mean_openings(self) -> float:
        """Mean number of openings per burst (CH82 eq. 3.7)."""
        return float(self._openings_from.sum())

    def gap_within(self) -> PhaseType:
        """One shut time within bursts (CH82 eq. 3.75); `BadInput` where every burst is one opening."""
        a, b, _ = self._masks
        start = self._openings_from @ (self._open_to_brief * self.back)
        if not start.sum() > 0:
            raise BadInput(
                "is_brief",
                np.flatnonzero(self.is_brief).tolist(),
                "no opening is followed by another within a burst",
                "choose brief shut states that lie between openings",
            )
        block, back = self.channel.block, self._back_safe
        reopen = block(b, a).sum(axis=1) / back
        return phase_type(start / start.sum(), _conditioned(block(b, b), self.back), reopen)

    def gap_between(self) -> PhaseType:
        """One shut time between bursts, end of the last opening to start of the next (CH82 eq. 3.86)."""
        a, b, c = self._masks
        block = self.channel.block
        on = np.where(self.on > 0, self.on, 1.0)
        n_b = int(b.sum())
        never = np.zeros((int(c.sum()), n_b)), np.zeros((n_b, n_b))
        # before the first visit to C, in C, and in B after it
        within = np.block(
            [
                [_conditioned(block(b, b), self.on), block(b, c) / on[:, None], never[1]],
                [never[0], block(c, c), block(c, b)],
                [never[1], block(b, c), block(b, b)],
            ]
        )
        leaving = self._openings_from[:, None] * self._leaving
        ended = np.concatenate(
            [leaving[:, :n_b].sum(axis=0) * self.on, leaving[:, n_b:].sum(axis=0)]
        )
        start = np.concatenate([ended, np.zeros(n_b)])
        exits = [np.zeros(n_b), block(c, a).sum(axis=1), block(b, a).sum(axis=1)]
        return phase_type(start / start.sum(), within, np.concatenate(exits))

    @property
    def open_probability(self) -> float:
        """Fraction of a burst during which the channel is open."""
        return self.open_time().mean_s / self.length().mean_s

    @property
    def _end_per_s(self) -> np.ndarray:
        """Rate from each open state of shutting for good, as far as the burst goes."""
        a, b, c = self._masks
        return self.channel.block(a, b) @ self.on + self.channel.block(a, c).sum(axis=1)

    @property
    def _masks(self):
        a = self.channel.is_open
        return a, self.is_brief, ~a & ~self.is_brief

    @property
    def _leaving(self) -> np.ndarray:
        """Where an opening ends, B states first and then C, from each open state it started in."""
        a, b, c = self._masks
        leave = np.hstack([self.channel.block(a, b), self.channel.block(a, c)])
        return mean_times(self.channel.within, leave.sum(axis=1), leave)

    @property
    def _open_to_brief(self) -> np.ndarray:
        return self._leaving[:, : self.is_brief.sum()]

    @property
    def _brief_to_open(self) -> np.ndarray:
        a, b, _ = self._masks
        return _first_step(self.channel, b, a)

    @property
    def _next_opening(self) -> np.ndarray:
        """Where the next opening of the burst starts, given where this one did; rows sum to less than 1."""
        return self._open_to_brief @ self._brief_to_open

    @property
    def _openings_from(self) -> np.ndarray:
        """Mean number of openings per burst that start in each open state."""
        again = self._next_opening
        return self.start @ mean_times(again, self.last, np.eye(len(again)))

    @property
    def _back_safe(self) -> np.ndarray:
        return np.where(self.back > 0, self.back, 1.0)


def bursts(channel: Partition, brief) -> Bursts:
    """Bursts whose inner gaps are visits to the shut states `brief`, a mask [state].

    Raises `BadInput` for a brief state that is open, where no shut state is left for the
    gaps between bursts, and where the channel never opens.
    """
    brief = np.asarray(brief, bool)
    a = channel.is_open
    if brief.shape != a.shape or np.any(brief & a):
        raise BadInput(
            "brief", brief.tolist(), "must be a mask of shut states", "leave open states out"
        )
    c = ~a & ~brief
    if not np.any(c):
        raise BadInput(
            "brief",
            brief.tolist(),
            "every shut state lies within bursts, so no burst ends",
            "leave at least one long-lived shut state out",
        )
    channel.entry  # noqa: B018  (raises where there is no opening)
    to_open = _first_step(channel, brief, a)
    to_long = _first_step(channel, brief, c)
    law = channel.equilibrium
    start = law[c] @ (channel.block(c, brief) @ to_open + channel.block(c, a))
    if not start.sum() > 0:
        raise BadInput(
            "brief",
            np.flatnonzero(brief).tolist(),
            "the states left over are never visited, so no burst ends",
            "take some visited shut state out of the brief ones",
        )
    return Bursts(channel, brief, start / start.sum(), to_open.sum(axis=1), to_long.sum(axis=1))


def _first_step(channel: Partition, inside, goal) -> np.ndarray:
    """Chance of leaving the states `inside` to each state of `goal`, and nowhere else first."""
    out = channel.block(inside, ~inside).sum(axis=1)
    return mean_times(channel.block(inside, inside), out, channel.block(inside, goal))


def _conditioned(rates, chance) -> np.ndarray:
    """Rates among states of a chain conditioned on an outcome that has `chance` [state] from each."""
    safe = np.where(chance > 0, chance, 1.0)
    return rates * chance[None, :] / safe[:, None]


@dataclass(frozen=True)
class Misclassified:
    """What a critical time gets wrong: shares of the brief and of the long gaps, and of all gaps."""

    brief_share: float
    long_share: float
    brief_number: float
    long_number: float


def critical_time(shut: Exponentials, n_brief: int, criterion: str = "percent") -> float:
    """Shut time, s, above which a gap is taken to lie between bursts.

    Parameters
    ----------
    shut : Exponentials
        Shut-time components, fastest first.
    n_brief : int
        How many of the fastest components are gaps within bursts; all faster ones are
        pooled against all slower ones.
    criterion : str
        ``percent``: the same share of either kind is misclassified (Colquhoun & Sakmann
        1985, J Physiol 369:501); ``number``: the same number (Clapham & Neher 1984, J
        Physiol 347:255); ``total``: the fewest in all (Jackson et al. 1983, Biophys J 42:109).

    Raises `BadInput` for an unknown criterion, a split that leaves one side empty, areas
    that are not positive, or components that cross nowhere.
    """
    if criterion not in CRITERIA:
        raise BadInput("criterion", criterion, "unknown", f"use one of {', '.join(CRITERIA)}")
    if not 0 < n_brief < len(shut.areas) or np.any(shut.areas <= 0):
        raise BadInput(
            "n_brief",
            n_brief,
            "either side needs components, all with positive areas",
            f"give 1 to {len(shut.areas) - 1}",
        )

    def excess(log_t: float) -> float:
        wrong = misclassified(shut, n_brief, np.exp(log_t))
        if criterion == "percent":
            return wrong.brief_share - wrong.long_share
        if criterion == "number":
            return wrong.brief_number - wrong.long_number
        decay = shut.amplitudes_per_s * np.exp(-np.exp(log_t) * shut.rates_per_s)
        return decay[:n_brief].sum() - decay[n_brief:].sum()

    low, high = np.log(shut.tau_s.min()) - 25.0, np.log(shut.tau_s[n_brief - 1]) + 6.5
    if excess(low) <= 0 or excess(high) >= 0:
        raise BadInput(
            "shut",
            shut.tau_s.tolist(),
            "the brief and the long components are not told apart by any time",
            "choose another split",
        )
    return float(np.exp(brentq(excess, low, high, xtol=1e-14, rtol=1e-14)))


def misclassified(shut: Exponentials, n_brief: int, t_crit_s: float) -> Misclassified:
    """Brief gaps longer than `t_crit_s` and long gaps shorter; numbers per shut time."""
    over = shut.areas * np.exp(-t_crit_s * shut.rates_per_s)
    under = shut.areas * -np.expm1(-t_crit_s * shut.rates_per_s)
    missed, kept = float(over[:n_brief].sum()), float(under[n_brief:].sum())
    return Misclassified(
        missed / float(shut.areas[:n_brief].sum()),
        kept / float(shut.areas[n_brief:].sum()),
        missed,
        kept,
    )
