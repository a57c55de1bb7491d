"""Memory of a channel from one sojourn to the next, and the first opening after a jump.

Correlations between the lengths of successive openings and shuttings follow Fredkin,
Montal & Rice 1985 (Proc Berkeley Conf in honor of Neyman and Kiefer 1:269) and Colquhoun &
Hawkes 1987 (Proc R Soc B 230:15).
"""

import numpy as np
from jaxtyping import Float

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.dwell import PhaseType, open_time, shut_time, time_to_leave
from gabatone.kernels.receptor.partition import Partition, mean_times, stay_law


def open_open_correlation(channel: Partition, lags) -> Float[np.ndarray, " lag"]:
    """Correlation of an opening's length with that of the opening `lags` >= 1 further on.

    For shuttings give ``channel.swapped``. Raises `BadInput` for a lag below 1.
    """
    left, start = channel.time_left, channel.entry
    return _correlation(channel, lags, 0, left, start @ left, open_time(channel).variance_s2)


def shut_shut_correlation(channel: Partition, lags) -> Float[np.ndarray, " lag"]:
    """The same for shuttings."""
    return open_open_correlation(channel.swapped, lags)


def open_shut_correlation(channel: Partition, lags) -> Float[np.ndarray, " lag"]:
    """Correlation of an opening's length with that of the `lags`-th shutting after it; 1 is the next one."""
    shut, later = shut_time(channel), channel.next_class @ channel.swapped.time_left
    return _correlation(channel, lags, 1, later, shut.mean_s, shut.variance_s2)


def _correlation(channel: Partition, lags, less: int, later, mean, variance) -> np.ndarray:
    """Correlation with a time whose mean is `later` from each open state where its cycle starts."""
    require("lags", lags, least=1)
    numbers = np.asarray(lags)
    if np.any(numbers != np.floor(numbers)):
        raise BadInput("lags", numbers.tolist(), "a lag counts sojourns", "give whole numbers")
    cycle = opening_cycle(channel)
    leaving = channel.leave.sum(axis=1)
    # expected time in each open state: an opening's length, weighted by where it would go on from
    weight = channel.entry @ mean_times(channel.within, leaving, np.eye(len(leaving)))
    # the part of `later` that is still remembered decays with each cycle
    memory, kept = later - mean, []
    weight = weight - channel.entry * weight.sum()
    for _ in range(int(numbers.max(initial=1)) + 1):
        kept.append(float(weight @ memory))
        memory = cycle @ memory
    covariance = np.asarray(np.array(kept)[numbers.astype(int) - less])
    return covariance / np.sqrt(open_time(channel).variance_s2 * variance)


def opening_cycle(channel: Partition) -> Float[np.ndarray, "open open"]:
    """Where the next opening starts, given where this one did (CH82's G_AF G_FA)."""
    return channel.next_class @ channel.swapped.next_class


def next_mean_s(channel: Partition, t_s) -> Float[np.ndarray, " *time"]:
    """Mean length, s, of the shutting that follows an opening of exactly `t_s` [...] (s)."""
    flux = _flux_at(channel, t_s)
    return np.asarray(flux @ channel.swapped.time_left / flux.sum(axis=-1))


def next_mean_between_s(channel: Partition, least_s: float, most_s: float) -> float:
    """Mean length, s, of the shutting that follows an opening of `least_s` to `most_s` (may be inf).

    Raises `BadInput` for an empty range.
    """
    if not 0.0 <= least_s < most_s:
        raise BadInput("most_s", most_s, f"not above {least_s}", "give an increasing range")
    ends = _law_at(channel, least_s) - (0.0 if np.isinf(most_s) else _law_at(channel, most_s))
    flux = ends @ channel.next_class
    return float(flux @ channel.swapped.time_left / flux.sum())


def _flux_at(channel: Partition, t_s) -> np.ndarray:
    return _law_at(channel, t_s) @ channel.leave


def _law_at(channel: Partition, t_s) -> np.ndarray:
    """Law [..., open] of a channel that opened at 0 and has not shut by `t_s`."""
    require("t_s", t_s, least=0.0)
    return channel.entry @ stay_law(channel.within, channel.leave.sum(axis=1), t_s)


def joint_density(channel: Partition, open_s, shut_s) -> Float[np.ndarray, " *pair"]:
    """Density, 1/s^2, of an opening of `open_s` followed by a shutting of `shut_s`, broadcast together."""
    require("shut_s", shut_s, least=0.0)
    start = _flux_at(channel, open_s)
    stay = channel.swapped
    decay = stay_law(stay.within, stay.leave.sum(axis=1), shut_s)
    return np.asarray(np.einsum("...i,...ij,j->...", start, decay, stay.leave.sum(axis=1)))


def first_latency(channel: Partition, start) -> PhaseType:
    """Time to the first opening after a jump, for a channel in law `start` [state] at the jump.

    `channel` has the concentrations after the jump, `start` is the law before it (see
    `partition.equilibrium`); a channel that is open already has latency 0. Raises
    `BadInput` where it may never open.
    """
    start = np.asarray(start, float)
    if start.shape != channel.is_open.shape or abs(start.sum() - 1.0) > 1e-6 or np.any(start < 0):
        raise BadInput(
            "start",
            start.tolist(),
            f"not a law of {len(channel.is_open)} states",
            "give probabilities that sum to 1",
        )
    return time_to_leave(channel.swapped, start)


def jump_latency(before: Partition, after: Partition) -> PhaseType:
    """`first_latency` of a channel at equilibrium in `before` that jumps to `after`."""
    return first_latency(after, before.equilibrium)
