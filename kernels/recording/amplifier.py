"""One set-up, `Amplifier`, and what it makes of a simulated conductance: a `Recording`."""

from pathlib import Path

import equinox as eqx
import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.card import read_cards
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.errors import BadInput
from gabatone.kernels.recording.current import Driving, Ohmic, current_pA
from gabatone.kernels.recording.filter import (
    Bessel,
    below_nyquist,
    lowpass,
    resample,
    uniform_step,
)
from gabatone.kernels.recording.noise import Baseline, InstrumentNoise, draw_noise

INSTRUMENT_CARDS = Path(__file__).with_name("instrument.toml")


class Amplifier(eqx.Module):
    """Voltage clamp, noise, filter and sampling.

    Parameters
    ----------
    holding_mV : float
    driving : Driving
    interval_s : float or None
        Sampling interval; None keeps every saved time.
    bessel : Bessel or None
    noise : InstrumentNoise or None
    baseline : Baseline
        Offset and drift, added after the filter.

    Raises
    ------
    BadInput
        For a number out of bounds, and for a filter at or above half the sampling rate.
    """

    holding_mV: float = eqx.field(converter=float)
    driving: Driving
    interval_s: float | None = eqx.field(static=True, default=None)
    bessel: Bessel | None = None
    noise: InstrumentNoise | None = None
    baseline: Baseline = Baseline()

    def __check_init__(self):
        require("Amplifier.holding_mV", self.holding_mV)
        if self.interval_s is not None:
            require("Amplifier.interval_s", self.interval_s, above=0.0)
            if self.bessel is not None:
                below_nyquist(self.bessel.cutoff_Hz, self.interval_s)

    @property
    def conditions(self) -> str:
        """The set-up in one line, for the results that depend on it."""
        parts = [f"holding {self.holding_mV:g} mV", self.driving.conditions]
        parts.append("no filter" if self.bessel is None else f"{self.bessel.cutoff_Hz:g} Hz Bessel")
        if self.interval_s is not None:
            parts.append(f"sampled every {self.interval_s:g} s")
        if self.noise is not None:
            parts.append(f"noise {self.noise.rms_pA:g} pA at {self.noise.bandwidth_Hz:g} Hz")
        return ", ".join(parts)


class Recording(eqx.Module):
    """What the set-up gives: `current_pA` [..., time] at `time_s` [time], outward positive.

    `noiseless_pA` has passed the same filter and sampling without noise and baseline.
    """

    time_s: np.ndarray
    current_pA: np.ndarray
    noiseless_pA: np.ndarray
    amplifier: Amplifier


def load_amplifier(path=INSTRUMENT_CARDS) -> Amplifier:
    """A set-up from a file of cards; the numbers of the default file are assumed."""
    cards = read_cards(path)

    def value(name: str) -> float:
        if name not in cards:
            raise BadInput(f"{Path(path).name}: {name}", None, "the card is missing", "give it")
        return cards[name].value

    return Amplifier(
        holding_mV=value("holding"),
        driving=Ohmic(value("reversal")),
        interval_s=value("sampling_interval"),
        bessel=Bessel(value("filter_cutoff")),
        noise=InstrumentNoise(
            value("noise_rms"), value("noise_bandwidth"), value("flicker_corner")
        ),
    )


def record(key, trace: Trace, amplifier: Amplifier) -> Recording:
    """Record a simulated `Trace`; raises as `record_conductance`."""
    return record_conductance(key, trace.time_s, trace.conductance_S * 1e12, amplifier)


def record_conductance(key, time_s, conductance_pS, amplifier: Amplifier) -> Recording:
    """Current of `conductance_pS` [..., time] on a uniform grid, as `amplifier` records it.

    Order: driving force, noise, Bessel filter, sampling, baseline. The grid should be some ten
    times finer than the filter's rise time.

    Raises
    ------
    BadInput
        For an empty or uneven grid, a conductance that is not finite, a filter at or above half
        the sampling rate, and a sampling interval below the step or above the trace.
    """
    time_s = np.asarray(time_s, np.float64)
    clean = np.asarray(
        current_pA(conductance_pS, amplifier.holding_mV, amplifier.driving), np.float64
    )
    step = uniform_step(time_s)
    if clean.shape[-1:] != time_s.shape:
        raise BadInput(
            "conductance_pS",
            clean.shape,
            f"time_s has shape {time_s.shape}",
            "give one conductance for each time",
        )
    require("conductance_pS", clean)
    noisy = clean
    if amplifier.noise is not None:
        noisy = clean + draw_noise(key, amplifier.noise, step, clean.shape)
    seen = np.stack([clean, noisy])
    if amplifier.bessel is not None:
        seen = lowpass(seen, step, amplifier.bessel)
    if amplifier.interval_s is not None:
        time_s, seen = resample(time_s, seen, amplifier.interval_s)
    return Recording(time_s, seen[1] + amplifier.baseline.value_pA(time_s), seen[0], amplifier)
