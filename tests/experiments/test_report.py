import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from gabatone.experiments.plan import read_plan
from gabatone.experiments.report.write import number
from gabatone.experiments.run import Bench, run
from gabatone.experiments.store import open_run
from gabatone.kernels.card import Card


class Page(HTMLParser):
    void = ("meta", "img", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def text(finished_once):
    return (finished_once / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_page_is_whole_and_fetches_nothing(text, page):
    sources = [value for _, attrs in page.tags for key, value in attrs.items() if key == "src"]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")
    links = [attrs.get("href", "#") for tag, attrs in page.tags]
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"https?://|@import|url\(|<script|<link", text)


def test_misses_come_before_the_first_section(text):
    first = text.index("<section")
    miss = text.index("1 published number missed")
    assert miss < first
    assert "a wait &lt;too&gt; long" in text[miss:first]


def test_defaults_and_their_status_are_shown(text):
    assert re.search(r'<tr class="soft"><td>tau</td><td class="n">1</td>.*assumed.*sets the', text)
    assert "gives no medical advice" in text


def test_text_is_escaped_and_split_into_paragraphs(text):
    assert "<p>How long it took.</p>\n<p>Second &lt;paragraph&gt;.</p>" in text


def test_a_long_table_says_how_much_it_leaves_out(text):
    assert "tables/waits.csv; the first 60 of 200 rows" in text


def test_figures_have_a_text_in_place_of_the_picture(page):
    (image,) = [attrs for tag, attrs in page.tags if tag == "img"]
    assert image["alt"] == "Sorted waits."


def test_a_quick_run_is_marked_and_one_without_checks_has_a_page(tmp_path):
    quick = run(read_plan("tiny", quick=True), tmp_path / "quick").path
    assert "Quick run." in (quick / "report.html").read_text()
    with open_run(tmp_path / "bare", read_plan("tiny")) as directory:
        Bench(read_plan("tiny"), directory).finish()
    bare = (tmp_path / "bare/report.html").read_text()
    Page(bare)
    assert "Published numbers" not in bare and "missed" not in bare.split("<body>")[1]


def test_the_bench_takes_only_what_it_can_show(tmp_path):
    plan = read_plan("tiny")
    with open_run(tmp_path, plan) as directory:
        bench = Bench(plan, directory, ("draw",))
        with pytest.raises(ValueError, match="not in CHAIN"):
            bench.stage("dram", lambda: 1)
        with pytest.raises(ValueError, match="was not written"):
            bench.section("A", "b", figures=["missing"])
        with pytest.raises(ValueError, match="is no name"):
            bench.trace("../up", None)
        assert bench.stage("draw.block1", lambda: 1) == 1
        bench.card(Card("tau", 1.0, "s", "read", "x", "rat"))
        bench.card(Card("tau", 2.0, "s", "read", "x", "rat"), "slow.tau")
        assert sorted(bench.cards) == ["slow.tau", "tau"]


def test_draws_are_written_from_every_container_arviz_has_used(tmp_path):
    import arviz

    draws = xr.Dataset({"tau": (("chain", "draw"), np.ones((2, 5)))}, attrs={"created_at": "now"})
    containers = [{"posterior": draws}, xr.DataTree.from_dict({"posterior": draws})]
    if hasattr(arviz, "InferenceData"):
        containers.append(arviz.InferenceData(posterior=draws))
    plan = read_plan("tiny")
    written = []
    for number_of, container in enumerate(containers):
        with open_run(tmp_path / str(number_of), plan) as directory:
            Bench(plan, directory).posterior(container)
        path = tmp_path / str(number_of) / "posterior.nc"
        written.append(path.read_bytes())
        back = arviz.from_netcdf(str(path))
        assert back["posterior"]["tau"].shape == (2, 5)
        back.close()
    assert len(set(written)) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (3, "3"),
        (3.0, "3"),
        (True, "True"),
        ("arm", "arm"),
        (3.14159, "3.142"),
        (-0.5, "−0.5"),
        (1.25e-7, "1.25e−7"),
        (2.5e9, "2.5e9"),
    ],
)
def test_numbers_are_short(value, text):
    assert number(value) == text
