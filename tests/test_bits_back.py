"""Bits back: a stack is a bijection, numbers on grids cost what a Gaussian costs, archives hold what was put in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_diffc import gaussian_picture, gaussian_predictor

from channel_sim.entropy import ProbabilityTable, quantize_probabilities
from channel_sim.gaussian_bins import BINS_PER_STD, gaussian_table, phases_of, pop_gaussian, push_gaussian
from channel_sim.randomness import SharedRandomness
from channel_sim.stack import Stack
from uqdm.diffusion.predictor import PredictorModel
from uqdm.errors import FormatError, ModelMismatchError, StreamError
from uqdm.lossless.bits_back import archive_info, negative_elbo_bits, pack, unpack

BORROW = SharedRandomness(7)


@pytest.fixture(scope="module")
def model() -> PredictorModel:
    gammas = np.linspace(6.0, -9.0, 41).tolist()
    return PredictorModel(predict=gaussian_predictor, gammas=gammas, identity=b"gaussian")


@pytest.fixture(scope="module")
def packed(model) -> tuple[list[np.ndarray], bytes]:
    pictures = [gaussian_picture(seed) for seed in range(6)] + [gaussian_picture(9, side=11), gaussian_picture(10, 1)]
    return pictures, pack(pictures, model, seed=3)[0]


def test_what_could_not_be_unpacked_is_not_packed(model, monkeypatch):
    monkeypatch.setattr("uqdm.lossless.bits_back._MOST_PIXELS", 100)
    with pytest.raises(ValueError, match="at most 100 pixels, got 11 x 11"):
        pack([gaussian_picture(0, side=11)], model)
    monkeypatch.setattr("uqdm.lossless.bits_back._MOST_RUNS", 2)
    with pytest.raises(ValueError, match="at most 2 pictures, got 3"):
        pack([gaussian_picture(0, side=2)] * 3, model)


def table_of(rows: int, symbols: int, seed: int) -> ProbabilityTable:
    return ProbabilityTable(quantize_probabilities(np.random.default_rng(seed).dirichlet(np.ones(symbols), rows)))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_stack_gives_back_what_was_popped_and_pushed(seed):
    rng, stack = np.random.default_rng(seed), Stack(BORROW)
    history = []
    for _ in range(20):
        table, rows = table_of(3, int(rng.integers(2, 40)), seed), rng.integers(0, 3, int(rng.integers(0, 50)))
        if rng.random() < 0.5:
            history.append(("pushed", table, rows, rng.integers(0, table.frequencies.shape[1], len(rows))))
            stack.push(*history[-1][1:])
        else:
            history.append(("popped", table, rows, stack.pop(table, rows)))
    other = Stack.of_words(stack.words)
    for kind, table, rows, symbols in reversed(history):
        if kind == "pushed":
            np.testing.assert_array_equal(other.pop(table, rows), symbols)
        else:
            other.push(table, rows, symbols)
    assert other.is_borrowed(BORROW, stack.borrowed_words)
    assert not other.is_borrowed(SharedRandomness(8), stack.borrowed_words)


def test_a_stack_is_as_long_as_its_symbols_say():
    rng, stack, table = np.random.default_rng(0), Stack(BORROW), table_of(4, 30, 0)
    rows = rng.integers(0, 4, 20_000)
    before, symbols = stack.bits, np.array([rng.choice(30, p=table.frequencies[row] / 2**24) for row in rows])
    stack.push(table, rows, symbols)
    assert abs(stack.bits - before - stack.ideal_bits) < 2
    stack.pop(table, rows[:5000])
    assert abs(stack.bits - before - stack.ideal_bits) < 2


def test_an_empty_stack_that_borrows_nothing_says_so():
    table = table_of(1, 8, 1)
    stack = Stack.of_words(np.array([1, 2, 3], np.uint32))
    with pytest.raises(EOFError):
        stack.pop(table, np.zeros(1000, int))
    with pytest.raises(ValueError, match="last one is not zero"):
        Stack.of_words(np.array([1, 0], np.uint32))
    with pytest.raises(ValueError, match="symbols must be in"):
        Stack(BORROW).push(table, np.zeros(1, int), np.array([8]))


def test_popped_numbers_have_the_law_of_a_gaussian():
    mean, stack = np.full(60_000, 17.3), Stack(BORROW)
    numbers = pop_gaussian(stack, phases_of(mean))
    # Bins add a twelfth of their width squared to the variance.
    assert abs(numbers.mean() - 17.3) < 0.08
    assert abs(numbers.var() - BINS_PER_STD**2 - 1 / 12) < 0.4
    entropy = np.log2(BINS_PER_STD * np.sqrt(2 * np.pi * np.e))
    assert abs(-stack.ideal_bits / len(mean) - entropy) < 0.02


def test_a_number_costs_its_divergence():
    rng, count = np.random.default_rng(1), 40_000
    far = rng.normal(0, 1, count) * BINS_PER_STD
    stack = Stack(BORROW)
    numbers = pop_gaussian(stack, phases_of(far))
    push_gaussian(stack, phases_of(np.zeros(count)), numbers)
    expected = np.mean(np.square(far / BINS_PER_STD)) / (2 * np.log(2))
    assert abs(stack.ideal_bits / count / expected - 1) < 0.03


@given(st.lists(st.integers(-(2**30) + 1, 2**30 - 1), min_size=1, max_size=40), st.floats(-1e6, 1e6))
@settings(max_examples=50, deadline=None)
def test_any_number_can_be_pushed(numbers, mean):
    stack, phases = Stack(BORROW), phases_of(np.full(len(numbers), mean))
    push_gaussian(stack, phases, np.array(numbers))
    np.testing.assert_array_equal(pop_gaussian(Stack.of_words(stack.words), phases), numbers)


def test_what_is_no_number_of_a_grid_is_refused():
    with pytest.raises(ValueError, match="finite"):
        phases_of(np.array([np.nan]))
    with pytest.raises(ValueError, match="2\\^31 bins"):
        push_gaussian(Stack(BORROW), np.zeros(1, int), np.array([2**33]))


def test_the_table_is_symmetric_at_phase_zero():
    row = gaussian_table().frequencies[0]
    np.testing.assert_array_equal(row[::-1][:32], row[:32])


def test_an_archive_gives_the_very_pictures(model, packed):
    pictures, data = packed
    unpacked = unpack(data, model)
    assert len(unpacked) == len(pictures)
    assert all(np.array_equal(a, b) for a, b in zip(unpacked, pictures, strict=True))
    known = archive_info(data)
    assert known["sizes"] == [picture.shape[:2] for picture in pictures]
    assert known["model_id"] == model.id[:4].hex()


def test_an_empty_archive_is_one(model):
    data, costs = pack([], model)
    assert unpack(data, model) == []
    assert costs.pictures == ()


def test_pictures_cost_the_negative_elbo(model):
    """Here the network is the best one there is, so the ELBO is the entropy of rounded Gaussians, but for the steps."""
    pictures = [gaussian_picture(seed, side=24) for seed in range(12)]
    data, costs = pack(pictures, model)
    rng = np.random.default_rng(0)
    bound = np.mean([negative_elbo_bits(model, picture, rng) for picture in pictures])
    assert abs(np.mean(costs.pictures) / bound - 1) < 0.01
    # Every word of the file is accounted for.
    assert abs(8 * len(data) - costs.borrowed - sum(costs.pictures)) < 64 + 8 * 48
    entropy = 24 * 24 * 3 * np.log2(128 * 0.25 * np.sqrt(2 * np.pi * np.e))
    assert entropy < np.mean(costs.pictures) < 1.13 * entropy


def test_archives_that_are_no_whole_ones_are_refused(model, packed):
    _, data = packed
    for end in (0, 2, 3, 20, 40, len(data) // 2, len(data) - 1):
        with pytest.raises(FormatError):
            unpack(data[:end], model)
    with pytest.raises(FormatError, match="follows"):
        unpack(data + b"0", model)
    with pytest.raises(FormatError, match="version 9"):
        unpack(data[:3] + b"\x09" + data[4:], model)
    with pytest.raises(FormatError, match="checksum"):
        unpack(data[:13] + bytes([data[13] ^ 1]) + data[14:], model)


def test_damage_anywhere_is_reported(model, packed):
    _, data = packed
    rng = np.random.default_rng(0)
    for place in rng.integers(120, len(data), 12):
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.integers(8)
        with pytest.raises(StreamError):
            unpack(bytes(damaged), model)


def test_another_model_or_kind_of_model_is_refused(model, packed, tiny_model):
    from dataclasses import replace

    with pytest.raises(ModelMismatchError, match="was made with model"):
        unpack(packed[1], replace(model, identity=b"other"))
    with pytest.raises(ValueError, match="Gaussian process"):
        pack(packed[0], tiny_model)
