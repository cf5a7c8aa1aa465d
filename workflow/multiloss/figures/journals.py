"""What journals ask of figures: the one place for sizes, fonts and resolutions.

Snakemake reads it with the configuration, so it imports nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Journal:
    """A preset: sizes in mm, text in points at final size, lines in points.

    `fonts`: the first one that the machine has is drawn with. Liberation Sans has the widths of
    Arial; DejaVu Sans, about 15% wider, comes with Matplotlib and so is always there.
    `font_size` is that of titles and labels, ticks may be half a point smaller, headings one
    point larger, all within `smallest` and `largest`. `tiff`: whether it asks for TIFF as well.
    """

    single_column_mm: float
    double_column_mm: float
    max_width_mm: float
    max_height_mm: float
    font_size: float
    smallest: float
    largest: float
    fonts: tuple[str, ...]
    dpi: int = 300
    thinnest: float = 0.5
    tiff: bool = False


ARIAL = ("Arial", "Liberation Sans", "DejaVu Sans")
JOURNALS = {
    # The same on every machine; a page of A4 with its caption.
    "none": Journal(85, 180, 300, 220, 7.5, 7, 14, ("DejaVu Sans",)),
    # journals.plos.org, "Figures": TIFF or EPS of 300 to 600 dpi without an alpha channel, at most
    # 19.05 x 22.23 cm, one text column of 13.2 cm; Arial, Times or Symbol of 8 to 12 pt.
    "plos": Journal(132, 190, 190.5, 222, 8, 8, 12, ARIAL, tiff=True),
    # nature.com, "Final submission": 89 or 183 mm wide, at most 247 mm high (170 beside a long
    # caption, 210 beside a short one); Helvetica or Arial of 5 to 7 pt; lines from 0.25 pt.
    "nature": Journal(89, 183, 183, 210, 6.5, 5, 7, ARIAL, thinnest=0.25),
    # thelancet.com, "Artwork guidelines": columns of 75 and 154 mm, 300 dpi. The journal draws
    # figures again in its own type; sizes of text follow its publisher Elsevier: at least 7 pt.
    "lancet": Journal(75, 154, 154, 220, 7, 7, 10, ARIAL),
}
