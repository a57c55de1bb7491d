"""What is applied to the receptors: protocols, each with its `Drive` and its time grid.

A solution exchange is a straight ramp whose 10-90 % time is `exchange_s`; an application starts
where its rising ramp starts and ends where its falling ramp starts. A measured exchange goes
in as a `Waveform` (also from a CSV) through `Applied`.
"""

from abc import abstractmethod
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.card import read_cards
from gabatone.kernels.drive.ligand import Decay, Drive, Pulse, Waveform
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.scheme import KineticScheme

APPLICATION_CARDS = Path(__file__).with_name("applications.toml")


def _save_times(save_s) -> float | tuple[float, ...]:
    return float(save_s) if np.ndim(save_s) == 0 else tuple(float(t) for t in np.ravel(save_s))


class Protocol(eqx.Module):
    """One application: a drive from 0 to `t1_s`, saved every `save_s` or at those times.

    `background` (ambient GABA, a steroid) is added to the drive of the protocol.
    """

    t1_s: eqx.AbstractVar[float]
    save_s: eqx.AbstractVar[float | tuple[float, ...]]
    background: eqx.AbstractVar[Drive | None]

    @abstractmethod
    def applied(self) -> Drive:
        """The drive without background."""

    @property
    def drive(self) -> Drive:
        """The drive with background."""
        return self.applied() if self.background is None else self.applied() + self.background

    @property
    @abstractmethod
    def windows_s(self) -> tuple[tuple[float, float], ...]:
        """(start, stop) in which the response to each application is measured."""


class Applied(Protocol):
    """Any drive as a protocol, such as ``Waveform.from_csv(path)``."""

    given: Drive
    t1_s: float = eqx.field(static=True)
    save_s: float | tuple[float, ...] = eqx.field(static=True, converter=_save_times)
    background: Drive | None = None

    def applied(self) -> Drive:
        """The drive as given."""
        return self.given

    @property
    def windows_s(self):
        """The whole record."""
        return ((0.0, self.t1_s),)


class Jump(Protocol):
    """A step to `conc_M` from `start_s` for `length_s`: a concentration jump, or a long step.

    Parameters
    ----------
    exchange_s : float
        10-90 % time of the exchange, s; 0 for an ideal step.
    """

    conc_M: float | jax.Array
    start_s: float = eqx.field(static=True)
    length_s: float = eqx.field(static=True)
    t1_s: float = eqx.field(static=True)
    save_s: float | tuple[float, ...] = eqx.field(static=True, converter=_save_times)
    exchange_s: float = eqx.field(static=True, default=0.0)
    ligand: str = eqx.field(static=True, default="GABA")
    background: Drive | None = None

    def __check_init__(self):
        _check_spans("Jump", self.start_s, [self.length_s], self.t1_s, self.exchange_s)

    def applied(self) -> Drive:
        """The step."""
        return _step(self.conc_M, self.start_s, self.length_s, self.exchange_s, self.ligand)

    @property
    def windows_s(self):
        """From the start of the application to the end of the record."""
        return ((self.start_s, self.t1_s),)

    @property
    def stop_s(self) -> float:
        """End of the application, where deactivation starts."""
        return self.start_s + self.length_s


class PairedPulse(Protocol):
    """Two applications, `gap_s` from the end of the first to the start of the second.

    Also one run of a recovery protocol: a long first (conditioning) and a short second (test).
    """

    conc_M: float | jax.Array
    first_s: float = eqx.field(static=True)
    gap_s: float = eqx.field(static=True)
    second_s: float = eqx.field(static=True)
    t1_s: float = eqx.field(static=True)
    save_s: float | tuple[float, ...] = eqx.field(static=True, converter=_save_times)
    start_s: float = eqx.field(static=True, default=0.0)
    exchange_s: float = eqx.field(static=True, default=0.0)
    ligand: str = eqx.field(static=True, default="GABA")
    background: Drive | None = None

    def __check_init__(self):
        spans = [self.first_s, self.gap_s, self.second_s]
        _check_spans("PairedPulse", self.start_s, spans, self.t1_s, self.exchange_s)

    @property
    def second_start_s(self) -> float:
        """Start of the second application."""
        return self.start_s + self.first_s + self.gap_s

    def applied(self) -> Drive:
        """Both steps."""
        rest = (self.exchange_s, self.ligand)
        return _step(self.conc_M, self.start_s, self.first_s, *rest) + _step(
            self.conc_M, self.second_start_s, self.second_s, *rest
        )

    @property
    def windows_s(self):
        """From each start to the next one, or to the end."""
        return ((self.start_s, self.second_start_s), (self.second_start_s, self.t1_s))


class Miniature(Protocol):
    """A synaptic transient: a jump to `peak_M` at `start_s` that decays with `tau_s`.

    Every number that comes from it depends on these two: state them with it.
    """

    peak_M: float | jax.Array
    tau_s: float = eqx.field(static=True)
    t1_s: float = eqx.field(static=True)
    save_s: float | tuple[float, ...] = eqx.field(static=True, converter=_save_times)
    start_s: float = eqx.field(static=True, default=0.0)
    background: Drive | None = None

    def __check_init__(self):
        _check_spans("Miniature", self.start_s, [self.tau_s], self.t1_s, 0.0)

    def applied(self) -> Drive:
        """The transient of GABA."""
        return Decay(self.peak_M, self.tau_s, self.start_s)

    @property
    def windows_s(self):
        """From the release to the end of the record."""
        return ((self.start_s, self.t1_s),)


class DoseLadder(eqx.Module):
    """The same application at each of `conc_M`, each from rest: a dose-response curve."""

    conc_M: tuple[float, ...] = eqx.field(
        static=True, converter=lambda c: tuple(float(x) for x in np.ravel(c))
    )
    length_s: float = eqx.field(static=True)
    t1_s: float = eqx.field(static=True)
    save_s: float | tuple[float, ...] = eqx.field(static=True, converter=_save_times)
    start_s: float = eqx.field(static=True, default=0.0)
    exchange_s: float = eqx.field(static=True, default=0.0)
    background: Drive | None = None

    def __check_init__(self):
        require("DoseLadder.conc_M", self.conc_M, above=0.0)
        if len(self.conc_M) < 2 or np.any(np.diff(self.conc_M) <= 0):
            raise BadInput("DoseLadder.conc_M", self.conc_M, "not increasing", "sort the doses")

    @property
    def steps(self) -> tuple[Jump, ...]:
        """One `Jump` for each dose."""
        rest = (self.start_s, self.length_s, self.t1_s, self.save_s, self.exchange_s)
        return tuple(Jump(c, *rest, background=self.background) for c in self.conc_M)

    @property
    def application(self) -> str:
        """The application in words, for the EC50 that depends on it."""
        return f"{self.length_s:g} s step, exchange {self.exchange_s:g} s (10-90 %)"


class Recovery(eqx.Module):
    """Recovery from desensitization: a conditioning step, then a test after each of `gaps_s`."""

    conc_M: float | jax.Array
    conditioning_s: float = eqx.field(static=True)
    gaps_s: tuple[float, ...] = eqx.field(
        static=True, converter=lambda g: tuple(float(x) for x in np.ravel(g))
    )
    test_s: float = eqx.field(static=True)
    after_s: float = eqx.field(static=True)
    save_s: float = eqx.field(static=True)
    start_s: float = eqx.field(static=True, default=0.0)
    exchange_s: float = eqx.field(static=True, default=0.0)
    background: Drive | None = None

    def __check_init__(self):
        require("Recovery.gaps_s", self.gaps_s, above=0.0)

    @property
    def pairs(self) -> tuple[PairedPulse, ...]:
        """One `PairedPulse` for each gap; it ends `after_s` after the test."""
        before = self.start_s + self.conditioning_s + self.test_s + self.after_s
        return tuple(
            PairedPulse(
                self.conc_M,
                self.conditioning_s,
                gap,
                self.test_s,
                before + gap,
                self.save_s,
                self.start_s,
                self.exchange_s,
                background=self.background,
            )
            for gap in self.gaps_s
        )


def load_miniature(
    t1_s: float, save_s, *, start_s: float = 0.0, background=None, path=APPLICATION_CARDS
) -> Miniature:
    """The synaptic transient of a file of cards: 3 mM that decays with 0.2 ms by default."""
    cards = read_cards(path)
    peak, decay = cards["transient_peak"].value, cards["transient_decay"].value
    return Miniature(peak, decay, t1_s, save_s, start_s, background)


def load_exchange_s(path=APPLICATION_CARDS) -> float:
    """10-90 % time of a fast solution exchange, s; assumed."""
    return read_cards(path)["exchange"].value


def run_protocol(
    key, scheme: KineticScheme, protocol: Protocol, *, engine="auto", n: int = 1, p0=None
) -> Trace:
    """`simulate` the protocol; raises as `simulate`."""
    return simulate(
        key,
        scheme,
        protocol.drive,
        engine=engine,
        n=n,
        t1_s=protocol.t1_s,
        save_s=protocol.save_s,
        p0=p0,
    )


def run_each(
    key, scheme: KineticScheme, protocols, *, engine="auto", n: int = 1, p0=None
) -> tuple[Trace, ...]:
    """Run several protocols, such as ``DoseLadder.steps`` or ``Recovery.pairs``, each from rest.

    The k-th uses ``fold_in(key, k)``. Raises as `simulate`.
    """
    return tuple(
        run_protocol(jax.random.fold_in(key, k), scheme, p, engine=engine, n=n, p0=p0)
        for k, p in enumerate(protocols)
    )


def _step(conc_M, start_s: float, length_s: float, exchange_s: float, ligand: str) -> Drive:
    stop = start_s + length_s
    if exchange_s == 0.0:
        return Pulse(conc_M, start_s, stop, ligand)
    # 10 to 90 % of a straight ramp is 0.8 of it
    ramp = exchange_s / 0.8
    height = np.array([0.0, 1.0, 1.0, 0.0]) * conc_M
    return Waveform(np.array([start_s, start_s + ramp, stop, stop + ramp]), height, ligand)


def _check_spans(name: str, start_s: float, spans_s, t1_s: float, exchange_s: float) -> None:
    require(f"{name}.start_s", start_s, least=0.0)
    require(f"{name}.exchange_s", exchange_s, least=0.0)
    for span in spans_s:
        require(f"{name}: length of a part, s", span, above=1.25 * exchange_s)
    if start_s + sum(spans_s) > t1_s * (1 + 1e-12):
        raise BadInput(
            f"{name}.t1_s", t1_s, "the record ends before the protocol does", "record for longer"
        )
