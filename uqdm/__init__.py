"""Progressive image compression with diffusion models by channel simulation.

data = uqdm.encode(image, tau=0.0)      # bytes; any prefix that holds the header decodes
picture = uqdm.decode(data)             # uint8 (H, W, 3)
for p in uqdm.previews(data): ...       # one Preview per step
"""

from uqdm.codec import Preview as Preview
from uqdm.codec import decode as decode
from uqdm.codec import encode as encode
from uqdm.codec import encode_batch as encode_batch
from uqdm.codec import previews as previews
from uqdm.container import describe as info
from uqdm.errors import DamagedStreamError as DamagedStreamError
from uqdm.errors import FormatError as FormatError
from uqdm.errors import ModelMismatchError as ModelMismatchError
from uqdm.errors import StreamError as StreamError
from uqdm.model import Model as Model
from uqdm.model import load_model as load_model

__version__ = "0.1.0"
__all__ = [
    "DamagedStreamError",
    "FormatError",
    "Model",
    "ModelMismatchError",
    "Preview",
    "StreamError",
    "decode",
    "encode",
    "encode_batch",
    "info",
    "load_model",
    "previews",
]
