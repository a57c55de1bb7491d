"""The certificate: silent on a correct simulation, loud on a rate that is one per cent off."""

import equinox as eqx
import jax
import numpy as np
import pytest
from scipy import stats

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic, Waveform
from gabatone.kernels.engine import channels
from gabatone.kernels.engine.certificate import EXCESSES, FALSE_ALARM, certify
from gabatone.kernels.engine.channels import Channels, count_events, plan_job
from gabatone.kernels.engine.protocol import Request
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.errors import Failure
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
from helpers.statistics import assert_z

JONES = load_scheme("jones_westbrook_1995")
N_EDGES = len(JONES.source)
DRIVES = {
    "pulse": Pulse(1e-3, 0.0, 1e-3) + Tonic(2e-6),
    "decay": Decay(3e-3, 2e-4) + Tonic(2e-6),
    "ramps": Waveform([0.0, 1e-3, 4e-3, 0.04], [0.0, 1e-3, 1e-5, 1e-4]),
}


def request(scheme, drive, n):
    p0 = np.asarray(scheme.initial_occupancy())
    return Request(scheme, drive, n, 0.05, np.array([0.0, 0.05]), None, p0)


def audited(played, declared, drive, n, key=0, **engine):
    """Certificate against the rates of `declared` of channels that followed those of `played`."""
    plan = plan_job(request(played, drive, n))
    key, engine = jax.random.key(key), Channels(**engine)
    return count_events(key, plan.job, plan.save_rel, n, plan.shape, engine, scheme=declared)[2]


def faster(scheme, edge, factor):
    change = np.where(np.arange(len(scheme.source)) == edge, np.log(factor), 0.0)
    return eqx.tree_at(lambda s: s.log_rate, scheme, np.asarray(scheme.log_rate) + change)


@pytest.fixture
def audit_everyone(monkeypatch):
    monkeypatch.setattr(channels, "AUDIT_ALL", 1 << 30)


@pytest.mark.parametrize("drive", DRIVES)
def test_jumps_match_the_integral_of_their_rates(drive, audit_everyone):
    found = audited(JONES, JONES, DRIVES[drive], 100_000)
    assert found.holds and found.log10_evidence < 2
    # jumps minus compensator has the compensator as its variance
    assert_z((found.jumps - found.expected) / np.sqrt(found.expected), f"compensators, {drive}")


def test_a_product_scheme_with_a_changing_steroid(audit_everyone):
    scheme = load_scheme("default_extrasynaptic_abd_mwc").with_steroid(load_steroid())
    drive = Tonic(1e-6) + Decay(1e-6, 0.01, ligand="allopregnanolone")
    found = audited(scheme, scheme, drive, 50_000)
    often = found.expected > 25
    assert found.holds and often.sum() > 20
    z = (found.jumps - found.expected)[often] / np.sqrt(found.expected[often])
    assert_z(z, "compensators of a product scheme")


@pytest.mark.parametrize("drive", ["pulse", "decay"])
@pytest.mark.parametrize("edge", ["C2 -> O2", "C1 -> C2"])
def test_one_per_cent_is_found_within_a_million_jumps(drive, edge, audit_everyone):
    ends = tuple(JONES.states.index(s) for s in edge.split(" -> "))
    k = list(zip(JONES.source, JONES.target, strict=True)).index(ends)
    pilot = audited(JONES, JONES, DRIVES[drive], 10_000)
    n = int(1e6 / pilot.jumps[k] * 10_000)
    found = audited(faster(JONES, k, 1.01), JONES, DRIVES[drive], n, throw=False)
    assert found.jumps[k] < 1.02e6
    assert not found.holds and found.transitions[found.worst] == edge
    with pytest.raises(Failure, match=f"broken_certificate.*{edge}"):
        audited(faster(JONES, k, 1.01), JONES, DRIVES[drive], n)


@pytest.mark.parametrize("factor", [1.01, 0.99])
def test_power_at_a_million_jumps(factor):
    """Exact power: the smallest count that breaks the certificate, and the chance to reach it."""
    scheme = JONES
    many = 1e6
    seen = np.zeros((2, scheme.n_states))
    source, ligand = scheme.source[0], int(scheme.ligands[0] != "")
    seen[ligand, source] = many / np.exp(scheme.log_rate[0])
    counts = np.arange(1_000_000, 1_020_000, 50)
    if factor < 1:
        counts = np.arange(980_000, 1_000_000, 50)[::-1]

    def holds(count):
        jumps = np.zeros(N_EDGES, np.int64)
        jumps[0] = count
        return certify(scheme, [(jumps, _only(scheme, seen, jumps))], throw=False).holds

    broken = next(c for c in counts if not holds(c))
    law = stats.poisson(factor * many)
    power = law.sf(broken - 1) if factor > 1 else law.cdf(broken)
    assert power > 0.99


def _only(scheme, seen, jumps):
    # time in one state feeds all its exits: give the others their expected number of jumps
    rate = np.exp(np.asarray(scheme.log_rate))
    ligand = np.array([int(name != "") for name in scheme.ligands])
    expected = rate * seen[ligand, list(scheme.source)]
    jumps[1:] = np.round(expected[1:]).astype(np.int64)
    return seen


def test_the_e_value_has_mean_one():
    """Each likelihood ratio averages 1 over Poisson counts, so that Ville's bound applies."""
    for mean in (0.5, 30.0, 2e4):
        counts = np.arange(int(mean + 30 * np.sqrt(mean) + 60))
        for d in EXCESSES[np.abs(EXCESSES) * np.sqrt(mean) < 8]:
            log = stats.poisson(mean).logpmf(counts) + np.log1p(d) * counts - d * mean
            assert np.exp(log).sum() == pytest.approx(1.0, abs=1e-9)


def test_the_trace_carries_it():
    run = {"n": 500, "t1_s": 5e-3, "save_s": 1e-3}
    trace = simulate(jax.random.key(3), JONES, DRIVES["pulse"], engine=Channels(), **run)
    certificate = trace.certificate
    assert certificate.holds and certificate.false_alarm == FALSE_ALARM == 1e-6
    assert certificate.transitions[0] == f"{JONES.states[JONES.source[0]]} -> {JONES.states[1]}"
    assert "certificate holds" in certificate.summary()
    off = simulate(jax.random.key(3), JONES, DRIVES["pulse"], engine=Channels(certify=False), **run)
    assert off.certificate is None
    np.testing.assert_array_equal(off.occupancy, trace.occupancy)


def test_what_is_audited_does_not_depend_on_chunks():
    n = 70_000
    first = audited(JONES, JONES, DRIVES["pulse"], n, chunk=1 << 20, workers=1)
    other = audited(JONES, JONES, DRIVES["pulse"], n, chunk=9000, workers=2)
    np.testing.assert_array_equal(first.jumps, other.jumps)
    np.testing.assert_allclose(first.expected, other.expected, rtol=1e-5)
    assert first.jumps.sum() < n * 30 / 3
