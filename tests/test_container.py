import binascii

import pytest

from uqdm.codec import container
from uqdm.codec.container import Header
from uqdm.errors import FormatError

HEADER = Header(b"\x01\x02\x03\x04", 768, 512, 300, 20, 123_456)


def test_golden_header():
    """Magic and version, model id, 768, 512, 300, 20 steps, 123456 bytes, CRC."""
    assert container.pack(HEADER).hex(" ") == "8f 55 51 02 01 02 03 04 80 06 80 04 ac 02 14 c0 c4 07 08 a4"


def test_golden_lossless_header():
    """The flag 80 in the version, and four bytes of residual id after the steps."""
    packed = container.pack(HEADER._replace(residual_id=b"\x0a\x0b\x0c\x0d")).hex(" ")
    assert packed == "8f 55 51 82 01 02 03 04 80 06 80 04 ac 02 14 0a 0b 0c 0d c0 c4 07 d1 c7"


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        HEADER._replace(residual_id=b"rest"),
        Header(bytes(4), 1, 1, 0, 0, 0),
        Header(b"abcd", 65535, 1, 2**32 - 1, 255, 2**32),
    ],
)
def test_a_header_comes_back_whatever_follows(header):
    packed = container.pack(header)
    assert container.unpack(packed + b"payload") == (header, len(packed))


@pytest.mark.parametrize("residual_id", [b"", b"rest"])
def test_every_cut_and_every_flipped_bit_of_a_header_is_noticed(residual_id):
    packed = container.pack(HEADER._replace(residual_id=residual_id))
    for cut in range(len(packed)):
        with pytest.raises(FormatError, match="empty|ends inside"):
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
        container.unpack(body + binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big"))


def test_info_tells_truncated_from_complete():
    packed = container.pack(HEADER._replace(payload_bytes=10))
    assert container.info(packed + bytes(10))["complete"]
    facts = container.info(packed + bytes(9))
    assert not facts["complete"]
    assert facts["complete_bytes"] == facts["file_bytes"] + 1
    assert facts["bpp"] == pytest.approx(8 * (len(packed) + 9) / (768 * 512))
