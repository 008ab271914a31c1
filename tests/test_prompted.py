"""Captions, indices of codebooks and edge maps as symbols: round trips, damage, and what they cost."""

import hashlib
import zlib
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pictures import make_picture

from channel_sim.entropy import Reader, Writer
from uqdm.drawn.passes import PASSES
from uqdm.prompted.canny import canny, reduced
from uqdm.prompted.caption import LONGEST, ByteCounts, as_line, read_caption, write_caption
from uqdm.prompted.codes import Codebook, CodeCounts, filled, read_pass, write_pass
from uqdm.prompted.edges import LEVELS, coarse_map, pyramid, read_map, sides_of, write_map

CAPTIONS = (
    "a man and two dogs walking along a lake in the evening",
    "A brown horse pulls a cart through the snow.",
    "two parrots standing next to each other with leaves in the background",
)
lines = st.text(st.characters(exclude_categories=["Cs"]), max_size=60).map(as_line)
maps = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=19))
few = settings(max_examples=60, deadline=None)


def written(send) -> tuple[bytes, float]:
    """The code word of what is sent, and its ideal bits."""
    writer = Writer()
    send(writer)
    return writer.getvalue(), writer.ideal_bits


def assert_ideal(data: bytes, ideal_bits: float) -> None:
    assert ideal_bits / 8 - 1 <= len(data) <= 1.003 * ideal_bits / 8 + 2


# Captions.


@few
@given(lines)
def test_captions_come_back(line):
    data, bits = written(lambda writer: write_caption(writer, line))
    assert read_caption(Reader(data)) == line
    assert_ideal(data, bits)


@pytest.mark.parametrize("line", CAPTIONS)
def test_captions_are_determined_by_all_of_their_bytes_and_no_fewer(line):
    data, _ = written(lambda writer: write_caption(writer, line))
    assert all(read_caption(Reader(data[:size])) is None for size in range(len(data)))
    assert read_caption(Reader(data + b"anything")) == line


@few
@given(st.binary(max_size=80))
def test_any_bytes_are_a_caption_or_damage(data):
    try:
        line = read_caption(Reader(data))
    except OverflowError as error:
        assert "damaged" in str(error)
    else:
        assert line is None or len(line.encode()) <= LONGEST


def test_captions_that_never_end_are_damage():
    counts, writer = ByteCounts.of_captions(), Writer()
    for _ in range(LONGEST + 1):
        writer.encode(counts.table(), np.zeros(1, np.int64), np.array([ord("a")]))
        counts.add(ord("a"))
    with pytest.raises(OverflowError, match="too long"):
        read_caption(Reader(writer.getvalue()))


def test_captions_are_lines_of_a_limited_length():
    assert as_line("  two\tdogs\n\n on  grass ") == "two dogs on grass"
    assert len(as_line("é" * (LONGEST // 2)).encode()) == LONGEST
    with pytest.raises(ValueError, match="at most 1024 bytes, this one 1026: shorten it"):
        as_line("é" * (LONGEST // 2 + 1))
    with pytest.raises(ValueError, match="a caption must be text: surrogates not allowed at character 1"):
        as_line("a\ud800")


def test_captions_take_less_than_half_of_what_deflate_takes():
    for line in CAPTIONS:
        data, _ = written(lambda writer, line=line: write_caption(writer, line))
        assert len(data) < len(zlib.compress(line.encode(), 9)) / 2


def test_repetition_is_learned():
    once, twice = (written(lambda writer, n=n: write_caption(writer, " ".join(["xylophone"] * n)))[1] for n in (1, 2))
    assert twice - once < 0.6 * once


def test_the_corpus_of_captions_is_a_part_of_the_format():
    corpus = (resources.files("uqdm.prompted") / "caption_corpus.txt").read_bytes()
    assert hashlib.sha256(corpus).hexdigest() == "339438236b2fe8d2c9c23062a815bd0b0937591941fcd3c5a6897a8a78d5af39"


# Golden bytes: what old files hold.


def random_codebook(codes: int = 16, cosine: bool = False) -> Codebook:
    vectors = np.random.default_rng(5).normal(size=(codes, 3))
    if cosine:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Codebook(codes=vectors.astype(np.float32), cosine=cosine)


def smooth_indices(codebook: Codebook, height: int = 24, width: int = 31) -> np.ndarray:
    """Of vectors that turn slowly."""
    row, column = np.mgrid[:height, :width] / 9
    vectors = np.stack([np.sin(row + column), np.cos(row), np.sin(column - row)], -1)
    return codebook.nearest(vectors.astype(np.float32))


def send_indices(writer: Writer, indices: np.ndarray, codebook: Codebook) -> None:
    known, counts = np.zeros_like(indices), CodeCounts(codebook)
    for index in range(PASSES):
        write_pass(writer, index, indices, known, counts)
    np.testing.assert_array_equal(known, indices)


def send_maps(writer: Writer, edges: np.ndarray) -> None:
    coarse = None
    for level in pyramid(edges):
        write_map(writer, level, coarse)
        coarse = level


def receive_maps(data: bytes, height: int, width: int) -> list[np.ndarray | None]:
    """Maps up to the first that is not determined."""
    reader, received, coarse = Reader(data), [], None
    for level in range(LEVELS):
        coarse = read_map(reader, sides_of(level, height, width), coarse)
        received.append(coarse)
        if coarse is None:
            break
    return received


def circle(side: int = 40) -> np.ndarray:
    row, column = np.mgrid[:side, :side]
    return np.abs(np.hypot(row - 17, column - 21) - 13) < 0.6


GOLDEN = {
    "caption": (lambda writer: write_caption(writer, CAPTIONS[0]), "6bd27939f153492941"),
    "indices": (
        lambda writer: send_indices(writer, np.arange(30).reshape(5, 6) * 7 % 16, whole_codebook()),
        "08baf385a9a1f208228eb7a38089c7ca4de65b",
    ),
    "edges": (lambda writer: send_maps(writer, circle(24)), "518c42b927c9b98a82fcbb4985d723d7"),
}


def whole_codebook() -> Codebook:
    """Of integers, so that nothing depends on how they are made."""
    codes = np.array([[i % 4 - 2, i // 4 - 1, (i * 5) % 7 - 3] for i in range(16)], np.float32)
    return Codebook(codes=codes)


@pytest.mark.parametrize("name", GOLDEN)
def test_bytes_are_what_they_were(name):
    send, expected = GOLDEN[name]
    assert written(send)[0].hex() == expected


# Indices of a codebook.


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (5, 3), (64, 9), (65, 66)])
def test_indices_come_back_pass_by_pass(height, width):
    codebook = random_codebook()
    indices = np.random.default_rng(1).integers(0, 16, (height, width))
    data, bits = written(lambda writer: send_indices(writer, indices, codebook))
    assert_ideal(data, bits)
    reader, known, counts = Reader(data), np.zeros_like(indices), CodeCounts(codebook)
    for index in range(PASSES):
        assert read_pass(reader, index, known, counts)
        shown = filled(known, index + 1)
        assert set(shown.reshape(-1)) <= set(indices.reshape(-1))
        assert shown[0, 0] == indices[0, 0]
    np.testing.assert_array_equal(known, indices)
    reader, known, counts = Reader(data[:-3]), np.zeros_like(indices), CodeCounts(codebook)
    assert len(data) < 4 or not all(read_pass(reader, index, known, counts) for index in range(PASSES))


@few
@given(st.binary(max_size=40), st.integers(2, 40))
def test_any_bytes_are_indices_of_the_codebook(data, codes):
    codebook, known = random_codebook(codes), np.zeros((6, 7), np.int64)
    reader, counts = Reader(data), CodeCounts(codebook)
    for index in range(PASSES):
        if not read_pass(reader, index, known, counts):
            break
    assert 0 <= known.min() <= known.max() < codes


@pytest.mark.parametrize("cosine", [False, True])
def test_alike_neighbours_make_indices_cheap_and_others_not_dear(cosine):
    codebook = random_codebook(256, cosine)
    smooth = smooth_indices(codebook, 48, 48)
    _, bits = written(lambda writer: send_indices(writer, smooth, codebook))
    assert bits < 0.6 * 8 * smooth.size
    shuffled = np.random.default_rng(2).integers(0, 256, (48, 48))
    _, bits = written(lambda writer: send_indices(writer, shuffled, codebook))
    assert bits < 1.12 * 8 * shuffled.size


def test_what_is_near_is_said_by_integers():
    codebook = random_codebook(64)
    nudged = Codebook(codes=codebook.codes * np.float32(1 + 2**-22))
    np.testing.assert_array_equal(codebook.integers, nudged.integers)
    assert np.abs(codebook.integers).max() == 127


def test_the_nearest_code_is_found_by_distance_or_by_angle():
    codes = np.array([[1, 0], [0, 1]], np.float32)
    vectors = np.array([[[0.9, 0.2], [3.0, 3.5]]], np.float32)
    assert Codebook(codes=codes, cosine=True).nearest(vectors).tolist() == [[0, 1]]
    assert Codebook(codes=codes * np.array([[1], [4]], np.float32)).nearest(vectors).tolist() == [[0, 1]]
    assert Codebook(codes=codes * np.array([[5], [1]], np.float32)).nearest(vectors).tolist() == [[1, 1]]


@pytest.mark.parametrize("codes", [np.ones((1, 3)), np.zeros((4, 3)), np.full((4, 3), np.nan)])
def test_what_is_no_codebook_is_refused(codes):
    with pytest.raises(ValueError, match="a codebook has 2 to 65536 finite codes"):
        Codebook(codes=codes.astype(np.float32))


# Edge maps.


@few
@given(maps)
def test_maps_come_back_from_coarse_to_fine(edges):
    data, bits = written(lambda writer: send_maps(writer, edges))
    assert_ideal(data, bits)
    received = receive_maps(data, *edges.shape)
    for sent, got in zip(pyramid(edges), received, strict=True):
        np.testing.assert_array_equal(sent, got)


@few
@given(st.binary(max_size=40), st.integers(1, 20), st.integers(1, 20))
def test_any_bytes_are_maps_that_agree(data, height, width):
    received = receive_maps(data, height, width)
    for level, (coarse, fine) in enumerate(zip(received, received[1:], strict=False), start=1):
        if coarse is not None and fine is not None:
            assert fine.shape == sides_of(level, height, width)
            np.testing.assert_array_equal(coarse_map(fine), coarse)


def test_maps_are_not_determined_by_fewer_bytes():
    data, _ = written(lambda writer: send_maps(writer, circle()))
    for size in range(len(data)):
        assert receive_maps(data[:size], 40, 40)[-1] is None


def test_lines_cost_less_than_scattered_points():
    edges = circle()
    scattered = np.random.default_rng(3).permutation(edges.reshape(-1)).reshape(edges.shape)
    costs = [written(lambda writer, m=m: write_map(writer, m))[1] for m in (edges, scattered, np.zeros_like(edges))]
    assert costs[0] < 0.6 * costs[1]
    assert costs[2] < 20


def test_a_map_alone_costs_about_what_counts_in_a_template_of_ten_cost():
    """Beside the counts of the ten pixels alone, each symbol under (c + 1/2) / (n + 1)."""
    edges = canny(make_picture(96, 96))
    padded = np.pad(edges.astype(int), ((2, 0), (2, 2)))
    template = ((0, -1), (0, -2), (-1, -2), (-1, -1), (-1, 0), (-1, 1), (-1, 2), (-2, -1), (-2, 0), (-2, 1))
    counts, bits = {}, 0.0
    for row, column in np.ndindex(edges.shape):
        context = tuple(padded[2 + row + down, 2 + column + right] for down, right in template)
        pair = counts.setdefault(context, [0.5, 0.5])
        bits -= np.log2(pair[int(edges[row, column])] / sum(pair))
        pair[int(edges[row, column])] += 1
    _, ours = written(lambda writer: write_map(writer, edges))
    assert ours < 1.02 * bits


# Sketches.


def test_edges_are_where_brightness_changes_and_one_pixel_wide():
    picture = np.full((40, 50, 3), 60, np.uint8)
    picture[:, 25:] = 200
    edges = canny(picture)
    assert set(np.flatnonzero(edges.any(0))) <= {24, 25}
    assert (edges.sum(1) == 1).all()
    assert not canny(np.full((9, 9, 3), 77, np.uint8)).any()
    turned = canny(picture.transpose(1, 0, 2))
    assert (turned.sum(0) == 1).all()


def test_weak_lines_are_kept_where_they_meet_strong_ones():
    picture = np.full((60, 40, 3), 100, np.uint8)
    picture[:, 20:] = np.linspace(200, 120, 60)[:, None, None]
    alone = np.full((60, 40, 3), 100, np.uint8)
    alone[:, 20:] = 120
    assert canny(picture)[57].any()
    assert not canny(alone).any()


def test_reduced_pictures_have_mean_colours():
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    assert reduced(picture, 1).tolist() == picture.tolist()
    small = reduced(picture, 2)
    assert small.shape == (3, 4, 3)
    assert small[0, 0].tolist() == np.rint(picture[:2, :2].mean((0, 1))).tolist()
    assert small[2, 3].tolist() == picture[4, 6].tolist()
