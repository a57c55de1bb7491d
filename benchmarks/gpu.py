"""Job J1 on one GPU: the fused kernel, the compiled loop and the grid against the naive scan.

The same job and the same check as `benchmarks.channels`; wall seconds, because a device has no
processor seconds; the order turns from round to round. `threefry_only` draws the random bits of
the grid (64 for each channel-step) and nothing else: the ceiling of any grid kernel.

    python -m benchmarks.gpu --json FILE
"""

import argparse
import json
import sys
import time
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

NAIVE, CEILING, GRID = "jax_naive_scan", "threefry_only", "Grid"
FUSED, LOOP = "Channels, fused kernel", "Channels, compiled loop"
SIZES = {FUSED: 100_000_000, LOOP: 1 << 24, GRID: 1 << 20, NAIVE: 1 << 20, CEILING: 1 << 20}


def our_run(engine, scheme, drive):
    """A function (seed, n) -> summed open count through the public `simulate`."""
    import jax
    import numpy as np
    from benchmarks.job import START, STEP_S, STOP_S

    from gabatone import simulate

    def run(seed: int, n: int):
        key, grid = jax.random.key(seed), dict(t1_s=STOP_S, save_s=STEP_S, p0=START)
        trace = simulate(key, scheme, drive, engine=engine, n=n, **grid)
        return np.asarray(trace.open_count)

    return run


def draws_only(steps: int):
    """A function (seed, n) that draws 64 bits for each channel-step; it has no open count."""
    from functools import partial

    import jax
    import jax.numpy as jnp

    from gabatone.kernels.engine.streams import key_words, threefry

    @partial(jax.jit, static_argnums=1)
    def call(words, n):
        channel = jnp.arange(n, dtype=jnp.uint32)

        def step(k, seen):
            high, low = threefry(words, channel, jnp.full(n, k, jnp.uint32))
            return seen ^ high ^ low

        return jax.lax.fori_loop(0, steps, step, jnp.zeros(n, jnp.uint32))

    def run(seed: int, n: int):
        call(key_words(jax.random.key(seed)), n).block_until_ready()

    return run


def methods(scheme, drive, job) -> dict:
    """Name -> run(seed, n)."""
    import numpy as np
    from benchmarks.peers.jax_scan import scan_call

    from gabatone import Channels
    from gabatone.kernels.engine.grid import Grid

    naive = scan_call(job)
    return {
        FUSED: our_run(Channels(kernel="fused", certify=False), scheme, drive),
        LOOP: our_run(Channels(kernel="loop", certify=False, lanes=1 << 17), scheme, drive),
        GRID: our_run(Grid(dt_s=job.step_s, chunk=1 << 20), scheme, drive),
        NAIVE: lambda seed, n: np.asarray(naive(seed, n)),
        CEILING: draws_only(job.steps),
    }


def time_rounds(found: dict, sizes: dict, rounds: int, mean) -> tuple[dict, dict]:
    """``(wall seconds of every round, first calls and notes)``; a method that fails is noted."""
    from benchmarks.job import agreement

    wall, first, notes = {}, {}, {}
    for k in range(-1, rounds):
        names = [name for name in found if name not in notes]
        turn = k % max(1, len(names))
        for name in names[turn:] + names[:turn]:
            begin = time.perf_counter()
            try:
                opened = found[name](k + 1, sizes[name])
                spent = time.perf_counter() - begin
                if opened is not None:
                    agreement(opened, sizes[name], mean, (rounds + 1) * len(found))
            except Exception as error:
                notes[name] = f"{type(error).__name__}: {error}"[:500]
                continue
            if k < 0:
                first[name] = spent
            else:
                wall.setdefault(name, []).append(spent)
    return wall, {"first_call_s": first, "left_out": notes}


def summary(wall: dict, sizes: dict, steps: int) -> dict:
    """Rates, and ratios within rounds: over the naive scan, and of the grid over the ceiling."""
    import numpy as np

    rate = {name: sizes[name] * steps / np.array(seconds) for name, seconds in wall.items()}
    pairs = [(name, NAIVE) for name in (FUSED, LOOP, GRID)] + [(GRID, CEILING)]
    shown = {
        name: {
            "channels": sizes[name],
            "channel_steps_per_s": float(np.median(r)),
            "wall_s": wall[name],
        }
        for name, r in rate.items()
    }
    ratios = {}
    for above, below in pairs:
        if above in rate and below in rate and len(rate[above]) == len(rate[below]):
            ratio = rate[above] / rate[below]
            ratios[f"{above} / {below}"] = [float(f(ratio)) for f in (np.min, np.median, np.max)]
    return {"methods": shown, "ratios": ratios}


def show(result: dict) -> None:
    print("| method | channel-steps/s | channels | first call, s |\n|---|---|---|---|")
    for name, row in result["methods"].items():
        first = result["first_call_s"][name]
        print(
            f"| `{name}` | {row['channel_steps_per_s']:.3g} | {row['channels']:,} | {first:.1f} |"
        )
    for pair, (low, median, high) in result["ratios"].items():
        print(f"{pair}: {median:.3g} ({low:.3g} to {high:.3g})")
    for name, why in result["left_out"].items():
        print(f"Left out: {name}: {why}")


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor on all numbers of channels"
    )
    parser.add_argument(
        "--anywhere", action="store_true", help="run without a GPU, fused kernel apart"
    )
    options = parser.parse_args(arguments)
    import jax

    jax.config.update("jax_enable_x64", True)  # as the command line does
    device = jax.devices()[0]
    if device.platform != "gpu" and not options.anywhere:
        print("no GPU is visible to JAX here: nothing measured", file=sys.stderr)
        return 2
    from benchmarks.job import STEPS, drives, mean_open, pulse_job

    from gabatone import load_scheme

    scheme, drive = load_scheme("jones_westbrook_1995"), drives()["pulse"]
    found = methods(scheme, drive, pulse_job(scheme))
    if device.platform != "gpu":
        found.pop(FUSED)
    sizes = {name: max(64, int(n * options.scale)) for name, n in SIZES.items()}
    wall, seen = time_rounds(found, sizes, options.rounds, mean_open(scheme, drive))
    result = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "device": device.device_kind,
        "jax": jax.__version__,
        "rounds": options.rounds,
        **seen,
        **summary(wall, sizes, STEPS),
    }
    show(result)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if seen["left_out"] else 0


if __name__ == "__main__":
    sys.exit(main())
