"""The plugin: a reader and a writer of streams, registered as Pillow's own formats are.

A file is *truncated* if bytes are missing that it was written with. Then pixels raise OSError, as Pillow's own formats
do, unless `ImageFile.LOAD_TRUNCATED_IMAGES` is set: then they are those of the prefix. What this plugin writes to a
size says in its header how long it is. A stream that was encoded to a size elsewhere ends near the end of the steps
that it names (uqdm.codec.rate_control), and counts as whole there.
"""

from typing import Any

from PIL import Image, ImageFile

from uqdm.codec import container
from uqdm.errors import DamagedStreamError, FormatError, StreamError

__all__ = ["DEFAULT_QUALITY", "UqdmImageFile"]

DEFAULT_QUALITY = 80
"""Percent of the steps that are sent where nothing else says where a stream ends."""
_FORMAT, _SUFFIX, _MIME = "UQDM", ".uqdm", "image/x-uqdm"
_LIMITS = ("tau", "bpp", "file_bytes", "psnr_db")
_SHORT_BYTES = 64
"""Of a stream of few bytes that was encoded to a size, several steps may be in the last so many."""
_KEPT = ("exif", "xmp", "icc_profile", "dpi")


class UqdmImageFile(ImageFile.ImageFile):
    """A stream, of which the header has been read.

    `info` has seed, steps, lossless, model_id, complete, qualities (`uqdm.info`), and exif, xmp, icc_profile and dpi
    where the stream has kept them.
    """

    format = _FORMAT
    format_description = "Progressive stream of a diffusion model"

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read(container.MAX_HEADER_BYTES)
        try:
            header, start = container.unpack(data)
            if header.block_bytes:
                self.fp.seek(0)
                data = self.fp.read()
            facts = container.info(data)
        except FormatError as error:
            raise SyntaxError(str(error)) from None
        self.fp.seek(0, 2)
        facts["complete"] = self.fp.tell() >= facts["complete_bytes"]
        self._size, self._mode = (header.width, header.height), "RGB"
        for name in ("seed", "steps", "lossless", "model_id", "complete", "qualities"):
            self.info[name] = facts[name]
        if facts["metadata"]:
            self.info.update(container.metadata(data))
        self.tile = [ImageFile._Tile("uqdm", (0, 0, *self._size), 0, None)]


class _Decoder(ImageFile.PyDecoder):
    """Decodes when pixels are used."""

    _pulls_fd = True

    def decode(self, buffer: Any) -> tuple[int, int]:
        from uqdm.codec.api import receiver_of

        assert self.fd is not None
        self.fd.seek(0)
        data = self.fd.read()
        try:
            receiver = receiver_of(data)
        except StreamError as error:
            raise OSError(str(error)) from None
        try:
            while receiver.receive():
                pass
        except DamagedStreamError as error:
            if not ImageFile.LOAD_TRUNCATED_IMAGES:
                raise OSError(str(error)) from None
            receiver = receiver_of(data[: error.good_bytes])
            while receiver.receive():
                pass
        if _is_truncated(receiver, len(data)) and not ImageFile.LOAD_TRUNCATED_IMAGES:
            total = container.info(data)["complete_bytes"]
            raise OSError(f"image file is truncated ({len(data)} of {total} bytes)")
        self.set_as_raw(receiver.picture().tobytes())
        return -1, 0


def _is_truncated(receiver: Any, file_bytes: int) -> bool:
    """Whether bytes are missing that a file was written with."""
    header = receiver.header
    if receiver.complete:
        return False
    if header.written_bytes is not None:
        return receiver.file_bytes < receiver.header_bytes + header.written_bytes
    encoded_to_a_size = not header.lossless and header.steps < receiver.model.steps
    missing = header.payload_bytes - (receiver.file_bytes - receiver.header_bytes)
    near_its_end = receiver.step >= header.steps - 2 or missing <= _SHORT_BYTES
    return not (encoded_to_a_size and near_its_end)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


def _save(image: Image.Image, fp: Any, filename: str | bytes) -> None:
    """Options: one of quality, tau, bpp, file_bytes, psnr_db and lossless; seed, model, index, background; metadata."""
    from uqdm.codec.api import encode
    from uqdm.pictures.reading import pixels_of

    options = dict(image.encoderinfo)
    given = {name: options[name] for name in _LIMITS if options.get(name) is not None}
    quality = options.get("quality")
    if quality is None and not given and not options.get("lossless"):
        quality = DEFAULT_QUALITY
    if quality is not None and not options.get("lossless"):
        if not 0 <= quality <= 100:
            raise ValueError(f"quality must lie in [0, 100], got {quality}")
        given.setdefault("tau", 1 - quality / 100)
        given["drawn"] = "model" not in options
    others = {name: options[name] for name in ("lossless", "seed", "model", "index") if name in options}
    pixels, same_profile = pixels_of(image, background=options.get("background"))
    metadata = {name: options[name] for name in _KEPT if options.get(name)}
    if isinstance(exif := metadata.get("exif"), Image.Exif):
        metadata["exif"] = exif.tobytes()
    metadata.pop("icc_profile", None)
    if same_profile:
        metadata["icc_profile"] = image.info["icc_profile"]
    # Even without metadata: the header then says how many bytes were written.
    fp.write(encode(pixels, **given, **others, metadata=metadata if metadata or "tau" not in given else None))


Image.register_open(_FORMAT, UqdmImageFile, _accept)
Image.register_save(_FORMAT, _save)
Image.register_decoder("uqdm", _Decoder)
Image.register_extension(_FORMAT, _SUFFIX)
Image.register_mime(_FORMAT, _MIME)
