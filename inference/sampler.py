"""One compiled NUTS program for a study, used by every chain and every fit of it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.handlers import seed
from numpyro.infer.hmc import hmc
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from gabatone.inference.model import SCORE, Design, prior_medians, trial_model
from gabatone.inference.study import Study

TARGET_ACCEPT = 0.9
# runs once a chain: compiling it well would cost more than it saves
_QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
BLOCK = 50


class Sampler:
    """The compiled programs for one study, its settings and warm-up length; shared between fits."""

    def __init__(self, study: Study, settings, warmup: int, target_accept: float = TARGET_ACCEPT):
        self.study, self.warmup = study, warmup
        self.settings = tuple(settings)
        model = partial(trial_model, study, self.settings)
        options = dict(num_warmup=warmup, target_accept_prob=target_accept, trajectory_length=None)

        def energy(data):
            return lambda z: potential_energy(model, (data,), {}, z)

        def kernel(z, key, data):
            # the step function closes over what init sets up, so both are made in one trace
            init, step = hmc(potential_fn_gen=energy)
            return init(
                z, model_args=(data,), rng_key=key, dense_mass=[tuple(sorted(z))], **options
            ), step

        def start(key, data):
            """Kernel state of a chain: each unconstrained parameter within 1 of its prior median."""
            z = unconstrain_fn(
                seed(model, key), (data,), {}, prior_medians(study, self.settings, data)
            )
            for i, name in enumerate(sorted(z)):
                z[name] += jax.random.uniform(
                    jax.random.fold_in(key, i), jnp.shape(z[name]), minval=-1.0
                )
            return kernel(z, key_numbers(jax.random.fold_in(key, len(z))), data)[0]

        def block(state, data, n):
            return _block(kernel(state.z, state.rng_key, data)[1], state, data, n)

        def constrain(z, data):
            one = partial(
                constrain_fn, seed(model, jax.random.key(0)), (data,), {}, return_deterministic=True
            )
            return jax.vmap(jax.vmap(one))(z)

        self._start, self._block, self._constrain = (
            jax.jit(start, compiler_options=_QUICKLY),
            jax.jit(block),
            jax.jit(constrain),
        )

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
            return {
                name: np.asarray(value)
                for name, value in self._constrain(z, data).items()
                if not name.endswith(SCORE)
            }


def key_numbers(key):
    """Key data that a checkpoint can store as numbers."""
    return jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key


def _block(step, state, data, n):
    def kept(state):
        return {
            "z": state.z,
            "diverging": state.diverging,
            "num_steps": state.num_steps,
            "accept": state.accept_prob,
        }

    def one(i, carry):
        state, buffers = carry
        state = step(state, model_args=(data,))
        return state, jax.tree.map(lambda b, x: b.at[i].set(x), buffers, kept(state))

    buffers = jax.tree.map(
        lambda x: jnp.zeros((BLOCK, *jnp.shape(x)), jnp.result_type(x)), kept(state)
    )
    return jax.lax.fori_loop(0, n, one, (state, buffers))
