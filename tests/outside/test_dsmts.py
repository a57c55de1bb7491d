"""The stochastic part of the SBML test suite: each case once, and the power to see a rate 3 % wrong."""

import jax
import numpy as np
import pytest
from scipy import stats

from gabatone.experiments.outside import dsmts
from gabatone.experiments.outside.dsmts import MUST_PASS, Published, cases, counts_of, law_of
from gabatone.experiments.outside.network_laws import central_moments
from gabatone.experiments.outside.shorthand import read_shorthand
from gabatone.kernels.engine.network import Reaction, ReactionNetwork, mass_action
from gabatone.kernels.errors import BadInput, Failure
from helpers.statistics import assert_detects, assert_pvalue

KEY = jax.random.key(2026)
# runs that see a rate 3 % wrong, and the rates that the case depends on
RUNS = {
    1: (2000, ("Lambda", "Mu")),
    3: (2000, ("Lambda", "Mu")),
    5: (200, ("Lambda", "Mu")),
    7: (2000, ("Lambda", "Mu")),
    9: (2000, ("Lambda", "Mu")),
    11: (4000, ("Lambda", "Mu")),
    13: (2000, ("Lambda", "Mu")),
    15: (2000, ("Lambda", "Mu")),
    17: (2000, ("Lambda", "Mu")),
    19: (2000, ("Lambda", "Mu")),
    21: (2000, ("Alpha", "Mu")),
    23: (200, ("Alpha", "Mu")),
    25: (2000, ("Alpha", "Mu")),
    27: (16_000, ("Immigration_k", "Death_k")),
    31: (6000, ("k1", "k2")),
    35: (50_000, ("k1", "k2")),
    37: (8000, ("Alpha", "Mu")),
    39: (6000, ("Alpha", "Mu")),
}


def chances(outputs, laws, counts):
    return np.concatenate([*dsmts.p_values(outputs, laws, counts).values()])


def published_of(case, laws):
    """What would have been published had the rates been those of `laws`, for its last output."""
    name = [name for name, published in case.outputs.items() if published.sd.any()][-1]
    mean, sd = laws[name][:, 0], np.sqrt(np.abs(laws[name][:, 1]))
    certain = case.outputs[name].sd == 0
    return {
        name: Published(
            case.outputs[name].time,
            np.where(certain, case.outputs[name].mean, mean),
            np.where(certain, 0.0, sd),
        )
    }


def test_every_case_that_must_pass_is_here():
    assert set(MUST_PASS) <= set(cases()) == set(RUNS)


@pytest.mark.parametrize("number", RUNS)
def test_published_moments_are_those_of_the_exact_law(number):
    # EXACT: the published digits, by a second computation
    case = cases()[number]
    for name, law in law_of(case).items():
        published = case.outputs[name]
        digits = 1e-6 * np.maximum(1.0, published.mean)
        assert np.all(np.abs(law[:, 0] - published.mean) <= np.maximum(2e-5, digits))
        assert np.all(np.abs(np.sqrt(np.abs(law[:, 1])) - published.sd) <= 3e-5)


@pytest.mark.parametrize("number", RUNS)
def test_case_and_power(number):
    case, (n, rates) = cases()[number], RUNS[number]
    counts = counts_of(case, jax.random.fold_in(KEY, number), n)
    p = chances(case.outputs, law_of(case), counts)
    assert_pvalue(p, f"DSMTS {case.name}")
    for rate in rates:
        laws = law_of(case, {rate: 1.03 * case.model.network.parameters[rate]})
        p = chances(published_of(case, laws), laws, counts)
        assert_detects(p=p, name=f"DSMTS {case.name}, {rate} 3 % too high")


def test_a_simulation_with_a_wrong_rate_is_found():
    case = cases()[1]
    counts = counts_of(case, KEY, 2000, {"Mu": 0.1133})
    p = chances(case.outputs, law_of(case), counts)
    assert_detects(p=p, name="DSMTS 00001 simulated with Mu 3 % too high")


def test_a_certain_count_must_be_met_exactly():
    case = cases()[25]
    counts = counts_of(case, KEY, 20)
    assert dsmts.p_values(case.outputs, law_of(case), counts)["Source.mean"] == 1.0
    spoilt = {**counts, "Source": counts["Source"] + 1}
    assert dsmts.p_values(case.outputs, law_of(case), spoilt)["Source.mean"] == 0.0


def test_the_chance_of_a_sum_is_that_of_the_gamma_law():
    # a chi-square variance is the gamma law itself
    n, ratio = 50, 1.9
    z = (ratio - 1) * np.sqrt(n / 2)
    expected = 2 * min(stats.chi2.sf(n * ratio, n), stats.chi2.cdf(n * ratio, n))
    np.testing.assert_allclose(dsmts._chance(z, np.sqrt(8 / n)), expected, rtol=1e-9)
    np.testing.assert_allclose(dsmts._chance(-z, -np.sqrt(8 / n)), expected, rtol=1e-9)
    np.testing.assert_allclose(dsmts._chance(2.0, 0.0), 2 * stats.norm.sf(2.0), rtol=1e-12)


# the laws, by closed forms


def birth_death(x0, birth, death):
    return ReactionNetwork(
        ("X",),
        (x0,),
        (
            mass_action("birth", {"X": 1}, {"X": 2}, "b"),
            mass_action("death", {"X": 1}, {}, "d"),
        ),
        {"b": birth, "d": death},
    )


def test_moments_of_a_birth_and_death_process_are_those_of_its_geometric_law():
    # one ancestor: 0 with chance a, else geometric with ratio b (Kendall 1948)
    t, birth, death = 3.0, 0.7, 0.9
    grown = np.exp((birth - death) * t)
    a = death * (grown - 1) / (birth * grown - death)
    b = birth * a / death
    k = np.arange(1, 2000)
    p = (1 - a) * (1 - b) * b ** (k - 1)
    mean = (p * k).sum()
    central = [a * (-mean) ** j + (p * (k - mean) ** j).sum() for j in (2, 3, 4, 6)]
    found = central_moments(birth_death(1, birth, death), [[1.0]], [0.0, t])[0]
    np.testing.assert_allclose(found[1], [mean, *central], rtol=1e-7)
    np.testing.assert_allclose(found[0], [1, 0, 0, 0, 0], atol=1e-12)


def test_moments_over_listed_states_are_binomial_for_pure_decay():
    # copies that leave one by one; a trace of a cubic term asks for the list of states
    law = stats.binom(12, np.exp(-0.4 * 2.0))
    mean = law.mean()
    expected = [mean, *(law.expect(lambda x, j=j: (x - mean) ** j) for j in (2, 3, 4, 6))]
    bent = ReactionNetwork(
        ("X",),
        (12,),
        (Reaction("decay", (("X", 1),), (), "k * X + X * (X - 1) * (X - 12) * z"),),
        {"k": 0.4, "z": 1e-12},
    )
    np.testing.assert_allclose(central_moments(bent, [[1.0]], [2.0])[0, 0], expected, rtol=1e-7)


def test_a_law_of_too_many_states_is_refused():
    network = ReactionNetwork(
        ("X",),
        (0,),
        (mass_action("in", {}, {"X": 1}, "a"), mass_action("pair", {"X": 2}, {}, "b")),
        {"a": 1.0, "b": 0.1},
    )
    with pytest.raises(Failure, match="too_many_states"):
        central_moments(network, [[1.0]], [1.0])


# the notation


def test_the_notation_is_read():
    text = cases()[27].model.network
    assert text.parameters == {"Cell": 1.0, "k": 2.0, "Immigration_k": 1.0, "Death_k": 0.1}
    assert [r.rate for r in text.reactions] == ["Immigration_k", "Death_k*X"]
    volume = cases()[11].model.network
    assert volume.reactions[0].rate == "Lambda*(X / Cell)"
    assert cases()[25].model.network.change.tolist() == [[1, 0, 0], [-1, 0, 1]]
    assert cases()[19].model.rules == {"y": "2*X"}
    assert cases()[39].model.network.change.tolist() == [[100], [-1]]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("@species ; Cell:X=1 s ; @events ; reset= t>=2 : X=1", "@events"),
        ("X=1", "stands before"),
        ("@species ; Cell:X=1 s ; @reactions ; @r=A ; X ->", "three parts"),
    ],
)
def test_notation_that_is_not_read_is_bad_input(text, cause):
    with pytest.raises(BadInput, match=cause):
        read_shorthand("mine", text)


def test_rows_hold_every_case_to_one_bound(monkeypatch):
    few = {number: cases()[number] for number in (1, 25)}
    monkeypatch.setattr(dsmts, "cases", lambda: few)
    monkeypatch.setattr(dsmts, "QUICK_RUNS", 100)
    noted = []
    rows = dsmts.rows(quick=True, progress=noted.append)
    assert noted == ["case 00001", "case 00025"]
    assert {row["verdict"] for row in rows} == {"met"}
    assert len({row["hi"] for row in rows}) == 1 and 4.0 < rows[0]["hi"] < 6.0
    assert {"dsmts.00001.X.mean", "dsmts.00025.Sink.scatter"} <= {row["id"] for row in rows}
