"""Drives: their value over time, their sum, and what they refuse."""

import re

import numpy as np
import pytest

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic, Train, Waveform
from gabatone.kernels.errors import BadInput

TIME = np.array([0.0, 0.5e-3, 1e-3, 1.5e-3, 2e-3, 3e-3, 10e-3])


def test_values_by_hand():
    np.testing.assert_array_equal(Tonic(2e-6).value(TIME), np.full(7, 2e-6))
    # the start belongs to the pulse, the stop does not
    np.testing.assert_array_equal(
        Pulse(1e-3, 0.5e-3, 2e-3).value(TIME), [0, 1e-3, 1e-3, 1e-3, 0, 0, 0]
    )
    np.testing.assert_allclose(
        Decay(3e-3, 2e-3, 1e-3).value(TIME),
        [0, 0, 3e-3, *(3e-3 * np.exp(-np.array([0.25, 0.5, 1.0, 4.5])))],
        rtol=1e-14,
    )
    train = Train((0.5e-3, 1.5e-3, 1.6e-3), 1e-3, 0.5e-3)
    np.testing.assert_array_equal(train.value(TIME), [0, 1e-3, 0, 1e-3, 1e-3, 0, 0])
    np.testing.assert_array_equal(train.value([1.7e-3, 2.05e-3]), [2e-3, 1e-3])
    wave = Waveform([1e-3, 2e-3, 4e-3], [1e-6, 3e-6, 0.0])
    np.testing.assert_allclose(
        wave.value(TIME), [1e-6, 1e-6, 1e-6, 2e-6, 3e-6, 1.5e-6, 0.0], rtol=1e-14
    )


def test_sums_keep_ligands_apart():
    drive = (
        Pulse(1e-3, 0.0, 1e-3) + Tonic(2e-6) + Tonic(5e-8, "allopregnanolone") + Decay(1e-3, 1e-3)
    )
    assert len(drive.parts()) == 4
    gaba = np.where(TIME < 1e-3, 1e-3, 0.0) + 2e-6 + 1e-3 * np.exp(-TIME / 1e-3)
    np.testing.assert_allclose(drive.value(TIME, "GABA"), gaba, rtol=1e-13)
    np.testing.assert_array_equal(drive.value(TIME), drive.value(TIME, "GABA"))
    np.testing.assert_array_equal(drive.value(TIME, "allopregnanolone"), np.full(7, 5e-8))
    with pytest.raises(TypeError):
        drive + 1e-6
    with pytest.raises(NotImplementedError, match="parts"):
        drive.level(TIME, TIME)


def test_breaks_stand_where_a_drive_jumps_or_bends():
    np.testing.assert_array_equal(Tonic(1e-6).breaks_s(1.0), [])
    np.testing.assert_array_equal(Pulse(1e-3, 0.0, 0.2).breaks_s(1.0), [0.2])
    np.testing.assert_array_equal(Pulse(1e-3, 0.3, 1.2).breaks_s(1.0), [0.3])
    np.testing.assert_allclose(Train((0.1, 0.5), 1e-3, 0.25).breaks_s(0.7), [0.1, 0.35, 0.5])
    np.testing.assert_array_equal(Waveform([0.0, 0.4, 2.0], [0.0, 1e-6, 0.0]).breaks_s(1.0), [0.4])
    assert Decay(1e-3, 0.01, 0.3).breaks_s(1.0)[0] == 0.3
    both = (Pulse(1e-3, 0.3, 0.6) + Pulse(1e-3, 0.6, 2.0)).breaks_s(1.0)
    np.testing.assert_array_equal(both, [0.3, 0.6])


BAD = {
    "negative tonic": (lambda: Tonic(-1e-6), "Tonic(GABA).conc_M"),
    "NaN tonic": (
        lambda: Tonic(float("nan"), "allopregnanolone"),
        "Tonic(allopregnanolone).conc_M",
    ),
    "infinite tonic": (lambda: Tonic(float("inf")), "Tonic(GABA).conc_M"),
    "negative pulse": (lambda: Pulse(-1e-3, 0.0, 1e-3), "Pulse(GABA).conc_M"),
    "pulse backwards": (lambda: Pulse(1e-3, 2e-3, 1e-3), "Pulse(GABA)"),
    "pulse without length": (lambda: Pulse(1e-3, 1e-3, 1e-3), "Pulse(GABA)"),
    "pulse to NaN": (lambda: Pulse(1e-3, 0.0, float("nan")), "Pulse(GABA)"),
    "negative peak": (lambda: Decay(-1e-3, 1e-4), "Decay(GABA).peak_M"),
    "decay that grows": (lambda: Decay(1e-3, -1e-4), "Decay(GABA)"),
    "decay of no length": (lambda: Decay(1e-3, 0.0), "Decay(GABA)"),
    "decay at NaN": (lambda: Decay(1e-3, 1e-4, float("nan")), "Decay(GABA).start_s"),
    "train out of order": (lambda: Train((0.2, 0.1), 1e-3, 1e-3), "Train(GABA).times_s"),
    "train at NaN": (lambda: Train((0.1, float("nan")), 1e-3, 1e-3), "Train(GABA).times_s"),
    "train of no width": (lambda: Train((0.1,), 1e-3, 0.0), "Train(GABA).width_s"),
    "negative train": (lambda: Train((0.1,), -1e-3, 1e-3), "Train(GABA).conc_M"),
    "waveform out of order": (
        lambda: Waveform([0.0, 2.0, 1.0], [1.0, 1.0, 1.0]),
        "Waveform(GABA).time_s",
    ),
    "waveform with a time twice": (
        lambda: Waveform([0.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
        "Waveform(GABA).time_s",
    ),
    "negative waveform": (lambda: Waveform([0.0, 1.0], [0.0, -1e-6]), "Waveform(GABA).conc_M"),
    "waveform of two lengths": (
        lambda: Waveform([0.0, 1.0], [0.0, 1e-6, 0.0]),
        "Waveform(GABA).conc_M",
    ),
    "empty waveform": (lambda: Waveform([], []), "Waveform(GABA).time_s"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_drive(case):
    make, field = BAD[case]
    with pytest.raises(BadInput) as caught:
        make()
    assert caught.value.field == field
    assert caught.value.fix and "\n" not in str(caught.value)


def test_waveform_from_csv(tmp_path):
    path = tmp_path / "gaba.csv"
    path.write_text("note,conc_M,time_s\na,0,0\nb,1e-6,0.5\n\nc,2e-6,1.5\n")
    wave = Waveform.from_csv(path)
    np.testing.assert_allclose(wave.value([0.0, 0.25, 1.0, 9.0]), [0.0, 0.5e-6, 1.5e-6, 2e-6])
    assert Waveform.from_csv(path, "allopregnanolone").ligand == "allopregnanolone"


BAD_CSV = {
    "no such column": ("time,conc_M\n0,1\n", "gaba.csv: header"),
    "empty": ("", "gaba.csv: header"),
    "no rows": ("time_s,conc_M\n", "gaba.csv"),
    "text": ("time_s,conc_M\n0,1e-6\n1,much\n", "gaba.csv: line 3, conc_M"),
    "short row": ("time_s,conc_M\n0,1e-6\n\n1\n", "gaba.csv: line 4, conc_M"),
    "NaN": ("time_s,conc_M\nnan,1e-6\n", "gaba.csv: line 2, time_s"),
    "negative": ("time_s,conc_M\n0,1e-6\n1,-1e-6\n", "gaba.csv: line 3, conc_M"),
    "infinite": ("time_s,conc_M\n0,inf\n", "gaba.csv: line 2, conc_M"),
    "out of order": ("time_s,conc_M\n1,1e-6\n0,1e-6\n", "gaba.csv: Waveform(GABA).time_s"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(tmp_path, case):
    text, field = BAD_CSV[case]
    path = tmp_path / "gaba.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=re.escape(field)) as caught:
        Waveform.from_csv(path)
    assert caught.value.field == field


def test_csv_that_is_no_text_or_no_file(tmp_path):
    path = tmp_path / "gaba.csv"
    path.write_bytes(b"time_s,conc_M\n\xff\xfe\n")
    with pytest.raises(BadInput, match="not CSV text"):
        Waveform.from_csv(path)
    with pytest.raises(BadInput, match="cannot be read"):
        Waveform.from_csv(tmp_path / "nowhere.csv")
