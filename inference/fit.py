"""NUTS in blocks: progress that is real, checkpoints that resume to the same bits, honest stops.

Chains run in threads, one program compiled once: XLA releases the interpreter, so two cores take two
chains, and a fit with a trial left out reuses the program because a mask, not a shape, removes it.
"""

import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import jax
import numpy as np

from gabatone.inference.diagnostics import diagnose
from gabatone.inference.evidence.loader import Trials
from gabatone.inference.model import design
from gabatone.inference.sampler import BLOCK, Sampler, key_numbers
from gabatone.inference.study import Study
from gabatone.kernels.errors import BadInput, Failure

R_HAT_LIMIT, ESS_LIMIT = 1.01, 400.0
# named coordinates of the random streams below a caller's key
CHAIN, LEFT_OUT = 0, 1


@dataclass(frozen=True)
class Posterior:
    """Draws of a fit and what they are worth.

    ``samples`` maps parameter to [chain, draw] (``baseline_latent``: [chain, draw, arm]);
    ``diverging``, ``leapfrog_steps`` and ``accept`` are [chain, draw]; ``diagnostics`` maps each
    scalar to r_hat, ess_bulk and ess_tail; ``leave_out`` names the trial the fit did not see;
    ``in_fit`` [row] are the rows it saw; ``problems`` are the limits it misses.
    """

    samples: dict
    diagnostics: dict
    diverging: np.ndarray
    leapfrog_steps: np.ndarray
    accept: np.ndarray
    in_fit: np.ndarray
    leave_out: str | None
    problems: tuple[str, ...]

    def flat(self, name) -> np.ndarray:
        """[draw of all chains, ...] of one parameter."""
        value = self.samples[name]
        return value.reshape(-1, *value.shape[2:])

    @property
    def divergences(self) -> int:
        """Number of divergent transitions after warm-up."""
        return int(self.diverging.sum())

    @property
    def draws(self) -> dict:
        """Every parameter with chains joined."""
        return {name: self.flat(name) for name in self.samples}


@dataclass
class Checkpoint:
    """State of a fit between blocks: kernel states of all chains, draws so far, and what it belongs to."""

    done: int
    states: list
    draws: list = field(default_factory=list)
    inputs: tuple = ()


class Silent:
    """A progress bar that shows nothing; any object with these three methods will do."""

    def init(self, total):
        """Called once with the number of transitions."""

    def step(self, n):
        """Called after ``n`` more transitions."""

    def close(self):
        """Called at the end, also after an error."""


def fit(
    key,
    study: Study,
    trials: Trials,
    *,
    warmup=500,
    samples=1000,
    chains=4,
    leave_out=None,
    sampler=None,
    progress=None,
    checkpoint=None,
    resume=None,
    threads=2,
    throw=True,
) -> Posterior:
    """Posterior of the outcome model by NUTS in float64.

    Parameters
    ----------
    warmup, samples : int
        Transitions of each chain before and after adaptation ends.
    leave_out : str, optional
        A trial whose rows give no information.
    sampler : Sampler, optional
        Compiled programs, shared by fits of one study and warm-up (left-out trials, or
        ``trials.without_inferred_times()``).
    progress : object, optional
        With methods ``init(total)``, ``step(n)``, ``close()``; what it raises is ignored.
    checkpoint : callable, optional
        Called with a `Checkpoint` after each block.
    resume : Checkpoint, optional
        Go on from there; the draws are the same bits as those of an uninterrupted fit.
    throw : bool
        False returns a posterior that misses the limits, its ``problems`` named.

    Raises
    ------
    Failure
        ``divergence``, ``r_hat`` (limit 1.01) or ``ess`` (limit 400) by name of parameter; ``nan``.
    BadInput
        For counts that are not positive, an unknown trial, or a checkpoint of other inputs.
    """
    _require(warmup=warmup, samples=samples, chains=chains, threads=threads)
    sampler = sampler or Sampler(study, trials.settings, warmup)
    if sampler.study is not study or (sampler.settings, sampler.warmup) != (
        trials.settings,
        warmup,
    ):
        raise BadInput(
            "fit.sampler",
            warmup,
            "compiled for another study, setting or warm-up",
            "make a new Sampler",
        )
    data = design(study, trials, leave_out)
    inputs = (warmup, samples, chains, leave_out, *_fingerprint(key, data))
    state = _sample(key, sampler, data, inputs, resume, threads, progress, checkpoint)
    return _posterior(sampler, data, state, leave_out, throw)


def _require(**counts):
    for name, value in counts.items():
        least = 8 if name == "samples" else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise BadInput(
                f"fit.{name}",
                value,
                f"not a whole number of at least {least}",
                f"give {least} or more",
            )


def _fingerprint(key, data) -> tuple[str, str]:
    """What a checkpoint must share with the fit that goes on from it: key and data."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(data):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return np.asarray(key_numbers(key)).tobytes().hex(), digest.hexdigest()


def _sample(key, sampler, data, inputs, resume, threads, progress, checkpoint) -> Checkpoint:
    warmup, samples, chains, *_ = inputs
    total = warmup + samples
    with jax.enable_x64(True):
        own = jax.random.fold_in(key, CHAIN)
        if resume is not None and resume.inputs != inputs:
            raise BadInput(
                "fit.resume",
                resume.inputs[:4],
                f"the checkpoint is not of {inputs[:4]} with this key and these data",
                "resume with the inputs of the interrupted fit",
            )
        state = resume or Checkpoint(
            0, [sampler.start(jax.random.fold_in(own, c), data) for c in range(chains)], [], inputs
        )
    with _watched(progress, total * chains) as told, ThreadPoolExecutor(threads) as pool:
        told("step", state.done * chains)
        while state.done < total:
            edge = warmup if state.done < warmup else total
            n = min(BLOCK, edge - state.done)
            # a list, so that every chain ends its block before the checkpoint
            ended = list(pool.map(lambda s, n=n: sampler.advance(s, data, n), state.states))
            kept = [draws for _, draws in ended] if state.done >= warmup else None
            state = Checkpoint(
                state.done + n,
                [s for s, _ in ended],
                [*state.draws, kept] if kept else state.draws,
                inputs,
            )
            told("step", n * chains)
            if checkpoint is not None:
                checkpoint(state)
    return state


@contextlib.contextmanager
def _watched(progress, total):
    progress = Silent() if progress is None else progress

    def told(method, *args):
        # a broken progress bar must not end a fit
        with contextlib.suppress(Exception):
            getattr(progress, method)(*args)

    told("init", total)
    try:
        yield told
    finally:
        told("close")


def _posterior(sampler, data, state, leave_out, throw) -> Posterior:
    chains = len(state.states)
    joined = [
        jax.tree.map(lambda *x: np.concatenate(x), *[block[c] for block in state.draws])
        for c in range(chains)
    ]
    kept = jax.tree.map(lambda *x: np.stack(x), *joined)
    values = sampler.constrain(kept["z"], data)
    diagnostics = {name: diagnose(value) for name, value in _scalars(values).items()}
    problems = _problems(diagnostics, int(kept["diverging"].sum()))
    if throw and problems:
        raise Failure(*problems[0])
    return Posterior(
        values,
        diagnostics,
        kept["diverging"],
        kept["num_steps"],
        kept["accept"],
        np.asarray(data.mask),
        leave_out,
        tuple(f"{name}: {text}" for name, text in problems),
    )


def _scalars(values) -> dict:
    """[chain, draw] arrays by name; a vector gives name[0], name[1], ..."""
    scalars = {}
    for name, value in values.items():
        if value.ndim == 2:
            scalars[name] = value
        else:
            scalars |= {f"{name}[{i}]": value[..., i] for i in range(value.shape[2])}
    return scalars


def _problems(diagnostics, divergences) -> list[tuple[str, str]]:
    problems = []
    if bad := [n for n, d in diagnostics.items() if not np.isfinite(d["r_hat"])]:
        problems.append(
            (
                "nan",
                f"draws of {', '.join(bad)} are not finite or do not move; check priors and exposure",
            )
        )
    if divergences:
        problems.append(
            ("divergence", f"{divergences} divergent transitions; raise warmup or tighten priors")
        )
    if bad := [
        f"{n} {d['r_hat']:.3f}" for n, d in diagnostics.items() if d["r_hat"] >= R_HAT_LIMIT
    ]:
        problems.append(
            (
                "r_hat",
                f"R-hat at or above {R_HAT_LIMIT}: {', '.join(bad)}; raise warmup and samples",
            )
        )
    low = {n: min(d["ess_bulk"], d["ess_tail"]) for n, d in diagnostics.items()}
    if bad := [f"{n} {v:.0f}" for n, v in low.items() if v <= ESS_LIMIT]:
        problems.append(
            (
                "ess",
                f"effective sample size at or below {ESS_LIMIT:.0f}: {', '.join(bad)}; raise samples",
            )
        )
    return problems


def fit_leave_one_out(
    key, study: Study, trials: Trials, *, sampler=None, warmup=500, **options
) -> dict:
    """Posterior for each trial left out, by name of the trial; options as for `fit`."""
    sampler = sampler or Sampler(study, trials.settings, warmup)
    own = jax.random.fold_in(key, LEFT_OUT)
    return {
        name: fit(
            jax.random.fold_in(own, i),
            study,
            trials,
            sampler=sampler,
            warmup=warmup,
            leave_out=name,
            **options,
        )
        for i, name in enumerate(trials.names)
    }
