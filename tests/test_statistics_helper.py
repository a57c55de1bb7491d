"""The statistical checks fail a correct model as rarely as declared, and a wrong one always."""

import numpy as np
import pytest
from scipy import stats

from helpers import statistics
from helpers.statistics import Budget

TRIALS = 20_000
SHARE = 0.01  # of the budgets used here: large enough to count false alarms


def roomy_budget() -> Budget:
    return Budget(false_alarm=SHARE * 4 * TRIALS, checks=4 * TRIALS)


def alarms(check, draws) -> int:
    """How many of ``draws`` the assertion ``check`` rejects."""
    count = 0
    for draw in draws:
        try:
            check(draw, name="calibration")
        except AssertionError:
            count += 1
    return count


def assert_rate(count: int, trials: int, rate: float, name: str) -> None:
    """``count`` is a binomial draw at ``rate``; spends one share of the suite's own budget."""
    p = stats.binomtest(count, trials, rate).pvalue
    statistics.assert_pvalue(p, name)


def family_rate(size: int) -> float:
    """Chance that one of ``size`` independent entries alarms when the share is split evenly."""
    return 1 - (1 - SHARE / size) ** size


def test_z_alarms_at_the_declared_rate():
    draws = np.random.default_rng(1).normal(size=TRIALS)
    count = alarms(roomy_budget().assert_z, draws)
    assert_rate(count, TRIALS, SHARE, "assert_z calibration")


@pytest.mark.parametrize("size", [3, 50])
def test_array_spends_the_same_share(size):
    draws = np.random.default_rng(size).normal(size=(TRIALS, size))
    count = alarms(roomy_budget().assert_z, draws)
    assert_rate(count, TRIALS, family_rate(size), f"assert_z calibration, {size} entries")


def test_pvalue_alarms_at_the_declared_rate():
    draws = np.random.default_rng(2).uniform(size=(TRIALS, 7))
    count = alarms(roomy_budget().assert_pvalue, draws)
    assert_rate(count, TRIALS, family_rate(7), "assert_pvalue calibration")


def test_chi2_alarms_at_the_declared_rate():
    draws = np.random.default_rng(3).chisquare(5, size=TRIALS // 4)
    budget = roomy_budget()
    count = alarms(lambda x, name: budget.assert_chi2(x, 5, name), draws)
    assert_rate(count, len(draws), SHARE, "assert_chi2 calibration")


def test_suite_budget_holds_for_all_checks_together():
    tail = stats.norm.sf(statistics.critical_z())
    assert 2 * tail * statistics.SUITE_CHECKS == pytest.approx(1e-4, rel=1e-9)
    assert stats.norm.sf(statistics.critical_z(two_sided=False)) == pytest.approx(2 * tail)


def test_a_wrong_model_is_found():
    biased = np.random.default_rng(4).normal(loc=12.0, size=20)
    budget = Budget(1e-4, 400)
    with pytest.raises(AssertionError, match="biased mean"):
        budget.assert_z(biased, "biased mean")
    with pytest.raises(AssertionError, match="wide spread"):
        budget.assert_chi2(500.0, 100, "wide spread")
    with pytest.raises(AssertionError, match="rare"):
        budget.assert_pvalue([0.5, 1e-12], "rare")
    budget.assert_detects(biased, "biased mean")
    budget.assert_detects(p=stats.chi2.sf(500.0, 100), name="wide spread")


def test_the_power_check_rejects_a_model_that_passes():
    budget = Budget(1e-4, 400)
    with pytest.raises(AssertionError, match="wrong model passes"):
        budget.assert_detects(np.array([0.1, -3.0]), "right model")
    with pytest.raises(AssertionError, match="wrong model passes"):
        budget.assert_detects(p=0.01, name="right model")
    with pytest.raises(AssertionError, match="z or p"):
        budget.assert_detects(name="neither")


def test_detection_and_acceptance_share_one_threshold():
    budget = Budget(1e-4, 400)
    for z in (budget.critical_z() * (1 - 1e-9), budget.critical_z() * (1 + 1e-9)):
        accepted = alarms(budget.assert_z, [z]) == 0
        found = alarms(budget.assert_detects, [z]) == 0
        assert accepted != found


@pytest.mark.parametrize("bad", [np.nan, np.inf, [0.0, np.nan], []])
def test_no_number_never_passes(bad):
    budget = roomy_budget()
    assert alarms(budget.assert_z, [bad]) == 1
    assert alarms(budget.assert_pvalue, [bad]) == 1
    assert alarms(budget.assert_detects, [bad]) == 1
    assert alarms(lambda x, name: budget.assert_chi2(x, 3, name), [bad]) == 1


def test_impossible_statistics_are_refused():
    budget = roomy_budget()
    for p in (-0.1, 1.1):
        with pytest.raises(AssertionError, match="outside"):
            budget.assert_pvalue(p, "p")
    with pytest.raises(AssertionError, match="no chi-square"):
        budget.assert_chi2(-1.0, 3, "negative")
    with pytest.raises(AssertionError, match="no chi-square"):
        budget.assert_chi2(1.0, 0, "no freedom")


def test_spending_more_than_declared_fails():
    budget = Budget(1e-4, 3)
    for i in range(3):
        budget.assert_z(0.0, f"check {i}")
    with pytest.raises(AssertionError, match="SUITE_CHECKS"):
        budget.assert_z(0.0, "one too many")


def test_power_checks_spend_nothing():
    budget = Budget(1e-4, 1)
    budget.assert_detects(50.0, "wrong")
    budget.assert_z(0.0, "right")
    assert budget.spent == ["right"]
