"""The certificate of a simulation: jumps against the integral of their rates, as an e-value.

For every transition e the number of jumps minus the integral of its rate while the source
state is occupied is a martingale. So for any d > -1 ``exp(N_e log(1 + d) - d L_e)``, with N_e
the jumps and L_e the integral, has mean 1 if the paths follow the scheme: the likelihood
ratio of a rate that is (1 + d) times too fast (Andersen et al. 1993, Statistical Models Based
on Counting Processes, II.7). Their average over transitions and d is an e-value; by Ville's
inequality it passes 1 / a at any time with a probability of at most a (Ramdas et al. 2023,
Stat Sci 38:576).
"""

from dataclasses import dataclass

import numpy as np

from gabatone.kernels.errors import Failure

FALSE_ALARM = 1e-6
AUDIT_SHARE = 64  # one channel of so many is audited ...
AUDIT_ALL = 1 << 14  # ... but never fewer than these
_EXCESS = (0.003, 0.01, 0.03, 0.1, 0.5)
EXCESSES = np.array([*_EXCESS, *(-d for d in _EXCESS)])


@dataclass(frozen=True)
class Certificate:
    """Evidence against a simulation having followed its rates; small is good.

    Attributes
    ----------
    transitions : tuple of str
        ``"A -> B"`` for each edge.
    jumps : int64 [edge]
        Jumps of the audited channels.
    expected : float [edge]
        Integral of each edge's rate over the time that they spent in its source state.
    log10_evidence : float
        Largest e-value (log10) over the audited channels in their order.
    false_alarm : float
        Chance that a correct simulation reaches ``-log10(false_alarm)``.
    """

    transitions: tuple[str, ...]
    jumps: np.ndarray
    expected: np.ndarray
    log10_evidence: float
    false_alarm: float = FALSE_ALARM

    @property
    def holds(self) -> bool:
        """Whether the evidence stays below the limit."""
        return bool(self.log10_evidence < -np.log10(self.false_alarm))

    @property
    def worst(self) -> int:
        """Number of the edge with the strongest evidence against it."""
        return int(np.argmax(_log_evidence(self.jumps, self.expected).max(axis=0)))

    def summary(self) -> str:
        """One line for a report."""
        k = self.worst
        verdict = "holds" if self.holds else "broken"
        return (
            f"certificate {verdict}: {int(self.jumps.sum())} jumps of {len(self.jumps)} transitions "
            f"against their rates, evidence 10^{self.log10_evidence:.2f} (limit "
            f"10^{-np.log10(self.false_alarm):.0f}); least fitting {self.transitions[k]}, "
            f"{int(self.jumps[k])} jumps for {self.expected[k]:.1f} expected"
        )


def certify(scheme, audits, *, throw: bool = True) -> Certificate:
    """The certificate of audited blocks ``(jumps [edge], seen [1 + ligand, state])``, in order.

    ``seen`` holds the seconds spent in each state, and the integral of each ligand's
    concentration over them. Raises `Failure` ``broken_certificate`` where the evidence
    passes the limit and `throw` is True.
    """
    rate = np.exp(np.asarray(scheme.log_rate, np.float64))
    source = np.array(scheme.source)
    names = ("", *scheme.ligand_names)
    ligand = np.array([names.index(name) for name in scheme.ligands])
    jumps, expected, peak = np.zeros(len(rate), np.int64), np.zeros(len(rate)), -np.inf
    for count, seen in audits:
        jumps = jumps + np.asarray(count, np.int64)
        expected = expected + rate * np.asarray(seen, np.float64)[ligand, source]
        each = _log_evidence(jumps, expected)
        top = each.max()
        peak = max(peak, float(top + np.log(np.mean(np.exp(each - top)))))
    names = tuple(
        f"{scheme.states[i]} -> {scheme.states[j]}"
        for i, j in zip(scheme.source, scheme.target, strict=True)
    )
    certificate = Certificate(names, jumps, expected, peak / np.log(10.0))
    if throw and not certificate.holds:
        raise Failure(
            "broken_certificate",
            f"{certificate.summary()}; the paths do not follow the scheme. Likely a defect of the "
            "engine or rates outside what float32 can hold; Channels(throw=False) returns the trace",
        )
    return certificate


def _log_evidence(jumps, expected) -> np.ndarray:
    """Log likelihood ratio [excess, edge] of rates that are (1 + excess) times the scheme's."""
    return np.log1p(EXCESSES)[:, None] * jumps - EXCESSES[:, None] * expected
