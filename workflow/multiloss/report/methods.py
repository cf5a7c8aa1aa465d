"""What the methods paragraph says, as values; its words are in sections/_methods.html.j2."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from multiloss import references
from multiloss.data import layouts
from multiloss.data.manifest import COPY, FOREIGN, KNOWN
from multiloss.evaluation import families
from multiloss.losses import calibrated, described
from multiloss.methods import Method, ensemble_methods
from multiloss.networks import backbones
from multiloss.report.facts import Facts, differences, loss_parameters
from multiloss.study import ABLATIONS, Variant

# In the order in which a paper speaks of its images.
ROLES = ("classification", "lungs_train", "lungs_test", "external_test")


class Methods:
    """What was done in one study."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    # ---- images --------------------------------------------------------------------------
    @property
    def origins(self) -> list[dict[str, Any]]:
        """Where the images come from: `name`, `cites` or `citation`, and their `roles`."""
        found: dict[str, dict[str, Any]] = {}
        for role in ROLES:
            for source in map(self._facts.provenance, self._facts.sources(role)):
                phantom = source["layout"] == "phantom"
                origin = found.setdefault(
                    "" if phantom else source["name"],
                    {
                        "phantom": phantom,
                        "name": source["name"],
                        "cites": layouts.get(source["layout"]).cites,
                        "citation": source.get("citation"),
                        "license": source.get("license"),
                        "roles": [],
                    },
                )
                if role not in origin["roles"]:
                    origin["roles"].append(role)
        return list(found.values())

    @property
    def left_out(self) -> dict[str, int]:
        """How many files were left out: `copies`, `foreign`, `known` and `unusable` ones."""
        table = self._facts.left_out
        if table.empty:
            return {}
        reasons = table["reason"].astype(str)
        found = {
            "copies": int((reasons == COPY).sum()),
            "foreign": int(reasons.str.contains(FOREIGN, regex=False).sum()),
            "known": int(reasons.str.startswith(KNOWN).sum()),
        }
        return found | {"unusable": len(table) - sum(found.values())}

    # ---- networks ------------------------------------------------------------------------
    def backbone(self, part: str) -> Any:
        """The backbone of a part of the config: `title`, `cites`, `cut_layer`."""
        return backbones.get(self._facts.config[part]["backbone"])

    def start(self, part: str) -> str:
        """The weights its encoder starts from; of a file its name."""
        weights = str(self._facts.config[part].get("encoder_weights", "none"))
        return weights if weights in ("none", "imagenet", "segmenter") else Path(weights).name

    def losses(self, kind: str) -> list[dict[str, Any]]:
        """The losses of the config: `title`, `parameters`, `changes` of the training, `cites`."""
        settings = self._facts.config[kind]
        known = described(kind)
        if kind == "segmentation":
            entries = [(known[entry["name"]].title, entry, {}) for entry in settings["losses"]]
        else:
            variants: Iterable[Variant] = self._facts.study.listed.values()
            entries = [(v.label, v.loss, differences(v, settings)) for v in variants]
        return [
            {
                "title": title,
                "name": str(entry["name"]),
                "parameters": {
                    key: value
                    for key, value in loss_parameters(kind, entry).items()
                    if value is not None
                },
                "changes": changes,
                "cites": known[entry["name"]].cites,
            }
            for title, entry, changes in entries
        ]

    @property
    def class_weights(self) -> list[str]:
        """The class weights of the variants: each kind once."""
        return sorted({variant.class_weights for variant in self._facts.study.listed.values()})

    @property
    def calibrated(self) -> bool:
        """Whether any loss has a calibration term."""
        return any(loss["name"] in calibrated() for loss in self.losses("classification"))

    @property
    def ablations(self) -> list[str]:
        """What the baseline was also trained without."""
        return [ABLATIONS[name] for name in self._facts.config["ablations"]]

    @property
    def ensembles(self) -> list[Method]:
        """The methods of the ensembles; none without sizes."""
        ensembles = self._facts.config["ensembles"]
        used = ensembles["methods"] if ensembles["top_k"] else []
        return [ensemble_methods()[name] for name in used]

    # ---- statistics ----------------------------------------------------------------------
    @property
    def families(self) -> list[tuple[str, int]]:
        """The primary families of hypotheses in words, with how many each has."""
        unit = self._facts.unit
        return [
            (families.label(family.name, unit), family.hypotheses)
            for family in self._facts.primary_families
        ]

    @property
    def tests(self) -> set[str]:
        """Names of the tests between runs."""
        table = self._facts.significance
        return set() if table.empty else set(table["test"].dropna().astype(str))

    @property
    def corrections(self) -> set[str]:
        """The corrections of p values that were used."""
        tables = (self._facts.significance, *map(self._facts.results.table, (
            "tables/replicate_comparisons.csv", "tables/ensemble_comparisons.csv",
        )))  # fmt: skip
        return {
            str(name)
            for table in tables
            if not table.empty
            for name in table["correction"].dropna().unique()
        }

    @property
    def pooled(self) -> bool:
        """Whether the variance between runs was pooled over the losses, by the metric tested."""
        table = self._facts.results.table("tables/replicate_comparisons.csv")
        if table.empty:
            return False
        return bool((table["method"][table["metric"] == self._facts.tested] == "pooled").any())

    @property
    def heat_metrics(self) -> list[str]:
        """Measures of the heat maps that have a value."""
        table = self._facts.results.table("tables/localisation.csv")
        if table.empty:
            return []
        # Of lesions that nobody knows the table has rows without a value.
        return sorted(table["metric"][table["value"].notna()].astype(str).unique())


class Citation:
    """CITATION.cff: what to cite where the workflow is used."""

    def __init__(self, text: str) -> None:
        self._own: Mapping[str, Any] = yaml.safe_load(text) if text else {}

    def __bool__(self) -> bool:
        return bool(self._own)

    def __getitem__(self, key: str) -> Any:
        return self._own[key]

    @property
    def authors(self) -> list[str]:
        return [_author(author) for author in self._own["authors"]]

    @property
    def article(self) -> str:
        """The study that it follows, in the style of the reference list."""
        entry = self._own["preferred-citation"]
        authors = ", ".join(_author(author) for author in entry["authors"])
        return references.written({**entry, "authors": authors, "pages": entry["start"]})

    @property
    def bibtex(self) -> str:
        """The workflow, the study that it follows and its engine as entries for BibTeX."""
        return "\n\n".join(
            [
                references.entry("multiloss", self._software),
                *map(references.bibtex, ("rajaraman2021", "molder2021")),
            ]
        )

    @property
    def _software(self) -> dict[str, str]:
        return {
            "authors": ", ".join(self.authors),
            "title": str(self._own["title"]),
            "note": f"Version {self._own['version']}",
        }


def _author(author: Mapping[str, str]) -> str:
    """'Rajaraman S'; the name of a group as it stands."""
    if "name" in author:
        return author["name"]
    initials = "".join(name[0] for name in author["given-names"].split())
    return f"{author['family-names']} {initials}"
