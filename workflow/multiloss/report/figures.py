"""The study's figures with their captions, each handed out once, in the catalogue's order."""

from multiloss.figures import catalog
from multiloss.report import pictures
from multiloss.report.blocks import Block, Figure, Gallery, Section
from multiloss.report.facts import Facts

# Which section shows the figures of a category that no section takes by name. Any other category
# has a section of its own, behind the last of the results.
SECTION_OF = {
    "Data": "data",
    "Lung masks and crops": "crops",
    "Training": "training",
    "Performance": "singles",
    "Ensembles": "ensembles",
    "Comparisons": "significance",
    "Calibration": "calibration",
    "Grad-CAM": "gradcam",
}
BEHIND = "gradcam"
# Beyond so many folded figures their images are packed with fewer pixels.
MANY, COARSE_DPI = 30, 110


class Figures:
    """Figures that the study makes and that are there; a figure is shown in one section."""

    def __init__(self, facts: Facts) -> None:
        self._results = facts.results
        self._catalogue = catalog.figures(facts.config, f"{facts.unit}s")
        self._left = [name for name in self._catalogue if facts.results.path(f"figures/{name}.svg")]
        self._drawn = 0
        self._labels = {facts.label(name): name for name in facts.planned}
        self.absent = [name for name in self._catalogue if name not in self._left]

    def _figure(self, name: str, dpi: int = pictures.DPI) -> Figure:
        entry = self._catalogue[name]
        record = self._results.json(f"figures/{name}.json")
        path = self._results.path(f"figures/{name}.svg")
        assert path is not None  # `_left` holds only what is there
        facts = str(record.get("facts", "")).strip()
        self._drawn += 1
        alt = f"{entry.title}. {facts}".strip()
        picture = pictures.inline(path, f"f{self._drawn}-", alt, self._labels, dpi)
        caption = f"{entry.caption} {facts}".strip()
        # `main`: the number among a paper's figures, of which the others are the supplement.
        supplement = getattr(entry, "main", 1) is None
        file = f"figures/{name}.svg"
        return Figure(f"figure-{name}", entry.title, caption, picture, file, supplement=supplement)

    def take(self, *names: str) -> list[Block]:
        """Those of the figures that are there and not shown yet."""
        taken = [name for name in names if name in self._left]
        self._left = [name for name in self._left if name not in taken]
        return [self._figure(name) for name in taken]

    def of(self, category: str) -> list[Block]:
        """Those of a category that are not shown yet."""
        return self.take(*(n for n in self._left if self._catalogue[n].category == category))

    def gallery(self, title: str, category: str) -> list[Block]:
        """Those of a category that are not shown yet, behind a fold."""
        names = [n for n in self._left if self._catalogue[n].category == category]
        self._left = [name for name in self._left if name not in names]
        dpi = COARSE_DPI if len(names) > MANY else pictures.DPI
        folded = [self._figure(name, dpi) for name in names]
        return [Gallery(title, [], folded)] if folded else []

    def show_rest(self, sections: list[Section]) -> None:
        """Add what no section has taken to the section of its category, or to one of its own."""
        known = {section.id: section for section in sections}
        end = sections.index(known[BEHIND]) + 1
        for category in dict.fromkeys(self._catalogue[name].category for name in self._left):
            blocks = self.of(category)
            if SECTION_OF.get(category) in known:
                known[SECTION_OF[category]].blocks += blocks
            else:
                sections.insert(end, Section(f"figures-{end}", category, blocks, level="result"))
                end += 1
