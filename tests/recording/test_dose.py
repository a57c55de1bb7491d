"""EC50 and Hill slope from doses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.recording.dose import fit_hill, read_hill

DOSES = np.geomspace(1e-7, 1e-2, 11)


def hill(conc, ec50, slope, top=1.0):
    return top / (1.0 + (ec50 / conc) ** slope)


@given(
    st.floats(1e-6, 1e-3),
    st.floats(0.6, 3.0),
    st.sampled_from([-1.0, 1.0]),
    st.floats(0.1, 1e3),
)
def test_a_hill_curve_is_recovered_in_either_direction(ec50, slope, sign, top):
    found = fit_hill(DOSES, hill(DOSES, ec50, slope, sign * top), application="0.5 s step")
    assert found.ec50_M == pytest.approx(ec50, rel=1e-6)
    assert found.hill == pytest.approx(slope, rel=1e-6)
    assert found.top == pytest.approx(sign * top, rel=1e-6)
    assert found.residual_rms < 1e-8 * top
    assert found.application == "0.5 s step" and found.range_M == (1e-7, 1e-2)


@given(st.floats(1e-5, 1e-4), st.floats(0.8, 2.0))
def test_reading_off_a_dense_curve_gives_the_same(ec50, slope):
    dense = np.geomspace(ec50 * 1e-8, ec50 * 1e8, 20_001)
    found = read_hill(dense, hill(dense, ec50, slope), application="")
    assert found.ec50_M == pytest.approx(ec50, rel=1e-4)
    # (c80 / c20)^slope is 16 for a Hill curve
    assert found.hill == pytest.approx(slope, rel=1e-4)


def test_lines_between_doses_on_a_log_axis():
    found = read_hill([1e-6, 1e-4], [0.0, 1.0], application="")
    assert found.ec50_M == pytest.approx(1e-5)
    assert found.hill == pytest.approx(np.log(16.0) / np.log(10.0**1.2))


def test_ladders_that_miss_the_ec50_fail_by_name():
    with pytest.raises(Failure, match="no_half_maximum"):
        fit_hill(DOSES[:5], hill(DOSES[:5], 1e-2, 1.0), application="")
    with pytest.raises(Failure, match="no_half_maximum"):
        read_hill(DOSES, hill(DOSES, 1e-8, 1.0), application="")
    with pytest.raises(Failure, match="no_peak"):
        fit_hill(DOSES, np.zeros(DOSES.size), application="")


@pytest.mark.parametrize(
    ("doses", "response", "word"),
    [
        ([1e-6, 1e-5, 1e-4], [0.1, 0.5, 0.9], "4 doses"),
        ([1e-6, 1e-5, 1e-5, 1e-4], [0.1, 0.5, 0.6, 0.9], "increase"),
        ([0.0, 1e-6, 1e-5, 1e-4], [0.0, 0.1, 0.5, 0.9], r"conc_M\[0\]"),
        ([1e-7, 1e-6, 1e-5, 1e-4], [0.0, 0.1, np.nan, 0.9], r"response\[2\]"),
    ],
)
def test_bad_ladders_are_refused(doses, response, word):
    with pytest.raises(BadInput, match=word):
        fit_hill(doses, response, application="")
