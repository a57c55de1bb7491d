import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from gabatone.experiments import stages
from gabatone.experiments.run import Section
from gabatone.kernels.card import Card
from gabatone.kernels.receptor.catalogue import load_scheme


def through(tmp_path, value):
    stages.save(tmp_path / "kept.npz", value)
    return stages.load(tmp_path / "kept.npz")


def test_arrays_keep_kind_dtype_and_every_bit(tmp_path):
    value = {
        "numpy": np.array([0.1, np.nan, -0.0]),
        "jax": jnp.arange(3, dtype=jnp.float32) / 3,
        "scalar": np.float32(1.5),
        "key": jax.random.key(7),
        "words": np.array(["a", "bc"]),
        "empty": np.zeros((0, 4), dtype=np.int8),
        3: (1, [None, True, "text", float("inf")]),
    }
    back = through(tmp_path, value)
    assert list(back) == list(value)
    for name in ("numpy", "words", "empty"):
        np.testing.assert_array_equal(back[name], value[name])
        assert back[name].dtype == value[name].dtype
    assert np.signbit(back["numpy"][2])
    assert isinstance(back["jax"], jax.Array)
    assert back["jax"].dtype == jnp.float32
    np.testing.assert_array_equal(back["jax"], value["jax"])
    assert type(back["scalar"]) is np.float32
    assert back[3] == value[3]
    np.testing.assert_array_equal(
        jax.random.normal(back["key"], (4,)), jax.random.normal(value["key"], (4,))
    )


def test_tables_come_back_the_same(tmp_path):
    frame = pd.DataFrame({"n": [1, 2], "x": [0.5, np.nan], "arm": ["BRX90", None]})
    pd.testing.assert_frame_equal(through(tmp_path, frame), frame)
    dataset = xr.Dataset(
        {"rate": (("time", "cell"), np.ones((2, 3)), {"unit": "Hz"})},
        coords={"time": [0.0, 1.0]},
        attrs={"n": 3},
    )
    xr.testing.assert_identical(through(tmp_path, dataset), dataset)
    xr.testing.assert_identical(through(tmp_path, dataset["time"]), dataset["time"])


def test_frozen_objects_of_the_package_come_back_usable(tmp_path):
    scheme = load_scheme("jones_westbrook_1995")
    back = through(tmp_path, {"scheme": scheme, "card": Card("a", 1.0, "s", "read", "x", "rat")})
    assert back["card"] == Card("a", 1.0, "s", "read", "x", "rat")
    assert type(back["scheme"]) is type(scheme)
    assert eqx.tree_equal(back["scheme"], scheme)
    gaba = {"GABA": 1e-3}
    np.testing.assert_array_equal(back["scheme"].generator(gaba), scheme.generator(gaba))
    assert through(tmp_path, load_scheme) is load_scheme
    assert through(tmp_path, Section("a", "b", ("c",))) == Section("a", "b", ("c",))


@pytest.mark.parametrize(
    "value", [{"a": [object()]}, {"a": [lambda: 0]}, {"a": [np.array([None])]}, {"a": [{1, 2}]}]
)
def test_what_cannot_be_kept_is_named_by_its_place(tmp_path, value):
    with pytest.raises(TypeError, match=r"^result\.a\[0\]: "):
        stages.save(tmp_path / "kept.npz", value)


def test_a_kept_file_cannot_name_code_outside_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "_OWN", "subprocess")
    from subprocess import run

    stages.save(tmp_path / "kept.npz", run)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="not part of this package"):
        stages.load(tmp_path / "kept.npz")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(plain)
def test_plain_values_come_back_equal(tmp_path_factory, value):
    assert through(tmp_path_factory.getbasetemp(), value) == value
