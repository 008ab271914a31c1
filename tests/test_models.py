"""Every model goes through the same laws: a new one gets them all by a row of CASES in model_cases.py.

Pictures and seeds are fixed, so that outcomes are.
"""

import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import (
    CASES,
    EXTREME,
    LARGE,
    LYING_PIXELS,
    RIGHT_DRAWS,
    SMALL,
    WRONG,
    Case,
    check,
    check_value,
    digest,
    exact_pixels,
    forward_noise,
    reconstruct,
    sent,
    with_header,
)

import uqdm
from uqdm.codec.api import receiver_of
from uqdm.codec.container import unpack
from uqdm.codec.loop import Receiver
from uqdm.contract import times_of
from uqdm.metrics import psnr_db

CHECK_INTERVAL_BYTES = 1024

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_lossless = pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.lossless], ids=[name for name in CASES if CASES[name].lossless]
)


def quality_db(case: Case, picture: np.ndarray, shown: np.ndarray) -> float:
    """PSNR beside the best that the model can show, 100 if there is no difference."""
    assert shown.dtype == np.uint8
    assert shown.shape == picture.shape
    return min(100.0, psnr_db(case.shown(picture), shown))


def receive(decoder: Receiver, data: bytes) -> np.ndarray:
    """What a decoder shows when so much of a stream has arrived."""
    decoder.feed(data[decoder.file_bytes :])
    while decoder.receive():
        pass
    return decoder.picture()


def prefix_of(case: Case, name: str, share: float) -> bytes:
    """The header and a share of the payload."""
    _, data, _, start = sent(case, name)
    return data[: start + int(share * (len(data) - start))]


# What is sent is what is received.


@pytest.mark.parametrize("name", SMALL + LARGE + EXTREME)
@each_case
def test_pictures_come_back_as_they_were_sent(case, name):
    picture, data, _, _ = sent(case, name)
    shown = case.decode(data)
    np.testing.assert_array_equal(shown, receive(receiver_of(data, model=case.model), data))
    assert quality_db(case, picture, shown) > case.psnr_db
    assert not case.lossless or (shown == picture).all()
    check(data, picture, case.model)
    check(prefix_of(case, name, 2 / 3), picture, case.model)


@pytest.mark.parametrize("name", ["large", "noise", "black"])
@each_case
def test_a_state_is_not_that_of_another_picture(case, name):
    picture, data, _, _ = sent(case, name)
    other = 255 - picture
    with pytest.raises(uqdm.DamagedStreamError, match="another picture"):
        check(data, other, case.model)


@pytest.mark.parametrize("name", SMALL + EXTREME)
@pytest.mark.parametrize("tau", [1.0, 0.5, 0.0])
@each_lossless
def test_a_lossless_stream_is_exact_wherever_its_residual_begins(case, name, tau):
    picture = case.picture(name)
    data = case.encode(picture, tau, seed=7)
    assert uqdm.info(data)["lossless"]
    np.testing.assert_array_equal(case.decode(data), picture)
    check(data, picture, case.model)


@each_lossless
def test_a_single_wrong_pixel_is_seen_by_the_check(case):
    picture = case.picture("small")
    data, other = case.encode(picture, 1.0), np.array(picture)
    other[3, 4, 1] ^= 1
    with pytest.raises(uqdm.DamagedStreamError, match="what was decoded is of another picture"):
        check(data, other, case.model)


def test_a_fresh_process_decodes_the_streams(tmp_path):
    """Of models that stay in no file of this project: for the nested process there are golden streams."""
    names = [name for name in CASES if not name.startswith("nested")]
    streams = {name: sent(CASES[name], "small").data for name in names}
    (tmp_path / "streams").write_bytes(pickle.dumps(streams))
    program = (
        "import pickle, sys, model_cases as t\n"
        "streams = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print({name: t.digest(t.CASES[name].decode(data)) for name, data in streams.items()})\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "streams")],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str({name: digest(CASES[name].decode(data)) for name, data in streams.items()})


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].forward and not CASES[name].lossless])
def test_the_last_state_has_the_forward_process_law(name):
    """z_0 - alpha_0 x is white noise of deviation sigma_0, not more: all information has arrived. 4 deviations."""
    case, noise = CASES[name], []
    for large in ("large", "second", "noise"):
        picture, data, _, _ = sent(case, large)
        decoder = receiver_of(data, model=case.model)
        receive(decoder, data)
        noise.append(forward_noise(decoder, picture).reshape(-1))
    noise = np.concatenate(noise)
    assert abs(noise.mean()) < 4 / noise.size**0.5
    assert noise.std() == pytest.approx(1.0, abs=4 / (2 * noise.size) ** 0.5)


# Any prefix.


def walk(case: Case, name: str, stride: int) -> None:
    """Every prefix is a picture, and more bytes do not make it worse."""
    picture, data, costs, start = sent(case, name)
    decoder = receiver_of(data[:start], model=case.model)
    sizes = [*range(start, len(data), stride), len(data)]
    quality, exact = [], []
    for size in sizes:
        shown = receive(decoder, data[:size])
        quality.append(quality_db(case, picture, shown))
        if (pixels := exact_pixels(decoder)) is not None:
            known, determined = pixels
            np.testing.assert_array_equal(known[determined], picture[determined])
            np.testing.assert_array_equal(shown[determined], picture[determined])
            exact.append(determined.mean())
        if len(quality) % (1 + len(sizes) // 12) == 0:
            np.testing.assert_array_equal(shown, case.decode(data[:size]))
    assert decoder.complete
    assert decoder.step == len(costs) - 1
    assert quality[-1] == quality_db(case, picture, case.decode(data))
    if name not in SMALL:
        assert min(np.diff(quality)) > -case.fall_db
        assert quality[-1] > quality[0] + 15
    if case.lossless:
        assert exact == sorted(exact)
        assert exact[-1] == 1
        assert len(set(exact)) > 10
        assert quality[-len(exact) :] == sorted(quality[-len(exact) :])


@each_case
def test_every_byte_of_a_small_stream_may_be_the_last(case):
    walk(case, "small", 1)


@each_case
def test_every_prefix_is_a_picture_and_more_bytes_never_hurt(case):
    walk(case, "large", case.stride)


@each_case
def test_a_step_is_determined_at_the_byte_that_the_encoder_names(case):
    _, data, costs, start = sent(case, "large")
    assert costs[0].file_bytes == start
    decoder = receiver_of(data[:start], model=case.model)
    for step, (before, cost) in enumerate(zip(costs, costs[1:], strict=False), start=1):
        if cost.file_bytes - 5 > before.file_bytes:  # the two bytes of a check value may end four bytes later
            decoder.feed(data[decoder.file_bytes : cost.file_bytes - 5])
            assert not decoder.receive()
        decoder.feed(data[decoder.file_bytes : cost.file_bytes])
        assert decoder.receive()
        assert decoder.step == step
        assert decoder.needed_bytes == cost.file_bytes
    assert decoder.needed_bytes <= len(data)


@pytest.mark.parametrize("name", ["small", "large"])
@each_case
def test_previews_are_those_of_complete_steps(case, name):
    picture, data, costs, _ = sent(case, name)
    shown = list(uqdm.previews(data, model=case.model))
    assert [preview.step for preview in shown] == list(range(len(costs)))
    assert [preview.file_bytes for preview in shown] == [cost.file_bytes for cost in costs]
    assert {preview.steps for preview in shown} == {len(costs) - 1}
    np.testing.assert_array_equal(shown[-1].picture, case.decode(data))
    # Nothing depends on what was shown before.
    for preview in shown[:: 1 + len(shown) // 8]:
        decoder = receiver_of(data, model=case.model)
        for _ in range(preview.step):
            assert decoder.receive()
        np.testing.assert_array_equal(decoder.picture(), preview.picture)
        assert quality_db(case, picture, preview.picture) > 0


@each_case
def test_a_cut_stream_ends_with_what_is_left_over(case):
    _, data, costs, _ = sent(case, "large")
    cut = data[: costs[-1].file_bytes - 8]
    last = list(uqdm.previews(cut, model=case.model))[-1]
    assert last.step == len(costs) - 2
    np.testing.assert_array_equal(last.picture, case.decode(cut))
    assert last.file_bytes == len(cut) or not case.partial


@pytest.mark.parametrize("piece", [1, 7, 100])
@each_case
def test_bytes_may_arrive_in_pieces(case, piece):
    data = sent(case, "small").data
    for size in (len(data), (3 * len(data)) // 4):
        pieces = (data[i : min(size, i + piece)] for i in range(0, size, piece))
        at_once, arriving = (list(uqdm.previews(given, model=case.model)) for given in (data[:size], pieces))
        for a, b in zip(at_once, arriving, strict=True):
            np.testing.assert_array_equal(a.picture, b.picture)
            assert a[1:3] == b[1:3]
            assert a.file_bytes - 3 <= b.file_bytes <= a.file_bytes  # shown before a check value has arrived


# What it costs.


@pytest.mark.parametrize(("name", "seed"), [("large", 0), ("noise", 0), ("small", 1), ("small", 2**32 - 1)])
@each_case
def test_files_are_as_long_as_the_model_says(case, name, seed):
    _, data, costs, start = sent(case, name, seed)
    assert costs[0] == (0.0, start)
    for before, cost in zip(costs, costs[1:], strict=False):
        assert cost.ideal_bits >= before.ideal_bits
        assert cost.file_bytes >= before.file_bytes
        assert cost.ideal_bits / 8 - 1 <= cost.file_bytes - start <= 1.003 * cost.ideal_bits / 8 + 6
    assert costs[-1].file_bytes <= len(data) <= start + 1.003 * costs[-1].ideal_bits / 8 + 6


@pytest.mark.parametrize("tau", [1.0, 0.6, 0.3, 0.0])
@each_case
def test_sending_less_is_a_prefix_of_sending_all(case, tau):
    """And shows what the preview after as many steps shows, of a lossless stream as well."""
    picture, model = case.picture("small"), case.model
    _, whole, costs, start = sent(case, "small")
    part = uqdm.encode(picture, tau, model=model)
    facts, sent_steps = uqdm.info(part), uqdm.info(whole)["steps"]
    steps = sum(time >= tau - 1e-9 for time in times_of(model)[1:])
    assert facts["steps"] == steps
    assert len(part) > facts["header_bytes"] or steps == 0
    if steps <= sent_steps:
        common = costs[steps].file_bytes - start - 2  # the last bytes of a code word depend on what follows
        payload = part[facts["header_bytes"] :]
        assert payload[: max(0, common)] == whole[start : start + max(0, common)]
        preview = list(uqdm.previews(whole, model=model))[steps]
        np.testing.assert_array_equal(preview.picture, uqdm.decode(part, model=model))


@each_case
def test_no_steps_are_a_header(case):
    streams = [uqdm.encode(case.picture(name), 1.0, model=case.model, seed=5) for name in LARGE]
    assert streams[0] == streams[1]
    facts = uqdm.info(streams[0])
    assert facts["header_bytes"] == facts["complete_bytes"] == len(streams[0])
    assert facts["steps"] == 0
    (preview,) = uqdm.previews(streams[0], model=case.model)
    np.testing.assert_array_equal(preview.picture, case.decode(streams[0]))


@pytest.mark.parametrize("tau", [-0.1, 1.1])
@each_case
def test_times_out_of_range_are_refused(case, tau):
    with pytest.raises(ValueError, match="tau must lie in"):
        case.encode(case.picture("pixel"), tau)


# Many at once.


@each_case
def test_batches_and_jax_arrays_give_the_same(case):
    names = ("large", "second", "small")
    pictures, streams = zip(*(sent(case, name)[:2] for name in names), strict=True)
    options = {"lossless": case.lossless, "model": case.model}
    assert uqdm.encode_batch(pictures, **options) == list(streams)
    assert uqdm.encode_batch(np.stack(pictures[:2]), **options) == list(streams[:2])
    assert uqdm.encode(jnp.asarray(pictures[2]), **options) == streams[2]
    cut = [streams[0], prefix_of(case, "second", 0.5), prefix_of(case, "small", 0.8)]
    for together, data in zip(uqdm.decode_batch(cut, model=case.model), cut, strict=True):
        np.testing.assert_array_equal(together, case.decode(data))


@each_case
def test_batches_show_prefixes_that_lack_a_check_value(case):
    """The one after the steps, before a residual where there is one, or half of it."""
    _, data, costs, start = sent(case, "small")
    end = costs[unpack(data)[0].steps].file_bytes
    cut = [data[:size] for size in range(max(start, end - 4), min(end + 2, len(data)) + 1)]
    for together, one in zip(uqdm.decode_batch(cut, model=case.model), cut, strict=True):
        np.testing.assert_array_equal(together, case.decode(one))


# Damage.


@each_case
def test_damage_is_reported_and_never_shown(case):
    """Every flipped bit of the payload either is noticed or lies in padding that means nothing.

    But for those, one in 65,536, after which the 16 bits of a check value happen to be the same.
    """
    _, data, costs, start = sent(case, "small")
    whole, rng, noticed, missed = case.decode(data), np.random.default_rng(0), 0, 0
    for _ in range(40):
        damaged = bytearray(data)
        bit = int(rng.integers(8 * start, 8 * len(data)))
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            missed += not np.array_equal(case.decode(bytes(damaged)), whole)
        except uqdm.DamagedStreamError as error:
            noticed += 1
            assert error.good_bytes in [cost.file_bytes for cost in costs]
            good = case.decode(bytes(damaged[: error.good_bytes]))
            np.testing.assert_array_equal(good, case.decode(data[: error.good_bytes]))
    assert missed <= 1
    assert noticed >= 34


@each_case
def test_check_values_depend_on_all_that_was_sent(case):
    picture, values = case.picture("small"), []
    for places in (0, np.s_[0, 0, 0], np.s_[0, -1, 1], np.s_[3, 2, 2], np.s_[-1, 0, 2], np.s_[-1, -1, 1]):
        changed = np.array(picture)
        changed[places] ^= 0x80
        decoder = receiver_of(data := case.encode(changed), model=case.model)
        receive(decoder, data)
        values.append(tuple(check_value(decoder)))
    assert len(set(values)) == len(values)


def checked_steps(case: Case, name: str) -> list[int]:
    """Steps after which a check value is due: the last ones, and whenever a kilobyte has been sent since."""
    _, data, costs, start = sent(case, name)
    last, due = start, [0]
    for step, cost in enumerate(costs[1:], start=1):
        since = cost.file_bytes - last
        assert abs(since - CHECK_INTERVAL_BYTES) > 8, "words are counted, not bytes: take another picture"
        if step in (uqdm.info(data)["steps"], len(costs) - 1) or since > CHECK_INTERVAL_BYTES:
            last = cost.file_bytes
            due.append(step)
    return due


@each_case
def test_check_values_come_where_the_rule_says(case):
    """Damage is reported with the latest checked step before it, no earlier and no later one."""
    _, data, costs, _ = sent(case, "noise")
    due = checked_steps(case, "noise")
    assert len(due) >= 3
    for checked, coming in zip(due, due[1:], strict=False):
        first, end = costs[checked].file_bytes, costs[coming].file_bytes
        for place in {first + 3, (first + end) // 2, end - 8}:
            if first < place < end - 4:
                damaged = bytearray(data)
                damaged[place] ^= 0x55
                with pytest.raises(uqdm.DamagedStreamError, match="bytes are verified") as caught:
                    case.decode(bytes(damaged))
                assert (caught.value.step, caught.value.good_bytes) == (checked, first)


def mutated(data: bytes, rng: np.random.Generator, kinds: int) -> bytes:
    """Bits flipped, bytes replaced or put in, and, if there are four kinds, the end cut off."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        kind, at = rng.integers(kinds), int(rng.integers(len(out) + 1))
        if kind == 0 and at < len(out):
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            out[at : at + 8] = rng.bytes(len(out[at : at + 8]))
        elif kind == 2:
            out[at:at] = rng.bytes(int(rng.integers(1, 9)))
        else:
            out = out[:at]
    return bytes(out)


def survive(case: Case, count: int, seed: int, kinds: int) -> dict[str, int]:
    """How often streams with damage decode or end in one line."""
    data = sent(case, "small").data
    rng, outcomes, whole = np.random.default_rng(seed), {}, case.decode(data)
    for _ in range(count):
        try:
            decoded = case.decode(mutated(data, rng, kinds))
            outcome = "decoded" if (decoded == whole).all() else "another"
            assert decoded.shape == whole.shape
        except uqdm.StreamError as error:
            outcome = type(error).__name__
            assert "\n" not in str(error)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


@each_case
def test_mutated_streams_end_in_what_was_sent_or_in_one_line(case):
    outcomes = survive(case, 40, 0, kinds=3)
    assert set(outcomes) <= {"decoded", "FormatError", "ModelMismatchError", "DamagedStreamError"}
    assert outcomes["DamagedStreamError"] > 15


@each_case
def test_mutated_and_cut_streams_end_in_a_picture_or_in_one_line(case):
    outcomes = survive(case, 40, 1, kinds=4)
    headers = {"FormatError", "IncompleteHeaderError", "ModelMismatchError"}
    assert set(outcomes) <= {"decoded", "another", "DamagedStreamError"} | headers


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nested", "nested with an opening, lossless", "uniform", "DiffC", "on one page"])
def test_ten_thousand_mutated_streams(name):
    outcomes = survive(CASES[name], 10_000, 2, kinds=4)
    assert sum(outcomes.values()) == 10_000
    assert outcomes["DamagedStreamError"] > 1000


# Models and seeds.


@each_case
def test_another_models_stream_is_refused(case):
    data, model = sent(case, "pixel").data, case.model
    assert len(model.id) == 32
    assert uqdm.info(data)["model_id"] == model.id[:4].hex()
    with pytest.raises(uqdm.ModelMismatchError, match=f"made with model {model.id[:4].hex()}"):
        uqdm.decode(data, model=case.other())
    for other in CASES.values():
        if other.model.id != model.id:
            with pytest.raises(uqdm.ModelMismatchError, match="made with model"):
                other.decode(data)
    with pytest.raises(uqdm.ModelMismatchError, match="made with model 6e6f6e65, which this package has not"):
        uqdm.decode(with_header(data, model_id=b"none"))


@each_case
def test_steps_that_the_model_has_not_are_refused(case):
    data = with_header(sent(case, "pixel").data, steps=255)
    with pytest.raises(uqdm.DamagedStreamError, match=f"names 255 steps, the model has {case.model.steps}"):
        case.decode(data)


@each_case
def test_the_seed_is_stored_and_changes_the_stream_but_not_the_quality(case):
    quality = []
    for seed in (0, 1):
        picture, data, _, _ = sent(case, "large", seed)
        assert uqdm.info(data)["seed"] == seed
        assert case.encode(picture, seed=seed) == data
        quality.append(quality_db(case, picture, case.decode(data)))
    first, other = (sent(case, "large", seed) for seed in (0, 1))
    assert (first.data[first.start :] != other.data[other.start :]) == case.random
    assert quality[0] == pytest.approx(quality[1], abs=0.5)
    assert uqdm.info(sent(case, "small", 2**32 - 1).data)["seed"] == 2**32 - 1


@pytest.mark.parametrize("seed", [-1, 2**32])
@each_case
def test_seeds_out_of_range_are_refused(case, seed):
    with pytest.raises(ValueError, match="seed must be in"):
        case.encode(case.picture("pixel"), seed=seed)


# Reconstructions.


@each_case
def test_reconstructions_depend_on_the_prefix_and_their_seed_alone(case):
    prefix, model = prefix_of(case, "large", 1 / 3), case.model
    assert next(iter(case.ways)) == "denoise"
    for way, draws in case.ways.items():
        first, again, other = (reconstruct(prefix, model, way, seed) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any() == draws
        assert quality_db(case, sent(case, "large").picture, first) > 8
        denoised = case.decode(prefix)
        assert (first == denoised).all() == (way == "denoise")
        few = reconstruct(prefix, model, way, steps=1)
        assert few.dtype == np.uint8
        assert few.shape == denoised.shape


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_reconstructed_where_nothing_is_missing(name):
    case = CASES[name]
    _, data, _, _ = sent(case, "large")
    for way in case.ways:
        same = reconstruct(data, case.model, way, seed=1) == case.decode(data)
        assert same.all() == (case.closed or way == "denoise")


@each_lossless
def test_reconstructions_keep_pixels_that_are_exact(case):
    picture, data, costs, _ = sent(case, "large")
    prefix = data[: (costs[-4].file_bytes + costs[-3].file_bytes) // 2]
    decoder = receiver_of(prefix, model=case.model)
    receive(decoder, prefix)
    _, determined = exact_pixels(decoder) or pytest.fail("the residual has not begun")
    assert 0 < determined.mean() < 1
    for way in case.ways:
        shown = reconstruct(prefix, case.model, way)
        np.testing.assert_array_equal(shown[determined], picture[determined])


@each_case
def test_unknown_reconstructions_and_numbers_out_of_range_are_refused(case):
    prefix, model = prefix_of(case, "small", 1 / 3), case.model
    with pytest.raises(ValueError, match=f"must be one of {', '.join(case.ways)} for this model, got 'dream'"):
        reconstruct(prefix, model, "dream")
    for way in list(case.ways)[1:]:
        for steps in (0, -1):
            with pytest.raises(ValueError, match=f"at least 1, got {steps}"):
                reconstruct(prefix, model, way, steps=steps)
    for realism in (-0.1, 1.5):
        with pytest.raises(ValueError, match="realism must lie in"):
            reconstruct(prefix, model, "denoise", realism=realism)


@each_case
def test_realism_mixes_the_mean_and_a_draw(case):
    prefix, model = prefix_of(case, "large", 1 / 3), case.model
    draw = next((way for way, draws in case.ways.items() if draws), [*case.ways, None][1])
    if draw is None:
        with pytest.raises(ValueError, match="this model has none"):
            reconstruct(prefix, model, "denoise", realism=0.5)
        return
    ends = [reconstruct(prefix, model, way, seed=3).astype(float) for way in ("denoise", draw)]
    for realism in (0.0, 0.25, 1.0):
        mixed = reconstruct(prefix, model, draw, seed=3, realism=realism)
        assert mixed.dtype == np.uint8
        np.testing.assert_allclose(mixed, (1 - realism) * ends[0] + realism * ends[1], atol=0.5)


# Lossless residuals.


@pytest.mark.parametrize("name", [name for name in CASES if not CASES[name].residual])
def test_lossless_is_refused_where_there_is_no_residual(name):
    case = CASES[name]
    with pytest.raises(ValueError, match="lossless coding needs a model of one of the families nested, uniform"):
        uqdm.encode(case.picture("pixel"), lossless=True, model=case.model)
    data = with_header(sent(case, "pixel").data, residual_id=b"rest")
    with pytest.raises(uqdm.ModelMismatchError, match="this model has none"):
        case.decode(data)


@each_lossless
def test_another_residual_is_refused(case):
    data = with_header(sent(case, "small").data, residual_id=b"none")
    with pytest.raises(uqdm.ModelMismatchError, match="lossless residual of id 6e6f6e65"):
        case.decode(data)


# What is no picture.


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=lambda picture: f"{picture.dtype} {picture.shape}",
)
@each_case
def test_what_is_no_picture_is_refused(case, picture):
    with pytest.raises(ValueError, match="a picture"):
        case.encode(picture)


# Models that are wrong are found.

REJECTED_BY = {
    "the receiver updates otherwise": partial(test_pictures_come_back_as_they_were_sent, name="small"),
    "the receiver updates otherwise, unchecked": partial(test_pictures_come_back_as_they_were_sent, name="small"),
    "randomness is not common": partial(test_pictures_come_back_as_they_were_sent, name="small"),
    "pictures are not bytes": partial(test_pictures_come_back_as_they_were_sent, name="small"),
    "pictures are worse than stated": partial(test_pictures_come_back_as_they_were_sent, name="small"),
    "a part of a step makes it worse": test_every_prefix_is_a_picture_and_more_bytes_never_hurt,
    "a part of a step is kept": partial(test_bytes_may_arrive_in_pieces, piece=7),
    "more bytes are needed": test_a_step_is_determined_at_the_byte_that_the_encoder_names,
    "pictures change by being shown": partial(test_previews_are_those_of_complete_steps, name="small"),
    "batches differ": test_batches_and_jax_arrays_give_the_same,
    "nothing is checked": test_check_values_depend_on_all_that_was_sent,
    "a half is checked": test_check_values_depend_on_all_that_was_sent,
    "damage ends in a strange error": test_mutated_streams_end_in_what_was_sent_or_in_one_line,
    "two models have one id": test_another_models_stream_is_refused,
    "seeds do nothing": test_the_seed_is_stored_and_changes_the_stream_but_not_the_quality,
    "draws have no seed": test_reconstructions_depend_on_the_prefix_and_their_seed_alone,
    "draws are always the same": test_reconstructions_depend_on_the_prefix_and_their_seed_alone,
    "a draw is not announced": test_unknown_reconstructions_and_numbers_out_of_range_are_refused,
}
"""The law that finds what is wrong."""


@pytest.mark.parametrize("name", WRONG)
def test_wrong_models_are_rejected(name):
    with pytest.raises((AssertionError, IndexError, uqdm.StreamError, pytest.fail.Exception)):
        REJECTED_BY[name](WRONG[name])


@pytest.mark.parametrize("name", WRONG)
def test_what_rejects_them_accepts_a_right_model(name):
    REJECTED_BY[name](RIGHT_DRAWS)


def test_pixels_that_are_not_known_are_not_taken_for_exact(monkeypatch):
    everywhere = property(lambda self: np.ones(self.known.shape, bool), lambda self, value: None)
    monkeypatch.setattr(LYING_PIXELS, everywhere, raising=False)
    with pytest.raises(AssertionError):
        walk(CASES["uniform, lossless"], "small", 1)
