"""Results of finished stages on disk, without pickle: one npz file, its structure as JSON inside.

Holds nested lists, tuples and dicts of numbers, text, NumPy and JAX arrays (random keys too),
pandas and xarray tables, and the frozen classes and named functions of this package.
"""

import dataclasses
import importlib
import json
import sys
from pathlib import Path

import numpy as np

_OWN = "gabatone."


def save(path: Path, value) -> None:
    """Write ``value`` to ``path``; `TypeError` names the place of anything that cannot be kept."""
    arrays: dict[str, np.ndarray] = {}
    structure = json.dumps(_pack(value, arrays, "result"))
    with open(path, "wb") as file:
        np.savez(file, structure=np.frombuffer(structure.encode(), dtype=np.uint8), **arrays)


def load(path: Path):
    """Read what `save` wrote; ``OSError``, ``ValueError`` or ``KeyError`` if it is broken."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return _unpack(json.loads(arrays.pop("structure").tobytes()), arrays)


def _keep(array, arrays: dict, where: str) -> str:
    array = np.asarray(array)
    if array.dtype.hasobject:
        raise TypeError(f"{where}: an array of Python objects cannot be kept")
    name = f"a{len(arrays)}"
    arrays[name] = array
    return name


def _pack(value, arrays: dict, where: str):
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray):
        return {"numpy": _keep(value, arrays, where)}
    if isinstance(value, np.generic):
        return {"scalar": _keep(value, arrays, where)}
    if type(value) in (list, tuple):
        items = [_pack(item, arrays, f"{where}[{i}]") for i, item in enumerate(value)]
        return {type(value).__name__: items}
    if type(value) is dict:
        return {
            "dict": [
                [_pack(key, arrays, where), _pack(item, arrays, f"{where}.{key}")]
                for key, item in value.items()
            ]
        }
    for kind, pack in (("jax", _pack_jax), ("pandas", _pack_frame), ("xarray", _pack_dataset)):
        if kind in sys.modules:
            packed = pack(value, arrays, where)
            if packed is not None:
                return packed
    return _pack_own(value, arrays, where)


def _pack_jax(value, arrays, where):
    import jax

    if not isinstance(value, jax.Array):
        return None
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        data = jax.random.key_data(value)
        return {"key": _keep(data, arrays, where), "impl": str(jax.random.key_impl(value))}
    return {"jax": _keep(value, arrays, where)}


def _pack_frame(value, arrays, where):
    import pandas as pd

    if not isinstance(value, pd.DataFrame):
        return None
    columns = []
    for name, column in value.reset_index(drop=True).items():
        plain = isinstance(column.dtype, np.dtype) and not column.dtype.hasobject
        cells = column.to_numpy() if plain else [None if pd.isna(cell) else cell for cell in column]
        columns.append([name, str(column.dtype), _pack(cells, arrays, f"{where}.{name}")])
    return {"frame": columns}


def _pack_dataset(value, arrays, where):
    import xarray as xr

    if isinstance(value, xr.DataArray):
        dataset = value.rename(None).to_dataset(name="value of the array")
        return {"array": _pack_dataset(dataset, arrays, where), "called": value.name}
    if not isinstance(value, xr.Dataset):
        return None
    parts = {}
    for part in ("coords", "data_vars"):
        parts[part] = {
            str(name): (tuple(item.dims), np.asarray(item.values), dict(item.attrs))
            for name, item in getattr(value, part).items()
        }
    parts["attrs"] = dict(value.attrs)
    return {"dataset": _pack(parts, arrays, where)}


def _pack_own(value, arrays, where):
    kind = value if callable(value) and hasattr(value, "__qualname__") else type(value)
    address = f"{kind.__module__}:{kind.__qualname__}"
    if kind.__module__.startswith(_OWN) and "<locals>" not in address:
        if kind is value:
            return {"name": address}
        if hasattr(value, "_fields"):
            fields = value._asdict()
        elif dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
        else:
            raise TypeError(f"{where}: {address} is neither a dataclass nor a named tuple")
        packed = {name: _pack(item, arrays, f"{where}.{name}") for name, item in fields.items()}
        return {"object": address, "fields": packed}
    raise TypeError(f"{where}: a value of type {address} cannot be kept between stages")


def _unpack(node, arrays: dict):
    if not isinstance(node, dict):
        return node
    kind = next(iter(node))
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](_unpack(item, arrays) for item in node[kind])
    if kind == "dict":
        return {_unpack(key, arrays): _unpack(item, arrays) for key, item in node["dict"]}
    if kind == "numpy":
        return arrays[node["numpy"]]
    if kind == "scalar":
        return arrays[node["scalar"]][()]
    if kind in ("jax", "key"):
        return _unpack_jax(node, arrays)
    if kind in ("frame", "dataset", "array"):
        return _unpack_table(kind, node, arrays)
    found = _find(node.get("name") or node["object"])
    if kind == "name":
        return found
    fields = {name: _unpack(item, arrays) for name, item in node["fields"].items()}
    if hasattr(found, "_fields"):
        return found(**fields)
    # the values were checked when the object was first made: set them as they are
    made = object.__new__(found)
    for name, item in fields.items():
        object.__setattr__(made, name, item)
    return made


def _unpack_jax(node, arrays):
    import jax

    if "key" in node:
        return jax.random.wrap_key_data(arrays[node["key"]], impl=node["impl"])
    return jax.numpy.asarray(arrays[node["jax"]])


def _unpack_table(kind, node, arrays):
    import pandas as pd
    import xarray as xr

    if kind == "frame":
        columns = {
            name: pd.Series(_unpack(cells, arrays), dtype=dtype)
            for name, dtype, cells in node["frame"]
        }
        return pd.DataFrame(columns)
    if kind == "array":
        return _unpack(node["array"], arrays)["value of the array"].rename(node["called"])
    parts = _unpack(node["dataset"], arrays)
    return xr.Dataset(**parts)


def _find(address: str):
    module, _, qualified = address.partition(":")
    if not module.startswith(_OWN):
        raise ValueError(f"{address} is not part of this package")
    found = importlib.import_module(module)
    for part in qualified.split("."):
        found = getattr(found, part)
    return found
