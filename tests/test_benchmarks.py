"""The benchmark's own check finds a wrong rate, and its runner works from start to finish."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from gabatone import load_scheme
from helpers.tree import ROOT

# `python -m benchmarks...` starts at the root of a checkout
sys.path.append(str(ROOT))

from benchmarks import job as j1  # noqa: E402
from benchmarks.crew import LeftOut, start  # noqa: E402
from benchmarks.peers.arrays import EveryChannel, MoversOnly  # noqa: E402
from benchmarks.peers.base import Peer  # noqa: E402
from benchmarks.peers.compiled import RegisterC, ScalarC, VectorC  # noqa: E402

CHECKS = 10


@pytest.fixture(scope="module")
def scheme():
    return load_scheme(j1.SCHEME)


@pytest.fixture(scope="module")
def mean(scheme):
    return j1.mean_open(scheme, j1.drives()["pulse"])


def wrong(job: j1.Job) -> j1.Job:
    """The same job with the closing of O2 a tenth too fast."""
    closing, opened = job.states.index("C2"), job.states.index("O2")
    generators = np.array(job.generators)
    extra = 0.1 * generators[:, opened, closing]
    generators[:, opened, closing] += extra
    generators[:, opened, opened] -= extra
    return dataclasses.replace(job, generators=generators)


@pytest.mark.parametrize("kind", [EveryChannel, MoversOnly, ScalarC, VectorC, RegisterC])
def test_peers_follow_the_scheme_and_a_wrong_rate_is_found(kind, scheme, mean, tmp_path):
    peer, n = kind(), 1 << 15
    if absent := peer.missing():
        pytest.skip(absent)
    job = j1.pulse_job(scheme)
    peer.prepare(job, n, tmp_path)
    j1.agreement(peer.run(n, 1).opened, n, mean, CHECKS)
    peer.prepare(wrong(job), n, tmp_path)
    with pytest.raises(j1.Disagreement, match="disagrees with Master"):
        j1.agreement(peer.run(n, 1).opened, n, mean, CHECKS)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 63, 100])
@pytest.mark.parametrize("kind", [VectorC, RegisterC])
def test_vector_kernels_run_each_channel_once(kind, n, scheme, tmp_path):
    peer = kind()
    if absent := peer.missing():
        pytest.skip(absent)
    # two steps, both all but sure within the first window, and no way back
    generators = np.zeros((2, 7, 7))
    generators[0, 0, 1] = generators[0, 1, 3] = 1e5
    generators[0, 0, 0] = generators[0, 1, 1] = -1e5
    peer.prepare(dataclasses.replace(j1.pulse_job(scheme), generators=generators), n, tmp_path)
    done = peer.run(n, 3)
    assert done.events == 2 * n
    assert done.opened[0] == 0 and done.opened[-1] == n


def test_expected_events_match_a_plain_sum(scheme):
    job = j1.pulse_job(scheme)
    # one window split in two has the same number of events
    parts = sum(job.events_per_window())
    same = dataclasses.replace(job, generators=np.repeat(job.generators[:1], 2, axis=0))
    earlier = dataclasses.replace(same, stops_s=(0.05, j1.STOP_S))
    assert sum(same.events_per_window()) == pytest.approx(sum(earlier.events_per_window()))
    assert 0 < parts < sum(same.events_per_window())


def test_an_absent_tool_says_what_is_missing():
    class Nowhere(Peer):
        needs = ("no_module_of_this_name",)

    assert Nowhere().missing() == "no_module_of_this_name not installed"


def test_a_method_that_fails_is_left_out_with_its_reason(scheme):
    bad = dataclasses.replace(j1.pulse_job(scheme), generators=np.zeros((2, 9, 9)))
    with pytest.raises(LeftOut, match="more states than"):
        start("compiled:RegisterC", bad, {}, [])


def test_runner_writes_what_it_measured(tmp_path):
    file = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.channels", "--only", "arrays:MoversOnly,ours:Ours"]
    options = ["--rounds", "2", "--scale", "0.01", "--no-sizes", "--json", str(file)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text(encoding="utf-8"))
    assert set(result["methods"]) == {"Channels", "numpy_movers_only"}
    for name, row in result["methods"].items():
        assert row["channel_steps_per_s"] > 0 and len(result["seconds"][name]["cpu_s"]) == 2
        assert f"| `{name}` | {row['channel_steps_per_s']:.3g} |" in done.stdout
    low, median, high = result["ratios"]["Channels / numpy_movers_only"]
    assert 0 < low <= median <= high
    assert result["job"]["events_per_channel"] == pytest.approx(17.34, abs=0.005)
