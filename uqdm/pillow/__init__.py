"""Streams in Pillow: `import uqdm.pillow`, and `Image.open` and `Image.save` know `.uqdm`.

Image.open("x.uqdm")                      reads the header: size, mode and info, without JAX; pixels when they are used
image.save("x.uqdm", quality=80)          as `uqdm encode -q`; or one of bpp, file_bytes, psnr_db, tau, lossless
"""

from uqdm.pillow.plugin import UqdmImageFile as UqdmImageFile
