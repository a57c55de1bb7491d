"""Loading a scheme: what a file may say, and the one clear message for what it may not."""

import re

import numpy as np
import pytest

from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.catalogue import (
    incomplete_names,
    load_incomplete,
    load_scheme,
    load_steroid,
    scheme_names,
    steroid_names,
)
from gabatone.kernels.receptor.summary import summarise
from helpers.curves import rows_of
from helpers.schemes import write_scheme

STATES = [("C", "closed"), ("A", "closed"), ("O", "open")]
EDGES = [("C", "A", 1e6, "GABA"), ("A", "C", 100.0), ("A", "O", 500.0), ("O", "A", 200.0)]
RATE = {"from": "A", "to": "C", "value": 100.0, "unit": "s^-1", "ligand": ""}


def write(tmp_path, states=STATES, edges=EDGES, **top):
    return write_scheme(tmp_path / "mine.toml", states, edges, **top)


def second_edge(**changes):
    edge = {k: v for k, v in {**RATE, **changes}.items() if v is not None}
    return {"edges": [EDGES[0], edge, *EDGES[2:]]}


# what is wrong -> field, value, and a word of the cause or fix
BAD = {
    "unknown state": (second_edge(to="CC"), "mine.toml: transitions[1].to", "CC", "nearest: C"),
    "unknown source": (
        second_edge(**{"from": "X"}),
        "mine.toml: transitions[1].from",
        "X",
        "not a state",
    ),
    "negative rate": (second_edge(value=-1.0), "mine.toml: transitions[1].value", -1.0, "negative"),
    "NaN rate": (second_edge(value=float("nan")), "mine.toml: transitions[1].value", None, "NaN"),
    "infinite rate": (
        second_edge(value=float("inf")),
        "mine.toml: transitions[1].value",
        float("inf"),
        "infinite",
    ),
    "missing rate": (second_edge(value=None), "mine.toml: transitions[1].value", None, "missing"),
    "text rate": (
        second_edge(value="fast"),
        "mine.toml: transitions[1].value",
        "fast",
        "not a number",
    ),
    "zero factor": (second_edge(factor=0), "mine.toml: transitions[1].factor", 0.0, "factor"),
    "ligand without its unit": (
        second_edge(ligand="GABA"),
        "mine.toml: transitions[1].unit",
        "s^-1",
        "M^-1 s^-1",
    ),
    "unit without a ligand": (
        second_edge(unit="M^-1 s^-1"),
        "mine.toml: transitions[1].unit",
        "M^-1 s^-1",
        "ligand",
    ),
    "unknown unit": (second_edge(unit="1/ms"), "mine.toml: transitions[1].unit", "1/ms", "s^-1"),
    "self transition": (second_edge(to="A"), "mine.toml: transitions[1]", "A", "itself"),
    "given twice": (
        {"edges": [*EDGES, EDGES[1]]},
        "mine.toml: transitions[4]",
        "A -> C",
        "transitions[1]",
    ),
    "unreachable state": (
        {"states": [*STATES, ("D", "desensitized")]},
        "mine.toml: states",
        ["D"],
        "no path",
    ),
    "no open state": (
        {"states": [("C", "closed"), ("A", "closed"), ("O", "desensitized")]},
        "mine.toml: states",
        ["C", "A", "O"],
        "no state is open",
    ),
    "unknown kind": (
        {"states": [*STATES[:2], ("O", "opened")]},
        "mine.toml: states[2].kind",
        "opened",
        "closed",
    ),
    "state named twice": (
        {"states": [*STATES, ("A", "closed")]},
        "mine.toml: states[3].name",
        "A",
        "twice",
    ),
    "unknown start": ({"initial_state": "R0"}, "mine.toml: initial_state", "R0", "not a state"),
    "no transitions": ({"edges": []}, "mine.toml: transitions", None, "missing"),
    "no states": ({"states": []}, "mine.toml: states", None, "missing"),
    "unknown steroid site": (
        {"steroid_site": "comon"},
        "mine.toml: steroid_site",
        "comon",
        "common",
    ),
    "temperature as text": (
        {"temperature_C": "room"},
        "mine.toml: temperature_C",
        "room",
        "not a number",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_scheme_file(tmp_path, case):
    changes, field, value, word = BAD[case]
    with pytest.raises(BadInput) as caught:
        load_scheme(write(tmp_path, **changes))
    error = caught.value
    assert error.field == field
    assert repr(error.value) == ("nan" if case == "NaN rate" else repr(value))
    assert word in str(error) and error.fix
    assert "\n" not in str(error)


def test_an_open_state_conducts_and_others_do_not(tmp_path):
    path = write(tmp_path)
    text = path.read_text()
    for old, new, state in (("27.0", "0.0", 2), ("0.0", "5.0", 0)):
        path.write_text(text.replace(f"conductance_pS = {old}", f"conductance_pS = {new}", 1))
        with pytest.raises(BadInput, match=re.escape(f"mine.toml: states[{state}].conductance_pS")):
            load_scheme(path)


def test_broken_toml_names_file_and_line(tmp_path):
    path = write(tmp_path)
    path.write_text(path.read_text() + "\nvalue = = 3\n")
    line = len(path.read_text().splitlines())
    with pytest.raises(BadInput, match=rf"mine\.toml.*line {line}"):
        load_scheme(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not valid TOML"):
        load_scheme(path)


def test_missing_file(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        load_scheme(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("ratio", "allowed"), [(0.94, False), (0.96, True), (1.04, True), (1.06, False), (0.0, False)]
)
def test_cycle_ratio_has_its_limits(tmp_path, ratio, allowed):
    loop = [
        ("C", "A", 1e6, "GABA"),
        ("A", "C", 100.0),
        ("A", "O", 500.0),
        ("O", "A", 200.0),
        ("O", "D", 30.0),
        ("D", "O", 10.0),
        ("D", "A", 20.0),
        ("A", "D", 150.0 / ratio if ratio else 0.0),
    ]
    path = write(tmp_path, states=[*STATES, ("D", "desensitized")], edges=loop)
    if allowed:
        (cycle,) = summarise(load_scheme(path))["cycles"]
        assert min(abs(cycle["ratio"] - ratio), abs(1 / cycle["ratio"] - ratio)) < 1e-9
        assert set(cycle["states"]) == {"A", "O", "D"}
    else:
        with pytest.raises(BadInput) as caught:
            load_scheme(path)
        assert caught.value.field.startswith("mine.toml: cycle ")
        assert sorted(caught.value.field.removeprefix("mine.toml: cycle ").split("-")) == [
            "A",
            "D",
            "O",
        ]
        assert "0.95" in caught.value.fix and "1.05" in caught.value.fix


def test_ligands_must_cancel_around_a_cycle(tmp_path):
    loop = [*EDGES, ("C", "O", 1.0), ("O", "C", 1.0)]
    with pytest.raises(BadInput, match=r"mine\.toml: cycle .*GABA.*cancel"):
        load_scheme(write(tmp_path, edges=loop))


def test_rate_of_zero_is_allowed_and_said(tmp_path):
    edges = [EDGES[0], ("A", "C", 0.0), *EDGES[2:]]
    scheme = load_scheme(write(tmp_path, edges=edges))
    assert scheme.facts.warnings == (
        "rate A -> C is 0",
        "no way back to C from A, O: no steady state is defined",
    )
    generator = np.asarray(scheme.generator({"GABA": 1e-6}))
    np.testing.assert_allclose(generator, [[-1, 1, 0], [0, -500, 500], [0, 200, -200]], rtol=1e-14)
    with pytest.raises(Failure, match="no_steady_state"):
        scheme.steady_state({"GABA": 1e-6})
    edges = [*EDGES[:2], ("A", "O", 0.0), EDGES[3]]
    scheme = load_scheme(write(tmp_path, edges=edges))
    assert scheme.facts.warnings == (
        "rate A -> O is 0",
        "state O is never entered because a rate is 0",
    )
    np.testing.assert_allclose(scheme.steady_state({"GABA": 1e-4}), [0.5, 0.5, 0.0], rtol=1e-14)
    assert load_scheme("jones_westbrook_1995").facts.warnings == ()


def test_a_good_file_means_what_it_says(tmp_path):
    edges = [
        {"from": "C", "to": "A", "value": 1e6, "unit": "M^-1 s^-1", "ligand": "GABA", "factor": 2},
        *EDGES[1:],
    ]
    scheme = load_scheme(write(tmp_path, edges=edges, initial_state="A", temperature_C=30.0))
    assert (
        scheme.name == "mine" and scheme.states == ("C", "A", "O") and scheme.open_states == ("O",)
    )
    np.testing.assert_allclose(
        scheme.generator({"GABA": 1e-4}), [[-200, 200, 0], [100, -600, 500], [0, 200, -200]]
    )
    np.testing.assert_array_equal(scheme.generator({})[0], np.zeros(3))
    np.testing.assert_array_equal(scheme.initial_occupancy(), [0, 1, 0])
    np.testing.assert_array_equal(scheme.conductance_pS, [0, 0, 27])
    assert scheme.facts.temperature_C == 30.0


def test_unknown_names_get_the_nearest():
    with pytest.raises(BadInput) as caught:
        load_scheme("jones_westbrok_1995")
    assert caught.value.field == "scheme" and caught.value.value == "jones_westbrok_1995"
    assert "jones_westbrook_1995" in caught.value.fix
    with pytest.raises(BadInput, match="allopregnanolone"):
        load_steroid("alopregnanolone")
    with pytest.raises(BadInput, match="no scheme of that name"):
        load_scheme("zzz")


@pytest.mark.parametrize("name", incomplete_names())
def test_an_incomplete_scheme_is_named_as_such(name):
    assert name not in scheme_names()
    with pytest.raises(BadInput, match="incomplete") as caught:
        load_scheme(name)
    assert load_incomplete(name)["what_is_known"] in caught.value.cause
    assert "no rate is invented" in caught.value.fix


def test_the_catalogue_is_complete_and_sourced():
    recorded = {row["scheme"] for row in rows_of("reference_metrics")}
    assert len(recorded) == 14 and recorded <= set(scheme_names())
    assert len(incomplete_names()) == 18
    for name in scheme_names():
        scheme = load_scheme(name)
        assert scheme.name == name
        assert (
            scheme.facts.citation
            and scheme.facts.where
            and scheme.facts.status in ("read", "derived")
        )
        rows = np.asarray(scheme.generator({"GABA": 1e-3})).sum(axis=1)
        np.testing.assert_allclose(rows, 0.0, atol=1e-9)
    for name in steroid_names():
        assert load_steroid(name).status


def test_brexanolone_is_allopregnanolone():
    one, other = load_steroid("brexanolone"), load_steroid("allopregnanolone")
    assert one.ligand == other.ligand == "allopregnanolone"
    assert one.dissociation_closed_M == other.dissociation_closed_M
    assert load_steroid("zuranolone").dissociation_closed_M != other.dissociation_closed_M


@pytest.mark.parametrize(
    ("conc", "word"),
    [
        ({"GABA": -1e-6}, "negative"),
        ({"GABA": float("nan")}, "finite"),
        ({"glycine": 1e-6}, "glycine"),
        ({"allopregnanolone": 1e-7}, "with_steroid"),
    ],
)
def test_bad_concentration(conc, word):
    with pytest.raises(BadInput, match=word):
        load_scheme("jones_westbrook_1995").generator(conc)


@pytest.mark.parametrize("name", scheme_names())
def test_summary_gives_the_rates_back(name):
    scheme, concentration = load_scheme(name), 3e-6
    found = np.zeros((scheme.n_states, scheme.n_states))
    for edge in summarise(scheme)["transitions"]:
        i, j = scheme.states.index(edge["from"]), scheme.states.index(edge["to"])
        found[i, j] += edge["value"] * edge["factor"] * (concentration if edge["ligand"] else 1.0)
    found -= np.diag(found.sum(axis=1))
    np.testing.assert_allclose(scheme.generator({"GABA": concentration}), found, rtol=1e-9)
