"""What journals ask of figures: the one place for sizes, fonts and resolutions.

Snakemake reads it with the configuration, so it imports nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Journal:
    """A preset: sizes in mm, text in points at final size, lines in points.

    `sources`: names and addresses of the guidelines; journals change them, so look there before
    a submission. `fonts`: the first one that the machine has is drawn with. Liberation Sans has
    the widths of Arial; DejaVu Sans, about 15% wider, comes with Matplotlib and so is always
    there, but neither PLOS nor Nature names it: install one of the others before a submission.
    `font_size` is that of titles and labels, ticks may be half a point smaller, headings one
    point larger, all within `smallest` and `largest`. `dpi`: the least, and what is drawn with
    unless the config says more. `grid`: whether lines behind the data are welcome. `tiff`:
    whether it asks for TIFF as well.
    """

    single_column_mm: float
    double_column_mm: float
    max_width_mm: float
    max_height_mm: float
    font_size: float
    smallest: float
    largest: float
    fonts: tuple[str, ...]
    sources: tuple[str, ...] = ()
    min_width_mm: float = 0
    dpi: int = 300
    max_dpi: int = 1200
    thinnest: float = 0.5
    grid: bool = True
    tiff: bool = False


ARIAL = ("Arial", "Liberation Sans", "DejaVu Sans")
JOURNALS = {
    # The same on every machine; a page of A4 with its caption.
    "none": Journal(85, 180, 300, 220, 7.5, 7, 14, ("DejaVu Sans",)),
    # TIFF (LZW, flattened, no alpha channel) or EPS, RGB or grey, 300 to 600 dpi, at most 10 MB;
    # 6.68 to 19.05 cm wide, 13.2 cm as wide as the text, at most 22.23 cm high; Arial, Times or
    # Symbol of 8 to 12 pt. Lines of 0.5 to 1.5 pt stood in its earlier guidelines only.
    "plos": Journal(
        *(132, 190, 190.5, 222, 8, 8, 12, ARIAL),
        sources=(
            "PLOS ONE, Figures (September 2026): https://journals.plos.org/plosone/s/figures",
            "PLOS, Guidelines for Figure and Table Preparation (earlier, lines): "
            "http://www.plosone.org/static/figureGuidelines.action",
        ),
        min_width_mm=66.8,
        max_dpi=600,
        tiff=True,
    ),
    # 89 or 183 mm wide, at most 170 mm high, which leaves room for the legend (247 mm is the
    # page); Arial or Helvetica of 5 to 7 pt, TrueType embedded, not outlined; RGB; no grid lines;
    # photographs of 300 dpi or more, best 450. Lines from 0.25 pt: from quotations of "Final
    # submission", whose own text on lines was not at hand.
    "nature": Journal(
        *(89, 183, 183, 170, 6.5, 5, 7, ARIAL),
        sources=(
            "Nature research figure guide (September 2026): https://research-figure-guide."
            "nature.com/figures/building-and-exporting-figure-panels and .../"
            "preparing-figures-our-specifications",
            "Nature, Final submission: https://www.nature.com/nature/for-authors/final-submission",
        ),
        thinnest=0.25,
        grid=False,
    ),
    # Columns of 75 and 154 mm and 300 dpi are known from quotations of its guidelines of August
    # 2015 only. The journal draws figures again in its own type and prefers files that can be
    # edited, of which this workflow makes the SVG. It names no font or size for words within a
    # figure that could be checked: the font is ours, the size Elsevier's, its publisher: 7 pt.
    # The height is ours, too: a page of A4 with its caption.
    "lancet": Journal(
        *(75, 154, 154, 220, 7, 7, 10, ARIAL),
        sources=(
            "The Lancet, Artwork guidelines (not at hand): "
            "https://www.thelancet.com/pb/assets/raw/Lancet/authors/artwork-guidelines.pdf",
            "Elsevier, Artwork sizing: https://www.elsevier.com/about/policies-and-standards/"
            "author/artwork-and-media-instructions/artwork-sizing",
        ),
    ),
}
