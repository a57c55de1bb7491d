"""The fused kernel: bit for bit the loop in the interpreter, and lowered for CUDA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic, Train, Waveform
from gabatone.kernels.engine.channels import Channels, plan_job
from gabatone.kernels.engine.pallas import run_fused
from gabatone.kernels.engine.paths import run_paths
from gabatone.kernels.engine.protocol import Request
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.engine.streams import key_words
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.catalogue import load_scheme

JONES = load_scheme("jones_westbrook_1995")
C0, MIXED = np.eye(7)[0], np.arange(1, 8) / 28
CASES = {
    "pulse": (Pulse(1e-3, 0.0, 1e-3), C0),
    "decay": (Decay(1e-3, 3e-4) + Tonic(1e-6), MIXED),
    "ramps": (Waveform([0.0, 1e-3, 4e-3], [0.0, 1e-3, 1e-5]), C0),
    "train": (Train(tuple(np.arange(12) * 4e-4), 1e-3, 2e-4), MIXED),
}
WORDS = key_words(jax.random.key(1))
FIRST, NUMBER, MOST = jnp.uint32(5), jnp.uint32(300), jnp.uint32(2**32 - 64)


def planned(case):
    drive, p0 = CASES[case]
    plan = plan_job(Request(JONES, drive, 300, 5e-3, np.arange(6) * 1e-3, 1e-3, p0))
    return jax.tree.map(jnp.asarray, plan.job), plan.save_rel, plan.shape


@pytest.mark.parametrize("case", CASES)
def test_interpreted_it_gives_the_integers_of_the_loop(case):
    job, save_rel, shape = planned(case)
    loop = run_paths(WORDS, job, save_rel, FIRST, NUMBER, MOST, lanes=64, chunk=512, shape=shape)
    fused = run_fused(WORDS, job, FIRST, NUMBER, MOST, chunk=512, shape=shape, interpret=True)
    assert int(loop[0].sum()) > 300
    np.testing.assert_array_equal(fused[0], loop[0])
    np.testing.assert_array_equal(fused[1], loop[1])


@pytest.mark.parametrize("case", CASES)
def test_it_is_lowered_for_cuda(case):
    job, _, shape = planned(case)
    traced = run_fused.trace(WORDS, job, FIRST, NUMBER, MOST, chunk=512, shape=shape)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "gpu$xla.gpu.triton" in text or "triton_kernel_call" in text


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_the_loop_is_lowered_for_accelerators(platform):
    job, save_rel, shape = planned("decay")
    traced = run_paths.trace(
        WORDS, job, save_rel, FIRST, NUMBER, MOST, lanes=64, chunk=512, shape=shape
    )
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert "stablehlo.while" in text and "f64" not in text


def test_an_engine_can_be_told_to_use_it():
    run = {"n": 200, "t1_s": 5e-3, "save_s": 1e-3}
    key = jax.random.key(2)
    loop = simulate(key, JONES, CASES["pulse"][0], engine=Channels(certify=False), **run)
    fused = simulate(
        key, JONES, CASES["pulse"][0], engine=Channels(certify=False, kernel="fused"), **run
    )
    np.testing.assert_array_equal(fused.occupancy, loop.occupancy)


def test_it_says_what_it_cannot_do():
    with pytest.raises(BadInput, match="uniform grid"):
        simulate(
            jax.random.key(0), JONES, Tonic(1e-3), engine=Channels(kernel="fused"), n=10,
            t1_s=0.5, save_s=np.array([0.1, 0.5]),
        )  # fmt: skip


def test_its_limit_of_draws():
    engine = Channels(certify=False, kernel="fused", max_events=20)
    with pytest.raises(Failure, match=r"event_limit: channels \d+"):
        simulate(jax.random.key(0), JONES, Tonic(1e-3), engine=engine, n=100, t1_s=0.5, save_s=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a CUDA device")
@pytest.mark.parametrize("case", CASES)
def test_on_a_gpu_it_follows_the_loop_but_for_rounding(case):
    job, save_rel, shape = planned(case)
    number = jnp.uint32(100_000)
    loop = run_paths(
        WORDS, job, save_rel, FIRST, number, MOST, lanes=2048, chunk=1 << 17, shape=shape
    )
    fused = run_fused(WORDS, job, FIRST, number, MOST, chunk=1 << 17, shape=shape)
    # another logarithm may move an event by one unit in the last place, seldom across a bin
    assert int(jnp.abs(fused[0] - loop[0]).sum()) <= 1e-4 * int(loop[0].sum())
