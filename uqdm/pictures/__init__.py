"""The one reader and writer of picture files: the command, training, evaluation and experiments all take pictures here.

A picture is uint8 (H, W, 3), sRGB, the way up in which it is to be shown. Nothing that has a meaning is lost in
silence: what cannot become such a picture without losing something is refused, with one line that says what to do (more
than 8 bits per channel, which Pillow cuts to 8 in some formats; transparent pixels, unless a background is given), and
what is converted, chosen or not kept is noted.

    reading    the rules: open_picture, and read_picture for the pixels alone
    colour     profiles and gamma to sRGB
    headers    what files say of themselves that Pillow does not tell
    metadata   what stands beside the pixels, and can be kept
    writing    picture_file, and write_picture for its bytes alone
"""

from uqdm.pictures.metadata import described as described
from uqdm.pictures.reading import Picture as Picture
from uqdm.pictures.reading import open_picture as open_picture
from uqdm.pictures.reading import read_picture as read_picture
from uqdm.pictures.writing import picture_file as picture_file
from uqdm.pictures.writing import write_picture as write_picture
