"""``gabatone scheme simulate | dose-response | check | plot`` through the real command."""

import csv
import json

import jax
import numpy as np
import pytest
import xarray as xr

from gabatone.experiments import scheme_inputs, scheme_plot, scheme_simulate
from gabatone.kernels.drive.ligand import Pulse
from gabatone.kernels.engine.channels import Channels
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.receptor.relaxation import equilibrium_dose_response
from helpers.curves import columns as recorded
from helpers.curves import rows_of

JONES = "jones_westbrook_1995"
SHORT = ("--n", "300", "--t1", "5 ms", "--save", "0.5 ms")
PNG = b"\x89PNG\r\n"


def table(path):
    lines = path.read_text().splitlines()
    notes = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    rows = list(csv.DictReader(line for line in lines if not line.startswith("# ")))
    return notes, {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


# simulate


def test_a_simulation_is_that_of_the_library(say, tmp_path):
    said = say("scheme", "simulate", JONES, *SHORT, "--out", tmp_path / "a.csv", "--json")
    assert (said.code, said.err) == (0, "")
    notes, found = table(tmp_path / "a.csv")
    scheme = load_scheme(JONES)
    ours = simulate(
        jax.random.key(0),
        scheme,
        Pulse(1e-3, 0.0, 1e-3),
        engine=Channels(),
        n=300,
        t1_s=5e-3,
        save_s=5e-4,
    )
    for k, state in enumerate(scheme.states):
        np.testing.assert_array_equal(found[state], np.asarray(ours.occupancy)[:, k])
    np.testing.assert_allclose(found["open_probability"], ours.open_probability, rtol=1e-8)
    assert notes["protocol"] == "0.001 M GABA from 0 to 0.001 s"
    data = json.loads(said.out)
    assert data["peak_open_probability"] == pytest.approx(found["open_probability"].max())
    assert (data["channels"], data["engine"], data["seed"]) == (300, "Channels", 0)
    assert "certificate holds" in data["certificate"]


def test_every_kind_of_file_holds_the_same_trace(say, tmp_path):
    for kind in ("csv", "nc", "zarr", "png"):
        out = tmp_path / f"a.{kind}"
        said = say("scheme", "simulate", JONES, *SHORT, "--holding", "-60 mV", "--out", out)
        assert (said.code, said.err) == (0, "")
        assert f"written: {out}" in said.out
    notes, found = table(tmp_path / "a.csv")
    np.testing.assert_allclose(found["current_pA"], found["conductance_pS"] * -0.06, atol=1e-9)
    for data in (
        xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf"),
        xr.open_zarr(tmp_path / "a.zarr", consolidated=False),
    ):
        with data:
            np.testing.assert_allclose(data["current"], found["current_pA"], rtol=1e-8)
            np.testing.assert_allclose(data["open_probability"], found["open_probability"])
            assert data.attrs["scheme"] == notes["scheme"] == JONES
            assert data.attrs["holding_mV"] == -60.0
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_seed_repeats_and_another_differs(say, tmp_path):
    texts = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        out = tmp_path / f"{name}.csv"
        say("scheme", "simulate", JONES, *SHORT, "--seed", seed, "--out", out)
        texts.append(out.read_text())
    assert texts[0] == texts[1]
    assert (
        table(tmp_path / "c.csv")[1]["C0"].tolist() != table(tmp_path / "a.csv")[1]["C0"].tolist()
    )


@pytest.mark.parametrize("engine", ["counts", "master", "grid", "langevin"])
def test_every_engine_can_be_chosen(say, engine):
    step = ("--dt", "10 us") if engine in ("grid", "langevin") else ()
    said = say("scheme", "simulate", JONES, *SHORT, "--engine", engine, *step, "--json")
    data = json.loads(said.out)
    assert (said.code, data["engine"]) == (0, engine.capitalize())
    # five SE of 300 channels about the recorded value at 1.5 ms
    assert abs(data["peak_open_probability"] - 0.594) < 5 * np.sqrt(0.594 * 0.406 / 300)


def test_auto_takes_counts_for_many_channels(say):
    said = say("scheme", "simulate", JONES, *SHORT[2:], "--n", "1e6", "--json")
    data = json.loads(said.out)
    assert (data["channels"], data["engine"]) == (1_000_000, "Counts")


def test_ligands_temperature_and_waveform_reach_the_simulation(say, tmp_path):
    wave = tmp_path / "wave.csv"
    wave.write_text("time_s,conc_M\n0,1e-3\n0.001,1e-3\n0.0010000001,0\n")
    # exact means, so that nothing is left to chance
    fixed = ("--engine", "master", "--t1", "5 ms", "--save", "0.5 ms", "--json")

    def opened(*arguments):
        return json.loads(say("scheme", "simulate", JONES, *arguments, *fixed).out)

    pulse = opened("--gaba", "1 mM", "--pulse", "1 ms")
    assert pulse["peak_open_probability"] == pytest.approx(
        opened()["peak_open_probability"], rel=1e-12
    )
    assert opened("--waveform", wave)["peak_open_probability"] == pytest.approx(
        pulse["peak_open_probability"], rel=1e-4
    )
    held = opened("--gaba", "1000 uM")
    assert held["protocol"] == "0.001 M GABA throughout"
    assert held["last_open_probability"] > pulse["last_open_probability"]
    late = opened("--gaba", "1 mM", "--start", "2 ms")
    assert late["peak_time_s"] == pytest.approx(pulse["peak_time_s"] + 2e-3)
    drugged = opened("--steroid", "allopregnanolone=100 nM")
    assert drugged["peak_open_probability"] > pulse["peak_open_probability"]
    assert "1e-07 M allopregnanolone" in drugged["protocol"]
    warm = opened("--temperature", "34")
    assert warm["temperature_C"] == opened("--temperature", "34 degC")["temperature_C"] == 34.0
    assert warm["peak_open_probability"] != pulse["peak_open_probability"]


def test_a_file_is_replaced_only_where_asked(say, refused, tmp_path):
    out = tmp_path / "a.csv"
    out.write_text("mine")
    message = refused("scheme", "simulate", JONES, *SHORT, "--out", out)
    assert "exists already" in message and "--overwrite" in message
    assert out.read_text() == "mine"
    assert say("scheme", "simulate", JONES, *SHORT, "--out", out, "--overwrite").code == 0
    assert out.read_text().startswith("# scheme: ")


def test_a_writer_that_fails_leaves_nothing(say, tmp_path, monkeypatch):
    def broken(path, found):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scheme_simulate, "_write_csv", broken)
    said = say("scheme", "simulate", JONES, *SHORT, "--out", tmp_path / "a.csv")
    assert said.code == 2 and "No space left on device" in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_bar_counts_the_channels(monkeypatch):
    seen = []

    class Bar:
        def init(self, title, total):
            seen.append((title, total))

        def step(self, count=1, note=""):
            seen.append(count)

        def close(self):
            seen.append("closed")

    monkeypatch.setattr(scheme_simulate.bars, "choose", lambda quiet: Bar())
    scheme_simulate.simulated(JONES, n="300", t1="5 ms", save="0.5 ms")
    assert seen[0] == (f"{JONES}, 300 channels", 300)
    assert sum(seen[1:-1]) == 300 and seen[-1] == "closed"


# dose-response


def test_dose_response_is_that_of_the_recorded_curve(say, tmp_path):
    curve = recorded(f"{JONES}__dose_response")
    doses = [f"--gaba={dose:.9g} uM" for dose in (10.0 ** np.linspace(-2, 4, 7))]
    out = tmp_path / "doses.csv"
    said = say("scheme", "dose-response", JONES, *doses, "--out", out)
    assert (said.code, said.err) == (0, "")
    notes, found = table(out)
    assert notes["scheme"] == JONES
    at = [int(np.argmin(np.abs(curve["gaba_uM"] / dose - 1))) for dose in found["gaba_uM"]]
    for ours, theirs in (
        ("step_peak", "peak_po_500ms_step"),
        ("pulse_peak", "peak_po_1ms_pulse"),
        ("steady", "steady_state_po"),
    ):
        np.testing.assert_allclose(found[ours], curve[theirs][at], rtol=0, atol=1e-6, err_msg=ours)


def test_dose_response_finds_the_midpoint(say, tmp_path):
    said = say("scheme", "dose-response", JONES, "--out", tmp_path / "doses.png", "--json")
    data = json.loads(said.out)
    assert (tmp_path / "doses.png").read_bytes().startswith(PNG)
    steady = data["summary"][2]
    scheme = load_scheme(JONES)
    exact = equilibrium_dose_response(scheme)
    # between two of eight doses per decade the curve is a line
    assert steady["ec50_uM"] == pytest.approx(exact.ec50_M * 1e6, rel=5e-3)
    highest = scheme.open_probability(scheme.steady_state({"GABA": 0.1}))
    assert steady["most"] == pytest.approx(float(highest), rel=1e-9)
    (row,) = (row for row in rows_of("reference_metrics") if row["scheme"] == JONES)
    peak = data["summary"][0]
    assert peak["ec50_uM"] == pytest.approx(float(row["peak_ec50_uM_500ms_step"]), rel=5e-3)
    assert peak["hill"] == pytest.approx(float(row["peak_hill_20_80"]), rel=1e-2)
    drugged = say("scheme", "dose-response", JONES, "--steroid", "thdoc=1 uM", "--json")
    assert json.loads(drugged.out)["summary"][0]["ec50_uM"] < peak["ec50_uM"]


@pytest.mark.parametrize(("hill", "middle"), [(0.8, 3e-6), (1.7, 4e-5)])
def test_the_midpoint_of_a_hill_curve_is_exact(hill, middle):
    conc = np.geomspace(1e-16, 1e6, 50_001)
    found = scheme_simulate.midpoint(conc, 0.02 + 0.7 / (1 + (middle / conc) ** hill))
    assert found["ec50_uM"] == pytest.approx(middle * 1e6, rel=1e-5)
    assert found["hill"] == pytest.approx(hill, rel=1e-4)


def test_a_curve_without_a_rise_has_no_midpoint():
    flat = scheme_simulate.midpoint([1e-6, 1e-5, 1e-4], [0.3, 0.2, 0.1])
    assert flat["ec50_uM"] is None and flat["hill"] is None


# plot


def test_the_plot_draws_with_and_without_steroid(say, tmp_path):
    said = say("scheme", "plot", JONES, "--out", tmp_path / "p.png", "--json")
    data = json.loads(said.out)
    assert (tmp_path / "p.png").read_bytes().startswith(PNG)
    alone, drugged = data["numbers"]
    (row,) = (row for row in rows_of("reference_metrics") if row["scheme"] == JONES)
    assert alone["peak"] == pytest.approx(float(row["peak_po"]), rel=1e-4)
    assert alone["weighted_decay_ms"] == pytest.approx(
        float(row["decay_area_over_peak_ms"]), rel=1e-3
    )
    assert drugged["with"] == "+ 100 nM allopregnanolone"
    assert drugged["weighted_decay_ms"] > alone["weighted_decay_ms"]
    assert scheme_plot.both(JONES, steroid=None).labels == ("GABA alone",)


# bad input


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["simulate", "jones"], ["scheme = 'jones'", JONES]),
        (["simulate", "gielen_2012_preactivation"], ["incomplete"]),
        (["simulate", JONES, "--gaba", "1"], ["--gaba = '1'", "unit", "100 nM"]),
        (["simulate", JONES, "--gaba", "1 ms"], ["--gaba", "does not measure a concentration"]),
        (["simulate", JONES, "--gaba", "-1 mM"], ["--gaba", "negative"]),
        (["simulate", JONES, "--gaba", "nan mM"], ["--gaba", "no number in front"]),
        (["simulate", JONES, "--pulse", "0 ms"], ["--pulse", "zero"]),
        (["simulate", JONES, "--pulse", "1 mV"], ["--pulse", "time"]),
        (["simulate", JONES, "--t1", "0 s"], ["--t1", "zero"]),
        (["simulate", JONES, "--save", "1 s"], ["--save", "longer than", "0.2"]),
        (["simulate", JONES, "--n", "0"], ["n = 0", "1 or more"]),
        (["simulate", JONES, "--n", "many"], ["--n = 'many'", "whole number"]),
        (["simulate", JONES, "--n", "1.5"], ["--n = '1.5'"]),
        (["simulate", JONES, "--seed", "-1"], ["--seed", "4294967295"]),
        (["simulate", JONES, "--engine", "ssa"], ["--engine = 'ssa'", "channels"]),
        (["simulate", JONES, "--engine", "grid"], ["--engine = 'grid'", "--dt"]),
        (["simulate", JONES, "--dt", "1 us"], ["--dt", "no steps"]),
        (["simulate", JONES, "--temperature", "80"], ["80", "0 to 45"]),
        (["simulate", JONES, "--temperature", "hot"], ["--temperature = 'hot'"]),
        (["simulate", JONES, "--steroid", "allopregnanolone"], ["--steroid", "NAME=LEVEL"]),
        (["simulate", JONES, "--steroid", "aspirin=1 nM"], ["steroid = 'aspirin'"]),
        (["simulate", JONES, "--steroid", "thdoc=1 h"], ["--steroid", "concentration"]),
        (["simulate", JONES, "--holding", "-60"], ["--holding", "unit"]),
        (["simulate", JONES, "--waveform", "gone.csv"], ["gone.csv", "cannot be read"]),
        (["simulate", JONES, "--waveform", "w.csv", "--gaba", "1 mM"], ["--waveform", "second"]),
        (["simulate", JONES, "--out", "OUT.txt"], ["--out", ".csv, .nc, .zarr, .png"]),
        (["simulate", JONES, *SHORT, "--out", "/proc/x.csv"], ["--out", "cannot be written"]),
        (["dose-response", JONES, "--gaba", "2 uM", "--gaba", "1 uM"], ["--gaba", "rising"]),
        (["dose-response", JONES, "--gaba", "0 uM"], ["--gaba", "rising from above 0"]),
        (["dose-response", JONES, "--out", "OUT.nc"], ["--out", ".csv, .png"]),
        (["check", JONES, "--n", "10"], ["--n", "100 to 10000000"]),
        (["check", JONES, "--gaba", "0 M"], ["does not move between"]),
        (["plot", JONES], ["--out", "gabatone scheme plot --help"]),
        (["plot", JONES, "--out", "OUT.jpg"], ["--out", ".png"]),
    ],
)
def test_bad_input_is_one_message(refused, tmp_path, arguments, parts):
    message = refused("scheme", *[part.replace("OUT", str(tmp_path / "out")) for part in arguments])
    for part in parts:
        assert part in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("time_s,conc_M\n0,1e-3\n0,0\n", ["wave.csv", "increasing"]),
        ("time_s,conc_M\n0,-1\n", ["wave.csv: line 2, conc_M", "negative"]),
        ("time_s,conc\n0,1\n", ["wave.csv: header", "conc_M"]),
    ],
)
def test_a_waveform_that_makes_no_sense_is_one_message(refused, tmp_path, text, parts):
    wave = tmp_path / "wave.csv"
    wave.write_text(text)
    message = refused("scheme", "simulate", JONES, "--waveform", wave)
    for part in parts:
        assert part in message


def test_whole_numbers_are_read_as_written():
    assert scheme_inputs.whole("--n", "9007199254740993") == 9007199254740993
    assert scheme_inputs.whole("--n", "1e6") == 1_000_000
