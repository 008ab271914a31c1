"""Progressive image compression with diffusion models by channel simulation.

    data = uqdm.encode(image, tau=0.0)      # bytes; any prefix that holds the header decodes
    picture = uqdm.decode(data)             # uint8 (H, W, 3)
    for p in uqdm.previews(data): ...       # one Preview per step

Names are those of `__init__.pyi`, imported when they are first used: what needs no model (`uqdm info`) does not wait
for JAX.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
