import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gabatone.experiments.checks import KEYS, Check, checks_text, read_checks
from gabatone.kernels.errors import BadInput


def check(published=78.0, lo=50.0, hi=117.0, ours=80.0, status="read"):
    return Check("pk.plateau", "plateau", "ng/mL", published, lo, hi, ours, "label", status)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "met"),
        ({"ours": 50.0}, "met"),
        ({"ours": 117.0}, "met"),
        ({"ours": 49.9}, "missed"),
        ({"ours": 118}, "missed"),
        ({"ours": math.nan}, "missed"),
        ({"ours": None}, "missed"),
        ({"lo": None, "ours": -5.0}, "met"),
        ({"hi": None, "ours": 1e9}, "met"),
        ({"lo": None, "hi": None}, "shown"),
        ({"status": "derived"}, "met"),
        ({"status": "recalled"}, "shown"),
        ({"status": "assumed", "ours": 1.0}, "shown"),
    ],
)
def test_the_verdict_follows_from_range_and_status(change, verdict):
    assert check(**change).verdict == verdict


def test_an_unknown_status_is_bad_input():
    with pytest.raises(BadInput, match="pk.plateau.status = 'believed'.*use one of read"):
        check(status="believed")


def test_the_file_has_exactly_the_keys_of_the_design(tmp_path):
    path = tmp_path / "checks.json"
    path.write_text(checks_text([check(), check(ours=math.inf)]))
    rows = json.loads(path.read_text())
    assert [tuple(row) for row in rows] == [KEYS, KEYS]
    assert rows[1]["ours"] is None
    assert [one.row() for one in read_checks(path)] == rows


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[{", "not valid JSON"),
        ("{}", "not a list"),
        ("[3]", "wrong keys"),
        ('[{"id": 1}]', "wrong keys"),
        (checks_text([check()]).replace('"met"', '"missed"'), "the numbers say met"),
        (checks_text([check()]).replace("80.0", '"high"'), "not a number"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_bad_input(tmp_path, text, cause):
    (tmp_path / "checks.json").write_text(text)
    with pytest.raises(BadInput, match=f"checks.json.*{cause}.*Fix: "):
        read_checks(tmp_path / "checks.json")


bound = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(bound, bound, st.floats() | st.none(), st.sampled_from(["read", "recalled"]))
def test_any_check_reads_back_as_itself(tmp_path_factory, lo, hi, ours, status):
    one = check(lo=lo, hi=hi, ours=ours, status=status)
    path = tmp_path_factory.getbasetemp() / "checks.json"
    path.write_text(checks_text([one]))
    assert read_checks(path) == [one]
    assert one.verdict == "shown" or status == "read"
