import json
import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_experiment import Settings

from gabatone.experiments.plan import Plan, parse_override, read_plan
from gabatone.experiments.units import Measure
from gabatone.kernels.errors import BadInput

MOLAR = Measure("concentration", "M", "100 nM", lo=0)
RATE = Measure("dose rate per body weight", "ug/kg/h", "60 ug/kg/h", lo=0)
CELSIUS = Measure("temperature", "degC", "37 degC", lo=-273.15)


def test_the_catalogue_gives_the_defaults_and_later_layers_win(tmp_path):
    config = tmp_path / "mine.toml"
    config.write_text('draws = 50\n[pulse]\nconc = "2 mM"\n')
    plan = read_plan("tiny")
    assert (plan.seed, plan.quick, plan.settings.draws) == (0, False, 200)
    assert read_plan("tiny", quick=True).settings.draws == 20
    assert read_plan("tiny", quick=True, config=config).settings.draws == 50
    mixed = read_plan("tiny", config=config, overrides=["draws=7", "pulse.rate=0.09 mg/kg/h"])
    assert mixed.settings.draws == 7
    assert mixed.settings.pulse.conc == 2e-3
    assert mixed.settings.pulse.rate == 90.0
    assert mixed.settings.pulse.width == 1e-3


def test_a_plan_is_frozen_and_its_canonical_form_is_plain_json():
    plan = read_plan("tiny", seed=5)
    with pytest.raises(ValidationError, match="frozen"):
        plan.seed = 6
    with pytest.raises(ValidationError, match="frozen"):
        plan.settings.pulse.conc = 0.0
    canonical = plan.canonical()
    assert json.loads(json.dumps(canonical)) == canonical
    assert canonical["settings"]["pulse"] == {"conc": 1e-3, "width": 1e-3, "rate": 60.0}


@pytest.mark.parametrize(
    ("measure", "text", "value"),
    [
        (MOLAR, "100 nM", 1e-7),
        (MOLAR, "0.2 uM", 2e-7),
        (MOLAR, "1e2nmol/L", 1e-7),
        (MOLAR, "3 µM", 3e-6),
        (RATE, "60 ug/kg/h", 60.0),
        (RATE, "60 µg/kg/h", 60.0),
        (RATE, "1.44 mg/kg/day", 60.0),
        (CELSIUS, "37 degC", 37.0),
        (CELSIUS, "310.15 K", 37.0),
        (Measure("time", "s", "4 s"), "4 s", 4.0),
        (Measure("time", "h", "60 h"), "30 min", 0.5),
        (Measure("conductance", "pS", "27 pS"), "0.027 nS", 27.0),
        (Measure("voltage", "V", "-70 mV"), "-70 mV", -0.07),
        (MOLAR, 1e-7, 1e-7),
        (MOLAR, 0, 0.0),
    ],
)
def test_a_quantity_is_read_in_its_declared_unit(measure, text, value):
    assert measure.read(text) == value


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("pulse.rate=90 mg", ["--set: pulse.rate", "'90 mg'", "does not measure", "ug/kg/h"]),
        ("pulse.rate=2 Hz", ["--set: pulse.rate", "'2 Hz'", "does not measure", "60 ug/kg/h"]),
        ("pulse.rate=2 kg/kg/h/kg*kg", ["pulse.rate", "Fix: give a number in ug/kg/h"]),
        ("pulse.conc=-1e-9", ["--set: pulse.conc", "-1e-09", "cannot be negative", "100 nM"]),
        ("pulse.conc=-5 nM", ["--set: pulse.conc", "'-5 nM'", "cannot be negative"]),
        ("pulse.conc=5 ng/mL", ["'5 ng/mL'", "does not measure a concentration"]),
        ("pulse.conc=5 florins", ["unknown unit 'florins'"]),
        ("pulse.conc=nM", ["no number in front"]),
        ('pulse.conc="5"', ["text without a unit"]),
        ("pulse.conc=5 9**9**9", ["cannot be read as a unit"]),
        ("pulse.conc=nan", ["not a finite number"]),
        ("pulse.conc=1e999", ["not a finite number"]),
        ("pulse.conc=true", ["neither a number nor text"]),
        ("pulse.conc=[1, 2]", ["neither a number nor text"]),
        ("pulse.cnc=1e-9", ["--set: pulse.cnc", "no such key", "write conc if that is meant"]),
        ("draw=3", ["--set: draw", "no such key", "write draws"]),
        ("zzz=3", ["--set: zzz", "no such key", "use one of draws, pulse"]),
        ("draws=many", ["--set: draws", "'many'", "integer"]),
        ("draws=2.5", ["--set: draws", "2.5"]),
        ("draws=true", ["--set: draws", "True", "integer"]),
        ("pulse=3", ["--set: pulse", "3"]),
        ("draws.more=3", ["--set draws.more", "draws is a value, not a table"]),
        ("levels=[1e-6, '3 mV']", ["levels.1", "'3 mV'", "does not measure"]),
        ("observed=nowhere.csv", ["--set: observed", "nowhere.csv", "no such file"]),
        ("draws", ["--set", "'draws'", "write --set table.key=value"]),
        ("=3", ["--set", "'=3'", "write --set table.key=value"]),
        ("pulse..conc=3", ["--set", "write --set table.key=value"]),
    ],
)
def test_a_wrong_setting_is_one_message_with_field_value_and_fix(setting, parts):
    with pytest.raises(BadInput) as caught:
        read_plan("tiny", overrides=[setting])
    for part in [*parts, "Fix: "]:
        assert part in str(caught.value)


def test_the_file_of_a_wrong_value_is_named(tmp_path):
    config = tmp_path / "mine.toml"
    config.write_text('[pulse]\nrate = "90 mg"\n')
    with pytest.raises(BadInput, match="^mine.toml: pulse.rate = '90 mg': .* Fix: "):
        read_plan("tiny", config=config)
    config.write_text("[pulse\n")
    with pytest.raises(BadInput, match="^mine.toml = .*not valid TOML.*Fix: "):
        read_plan("tiny", config=config)
    with pytest.raises(BadInput, match="^gone.toml = .*cannot be read.*Fix: "):
        read_plan("tiny", config=tmp_path / "gone.toml")


def test_several_problems_are_counted_in_one_message():
    with pytest.raises(BadInput, match="and 1 more problem"):
        read_plan("tiny", overrides=["draws=x", "pulse.conc=-1"])


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(BadInput, match="^--seed = "):
        read_plan("tiny", seed=seed)


def test_an_input_file_counts_by_its_content(tmp_path):
    (tmp_path / "a").mkdir()
    one, two = tmp_path / "table.csv", tmp_path / "a" / "table.csv"
    one.write_text("x\n1\n")
    two.write_text("x\n1\n")
    first, second = (
        read_plan("tiny", overrides=[f"observed={path}"]).canonical() for path in (one, two)
    )
    assert first == second
    assert first["settings"]["observed"]["file"] == "table.csv"
    two.write_text("x\n2\n")
    assert read_plan("tiny", overrides=[f"observed={two}"]).canonical() != first


names = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8)
values = st.one_of(
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.lists(st.integers(-99, 99), max_size=4),
)


@given(st.lists(names, min_size=1, max_size=3), values)
def test_an_override_reads_back_what_was_written(parts, value):
    dotted = ".".join(parts)
    assert parse_override(f"{dotted}={json.dumps(value)}") == (dotted, value)


@given(st.text(max_size=30))
def test_no_override_text_gets_past_as_anything_but_a_pair_or_bad_input(text):
    try:
        key, value = parse_override(text)
    except BadInput as error:
        assert "Fix: " in str(error)
    else:
        assert key and key in text
        assert isinstance(value, bool | int | float | str | list | dict)


@given(st.text(max_size=40))
def test_any_text_for_a_quantity_is_a_finite_number_or_bad_input(text):
    try:
        plan = read_plan("tiny", overrides=[f"pulse.conc={text}"])
    except BadInput as error:
        assert "Fix: " in str(error)
    else:
        assert 0 <= plan.settings.pulse.conc < math.inf


@given(
    st.integers(0, 2**32 - 1),
    st.floats(0, 1e3),
    st.floats(0, 1e3),
    st.integers(-(10**9), 10**9),
)
def test_a_plan_survives_its_canonical_form(seed, conc, rate, draws):
    overrides = [f"pulse.conc={conc!r}", f"pulse.rate={rate!r}", f"draws={draws}"]
    plan = read_plan("tiny", seed=seed, overrides=overrides)
    again = Plan[Settings].model_validate_json(json.dumps(plan.canonical()))
    assert again == plan
    assert (again.settings.pulse.conc, again.settings.draws) == (conc, draws)
