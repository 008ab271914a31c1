import jax.numpy as jnp
import numpy as np
import pytest

from uqdm.transforms import integer_wavelet
from uqdm.transforms.wavelet import analysis, grid_shape, layout, pack, pad_to_blocks, synthesis, unpack


@pytest.fixture
def pictures():
    return jnp.asarray(np.random.default_rng(0).uniform(0, 255, (2, 32, 48, 3)), jnp.float32)


@pytest.mark.parametrize("block", [2, 8, 16])
def test_the_transform_is_inverted(pictures, block):
    coefficients = analysis(pictures, block)
    assert coefficients.shape == (2, 32 // block, 48 // block, 3 * block**2)
    np.testing.assert_allclose(synthesis(coefficients, block), pictures, atol=1e-3)


def test_errors_of_coefficients_are_errors_of_pixels():
    """Within 10 % for white noise in any band, away from the border."""
    channels, rng = layout(16), np.random.default_rng(1)
    grey = jnp.full((1, 256, 256, 3), 127.5)
    for band in range(13):
        noise = rng.normal(0, 1, (1, 16, 16, 768)) * (channels.band == band)
        noise[:, [0, 1, 2, -3, -2, -1]] = noise[:, :, [0, 1, 2, -3, -2, -1]] = 0
        pixels = synthesis(jnp.asarray(noise, jnp.float32), 16) - grey
        assert float(jnp.sum(pixels**2)) == pytest.approx(np.sum(noise**2), rel=0.1), band


@pytest.mark.parametrize("block", [1, 12, 128])
def test_impossible_blocks_are_refused(block):
    with pytest.raises(ValueError, match="power of two"):
        layout(block)


def test_blocks_are_made_of_bands(pictures):
    coefficients, channels = analysis(pictures, 8), layout(8)
    assert channels.band.shape == (192,)
    bands = unpack(coefficients, 8)
    assert [band.shape[1:3] for band in bands] == [(4, 6), (4, 6), (8, 12), (16, 24)]
    np.testing.assert_array_equal(pack(bands, 8), coefficients)
    # Channel by channel against the layout: block (2, 3), finest octave.
    for channel in np.flatnonzero(channels.side == 4)[::7]:
        orientation = (channels.band[channel] - 1) % 3
        row, column = 2 * 4 + channels.row[channel], 3 * 4 + channels.column[channel]
        expected = bands[3][0, row, column, orientation, channels.colour[channel]]
        assert coefficients[0, 2, 3, channel] == expected


def test_a_grey_picture_has_a_low_pass_band_only():
    coefficients, channels = np.asarray(analysis(jnp.full((1, 32, 32, 3), 227.5), 16)), layout(16)
    low = coefficients[..., (channels.band == 0) & (channels.colour == 0)]
    np.testing.assert_allclose(low, 100 * np.sqrt(3) * 16 * 1.0585, rtol=2e-3)
    assert np.abs(coefficients[..., (channels.band > 0) | (channels.colour > 0)]).max() < 1e-2


def test_padding_repeats_the_last_row_and_column():
    x = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    padded = pad_to_blocks(x, 4)
    assert padded.shape == (4, 4, 3)
    np.testing.assert_array_equal(padded[:2, :3], x)
    np.testing.assert_array_equal(padded[3, 3], x[1, 2])
    assert grid_shape(2, 3, 4) == (1, 1)
    assert grid_shape(17, 16, 16) == (2, 1)


@pytest.mark.parametrize("block", [2, 8, 16, 64])
def test_pictures_are_made_in_strips_without_a_difference(block):
    rng = np.random.default_rng(block)
    doubled = np.rint(rng.normal(0, 4000, (23, 2, 3 * block**2))).astype(np.int32)
    whole = (integer_wavelet.synthesis(doubled, block, 2.5) + 128) >> 8
    np.testing.assert_array_equal(integer_wavelet.pixels_of(doubled, block, 2.5, rows=4), whole)
