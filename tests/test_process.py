from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import make_picture

from uqdm.exact.fixed_point import round_kernels
from uqdm.nested import network as networks
from uqdm.nested.loss import NestedLoss
from uqdm.transforms.wavelet import analysis


@pytest.fixture(scope="module")
def coefficients(tiny_model):
    return analysis(jnp.asarray(make_picture(48, 40), jnp.float32)[None], tiny_model.block)


def all_terms(model, coefficients):
    """Terms of every step of a picture: one batch."""
    steps = jnp.arange(model.steps + 1)
    network = partial(networks.apply, model.network, jax.device_put(model.parameters), quantized=True)
    pictures = jnp.broadcast_to(coefficients, (len(steps), *coefficients.shape[1:]))
    return jax.jit(NestedLoss(model.schedule), static_argnums=0)(network, pictures, steps, jax.random.key(0))


def test_the_loss_is_the_length_of_the_real_stream(tiny_model):
    """The training loss has no ticks, tables or coder; the file must cost the same all the same."""
    from uqdm.codec.api import encode_with_costs

    picture = make_picture(48, 40)
    coefficients = analysis(jnp.asarray(picture, jnp.float32)[None], tiny_model.block)
    _, costs = encode_with_costs(picture, model=tiny_model)
    terms, bits, halved = all_terms(tiny_model, coefficients), [], 0.0
    for step, own, later in zip(tiny_model.schedule.steps, *np.asarray(terms[:2])[:, :-1], strict=True):
        bits.append(halved if step.halving else own)
        halved = 0.0 if step.halving else halved + later
    bits = np.array(bits)
    real = np.diff([cost.ideal_bits for cost in costs])
    # Shifts differ, so steps agree within sampling noise only; the whole within 2 %.
    assert bits.sum() == pytest.approx(real.sum(), rel=0.02)
    np.testing.assert_allclose(bits, real, rtol=0.15, atol=12)


def test_the_error_falls_with_every_level_and_is_bounded_by_the_cells(tiny_model, coefficients):
    rates, _, errors = all_terms(tiny_model, coefficients)
    assert errors[-1] < tiny_model.schedule.finest_width**2
    assert errors[-1] < errors[4] < errors[0]
    assert rates[-1] == 0


def test_gradients_reach_every_parameter(tiny_model, coefficients):
    """Each table row is for one step, so all steps together must touch everything that is used."""

    steps = jnp.arange(tiny_model.steps + 1)
    pictures = jnp.broadcast_to(coefficients, (len(steps), *coefficients.shape[1:]))

    def total(parameters):
        network = partial(networks.apply, tiny_model.network, round_kernels(parameters), quantized=True)
        got = NestedLoss(tiny_model.schedule)(network, pictures, steps, jax.random.key(0))
        return jnp.sum(got.rate_bits + got.halving_bits) + 100 * jnp.sum(got.squared_error)

    start = jax.tree.map(lambda leaf: jnp.asarray(leaf) + 0.01, tiny_model.parameters)
    for name in ("ceilings", "local_ceilings"):
        start[name] = jnp.full_like(start[name], 0.1)  # low enough to be reached
    for path, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(total))(start)):
        assert np.isfinite(gradient).all(), path
        assert np.abs(gradient).max() > 0, path
