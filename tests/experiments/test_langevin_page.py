"""The page on the diffusion approximation: its claims at 10 and 1000 channels, and its files."""

from functools import partial

import jax
import numpy as np

from gabatone.experiments import langevin_page as page
from helpers.statistics import assert_detects, assert_z

KEY = jax.random.key(3)


def shares(n, replicates):
    found = page.crossings(KEY, n, replicates=replicates)
    length = len(found["time_s"])
    return [page.crossed_by(found[key], length)[-1] for key in ("exact", "langevin")], found


def test_ten_channels_cross_far_too_often():
    (exact, found), run = shares(10, 300)
    error = np.sqrt((exact * (1 - exact) + found * (1 - found)) / 300)
    assert_detects((found - exact) / error, "crossing of 10 channels at 10 uM")
    assert found > 4 * exact and run["variance_ratio"] > 3


def test_a_thousand_channels_have_the_mean_of_the_pulse():
    data = page.pulse_moments(KEY, 1000, replicates=300)
    error = np.sqrt(data["exact_variance"] / 1000 / 300)
    assert_z((data["mean"] - data["exact_mean"])[::20] / error[::20], "page, mean of the pulse")
    assert_detects((data["mean"] - 1.03 * data["exact_mean"])[::20] / error[::20], "mean 3 % high")


def test_first_sample_above_a_limit():
    paths = np.array([[0, 2, 0], [0, 0, 0], [3, 0, 0]])
    first = page.first_above(paths, 1.5)
    assert first.tolist() == [1, -1, 0]
    np.testing.assert_allclose(page.crossed_by(first, 3), [1 / 3, 2 / 3, 2 / 3])


def test_the_page_is_written_in_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "SIZES", (10,))
    monkeypatch.setattr(page, "pulse_moments", partial(page.pulse_moments, replicates=300))
    monkeypatch.setattr(page, "crossings", partial(page.crossings, replicates=300))
    (tmp_path / "figures").mkdir()
    target = tmp_path / "langevin.md"
    target.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", encoding="utf-8")
    page.main(tmp_path)
    text = target.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| 10 |" in text and (tmp_path / "figures" / "langevin.png").stat().st_size > 10_000
