import jax.numpy as jnp
import numpy as np
import pytest
from pictures import make_picture

import uqdm
from uqdm.codec.api import encode_with_costs, receiver_of
from uqdm.contract import steps_until
from uqdm.metrics import psnr_db
from uqdm.reconstruction import Sample

SIZES = [(1, 1), (1, 9), (8, 8), (17, 5), (48, 40)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_size_comes_back_as_it_was_sent(tiny_model, height, width):
    picture = make_picture(height, width)
    decoded = uqdm.decode(uqdm.encode(picture, model=tiny_model), model=tiny_model)
    assert decoded.shape == picture.shape
    assert decoded.dtype == np.uint8
    assert psnr_db(picture, decoded) > 38


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_files_are_as_long_as_the_model_says(tiny_model, seed):
    picture = make_picture(48, 40)
    data, costs = encode_with_costs(picture, model=tiny_model, seed=seed)
    for cost in costs:
        assert cost.file_bytes <= 1.003 * cost.ideal_bits / 8 + 24
        assert cost.file_bytes >= cost.ideal_bits / 8
    assert costs[-1].file_bytes <= len(data) <= 1.003 * costs[-1].ideal_bits / 8 + 24


def test_every_prefix_is_a_picture_and_more_bytes_never_hurt(tiny_model):
    picture = make_picture(13, 16)
    data = uqdm.encode(picture, model=tiny_model)
    start = uqdm.info(data)["header_bytes"]
    quality = [psnr_db(picture, uqdm.decode(data[:n], model=tiny_model)) for n in range(start, len(data) + 1)]
    assert min(np.diff(quality)) > -0.1
    whole = uqdm.decode(data, model=tiny_model)
    assert quality[-1] == psnr_db(picture, whole)
    assert quality[-1] > quality[0] + 15


def test_a_step_is_determined_at_the_byte_that_the_encoder_names(tiny_model):
    picture = make_picture(40, 32)
    data, costs = encode_with_costs(picture, model=tiny_model)
    receiver = receiver_of(data[: costs[0].file_bytes], model=tiny_model)
    for step, (before, cost) in enumerate(zip(costs, costs[1:], strict=False), start=1):
        if cost.file_bytes - 3 > before.file_bytes:
            receiver.feed(data[receiver.file_bytes : cost.file_bytes - 3])  # a check value may take two bytes
            assert not receiver.receive()
        receiver.feed(data[receiver.file_bytes : cost.file_bytes])
        assert receiver.receive()
        assert receiver.step == step
        assert receiver.needed_bytes == cost.file_bytes


def test_previews_are_the_pictures_of_whole_steps(tiny_model):
    """The same picture as a stream that ends there; its prefix may tell a little of the next step besides."""
    picture = make_picture(32, 24)
    data = uqdm.encode(picture, model=tiny_model)
    shown = list(uqdm.previews(data, model=tiny_model))
    assert [p.step for p in shown] == list(range(tiny_model.steps + 1))
    for preview in shown:
        tau = 1 - preview.step / tiny_model.steps
        np.testing.assert_array_equal(
            preview.picture, uqdm.decode(uqdm.encode(picture, tau, model=tiny_model), model=tiny_model)
        )


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_bytes_may_arrive_in_pieces(tiny_model, piece):
    data = uqdm.encode(make_picture(16, 16), model=tiny_model)
    pieces = (data[i : i + piece] for i in range(0, len(data), piece))
    at_once, arriving = list(uqdm.previews(data, model=tiny_model)), list(uqdm.previews(pieces, model=tiny_model))
    for a, b in zip(at_once, arriving, strict=True):
        np.testing.assert_array_equal(a.picture, b.picture)
        assert a[1:3] == b[1:3]
        assert a.file_bytes - 2 <= b.file_bytes <= a.file_bytes  # shown before a check value has arrived


def test_a_cut_stream_ends_with_what_is_left_over(tiny_model):
    data = uqdm.encode(make_picture(32, 32), model=tiny_model)
    last = list(uqdm.previews(data[: len(data) * 2 // 3], model=tiny_model))[-1]
    assert last.file_bytes == len(data) * 2 // 3
    np.testing.assert_array_equal(last.picture, uqdm.decode(data[: last.file_bytes], model=tiny_model))


@pytest.mark.parametrize("tau", [1.0, 0.6, 0.3, 0.0])
def test_sending_less_is_a_prefix_of_sending_all(tiny_model, tau):
    picture = make_picture(32, 32)
    whole, costs = encode_with_costs(picture, model=tiny_model)
    part = uqdm.encode(picture, tau, model=tiny_model)
    steps = steps_until(tau, tiny_model.steps)
    assert uqdm.info(part)["steps"] == steps
    payload = part[uqdm.info(part)["header_bytes"] :]
    start = uqdm.info(whole)["header_bytes"]
    common = costs[steps].file_bytes - start - 2
    assert payload[:common] == whole[start : start + common]


def test_jax_arrays_and_batches_give_the_same_streams(tiny_model):
    pictures = [make_picture(16, 24, seed) for seed in range(3)]
    streams = [uqdm.encode(p, model=tiny_model) for p in pictures]
    assert uqdm.encode(jnp.asarray(pictures[0]), model=tiny_model) == streams[0]
    assert uqdm.encode_batch(np.stack(pictures), model=tiny_model) == streams
    mixed = [*pictures, make_picture(9, 9)]
    together = uqdm.encode_batch(mixed, model=tiny_model)
    assert together[:3] == streams
    cut = [together[0], together[1][:200], together[2][:90], together[3]]
    for batch, data in zip(uqdm.decode_batch(cut, model=tiny_model), cut, strict=True):
        np.testing.assert_array_equal(batch, uqdm.decode(data, model=tiny_model))


def test_what_was_verified_before_damage_decodes(tiny_model):
    picture = make_picture(128, 96)
    data = uqdm.encode(picture, model=tiny_model)
    damaged = bytearray(data)
    damaged[len(data) * 9 // 10] ^= 1
    with pytest.raises(uqdm.DamagedStreamError, match="bytes are verified") as caught:
        uqdm.decode(bytes(damaged), model=tiny_model)
    good = caught.value.good_bytes
    assert len(data) // 3 < good <= len(data) * 9 // 10
    decoded = uqdm.decode(bytes(damaged[:good]), model=tiny_model)
    np.testing.assert_array_equal(decoded, uqdm.decode(data[:good], model=tiny_model))
    assert psnr_db(picture, decoded) > 20


def test_the_seed_changes_the_stream_and_not_the_quality(tiny_model):
    picture = make_picture(48, 40)
    streams = [uqdm.encode(picture, model=tiny_model, seed=seed) for seed in (0, 1)]
    assert streams[0] != streams[1]
    first, second = (psnr_db(picture, uqdm.decode(s, model=tiny_model)) for s in streams)
    assert first == pytest.approx(second, abs=0.4)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(tiny_model, picture):
    with pytest.raises(ValueError, match="a picture"):
        uqdm.encode(picture, model=tiny_model)


def test_extreme_pictures_survive(tiny_model):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    checks = np.tile(np.array([[0, 255], [255, 0]], np.uint8)[..., None], (8, 8, 3))
    for picture in (noise, checks, np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)):
        decoded = uqdm.decode(uqdm.encode(picture, model=tiny_model), model=tiny_model)
        assert psnr_db(picture, decoded) > 38


def test_another_models_stream_is_refused(tiny_model):
    data = bytearray(uqdm.encode(make_picture(8, 8), model=tiny_model))
    header, start = uqdm.codec.container.unpack(bytes(data))
    other = uqdm.codec.container.pack(header._replace(model_id=b"none")) + bytes(data[start:])
    with pytest.raises(uqdm.ModelMismatchError, match="made with model 6e6f6e65"):
        uqdm.decode(other, model=tiny_model)


def test_damage_is_reported_and_never_shown(tiny_model):
    """Every flipped bit of the payload either is noticed or lies in padding that means nothing."""
    picture = make_picture(24, 24)
    data = uqdm.encode(picture, model=tiny_model)
    whole, start = uqdm.decode(data, model=tiny_model), uqdm.info(data)["header_bytes"]
    rng = np.random.default_rng(0)
    noticed = 0
    for _ in range(100):
        damaged = bytearray(data)
        bit = int(rng.integers(8 * start, 8 * len(data)))
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            decoded = uqdm.decode(bytes(damaged), model=tiny_model)
        except uqdm.DamagedStreamError:
            noticed += 1
        else:
            np.testing.assert_array_equal(decoded, whole)
    assert noticed >= 95


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        kind, at = rng.integers(4), int(rng.integers(len(out) + 1))
        if kind == 0 and at < len(out):
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            out = out[:at]
        elif kind == 2:
            out[at:at] = rng.bytes(int(rng.integers(1, 9)))
        else:
            out[at : at + 8] = rng.bytes(min(8, len(out) - at))
        if not out:
            break
    return bytes(out)


def survive(data: bytes, model, count: int, seed: int) -> dict[str, int]:
    rng, outcomes = np.random.default_rng(seed), {}
    shape = uqdm.decode(data, model=model).shape
    for _ in range(count):
        try:
            decoded = uqdm.decode(mutated(data, rng), model=model)
            outcome = "decoded"
            assert decoded.shape == shape
        except uqdm.StreamError as error:
            outcome = type(error).__name__
            assert "\n" not in str(error)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


def test_mutated_streams_end_in_a_picture_or_one_line(tiny_model):
    outcomes = survive(uqdm.encode(make_picture(16, 16), model=tiny_model), tiny_model, 200, 0)
    assert set(outcomes) <= {"decoded", "FormatError", "ModelMismatchError", "DamagedStreamError"}
    assert outcomes["DamagedStreamError"] > 10


@pytest.mark.slow
def test_ten_thousand_mutated_streams(tiny_model):
    outcomes = survive(uqdm.encode(make_picture(16, 16), model=tiny_model), tiny_model, 10_000, 1)
    assert sum(outcomes.values()) == 10_000
    assert outcomes["DamagedStreamError"] > 1000


@pytest.mark.parametrize("realism", [0.0, 0.25, 1.0])
def test_realism_mixes_the_mean_and_a_draw(tiny_model, realism):
    picture = make_picture(24, 32)
    prefix = uqdm.encode(picture, model=tiny_model)[:200]
    mean, draw = (uqdm.decode(prefix, model=tiny_model, reconstruction=way) for way in ("denoise", Sample(seed=3)))
    mixed = uqdm.decode(prefix, model=tiny_model, reconstruction=Sample(seed=3), realism=realism)
    between = (1 - realism) * mean.astype(float) + realism * draw.astype(float)
    np.testing.assert_allclose(mixed, between, atol=0.5)
    assert (mean != draw).any()


def test_realism_outside_of_its_range_is_refused(tiny_model):
    data = uqdm.encode(make_picture(4, 4), model=tiny_model)
    with pytest.raises(ValueError, match="realism must lie in"):
        uqdm.decode(data, model=tiny_model, realism=1.5)
