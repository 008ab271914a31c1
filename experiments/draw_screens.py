"""Draws pictures unlike photographs to train on: pages of text, code, windows, charts, tables, pixel art, captions.

    python experiments/draw_screens.py OUT [--count 60] [--first 0] [--side 512] [--captions PHOTOGRAPHS]

Each is a PNG file of `side` x `side` pixels and a pure function of (number, side) and of the fonts that matplotlib
brings. `--captions` lays text over photographs of a folder in one picture of seven; without it those are flat.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from uqdm.training.dataset import open_source

_LETTERS = dict(  # noqa: C408
    e=13, t=9, a=8, o=8, i=7, n=7, s=6, r=6, h=6, d=4, l=4, u=3, c=3, m=3, f=2, y=2, w=2, g=2, p=2, b=2, v=1
)
"""And how often each comes, in per cent."""
_FONTS = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVu*.ttf"))

Colour = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Draw text, windows, charts and the like."""

    out: tyro.conf.Positional[Path]
    """Folder of the PNG files; made where it is missing."""
    count: int = 60
    """How many."""
    first: int = 0
    """Number of the first: others than those that a model was trained on are made with another one."""
    side: int = 512
    """In pixels."""
    captions: str | None = None
    """Photographs to lay text over: a folder or file as for training."""


class Sheet:
    """A picture under the pen, and everything random about it."""

    def __init__(self, side: int, rng: np.random.Generator, background: Image.Image | Colour):
        self.rng, self.side = rng, side
        flat = background if isinstance(background, tuple) else (0, 0, 0)
        self.image = Image.new("RGB", (side, side), flat)
        if isinstance(background, Image.Image):
            self.image.paste(background)
        self.draw = ImageDraw.Draw(self.image)

    def colour(self, low: int = 0, high: int = 256) -> Colour:
        """Any, or a grey one, of a range of brightness."""
        if self.rng.random() < 0.4:
            return (int(self.rng.integers(low, high)),) * 3
        return tuple(int(value) for value in self.rng.integers(low, high, 3))

    def font(self, low: int = 9, high: int = 28, kind: str = "") -> ImageFont.FreeTypeFont:
        """A font whose file name has `kind` in it, small sizes more often."""
        paths = [path for path in _FONTS if kind in path.name]
        return ImageFont.truetype(
            str(paths[self.rng.integers(len(paths))]), int(low * (high / low) ** self.rng.random())
        )

    def word(self) -> str:
        """Letters as frequent as in English, at times with a capital, a number or a mark."""
        weights = np.array(list(_LETTERS.values())) / sum(_LETTERS.values())
        word = "".join(self.rng.choice(list(_LETTERS), 1 + self.rng.poisson(4), p=weights))
        chance = self.rng.random()
        if chance < 0.08:
            return str(self.rng.integers(10 ** int(self.rng.integers(1, 7))))
        return (word.capitalize() if chance < 0.25 else word) + (self.rng.choice(list(",.;:")) if chance > 0.85 else "")

    def line(self, words: int) -> str:
        return " ".join(self.word() for _ in range(words))

    def paragraph(self, box: tuple[int, int, int, int], font: ImageFont.FreeTypeFont, colour: Colour) -> None:
        """Lines of text from the top of a box to its bottom, cut at its right edge."""
        left, top, right, bottom = box
        part = Sheet(max(1, right - left, bottom - top), self.rng, self.image.crop((left, top, right, bottom)))
        spacing, y = int(font.size * self.rng.uniform(1.1, 1.7)) + 1, 0
        while y < bottom - top:
            part.draw.text((0, y), self.line(int(self.rng.integers(2, 25))), fill=colour, font=font)
            y += spacing * (2 if self.rng.random() < 0.12 else 1)
        self.image.paste(part.image.crop((0, 0, right - left, bottom - top)), (left, top))


def page(sheet: Sheet) -> None:
    """Columns of text with a heading."""
    columns, margin = int(sheet.rng.integers(1, 4)), int(sheet.rng.integers(8, 50))
    font, colour, width = sheet.font(9, 20), sheet.colour(0, 90), (sheet.side - margin) // columns
    sheet.draw.text((margin, 6), sheet.line(4), fill=sheet.colour(0, 128), font=sheet.font(20, 44))
    for left in range(margin, sheet.side - width // 2, width):
        sheet.paragraph((left, 60, min(left + width - 12, sheet.side), sheet.side - margin), font, colour)


def code(sheet: Sheet) -> None:
    """An editor: numbered lines of coloured words on a dark or light ground."""
    dark = sheet.rng.random() < 0.6
    sheet.draw.rectangle((0, 0, sheet.side, sheet.side), fill=sheet.colour(10, 50) if dark else sheet.colour(240, 256))
    colours = [sheet.colour(110, 256) if dark else sheet.colour(0, 150) for _ in range(5)]
    font, y = sheet.font(10, 18, "Mono"), 4
    indent, advance = 0, font.getlength("m")
    for number in range(1, 1 + int(sheet.side / (font.size * 1.3))):
        sheet.draw.text((4, y), f"{number:3d}", fill=colours[0], font=font)
        indent, x = max(0, indent + int(sheet.rng.integers(-1, 2))), 5
        x += 2 * indent
        for _ in range(int(sheet.rng.integers(0, 9))):
            word = sheet.word() + str(sheet.rng.choice(["", "(", ")", " =", ":", ".", "[]", " +"]))
            fill = colours[int(sheet.rng.integers(1, len(colours)))]
            sheet.draw.text((x * advance, y), word, fill=fill, font=font)
            x += len(word) + 1
        y += int(font.size * 1.3)


def windows(sheet: Sheet) -> None:
    """Overlapping windows with bars, buttons and text."""
    for _ in range(int(sheet.rng.integers(2, 6))):
        width, height = (int(v) for v in sheet.rng.integers(sheet.side // 4, sheet.side, 2))
        x, y = (int(v) for v in sheet.rng.integers(-sheet.side // 8, sheet.side * 3 // 4, 2))
        radius = int(sheet.rng.choice([0, 0, 4, 8]))
        ground, edge = sheet.colour(200, 256), sheet.colour(60, 200)
        sheet.draw.rounded_rectangle((x, y, x + width, y + height), radius, fill=ground, outline=edge)
        sheet.draw.rectangle((x + 1, y + 1, x + width - 1, y + 24), fill=sheet.colour())
        sheet.draw.text((x + 8, y + 4), sheet.line(3), fill=sheet.colour(), font=sheet.font(11, 15))
        for row in range(y + 34, y + height - 26, 34):
            if sheet.rng.random() < 0.5:
                box = (x + 10, row, x + 10 + int(sheet.rng.integers(50, 130)), row + 24)
                sheet.draw.rounded_rectangle(box, radius, fill=sheet.colour(), outline=edge)
                sheet.draw.text((x + 18, row + 5), sheet.word(), fill=sheet.colour(), font=sheet.font(10, 14))
            else:
                sheet.draw.text((x + 12, row + 4), sheet.line(5), fill=sheet.colour(0, 120), font=sheet.font(10, 16))


def chart(sheet: Sheet) -> None:
    """Axes, curves and bars with labels."""
    side, font = sheet.side, sheet.font(9, 15)
    ink = sheet.colour(0, 100)
    for tick in range(8):
        y = side - 40 - tick * (side - 80) // 7
        sheet.draw.line((40, y, side - 20, y), fill=sheet.colour(190, 235))
        sheet.draw.text((6, y - 6), f"{tick * 12.5:g}", fill=ink, font=font)
    if sheet.rng.random() < 0.5:
        for bar in range(45, side - 40, 36):
            sheet.draw.rectangle(
                (bar, int(sheet.rng.integers(40, side - 40)), bar + 24, side - 40), fill=sheet.colour()
            )
    for _ in range(int(sheet.rng.integers(1, 5))):
        values = np.clip(side / 2 + np.cumsum(sheet.rng.normal(0, 8, side - 60)), 20, side - 40)
        points = list(zip(range(40, side - 20), values.tolist(), strict=True))
        sheet.draw.line(points, fill=sheet.colour(), width=int(sheet.rng.integers(1, 4)))
    sheet.draw.rectangle((40, 20, side - 20, side - 40), outline=ink)
    sheet.draw.text((side // 3, 2), sheet.line(3), fill=ink, font=sheet.font(12, 18))


def table(sheet: Sheet) -> None:
    """Rows of words and numbers, every other one shaded."""
    font, ink, x = sheet.font(9, 16), sheet.colour(0, 110), 0
    height, shade = int(font.size * 1.6), sheet.colour(220, 250)
    for y in range(0, sheet.side, 2 * height):
        sheet.draw.rectangle((0, y, sheet.side, y + height), fill=shade)
    while x < sheet.side:
        width, numbers = int(sheet.rng.integers(50, 160)), sheet.rng.random() < 0.5
        for y in range(0, sheet.side, height):
            cell = f"{sheet.rng.normal(0, 1000):.2f}" if numbers else sheet.word()
            sheet.draw.text((x + 4, y + 2), cell, fill=ink, font=font)
        x += width
        sheet.draw.line((x - 2, 0, x - 2, sheet.side), fill=shade)


def pixel_art(sheet: Sheet) -> None:
    """Few colours on a coarse grid, enlarged without smoothing."""
    cells = sheet.side // int(sheet.rng.choice([1, 2, 4, 8]))
    palette = np.array([sheet.colour() for _ in range(int(sheet.rng.integers(3, 12)))], np.uint8)
    noise = Image.fromarray(sheet.rng.integers(0, 256, (cells // 6 + 2,) * 2, dtype=np.uint8))
    field = np.asarray(noise.resize((cells, cells), Image.Resampling.BICUBIC)).astype(int) * len(palette) // 256
    tiles = sheet.rng.random((cells, cells)) < sheet.rng.choice([0, 0.02, 0.2])
    field = np.where(tiles, sheet.rng.integers(0, len(palette), (cells, cells)), field)
    drawn = Image.fromarray(palette[field]).resize((sheet.side, sheet.side), Image.Resampling.NEAREST)
    sheet.image.paste(drawn)


def caption(sheet: Sheet) -> None:
    """Lines over what is there, some in boxes."""
    for _ in range(int(sheet.rng.integers(2, 7))):
        x, y = (int(v) for v in sheet.rng.integers(0, sheet.side * 3 // 4, 2))
        font, words = sheet.font(12, 60), sheet.line(int(sheet.rng.integers(1, 5)))
        if sheet.rng.random() < 0.5:
            sheet.draw.rectangle(sheet.draw.textbbox((x, y), words, font=font), fill=sheet.colour())
        sheet.draw.text((x, y), words, fill=sheet.colour(), font=font)


KINDS: tuple[Callable[[Sheet], None], ...] = (page, code, windows, chart, table, pixel_art, caption)


def screen(number: int, side: int, photograph: np.ndarray | None = None) -> Image.Image:
    """Picture `number`: kinds take turns."""
    rng = np.random.default_rng((number, side))
    kind = KINDS[number % len(KINDS)]
    ground = tuple(int(v) for v in rng.integers(225, 256, 3)) if rng.random() < 0.5 else (255, 255, 255)
    sheet = Sheet(side, rng, ground)
    if kind is caption and photograph is not None:
        sheet = Sheet(side, rng, Image.fromarray(photograph).resize((side, side), Image.Resampling.LANCZOS))
    kind(sheet)
    return sheet.image


def main(arguments: Arguments) -> None:
    """Draws and writes."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    photographs = open_source(arguments.captions) if arguments.captions else ()
    for number in tqdm(range(arguments.first, arguments.first + arguments.count), "draw"):
        below = photographs[number % len(photographs)] if photographs else None
        screen(number, arguments.side, below).save(arguments.out / f"screen_{number:03d}.png")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
