"""NUTS in blocks: progress that is real, checkpoints that resume to the same bits, honest stops.

Chains run in threads, one program compiled once: XLA releases the interpreter, so two cores take two
chains, and a fit with a trial left out reuses the program because a mask, not a shape, removes it.
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from gabatone.inference.diagnostics import diagnose
from gabatone.inference.evidence.loader import Trials
from gabatone.inference.model import SCORE, Design, design, prior_medians, trial_model
from gabatone.inference.study import Study
from gabatone.kernels.errors import BadInput, Failure
from numpyro.handlers import seed
from numpyro.infer.hmc import hmc
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

R_HAT_LIMIT, ESS_LIMIT = 1.01, 400.0
TARGET_ACCEPT = 0.9
BLOCK = 50


@dataclass(frozen=True)
class Posterior:
    """Draws of a fit and what they are worth.

    ``samples`` maps parameter to [chain, draw] (``baseline_latent``: [chain, draw, arm]);
    ``diagnostics`` maps each scalar to r_hat, ess_bulk and ess_tail; ``leave_out`` names the trial the
    fit did not see; ``in_fit`` [row] are the rows it saw.
    """

    samples: dict
    diagnostics: dict
    divergences: int
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


class Sampler:
    """The compiled programs for one study, table layout and warm-up length; shared between fits."""

    def __init__(self, study: Study, trials: Trials, warmup: int, target_accept: float = TARGET_ACCEPT):
        self.study, self.trials, self.warmup = study, trials, warmup
        self.settings = trials.settings
        model = partial(trial_model, study, self.settings)
        options = dict(num_warmup=warmup, target_accept_prob=target_accept, trajectory_length=None)

        def energy(data):
            return lambda z: potential_energy(model, (data,), {}, z)

        def kernel(z, key, data):
            # the step function closes over what init sets up, so both are made in one trace
            init, step = hmc(potential_fn_gen=energy)
            return init(z, model_args=(data,), rng_key=key, dense_mass=[tuple(sorted(z))], **options), step

        def start(key, data):
            """Kernel state of a chain: each unconstrained parameter within 1 of its prior median."""
            z = unconstrain_fn(seed(model, key), (data,), {}, prior_medians(study, self.settings, data))
            for i, name in enumerate(sorted(z)):
                z[name] += jax.random.uniform(jax.random.fold_in(key, i), jnp.shape(z[name]), minval=-1.0)
            return kernel(z, _raw(jax.random.fold_in(key, len(z))), data)[0]

        def block(state, data, n):
            return _block(kernel(state.z, state.rng_key, data)[1], state, data, n)

        def constrain(z, data):
            one = partial(constrain_fn, seed(model, jax.random.key(0)), (data,), {}, return_deterministic=True)
            return jax.vmap(jax.vmap(one))(z)

        self._start, self._block, self._constrain = jax.jit(start), jax.jit(block), jax.jit(constrain)

    def start(self, key, data: Design):
        """Kernel state of one chain."""
        with jax.enable_x64(True):
            return self._start(key, data)

    def advance(self, state, data: Design, n: int):
        """``n`` (at most `BLOCK`) transitions: the new state and the n draws."""
        with jax.enable_x64(True):
            state, kept = self._block(state, data, n)
            return jax.block_until_ready(state), jax.tree.map(lambda x: np.asarray(x)[:n], kept)

    def constrain(self, z, data: Design) -> dict:
        """Parameters on their own scale from unconstrained draws [chain, draw, ...]."""
        with jax.enable_x64(True):
            return {name: np.asarray(value) for name, value in self._constrain(z, data).items()
                    if not name.endswith(SCORE)}


def _raw(key):
    """Key data that a checkpoint can store as numbers."""
    return jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key


def _block(step, state, data, n):
    def kept(state):
        return {"z": state.z, "diverging": state.diverging, "num_steps": state.num_steps,
                "accept": state.accept_prob}

    def one(i, carry):
        state, buffers = carry
        state = step(state, model_args=(data,))
        return state, jax.tree.map(lambda b, x: b.at[i].set(x), buffers, kept(state))

    buffers = jax.tree.map(lambda x: jnp.zeros((BLOCK, *jnp.shape(x)), jnp.result_type(x)), kept(state))
    return jax.lax.fori_loop(0, n, one, (state, buffers))


def fit(key, study: Study, trials: Trials, *, warmup=500, samples=1000, chains=4, leave_out=None,
        sampler=None, progress=None, checkpoint=None, resume=None, threads=2, throw=True) -> Posterior:
    """Posterior of the outcome model by NUTS in float64.

    Parameters
    ----------
    warmup, samples : int
        Transitions of each chain before and after adaptation ends.
    leave_out : str, optional
        A trial whose rows give no information.
    sampler : Sampler, optional
        Compiled programs of an earlier fit of the same study, table and warm-up.
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
    for name, value in (("warmup", warmup), ("samples", samples), ("chains", chains), ("threads", threads)):
        if not (isinstance(value, int) and value > 0):
            raise BadInput(f"fit.{name}", value, "not a whole number above 0", f"give {name} above 0")
    if samples < 8:
        raise BadInput("fit.samples", samples, "too few draws to judge a chain", "give at least 8")
    sampler = sampler or Sampler(study, trials, warmup)
    if sampler.warmup != warmup or sampler.study is not study:
        raise BadInput("fit.sampler", sampler.warmup, "compiled for another study or warm-up", "make a new Sampler")
    data = design(study, trials, leave_out)
    state = _sample(key, sampler, data, (warmup, samples, chains, leave_out), progress, checkpoint, resume, threads)
    return _posterior(sampler, data, state, leave_out, throw)


def _sample(key, sampler, data, inputs, progress, checkpoint, resume, threads) -> Checkpoint:
    warmup, samples, chains, _ = inputs
    total = warmup + samples
    with jax.enable_x64(True):
        inputs = (*inputs, tuple(np.asarray(_raw(key)).ravel().tolist()))
        if resume is not None and resume.inputs != inputs:
            raise BadInput("fit.resume", resume.inputs, f"the checkpoint is not of {inputs}",
                           "resume with the inputs of the interrupted fit")
        state = resume or Checkpoint(0, [sampler.start(jax.random.fold_in(key, c), data) for c in range(chains)],
                                     [], inputs)
    with _watched(progress, total * chains) as told, ThreadPoolExecutor(threads) as pool:
        told("step", state.done * chains)
        while state.done < total:
            edge = warmup if state.done < warmup else total
            n = min(BLOCK, edge - state.done)
            # a list, so that every chain ends its block before the checkpoint
            ended = list(pool.map(lambda s, n=n: sampler.advance(s, data, n), state.states))
            kept = [draws for _, draws in ended] if state.done >= warmup else None
            state = Checkpoint(state.done + n, [s for s, _ in ended],
                               [*state.draws, kept] if kept else state.draws, inputs)
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
    joined = [jax.tree.map(lambda *x: np.concatenate(x), *[block[c] for block in state.draws])
              for c in range(chains)]
    kept = jax.tree.map(lambda *x: np.stack(x), *joined)
    values = sampler.constrain(kept["z"], data)
    diagnostics = {name: diagnose(value) for name, value in _scalars(values).items()}
    divergences = int(kept["diverging"].sum())
    problems = _problems(diagnostics, divergences)
    if throw and problems:
        raise Failure(*problems[0])
    return Posterior(values, diagnostics, divergences, kept["num_steps"], kept["accept"],
                     np.asarray(data.mask), leave_out, tuple(f"{name}: {text}" for name, text in problems))


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
        problems.append(("nan", f"draws of {', '.join(bad)} are not finite or do not move; check priors and exposure"))
    if divergences:
        problems.append(("divergence", f"{divergences} divergent transitions; raise warmup or tighten priors"))
    if bad := [f"{n} {d['r_hat']:.3f}" for n, d in diagnostics.items() if d["r_hat"] >= R_HAT_LIMIT]:
        problems.append(("r_hat", f"R-hat at or above {R_HAT_LIMIT}: {', '.join(bad)}; raise warmup and samples"))
    low = {n: min(d["ess_bulk"], d["ess_tail"]) for n, d in diagnostics.items()}
    if bad := [f"{n} {v:.0f}" for n, v in low.items() if v <= ESS_LIMIT]:
        problems.append(("ess", f"effective sample size at or below {ESS_LIMIT:.0f}: {', '.join(bad)}; raise samples"))
    return problems


def fit_leave_one_out(key, study: Study, trials: Trials, *, sampler=None, warmup=500, **options) -> dict:
    """Posterior for each trial left out, by name of the trial; options as for `fit`."""
    sampler = sampler or Sampler(study, trials, warmup)
    return {name: fit(jax.random.fold_in(key, i + 1), study, trials, sampler=sampler, warmup=warmup,
                      leave_out=name, **options)
            for i, name in enumerate(trials.names)}
