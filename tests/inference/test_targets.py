"""The table of receptor targets, and the published curve made from it."""

import numpy as np
import pytest

from gabatone.inference.targets import FILE, load_targets, published_curve
from gabatone.kernels.errors import BadInput

TARGETS = load_targets()


def test_only_read_numbers_are_targets_and_each_has_protocol_and_source():
    assert {t.status for t in TARGETS.values()} == {"read", "derived"}
    for t in TARGETS.values():
        assert t.protocol and t.source and t.where_seen and t.temperature_C and t.species, t.id
        assert t.use == "validation" or t.value is not None, t.id
    uses = [t.use for t in TARGETS.values()]
    assert uses.count("calibration") >= 10 and uses.count("validation") >= 15


def test_numbers_used_to_choose_the_steroid_are_calibration_and_independent_ones_are_not():
    for name in ("delta_gain", "ec50_ratio", "L_ratio"):
        assert TARGETS[name].use == "calibration"
    for name in TARGETS:
        if name.startswith(("zhu", "cooper")):
            assert TARGETS[name].use == "validation"


def test_verdict_and_distance():
    t = TARGETS["ec50"]
    assert [t.verdict(x) for x in (8e-6, 11e-6, 20e-6)] == ["missed", "met", "missed"]
    assert t.distance(11e-6) == 0.0
    assert t.distance(2 * t.hi) == pytest.approx(1.0)
    assert t.distance(t.lo / 2) == pytest.approx(-0.5)
    assert TARGETS["dixon_deactivation"].verdict(1.0) == "shown"


def test_published_curve_is_the_three_exponentials_with_their_error():
    value, error = published_curve(TARGETS, [0.0, 0.01])
    assert value[0] == pytest.approx(1.0)
    assert error[0] == pytest.approx(np.sqrt(0.04**2 + 0.02**2 + 0.03**2))
    by_hand = 0.57 * np.exp(-10 / 2.8) + 0.23 * np.exp(-10 / 33.4) + 0.2 * np.exp(-10 / 221.35)
    assert value[1] == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        (("read", "recalled"), "row 2.status", "recalled"),
        ((",calibration,", ",training,"), "row 2.use", "training"),
        (("0.00029", "0.00029 s"), "row 2.value", "0.00029 s"),
        (("0.00029", ""), "row 2.value", None),
        (("0.00029", "nan"), "row 2.value", "nan"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, change, field, value):
    lines = FILE.read_text(encoding="utf-8").splitlines()
    row = lines[1].rsplit("read", 1)
    text = f"{row[0]}{change[1]}{row[1]}" if change[0] == "read" else lines[1].replace(*change)
    mine = tmp_path / "mine.csv"
    mine.write_text("\n".join([lines[0], text]) + "\n", encoding="utf-8")
    with pytest.raises(BadInput) as found:
        load_targets(mine)
    assert found.value.field == f"mine.csv: {field}"
    assert found.value.value == value


def test_an_id_twice_is_refused(tmp_path):
    lines = FILE.read_text(encoding="utf-8").splitlines()
    mine = tmp_path / "mine.csv"
    mine.write_text("\n".join([lines[0], lines[1], lines[1]]) + "\n", encoding="utf-8")
    with pytest.raises(BadInput, match="given twice"):
        load_targets(mine)
