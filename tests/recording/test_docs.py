"""The page on recordings runs as it stands, and says what comes out."""

import re

import numpy as np
import pytest

from gabatone.kernels.recording.filter import Bessel
from helpers.statistics import assert_z
from helpers.tree import ROOT

PAGE = (ROOT / "docs" / "recording.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def names():
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    found: dict = {"__name__": "page"}
    exec(compile(block, "recording.md", "exec"), found)
    return found


def test_the_noise_analysis_of_the_page_finds_its_patch(names):
    noise = names["noise"]
    assert noise.true_single_pA == pytest.approx(-1.62) and noise.true_n == 100
    z = [
        (noise.single_pA - noise.true_single_pA) / noise.single_error_pA,
        (noise.reciprocal_n - 1.0 / noise.true_n) / noise.reciprocal_n_error,
    ]
    assert_z(z, "noise analysis of the page")


def test_the_miniature_of_the_page(names):
    found = {name: m.value for name, m in names["found"].items()}
    quiet = np.asarray(names["seen"].noiseless_pA)
    # 21 receptors of 27 pS at 60 mV, less what the filter and the average take off the top
    trace = names["trace"]
    top = -21 * 27.0 * 60.0 * 1e-3 * float(trace.open_probability.max())
    assert top < quiet.min() < 0.97 * top
    assert found["peak"] == pytest.approx(quiet.min(), abs=1.0)
    assert 0 < found["rise time"] < found["decay time"] < found["area over peak"]
    assert found["time to peak"] > Bessel(5e3).delay_s


def test_the_numbers_of_the_page(names):
    bessel = Bessel(1.0)
    for value in (bessel.delay_s, bessel.rise_s, bessel.noise_bandwidth_Hz):
        assert f"{value:.3f}" in PAGE
