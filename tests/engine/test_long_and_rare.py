"""What goes wrong first in a naive simulator: long runs, rare steps, many devices, bad rates."""

import os
import subprocess
import sys

import equinox as eqx
import jax
import numpy as np
import pytest
from scipy import stats

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic
from gabatone.kernels.engine.channels import Channels, plan_job
from gabatone.kernels.engine.counts import Counts
from gabatone.kernels.engine.grid import Grid
from gabatone.kernels.engine.langevin import Langevin
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.protocol import Request
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.engine.streams import refined_thresholds
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme
from helpers.schemes import write_scheme
from helpers.statistics import assert_detects, assert_pvalue, assert_z

KEY = jax.random.key(8)
JONES = load_scheme("jones_westbrook_1995")


@pytest.mark.slow
def test_the_last_second_of_60_hours_is_like_the_first(tmp_path):
    opening, closing = 0.6, 0.9
    scheme = load_scheme(
        write_scheme(
            tmp_path / "slow.toml",
            [("C", "closed"), ("O", "open"), ("D", "desensitized")],
            [("C", "O", opening), ("O", "C", closing), ("C", "D", 1e6, "GABA"), ("D", "C", 1.0)],
        )
    )
    hours, n = 60, 400
    t1 = hours * 3600.0
    grid = np.arange(0.0, 1.01, 0.25)
    p_open = opening / (opening + closing)
    trace = simulate(
        KEY,
        scheme,
        Tonic(0.0),
        engine=Channels(),
        n=n,
        t1_s=t1,
        save_s=np.concatenate([grid, t1 - 1.0 + grid]),
        p0=np.array([1 - p_open, p_open, 0.0]),
    )
    counts = trace.occupancy[:, 1].reshape(2, -1)
    spread = np.sqrt(n * p_open * (1 - p_open))
    assert_z((counts - n * p_open) / spread, "open channels in the first and last second")
    # the change over a quarter of a second tells whether the clock still resolves one
    keep = np.exp(-0.25 * (opening + closing))
    step = counts[:, 1:] - n * p_open - keep * (counts[:, :-1] - n * p_open)
    assert_z(step / (spread * np.sqrt(1 - keep**2)), "changes in the first and last second")
    jumps, expected = trace.certificate.jumps[:2], trace.certificate.expected[:2]
    assert_z((jumps - expected) / np.sqrt(expected), "all jumps of 60 hours")
    assert jumps.sum() > 5e7


@pytest.mark.slow
def test_the_certificate_of_a_busy_channel_over_60_hours():
    """Millions of short stays add up to days: a plain float32 sum of them would accuse the paths."""
    t1 = 60 * 3600.0
    engine = Channels(lanes=1)
    trace = simulate(KEY, JONES, Tonic(1e-3), engine=engine, n=1, t1_s=t1, save_s=t1)
    found = trace.certificate
    assert found.jumps.sum() > 2e7 and found.holds
    often = found.expected > 25
    z = (found.jumps - found.expected)[often] / np.sqrt(found.expected[often])
    assert_z(z, "jumps of one channel in 60 hours")


MEMORY = """
import jax
from gabatone import Channels, Pulse, load_scheme, simulate
run = dict(t1_s=0.02, save_s=1e-4, engine=Channels())
scheme, drive = load_scheme("jones_westbrook_1995"), Pulse(1e-3, 0.0, 1e-3)
simulate(jax.random.key(0), scheme, drive, n={n}, **run)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_channels():
    peak = []
    for n in (100_000, 30_000_000):
        found = subprocess.run(
            [sys.executable, "-c", MEMORY.format(n=n)], capture_output=True, text=True
        )
        assert found.returncode == 0, found.stderr
        peak.append(int(found.stdout) * 1024)
    assert peak[1] < 400e6 and peak[1] < peak[0] + 40e6


def test_a_step_1e7_times_rarer_than_the_fastest(tmp_path):
    """1e8 channels in one call, each leaving once: ten of them by the rare exit."""
    fast, rare, n = 1e4, 1e-3, 100_000_000
    scheme = load_scheme(
        write_scheme(
            tmp_path / "rare.toml",
            [("C", "closed"), ("D", "desensitized"), ("O", "open"), ("B", "closed")],
            [
                ("C", "D", fast),
                ("D", "C", 0.0),
                ("C", "O", rare),
                ("O", "C", 0.0),
                ("C", "B", 1e6, "GABA"),
                ("B", "C", 1.0),
            ],
        )
    )
    plan = plan_job(Request(scheme, Tonic(0.0), n, 0.01, np.array([0.0, 0.01]), None, np.eye(4)[0]))
    assert plan.shape.rare
    trace = simulate(KEY, scheme, Tonic(0.0), engine=Channels(), n=n, t1_s=0.01, save_s=0.01)
    by_the_rare = int(trace.occupancy[-1, 2])
    assert trace.occupancy[-1].sum() == n and trace.occupancy[-1, 0] == 0

    def p_value(factor):
        law = stats.poisson(factor * n * rare / (fast + rare))
        return 2 * min(law.cdf(by_the_rare), law.sf(by_the_rare - 1), 0.5)

    assert_pvalue(p_value(1.0), "rare exits")
    assert_detects(p=p_value(8.0), name="rare exits eight times as often")


def test_thresholds_hold_rare_shares():
    for rare in (1e-5, 1e-7, 1e-9, 1e-10):
        weights = np.array([[1.0, rare, 0.3]])
        order, whole, fraction = refined_thresholds(weights)
        cut = (whole.astype(float) + fraction / 256.0) / 2.0**32
        assert order[0, 0] == 1
        assert cut[0, 0] == pytest.approx(rare / (1.3 + rare), rel=2.0**-40 / rare)


@pytest.mark.parametrize("drive", [Pulse(1e-3, 0.0, 1e-3), Decay(1e-3, 3e-4) + Tonic(1e-6)])
def test_workers_and_chunks_change_nothing(drive):
    run = {"n": 5000, "t1_s": 5e-3, "save_s": 1e-3}
    first = simulate(KEY, JONES, drive, engine=Channels(workers=1), **run)
    for engine in (
        Channels(workers=2, chunk=1024),
        Channels(workers=3, chunk=700, lanes=100),
        Channels(chunk=1 << 14, certify=False),
    ):
        other = simulate(KEY, JONES, drive, engine=engine, **run)
        np.testing.assert_array_equal(other.occupancy, first.occupancy)


ELSEWHERE = """
import jax
jax.config.update("jax_num_cpu_devices", {devices})
import numpy as np
from gabatone import Channels, Pulse, load_scheme, simulate
assert jax.local_device_count() == {devices}
trace = simulate(jax.random.key(8), load_scheme("jones_westbrook_1995"), Pulse(1e-3, 0.0, 1e-3),
                 engine=Channels(chunk=512), n=5000, t1_s=5e-3, save_s=1e-3)
print(np.asarray(trace.occupancy).tolist())
"""


def test_one_two_and_eight_devices_give_the_same_integers():
    here = simulate(
        KEY, JONES, Pulse(1e-3, 0.0, 1e-3), engine=Channels(), n=5000, t1_s=5e-3, save_s=1e-3
    )
    assert jax.local_device_count() == 2
    for devices in (1, 8):
        found = subprocess.run(
            [sys.executable, "-c", ELSEWHERE.format(devices=devices)],
            capture_output=True,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        assert found.returncode == 0, found.stderr
        np.testing.assert_array_equal(np.array(eval(found.stdout)), here.occupancy)


ENGINES = [Channels(), Counts(), Grid(1e-4), Langevin(1e-5), Master()]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
@pytest.mark.parametrize("rate", [np.inf, np.nan])
def test_a_rate_that_is_no_number_is_named(rate, engine):
    k = 3
    broken = eqx.tree_at(
        lambda s: s.log_rate, JONES, np.where(np.arange(12) == k, rate, JONES.log_rate)
    )
    step = f"{JONES.states[JONES.source[k]]} -> {JONES.states[JONES.target[k]]}"
    with pytest.raises(BadInput, match=f"rate of {step}.*not a finite rate"):
        simulate(KEY, broken, Tonic(1e-6), engine=engine, n=10, t1_s=1e-3, save_s=1e-3)


@pytest.mark.parametrize("engine", ["auto", Channels()])
def test_a_result_that_cannot_fit_is_refused_with_what_would(engine):
    with pytest.raises(BadInput, match=r"GB.*ask for at most \d+"):
        simulate(KEY, JONES, Tonic(1e-6), engine=engine, n=10, t1_s=1e3, save_s=1e-9)


def test_arguments_of_the_engine_are_checked():
    for field, value in {"lanes": 0, "chunk": 0, "workers": 0, "max_events": 0}.items():
        with pytest.raises(BadInput, match=f"Channels.{field}"):
            Channels(**{field: value})
    with pytest.raises(BadInput, match="Channels.kernel"):
        Channels(kernel="cuda")
