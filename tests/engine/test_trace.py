"""What a trace derives from its counts: units, signs, and the labelled data set."""

import jax
import numpy as np
import pytest
import xarray as xr

from gabatone.kernels.drive.ligand import Pulse
from gabatone.kernels.engine.channels import Channels
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.receptor.catalogue import load_scheme
from helpers.schemes import write_scheme


@pytest.fixture
def scheme(tmp_path):
    """C - A - O with an open state of 27 pS, and a sublevel of 10 pS."""
    path = write_scheme(
        tmp_path / "two_levels.toml",
        [("C", "closed"), ("O", "open"), ("S", "open")],
        [("C", "O", 1e6, "GABA"), ("O", "C", 100.0), ("O", "S", 5.0), ("S", "O", 5.0)],
    )
    path.write_text(path.read_text()[::-1].replace("0.72", "0.01", 1)[::-1])
    scheme = load_scheme(path)
    np.testing.assert_array_equal(scheme.conductance_pS, [0, 27, 10])
    return scheme


COUNTS = np.array([[1000, 0, 0], [500, 400, 100], [0, 0, 1000]])


def test_counts_and_probabilities_mean_the_same(scheme):
    time = np.array([0.0, 1e-3, 2e-3])
    counted = Trace(time, COUNTS, scheme, 1000, "Channels", counts=True)
    share = Trace(time, COUNTS / 1000, scheme, 1000, "Master", counts=False)
    for trace in (counted, share):
        np.testing.assert_allclose(trace.open_probability, [0.0, 0.5, 1.0], rtol=1e-14)
        np.testing.assert_allclose(trace.open_count, [0, 500, 1000], rtol=1e-14)
        # 400 x 27 pS + 100 x 10 pS = 11.8 nS
        np.testing.assert_allclose(trace.conductance_S, [0.0, 11.8e-9, 10e-9], rtol=1e-14)


def test_counts_beyond_float32_keep_their_share(scheme):
    n = 3 * 10**10
    trace = Trace(
        np.zeros(1), np.array([[n // 3, n // 3, n // 3]]), scheme, n, "Counts", counts=True
    )
    for x64 in (True, False):
        with jax.enable_x64(x64):
            np.testing.assert_allclose(trace.open_probability, 2 / 3, rtol=1e-6)
            np.testing.assert_allclose(trace.open_count, 2e10, rtol=1e-6)
            np.testing.assert_allclose(trace.conductance_S, 0.37, rtol=1e-6)


def test_current_is_in_pA_and_outward_positive(scheme):
    trace = Trace(np.arange(3.0), COUNTS, scheme, 1000, "Channels", counts=True)
    # 11.8 nS x (-10 mV) = -118 pA below the reversal potential, inward
    np.testing.assert_allclose(trace.current_pA(-80.0, -70.0), [0.0, -118.0, -100.0], rtol=1e-13)
    np.testing.assert_allclose(trace.current_pA(-60.0, -70.0), [0.0, 118.0, 100.0], rtol=1e-13)
    np.testing.assert_array_equal(trace.current_pA(-70.0, -70.0), np.zeros(3))


@pytest.mark.parametrize("engine", [Channels(), Master()])
def test_to_xarray_survives_a_file(tmp_path, engine):
    scheme = load_scheme("jones_westbrook_1995")
    trace = simulate(
        jax.random.key(3),
        scheme,
        Pulse(1e-3, 0.0, 1e-3),
        engine=engine,
        n=500,
        t1_s=2e-3,
        save_s=5e-4,
    )
    trace.to_xarray().to_netcdf(tmp_path / "trace.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "trace.nc", engine="h5netcdf") as data:
        expected = {"scheme": scheme.name, "engine": trace.engine, "n_channels": 500}
        if trace.certificate is not None:
            expected["certificate"] = trace.certificate.summary()
        assert data.attrs == expected
        assert tuple(data["state"].values) == scheme.states
        assert data["time"].attrs["units"] == "s" and data["conductance"].attrs["units"] == "S"
        np.testing.assert_array_equal(data["time"], trace.time_s)
        np.testing.assert_array_equal(data["occupancy"], trace.occupancy)
        np.testing.assert_array_equal(data["open_probability"], trace.open_probability)
        np.testing.assert_array_equal(data["conductance"], trace.conductance_S)
        assert ("covariance" in data) == (trace.covariance is not None)
        if trace.covariance is not None:
            assert data["covariance"].dims == ("time", "state", "state_2")
            np.testing.assert_array_equal(data["covariance"], trace.covariance)
