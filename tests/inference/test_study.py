import numpy as np
import pytest

from gabatone.inference.evidence.loader import REGIMENS
from gabatone.inference.priors import FILE, load_priors
from gabatone.inference.study import build_study, time_grid
from gabatone.kernels.errors import BadInput

TIME = np.array([0.0, 2.0, 60.0])
PLASMA = {name: np.array([0.0, 1.0, 2.0]) for name in REGIMENS}


def test_grid_holds_breaks_and_visits():
    grid = time_grid([4, 24, 52, 56, 60], [2, 8, 696])
    assert {0, 2, 4, 8, 24, 52, 56, 60, 696} <= set(grid)
    assert np.all(np.diff(grid) > 0) and grid.size < 200


BAD = {
    "not rising": (dict(time_h=TIME[::-1]), "time_h"),
    "not from 0": (dict(time_h=TIME + 1), "time_h"),
    "no regimen": (dict(plasma_nM={"PBO": TIME}), "BRX90 is missing"),
    "negative": (dict(plasma_nM=PLASMA | {"PBO": -TIME}), "plasma_nM.PBO"),
    "length": (dict(plasma_nM=PLASMA | {"PBO": TIME[:2]}), "plasma_nM.PBO"),
    "pool": (dict(local_pool_nM=-1.0), "local_pool_nM"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_study_is_named(name):
    changes, words = BAD[name]
    given = dict(time_h=TIME, plasma_nM=PLASMA, transfer=lambda c: c, local_pool_nM=4.0) | changes
    with pytest.raises(BadInput, match=words):
        build_study(**given)


def test_priors_are_cards_with_a_reason():
    for name, prior in load_priors().items():
        assert prior.card.source, name
        assert (prior.family is None) == (prior.spread is None), name


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('family = "normal"', 'family = "cauchy"', "family"),
        ("spread = 0.3", "spread = -0.3", "spread"),
        ("value = 1.0\n", "value = -1.0\n", "kp_eff.value"),
        ('status = "assumed"', 'status = "guessed"', "status"),
    ],
)
def test_bad_prior_is_named(tmp_path, old, new, words):
    path = tmp_path / "priors.toml"
    path.write_text(FILE.read_text().replace(old, new, 1))
    with pytest.raises(BadInput, match=words):
        load_priors(path)
