"""Progressive image compression with diffusion models by channel simulation.

    data = uqdm.encode(image, tau=0.0)      # bytes; any prefix that holds the header decodes
    picture = uqdm.decode(data)             # uint8 (H, W, 3)
    for p in uqdm.previews(data): ...       # one Preview per step

Names are imported when they are first used: what needs no model (`uqdm info`) does not wait for JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uqdm.codec import Preview as Preview
    from uqdm.codec import decode as decode
    from uqdm.codec import decode_batch as decode_batch
    from uqdm.codec import encode as encode
    from uqdm.codec import encode_batch as encode_batch
    from uqdm.codec import previews as previews
    from uqdm.container import describe as info
    from uqdm.errors import DamagedStreamError as DamagedStreamError
    from uqdm.errors import FormatError as FormatError
    from uqdm.errors import ModelMismatchError as ModelMismatchError
    from uqdm.errors import StreamError as StreamError
    from uqdm.library import load_model as load_model
    from uqdm.model import Model as Model

__version__ = "0.1.0"
__all__ = [
    "DamagedStreamError",
    "FormatError",
    "Model",
    "ModelMismatchError",
    "Preview",
    "StreamError",
    "decode",
    "decode_batch",
    "encode",
    "encode_batch",
    "info",
    "load_model",
    "previews",
]

_HOMES = {
    "DamagedStreamError": "uqdm.errors",
    "FormatError": "uqdm.errors",
    "Model": "uqdm.model",
    "ModelMismatchError": "uqdm.errors",
    "Preview": "uqdm.codec",
    "StreamError": "uqdm.errors",
    "decode": "uqdm.codec",
    "decode_batch": "uqdm.codec",
    "encode": "uqdm.codec",
    "encode_batch": "uqdm.codec",
    "load_model": "uqdm.library",
    "previews": "uqdm.codec",
}


def __getattr__(name: str) -> Any:
    if name == "info":
        return import_module("uqdm.container").describe
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'uqdm' has no attribute {name!r}")
