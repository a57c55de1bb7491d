"""One false-alarm budget for every statistical check of the suite.

A correct program fails the whole suite by chance with probability at most ``SUITE_FALSE_ALARM``.
The budget is split evenly over ``SUITE_CHECKS`` declared checks (Bonferroni, so the checks may
depend on one another), and each call of an ``assert_*`` function below spends one share, however
large its array: the share is split again over the entries. A call beyond the declared number fails.

Import as ``from helpers.statistics import assert_z``. Seeds are fixed, so a failure repeats.
"""

import numpy as np
from scipy import stats

SUITE_FALSE_ALARM = 1e-4
SUITE_CHECKS = 400


class Budget:
    """A total false-alarm probability shared evenly by a declared number of checks."""

    def __init__(self, false_alarm: float, checks: int):
        self.false_alarm = false_alarm
        self.checks = checks
        self.spent: list[str] = []

    @property
    def share(self) -> float:
        """False-alarm probability of one check."""
        return self.false_alarm / self.checks

    def spend(self, name: str) -> float:
        """Count one check and return its share; fail when more are spent than declared."""
        self.spent.append(name)
        assert len(self.spent) <= self.checks, (
            f"{name}: check number {len(self.spent)} of {self.checks} declared; "
            "raise SUITE_CHECKS in tests/helpers/statistics.py"
        )
        return self.share

    def critical_z(self, two_sided: bool = True, size: int = 1) -> float:
        """Bound that a standard normal (the worst of ``size``) exceeds with one share's chance."""
        return float(stats.norm.isf(self.share / size / (2 if two_sided else 1)))

    def assert_z(self, z, name: str) -> None:
        """Every entry of ``z`` is believable as a standard normal draw (two-sided)."""
        z = _numbers(z, name)
        self.spend(name)
        bound = self.critical_z(size=z.size)
        worst = int(np.argmax(np.abs(z)))
        assert abs(z[worst]) <= bound, (
            f"{name}: |z| = {abs(z[worst]):.3g} at index {worst} of {z.size}, bound {bound:.3g}"
        )

    def assert_pvalue(self, p, name: str) -> None:
        """No entry of ``p`` is smaller than chance allows; ``p`` is valid, small when wrong."""
        p = _numbers(p, name)
        assert np.all((p >= 0) & (p <= 1)), f"{name}: p outside 0..1"
        bound = self.spend(name) / p.size
        worst = int(np.argmin(p))
        assert p[worst] >= bound, (
            f"{name}: p = {p[worst]:.3g} at index {worst} of {p.size}, bound {bound:.3g}"
        )

    def assert_chi2(self, statistic, dof, name: str) -> None:
        """No ``statistic`` lies in the upper tail of chi-square with ``dof`` degrees of freedom."""
        statistic, dof = np.broadcast_arrays(_numbers(statistic, name), _numbers(dof, name))
        assert np.all(statistic >= 0) and np.all(dof > 0), f"{name}: no chi-square statistic"
        self.assert_pvalue(stats.chi2.sf(statistic, dof), f"{name} (chi2 {statistic}, dof {dof})")

    def assert_detects(self, z=None, name: str = "", *, p=None) -> None:
        """A deliberately wrong model is found: ``z`` or ``p`` fails at the level used above.

        Spends nothing, since a false alarm is what it asks for. Choose the sample so large that a
        miss is out of the question (expected ``|z|`` at least twice ``critical_z``).
        """
        assert (z is None) != (p is None), "give z or p"
        if z is not None:
            z = _numbers(z, name)
            bound = self.critical_z(size=z.size)
            assert np.max(np.abs(z)) > bound, (
                f"{name}: the wrong model passes, max |z| = {np.max(np.abs(z)):.3g} <= {bound:.3g}"
            )
        else:
            p = _numbers(p, name)
            bound = self.share / p.size
            assert np.min(p) < bound, (
                f"{name}: the wrong model passes, min p = {np.min(p):.3g} >= {bound:.3g}"
            )


def _numbers(values, name: str) -> np.ndarray:
    values = np.atleast_1d(np.asarray(values, dtype=np.float64)).ravel()
    assert values.size, f"{name}: nothing to check"
    assert np.all(np.isfinite(values)), f"{name}: NaN or infinite"
    return values


SUITE = Budget(SUITE_FALSE_ALARM, SUITE_CHECKS)
critical_z = SUITE.critical_z
assert_z = SUITE.assert_z
assert_chi2 = SUITE.assert_chi2
assert_pvalue = SUITE.assert_pvalue
assert_detects = SUITE.assert_detects
# the same checks under the names that read well beside a model
assert_consistent = SUITE.assert_z
assert_inconsistent = SUITE.assert_detects
