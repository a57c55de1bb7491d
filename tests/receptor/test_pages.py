"""The committed pages of docs/schemes are those the code makes, and none is missing."""

import re

import numpy as np
import pytest

from gabatone.experiments.scheme_numbers import Responses
from gabatone.experiments.scheme_pages import incomplete_page, page_text
from gabatone.experiments.scheme_tables import three
from gabatone.kernels.receptor.catalogue import (
    incomplete_names,
    load_incomplete,
    load_scheme,
    scheme_names,
    steroid_names,
)
from gabatone.kernels.receptor.composition import composition_names
from helpers.curves import DOSES_M, columns, rows_of
from helpers.tree import ROOT

PAGES = ROOT / "docs" / "schemes"
MOST_BYTES = 60_000


def text_of(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["destexhe_1994_2state", "jones_westbrook_1995"])
def test_a_page_is_made_anew_to_the_letter(name):
    assert page_text(name) == text_of(name)


def test_the_page_of_gaps_is_made_anew_to_the_letter():
    assert incomplete_page() == text_of("incomplete")
    for name in incomplete_names():
        data = load_incomplete(name)
        assert data["missing"] and data["topology"] and data["citation"]
        assert f"| {name} |" in text_of("incomplete")


@pytest.mark.parametrize("name", scheme_names())
def test_every_scheme_has_its_page_and_figure(name):
    text, scheme = text_of(name), load_scheme(name)
    assert f"](figures/{name}.png)" in text and f"]({name}.md)" in text_of("README")
    assert scheme.facts.known_misfits
    for misfit in scheme.facts.known_misfits:
        assert f"- {misfit}\n" in text
    assert scheme.facts.citation in text and scheme.facts.where in text
    figure = (PAGES / "figures" / f"{name}.png").read_bytes()
    assert figure[:8] == b"\x89PNG\r\n\x1a\n" and len(figure) < MOST_BYTES
    assert "+ 100 nM allopregnanolone" in text
    # the rates of the file stand on the page
    rows = [line for line in text.splitlines() if " -> " in line and line.startswith("| ")]
    assert len(rows) == len(scheme.source)


def test_nothing_is_left_over():
    known = {*scheme_names(), "README", "incomplete", "compositions", "steroids"}
    assert {p.stem for p in PAGES.glob("*.md")} == known
    assert {p.stem for p in (PAGES / "figures").iterdir()} == set(scheme_names())
    for target in re.findall(r"\]\(([^)]+)\)", "".join(text_of(name) for name in known)):
        assert (PAGES / target).is_file(), target


def test_steroids_and_compositions_are_all_shown():
    for name in steroid_names():
        assert f"\n## {name}\n" in text_of("steroids")
    for name in composition_names():
        assert f"\n## {name}\n" in text_of("compositions")


@pytest.mark.parametrize("recorded", rows_of("reference_metrics"), ids=lambda row: row["scheme"])
def test_numbers_agree_with_the_recorded_ones(recorded):
    name = recorded["scheme"]
    found = Responses(load_scheme(name))
    # at the same times up to the grid of each, so to about (step / time of change)^2
    for column, value, rtol in (
        ("peak_po", found.pulse.peak, 1e-5),
        ("steady_po_0p2uM", found.tonic(2e-7), 1e-5),
        ("steady_po_1uM", found.tonic(1e-6), 1e-5),
        ("rise_10_90_ms", found.pulse.rise_s() * 1e3, 5e-4),
        ("decay_area_over_peak_ms", found.pulse.weighted_decay_s() * 1e3, 5e-3),
    ):
        np.testing.assert_allclose(value, float(recorded[column]), rtol=rtol, err_msg=column)
    for column, at_s in (("desens_frac_500ms_1mM", 0.5), ("desens_frac_4s_1mM", 4.0)):
        np.testing.assert_allclose(
            found.desensitization(at_s), float(recorded[column]), rtol=0, atol=1e-5, err_msg=column
        )
    curve = columns(f"{name}__dose_response")
    for k in (12, 24, 36):
        np.testing.assert_allclose(
            found.at_dose(DOSES_M[k]), curve["peak_po_500ms_step"][k], rtol=1e-3, atol=1e-6
        )


def test_half_maximal_dose():
    found = Responses(load_scheme("default_synaptic_abg_mwc"))
    assert found.at_dose(found.ec50_M()) == pytest.approx(found.doses.max() / 2, rel=1e-5)


def test_digits():
    assert three(0.0087231) == "0.00872" and three(1e-12) == "0" and three(53.35) == "53.4"
