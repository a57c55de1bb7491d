import dataclasses
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gabatone.kernels.body.dosing import SCHEDULES, Schedule, load_schedule, schedule_names
from gabatone.kernels.errors import BadInput


@st.composite
def infusions(draw):
    """Valid intervals: durations and gaps laid end to end."""
    n = draw(st.integers(1, 6))
    gaps = draw(st.lists(st.floats(0, 10), min_size=n, max_size=n))
    lengths = draw(st.lists(st.floats(0.01, 30), min_size=n, max_size=n))
    rates = draw(st.lists(st.floats(0, 500), min_size=n, max_size=n))
    start, stop, now = [], [], 0.0
    for gap, length in zip(gaps, lengths, strict=True):
        start.append(now + gap)
        now = start[-1] + length
        stop.append(now)
    return start, stop, rates


def test_the_three_schedules():
    assert schedule_names() == ["BRX90", "BRX60", "PBO"]
    label = load_schedule("BRX90")
    np.testing.assert_array_equal(label.start_h, [0, 4, 24, 52, 56])
    np.testing.assert_array_equal(label.stop_h, [4, 24, 52, 56, 60])
    np.testing.assert_array_equal(label.rate_ug_per_kg_h, [30, 60, 90, 60, 30])
    np.testing.assert_array_equal(label.breaks_h, [0, 4, 24, 52, 56, 60])
    assert float(label.total_dose_ug_per_kg) == 4200
    assert float(load_schedule("BRX60").total_dose_ug_per_kg) == 3360
    assert float(load_schedule("PBO").total_dose_ug_per_kg) == 0


@given(infusions())
def test_dose_and_breaks_of_any_valid_schedule(intervals):
    start, stop, rate = intervals
    schedule = Schedule("mine", start, stop, rate)
    dose = math.fsum(r * (b - a) for a, b, r in zip(start, stop, rate, strict=True))
    np.testing.assert_allclose(float(schedule.total_dose_ug_per_kg), dose, rtol=1e-12, atol=1e-12)
    assert np.all(np.diff(schedule.breaks_h) > 0)
    assert set(schedule.breaks_h) == {*start, *stop}


@given(infusions(), st.integers(0, 5), st.sampled_from(["negative", "nan", "infinite", "empty"]))
def test_any_broken_entry_is_named(intervals, index, kind):
    start, stop, rate = (list(values) for values in intervals)
    index %= len(rate)
    if kind == "empty":
        stop[index] = start[index]
        field = f"stop_h[{index}]"
    else:
        rate[index] = {"negative": -1.0, "nan": math.nan, "infinite": math.inf}[kind]
        field = f"rate_ug_per_kg_h[{index}]"
    with pytest.raises(BadInput) as caught:
        Schedule("mine", start, stop, rate)
    assert caught.value.field == f"schedule mine: {field}"
    assert "Fix:" in str(caught.value)


@given(infusions(), st.integers(0, 5))
def test_overlap_or_disorder_is_named(intervals, index):
    start, stop, rate = intervals
    if len(rate) < 2:
        return
    index = index % (len(rate) - 1) + 1
    if stop[index - 1] - start[index - 1] < 1e-6:
        return
    start[index] = 0.5 * (start[index - 1] + stop[index - 1])
    with pytest.raises(BadInput, match=rf"start_h\[{index}\].*starts before infusion {index - 1}"):
        Schedule("mine", start, stop, rate)


def test_lists_of_different_length():
    with pytest.raises(BadInput, match="one number is needed for each infusion"):
        Schedule("mine", [0, 4], [4, 8], [30])


def test_a_negative_time_is_named():
    with pytest.raises(BadInput, match=r"start_h\[0\] = -1.0: negative"):
        Schedule("mine", [-1], [8], [30])


def test_unknown_name_gives_the_nearest():
    with pytest.raises(BadInput, match=r"schedule = 'brx9'.*Fix: use BRX90"):
        load_schedule("brx9")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("BRX90,4,24,60,ug/kg/h", "BRX90,4,24,60,mg", "line 3: unit = 'mg'.*ug/kg/h"),
        ("BRX90,4,24,60", "BRX90,4,24,fast", "line 3: rate_or_dose = 'fast': not a number"),
        ("BRX90,4,24,60", "BRX90,4,24,-60", r"rate_ug_per_kg_h\[1\] = -60.0: negative"),
        ("wald 2022 section 2.2 agree,read", "x,recalled", "status = 'recalled'"),
        ("t_end_h", "until", "no column t_end_h"),
    ],
)
def test_a_spoiled_file_is_named(tmp_path, old, new, message):
    path = tmp_path / "mine.csv"
    text = SCHEDULES.read_text().replace("Wald 2022 section", "wald 2022 section")
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(BadInput, match=message):
        load_schedule("BRX90", path)


def test_a_missing_file():
    with pytest.raises(BadInput, match="cannot be read"):
        load_schedule("BRX90", "nowhere.csv")


def test_a_schedule_goes_through_jit_and_is_frozen():
    schedule = load_schedule("BRX90")
    doubled = jax.jit(lambda s: Schedule("twice", s.start_h, s.stop_h, 2 * s.rate_ug_per_kg_h))
    assert float(doubled(schedule).total_dose_ug_per_kg) == 8400
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.name = "other"
