"""Every scheme of the catalogue against recorded curves: 1e-6 in float64, 1e-4 in float32."""

import jax
import numpy as np
import pytest

from gabatone.kernels.drive.ligand import Pulse, Tonic
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid, scheme_names
from gabatone.kernels.receptor.spectral import dose_response
from helpers.curves import CURVES, DOSES_M, PULSE_TIME_S, STEP_TIME_S, columns, rows_of

DEFAULTS = ["default_synaptic_abg_mwc", "default_extrasynaptic_abd_mwc"]
TOLERANCE = {True: 1e-6, False: 1e-4}
KEY = jax.random.key(0)
# a scheme that was fitted here later has no curve computed elsewhere
RECORDED = sorted(row["scheme"] for row in rows_of("reference_metrics"))

precision = pytest.mark.parametrize("x64", [True, False], ids=["float64", "float32"])


def shares(scheme, drive, time_s):
    """Open and desensitized probability by `Master`."""
    trace = simulate(KEY, scheme, drive, engine=Master(), t1_s=time_s[-1], save_s=time_s)
    shut = np.array([kind == "desensitized" for kind in scheme.kinds])
    return np.asarray(trace.open_probability), np.asarray(trace.occupancy)[:, shut].sum(axis=1)


def agree(found, expected, x64: bool):
    assert np.asarray(found).dtype == (np.float64 if x64 else np.float32)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[x64])


def test_every_scheme_has_its_curves():
    recorded = {path.name.split("__")[0] for path in CURVES.glob("*__*.csv")}
    assert recorded == set(RECORDED) and recorded <= set(scheme_names())


@precision
@pytest.mark.parametrize("name", RECORDED)
def test_pulse_and_step(name, x64):
    scheme = load_scheme(name)
    with jax.enable_x64(x64):
        for drive, curve in (
            (Pulse(1e-3, 0.0, 1e-3), "pulse_1mM_1ms"),
            (Tonic(1e-3), "step_1mM_4s"),
        ):
            recorded = columns(f"{name}__{curve}")
            opened, shut = shares(scheme, drive, recorded["time_ms"] * 1e-3)
            agree(opened, recorded["p_open"], x64)
            agree(shut, recorded["p_desensitized"], x64)


@precision
@pytest.mark.parametrize("steroid_nM", [0, 10, 100, 1000])
@pytest.mark.parametrize("name", DEFAULTS)
def test_pulse_with_steroid(name, steroid_nM, x64):
    recorded = columns(f"{name}__steroid_{steroid_nM}nM__pulse_1mM_1ms")
    scheme = load_scheme(name).with_steroid(load_steroid("allopregnanolone"))
    drive = Pulse(1e-3, 0.0, 1e-3) + Tonic(steroid_nM * 1e-9, "allopregnanolone")
    with jax.enable_x64(x64):
        opened, shut = shares(scheme, drive, recorded["time_ms"] * 1e-3)
    agree(opened, recorded["p_open"], x64)
    agree(shut, recorded["p_desensitized"], x64)


@pytest.mark.parametrize("name", RECORDED)
def test_dose_response(name):
    check_doses(name, slice(None), True)


@pytest.mark.parametrize("name", RECORDED)
def test_dose_response_in_float32(name):
    # every sixth dose, both ends among them
    check_doses(name, slice(0, None, 6), False)


def check_doses(name, doses, x64):
    recorded = columns(f"{name}__dose_response")
    np.testing.assert_allclose(recorded["gaba_uM"], DOSES_M * 1e6, rtol=1e-5)
    with jax.enable_x64(x64):
        found = dose_response(
            load_scheme(name), DOSES_M[doses], step_time_s=STEP_TIME_S, pulse_time_s=PULSE_TIME_S
        )
    agree(found["step_peak"], recorded["peak_po_500ms_step"][doses], x64)
    agree(found["pulse_peak"], recorded["peak_po_1ms_pulse"][doses], x64)
    agree(found["steady"], recorded["steady_state_po"][doses], x64)


@pytest.mark.parametrize("row", rows_of("reference_metrics"), ids=lambda row: row["scheme"])
def test_steady_state_table(row):
    scheme = load_scheme(row["scheme"])
    for column, conc in (
        ("po_no_gaba", 0.0),
        ("steady_po_0p1uM", 1e-7),
        ("steady_po_0p2uM", 2e-7),
        ("steady_po_0p5uM", 5e-7),
        ("steady_po_1uM", 1e-6),
        ("steady_po_2p5uM", 2.5e-6),
    ):
        found = float(scheme.open_probability(scheme.steady_state({"GABA": conc})))
        # six digits are recorded
        np.testing.assert_allclose(found, float(row[column]), rtol=1e-5, atol=1e-12, err_msg=column)


@pytest.mark.parametrize(
    "row",
    rows_of("neurosteroid_mwc_metrics"),
    ids=lambda row: f"{row['scheme']}-{row['steroid_nM']}nM",
)
def test_steroid_table(row):
    scheme = load_scheme(row["scheme"]).with_steroid(load_steroid("brexanolone"))
    steroid = {"allopregnanolone": float(row["steroid_nM"]) * 1e-9}
    plain = load_scheme(row["scheme"])
    opened = {}
    for column, conc in (("po_no_gaba", 0.0), ("steady_po_0p2uM", 2e-7), ("steady_po_0p5uM", 5e-7)):
        opened[conc] = float(
            scheme.open_probability(scheme.steady_state({"GABA": conc, **steroid}))
        )
        np.testing.assert_allclose(opened[conc], float(row[column]), rtol=1e-5, err_msg=column)
    for column, conc in (("steady_fold_0p2uM", 2e-7), ("steady_fold_0p5uM", 5e-7)):
        fold = opened[conc] / float(plain.open_probability(plain.steady_state({"GABA": conc})))
        np.testing.assert_allclose(fold, float(row[column]), rtol=1e-5, err_msg=column)
