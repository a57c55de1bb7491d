"""``gabatone scheme check``: simulated channels beside the theory of their scheme."""

import json

import jax
import numpy as np
import pytest
from scipy import stats

from gabatone.experiments import scheme_check
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.receptor.dwell import open_time
from gabatone.kernels.receptor.partition import partition
from helpers.schemes import edge_named, scale_rate
from helpers.statistics import assert_detects, assert_pvalue

JONES = "jones_westbrook_1995"
PNG = b"\x89PNG\r\n"


def compared(n, edge=None, only=None):
    """Channels of a scheme, or of one with a rate 3 % too high, beside the scheme's theory."""
    scheme = load_scheme(JONES)
    wrong = scheme if edge is None else scale_rate(scheme, edge_named(scheme, *edge), 1.03)
    return scheme_check.compare(wrong, {}, 1e-4, n, 3, theory=scheme, only=only)


def test_channels_are_held_to_their_theory(monkeypatch):
    monkeypatch.setattr(scheme_check, "REPLICATES", 60)
    only = ("response", "variance", "open", "shut", "correlation")
    found = compared(4000, only=only)
    assert found.passed and tuple(found.panels) == only
    for name, panel in found.panels.items():
        assert_pvalue(panel.p, f"scheme check, {name}")


@pytest.mark.parametrize(
    ("edge", "seen"),
    [(("O2", "C2"), ("response", "open")), (("C2", "O2"), ("response", "shut"))],
    ids=["O2-C2", "C2-O2"],
)
def test_a_rate_3_percent_wrong_is_found(edge, seen):
    found = compared(400_000, edge, seen)
    assert not found.passed
    for name in seen:
        assert_detects(p=found.panels[name].p, name=f"scheme check, {edge} 3 % fast, {name}")


def test_a_correlation_of_another_scheme_is_found():
    scheme, level = load_scheme(JONES), {"GABA": 1e-4}
    other = partition(scale_rate(scheme, edge_named(scheme, "D2", "C2"), 1.3), level)
    panel = scheme_check._correlation(jax.random.key(1), scheme, other, level, 5000)
    assert_detects(p=panel.p, name="correlation under a faster recovery")


def test_stays_of_equilibrium_paths_are_those_of_the_theory():
    scheme, level, edge = load_scheme(JONES), {"GABA": 1e-4}, np.geomspace(1e-3, 3e-2, 9)
    channel = partition(scheme, level)
    shares = np.array(
        [
            scheme_check._stays(jax.random.key(r), scheme, channel, level, edge, channels=100)
            for r in range(30)
        ]
    )

    def chances(part):
        gap = shares - -np.diff(open_time(part).survivor(edge))
        t = gap.mean(axis=0) / (gap.std(axis=0, ddof=1) / np.sqrt(len(gap)))
        return 2 * stats.t.sf(np.abs(t), len(gap) - 1)

    assert_pvalue(chances(channel), "stays of equilibrium paths")
    wrong = partition(scale_rate(scheme, edge_named(scheme, "O2", "C2"), 1.1), level)
    assert_detects(p=chances(wrong), name="stays of equilibrium paths, O2 -> C2 10 % fast")


def test_scatter_beyond_that_of_independent_channels_is_found(monkeypatch):
    scheme, run = load_scheme(JONES), scheme_check._run

    class Doubled:
        def __init__(self, trace):
            self.open_count = 2 * np.asarray(trace.open_count)

    def in_pairs(key, scheme, drive, n, time, p0=None):
        return Doubled(run(key, scheme, drive, n // 2, time, p0))

    monkeypatch.setattr(scheme_check, "_run", in_pairs)
    monkeypatch.setattr(scheme_check, "REPLICATES", 200)
    panel = scheme_check._variance(jax.random.key(1), scheme, scheme, {})
    assert_detects(p=panel.p, name="channels that move in pairs")


def test_the_check_says_what_it_held_and_draws_it(say, tmp_path, monkeypatch):
    monkeypatch.setattr(scheme_check, "REPLICATES", 60)
    said = say("scheme", "check", JONES, "--n", "4000", "--out", tmp_path / "c.png")
    assert (said.code, said.err) == (0, "")
    assert "with probability at most 0.0001" in said.out
    assert said.out.count(" met") == 5
    assert (tmp_path / "c.png").read_bytes().startswith(PNG)


def test_a_missed_check_ends_with_1(say, monkeypatch):
    one = scheme_check.Compared(*([np.array([1.0])] * 4), np.array([1e-9]))
    missed = scheme_check.Checked({"scheme": JONES}, {"open": one})
    monkeypatch.setattr(scheme_check, "checked", lambda *a, **k: missed)
    said = say("scheme", "check", JONES, "--json")
    assert said.code == 1
    (verdict,) = json.loads(said.out)["verdicts"]
    assert verdict["verdict"] == "missed" and verdict["worst deviate"] > verdict["bound"]


def test_the_bound_keeps_the_declared_false_alarm_rate():
    p = np.full(50, 1.0)
    panel = scheme_check.Compared(p, p, p, p, p)
    shown = scheme_check.Compared(p, p, p, p, None)
    found = scheme_check.Checked({}, {"a": panel, "b": panel, "c": shown})
    chance = 2 * stats.norm.sf(found.bound) * 100
    assert chance == pytest.approx(scheme_check.FALSE_ALARM)
