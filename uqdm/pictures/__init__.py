"""The one reader and writer of picture files: the command, training, evaluation and experiments all take pictures here.

A picture is uint8 (H, W, 3), the way up in which it is to be shown. What cannot become that without losing something is
refused, with one line that says what to do: more than 8 bits per channel, whatever the format (Pillow cuts some of them
to 8 in silence), and transparent pixels, unless a background is given.

    reading    the rules, and read_picture
    headers    what files say of themselves that Pillow does not tell
    writing    write_picture
"""

from uqdm.pictures.reading import read_picture as read_picture
from uqdm.pictures.writing import write_picture as write_picture
