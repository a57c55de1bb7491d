"""What a timing was taken on: pinned core, processor, versions, date. No paths, no host names."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path

# one thread for XLA and for every BLAS that NumPy may carry
SINGLE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
}
PACKAGES = (
    *("gabatone", "jax", "jaxlib", "numpy", "scipy", "numba", "neuron", "brian2", "gillespy2"),
    *("myokit", "stochastix", "crn_jax"),
)


def pin(core: int | None) -> int | None:
    """Bind the process to one core and to one thread; call before jax or numpy are imported."""
    early = {"jax", "numpy", "numba"} & set(sys.modules)
    assert not early, f"{sorted(early)} imported before the process was pinned"
    os.environ.update(SINGLE_THREAD)
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {core})
    return core


def describe(core: int | None, cores: int | None) -> dict:
    """Processor as the kernel names it, versions, and the load others put on the machine."""
    about = _processor()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "hardware": {**about, "cores_seen": cores, "pinned_core": core, "load_1min": load},
        "threads": {key: SINGLE_THREAD[key] for key in ("XLA_FLAGS", "OMP_NUM_THREADS")},
        "versions": {"python": platform.python_version(), **_versions()},
    }


def command(script: str, arguments: list[str]) -> str:
    """The command line as typed, from the root of a checkout."""
    return " ".join(["python", f"benchmarks/{Path(script).name}", *arguments])


def _versions() -> dict:
    found = [name for name in PACKAGES if util.find_spec(name)]
    return {name: metadata.version(name) for name in found}


def _processor() -> dict:
    wanted = {
        "vendor_id": "vendor",
        "model name": "cpu",
        "cpu family": "family",
        "model": "model",
        "stepping": "stepping",
        "cpu MHz": "MHz",
        "cache size": "cache",
    }
    try:
        block = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {"cpu": platform.processor() or platform.machine()}
    pairs = [line.split(":", 1) for line in block.splitlines() if ":" in line]
    fields = {key.strip(): value.strip() for key, value in pairs}
    about = {name: fields[key] for key, name in wanted.items() if key in fields}
    flags = fields.get("flags", "").split()
    return about | {"vector": [flag for flag in ("avx2", "avx512f") if flag in flags]}
