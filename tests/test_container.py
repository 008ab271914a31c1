import binascii

import pytest

from uqdm.codec import container
from uqdm.codec.container import Header
from uqdm.codec.extras import Chunk
from uqdm.errors import FormatError, IncompleteHeaderError

HEADER = Header(b"\x01\x02\x03\x04", 768, 512, 300, 20, 123_456)
EXTRAS = {"chunks": (Chunk(99, b"unknown"), Chunk(1, b"")), "written_bytes": 100_000, "block_bytes": 77}


def test_golden_header():
    """Magic and version, model id, 768, 512, 300, 20 steps, 123456 bytes, CRC."""
    assert container.pack(HEADER).hex(" ") == "8f 55 51 02 01 02 03 04 80 06 80 04 ac 02 14 c0 c4 07 08 a4"


def test_golden_lossless_header():
    """The flag 80 in the version, and four bytes of residual id after the steps."""
    packed = container.pack(HEADER._replace(residual_id=b"\x0a\x0b\x0c\x0d")).hex(" ")
    assert packed == "8f 55 51 82 01 02 03 04 80 06 80 04 ac 02 14 0a 0b 0c 0d c0 c4 07 d1 c7"


def test_golden_header_with_extras():
    """The flag 40; after the length 12 bytes of chunks, 100000 bytes written, a block of 77."""
    packed = container.pack(HEADER._replace(**EXTRAS)).hex(" ")
    before = "8f 55 51 42 01 02 03 04 80 06 80 04 ac 02 14 c0 c4 07 "
    assert packed == before + "0b 63 07 75 6e 6b 6e 6f 77 6e 01 00 a0 8d 06 4d b7 ef"


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        HEADER._replace(residual_id=b"rest"),
        HEADER._replace(**EXTRAS),
        HEADER._replace(residual_id=b"rest", written_bytes=0),
        HEADER._replace(chunks=(Chunk(0, bytes(4093)),), written_bytes=0),
        Header(bytes(4), 1, 1, 0, 0, 0),
        Header(b"abcd", 65535, 1, 2**32 - 1, 255, 2**32),
    ],
)
def test_a_header_comes_back_whatever_follows(header):
    packed = container.pack(header)
    assert container.unpack(packed + b"payload") == (header, len(packed))


@pytest.mark.parametrize("changes", [{}, {"residual_id": b"rest"}, EXTRAS], ids=["plain", "lossless", "extras"])
def test_every_cut_and_every_flipped_bit_of_a_header_is_noticed(changes):
    packed = container.pack(HEADER._replace(**changes))
    for cut in range(len(packed)):
        with pytest.raises(IncompleteHeaderError, match="empty|ends inside"):
            container.unpack(packed[:cut])
    for bit in range(8 * len(packed)):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            container.unpack(bytes(damaged) + bytes(20))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "not a uqdm stream"),
        (b"\x8fUQ\x09" + bytes(20), "format version 9 is unknown"),
    ],
)
def test_other_files_are_told_apart(data, match):
    with pytest.raises(FormatError, match=match):
        container.unpack(data)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (70_000, 1), (60_000, 60_000)])
def test_impossible_sizes_are_refused(width, height):
    with pytest.raises(FormatError, match="outside the limits"):
        container.pack(HEADER._replace(width=width, height=height))


@pytest.mark.parametrize(
    ("seed", "match"), [(bytes(4 * [0x80]) + b"\x10", "seed 4294967296"), (bytes(5 * [0x80]) + b"\0", "too long")]
)
def test_impossible_seeds_are_refused(seed, match):
    """As docs/format.md asks, also where the checksum is right."""
    body = container.MAGIC + bytes([container.VERSION]) + b"name" + b"\x08\x08" + seed + b"\x03\x0a"
    with pytest.raises(FormatError, match=match):
        container.unpack(with_checksum(body))


def with_checksum(body: bytes) -> bytes:
    return body + binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")


@pytest.mark.parametrize(
    ("extras", "match"),
    [
        (b"\xff\x7f", "extras are too long"),
        (b"\x02\x01\x05" + b"\x0a\0", "contradict each other"),
        (b"\x01\x01" + b"\x0a\0", "contradict each other"),
        (b"\0" + b"\x0b\0", "11 written bytes of a payload of 10"),
    ],
)
def test_extras_that_contradict_themselves_are_refused(extras, match):
    body = container.MAGIC + b"\x42" + b"name" + b"\x08\x08\x00\x03\x0a" + extras
    with pytest.raises(FormatError, match=match):
        container.unpack(with_checksum(body) + bytes(20))


def test_the_longest_header_is_as_long_as_it_may_be():
    longest = Header(
        b"abcd", 65535, 1024, 2**32 - 1, 255, 2**35 - 1, b"rest", (Chunk(0, bytes(4093)),), 2**35 - 1, 2**28 - 1
    )
    assert len(container.pack(longest)) == container.MAX_HEADER_BYTES - 1  # both sides cannot have three bytes
    with pytest.raises(ValueError, match="at most 4096 bytes"):
        container.pack(longest._replace(chunks=(Chunk(0, bytes(4094)),)))


def test_info_tells_truncated_from_complete():
    packed = container.pack(HEADER._replace(payload_bytes=10))
    assert container.info(packed + bytes(10))["complete"]
    facts = container.info(packed + bytes(9))
    assert not facts["complete"]
    assert facts["complete_bytes"] == facts["file_bytes"] + 1
    assert facts["bpp"] == pytest.approx(8 * (len(packed) + 9) / (768 * 512))
