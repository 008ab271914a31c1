import numpy as np
import pytest

from channel_sim.randomness import SharedRandomness, threefry2x32


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_vectors_of_its_authors(key, counter, expected):
    words = threefry2x32(key, tuple(np.array([c], np.uint32) for c in counter))
    assert tuple(int(w[0]) for w in words) == expected


def test_words_are_a_pure_function_of_their_index():
    source = SharedRandomness(7, 3)
    everything = source.words(1000)
    for start, count in ((0, 1), (1, 5), (2, 2), (501, 499), (999, 1)):
        np.testing.assert_array_equal(source.words(count, start), everything[start : start + count])


def test_golden_words_of_a_source():
    assert SharedRandomness(0).words(2).tolist() == [0x6B200159, 0x99BA4EFE]
    assert SharedRandomness(1, 2).words(3, 2**33).tolist() == GOLDEN_FAR_WORDS


GOLDEN_FAR_WORDS = [629003988, 1317161160, 2370243775]


def test_bytes_are_the_words_least_significant_first():
    source = SharedRandomness(5)
    assert source.bytes(7).tobytes() == source.words(2).astype("<u4").tobytes()[:7]


def test_seeds_and_streams_give_other_words():
    sources = [SharedRandomness(seed, stream).words(64) for seed in range(4) for stream in range(4)]
    assert len({words.tobytes() for words in sources}) == 16


def test_uniform_values_are_centred_open_and_uniform():
    values = SharedRandomness(11).uniform(200_000)
    assert -0.5 < values.min() < values.max() < 0.5
    # Kolmogorov-Smirnov distance; 1.95 / sqrt(n) is exceeded with probability 0.001.
    distance = np.abs(np.sort(values) + 0.5 - (np.arange(len(values)) + 0.5) / len(values)).max()
    assert distance < 1.95 / np.sqrt(len(values))


@pytest.mark.parametrize("source", [SharedRandomness(-1), SharedRandomness(2**32), SharedRandomness(0, 2**32)])
def test_seeds_out_of_range_are_refused(source):
    with pytest.raises(ValueError, match="must be in"):
        source.words(1)
