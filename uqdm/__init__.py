"""Progressive image compression with diffusion models by channel simulation.

    data = uqdm.encode(image, tau=0.0)      # bytes; any prefix that holds the header decodes
    picture = uqdm.decode(data)             # uint8 (H, W, 3)
    for p in uqdm.previews(data): ...       # one Preview per step

Names are imported when they are first used: what needs no model (`uqdm info`) does not wait for JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uqdm.codec.api import Preview as Preview
    from uqdm.codec.api import decode as decode
    from uqdm.codec.api import decode_batch as decode_batch
    from uqdm.codec.api import encode as encode
    from uqdm.codec.api import encode_batch as encode_batch
    from uqdm.codec.api import previews as previews
    from uqdm.codec.container import describe as info
    from uqdm.errors import DamagedStreamError as DamagedStreamError
    from uqdm.errors import FormatError as FormatError
    from uqdm.errors import ModelMismatchError as ModelMismatchError
    from uqdm.errors import StreamError as StreamError
    from uqdm.library import load_model as load_model
    from uqdm.nested.model import NestedModel as NestedModel

__version__ = "0.1.0"
__all__ = [
    "DamagedStreamError",
    "FormatError",
    "NestedModel",
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
    "NestedModel": "uqdm.nested.model",
    "ModelMismatchError": "uqdm.errors",
    "Preview": "uqdm.codec.api",
    "StreamError": "uqdm.errors",
    "decode": "uqdm.codec.api",
    "decode_batch": "uqdm.codec.api",
    "encode": "uqdm.codec.api",
    "encode_batch": "uqdm.codec.api",
    "load_model": "uqdm.library",
    "previews": "uqdm.codec.api",
}


def __getattr__(name: str) -> Any:
    if name == "info":
        return import_module("uqdm.codec.container").describe
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'uqdm' has no attribute {name!r}")
