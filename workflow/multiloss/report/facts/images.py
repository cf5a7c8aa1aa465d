"""Images and patients, and how they were divided."""

from collections.abc import Mapping
from functools import cached_property

import pandas as pd

from multiloss.data import layouts
from multiloss.data.manifest import COPY, FOREIGN, KNOWN
from multiloss.data.tables import external_split, is_external
from multiloss.evaluation import segmentation_scores
from multiloss.report.blocks import is_true
from multiloss.report.facts.settings import SettingsFacts
from multiloss.report.facts.values import (
    is_remark,
    watched,
)


class ImageFacts(SettingsFacts):
    """Images and patients, and how they were divided."""

    @cached_property
    def manifest(self) -> pd.DataFrame:
        return self.results.table("data/manifest.csv")

    @property
    def external(self) -> list[str]:
        """The splits of external tests, in the order of the config."""
        return [external_split(name) for name in self.study.external]

    def images(self, split: str | None = None) -> int:
        """Images of a split, or of the study."""
        return len(self._part(split))

    def class_sizes(self, split: str) -> dict[str, int]:
        """Images of each class in a split, in the order of the config."""
        if self.manifest.empty:
            return {}
        counts = self._part(split)["label"].value_counts()
        return {name: int(counts.get(name, 0)) for name in self.classes}

    def patients(self, split: str | None = None) -> int:
        """Patients of a split, or of the study; an image without one counts as one of its own."""
        part = self._part(split)
        return 0 if part.empty else int(part["patient_id"].nunique())

    def unknown(self, split: str | None = None) -> float:
        """Share of the images of a split, or of the study, whose patient is not known."""
        part = self._part(split)
        if part.empty or "patient_known" not in part:
            return 0.0
        return 1.0 - float(part["patient_known"].map(is_true).mean())

    @cached_property
    def divided(self) -> pd.DataFrame:
        """Rows of the manifest on the study's own images: all but those of external tests."""
        table = self.manifest
        return table if table.empty else table[~is_external(table)]

    def _part(self, split: str | None) -> pd.DataFrame:
        table = self.manifest
        if split is None or table.empty:
            return self.divided
        return table[table["split"] == split]

    @property
    def unit(self) -> str:
        """What was divided and resampled: patients, or images where no patient is known."""
        return "image" if self.unknown() == 1 else "patient"

    @cached_property
    def left_out(self) -> pd.DataFrame:
        """Rows of rejected.csv on files that are not used."""
        table = self.results.table("data/rejected.csv")
        return table if table.empty else table[~table["reason"].map(is_remark)]

    @cached_property
    def remarks(self) -> pd.DataFrame:
        """Rows of rejected.csv on images that are used all the same."""
        table = self.results.table("data/rejected.csv")
        return table if table.empty else table[table["reason"].map(is_remark)]

    def dropped(self, lungs: bool = False) -> pd.DataFrame:
        """Images left out of training since their patient is tested on: with a class, or lungs."""
        table = self.results.table("data/dropped.csv")
        return table if table.empty else table[table["label"].isna() == lungs]

    @property
    def shipped_test(self) -> bool:
        """Whether the test split is the one that the sources name."""
        splits = self.config["splits"]
        shipped = splits["test"] == "shipped" and splits["recurring_patients"] == "drop"
        return shipped and not self.folds

    @property
    def class_counts(self) -> dict[str, dict[str, int]]:
        """How many images of each class each split has, in the order of the study."""
        table = self.manifest
        if table.empty:
            return {}
        splits = ["train", "val", "ensemble", "test", *self.external]
        return {
            split: table["label"][table["split"] == split].value_counts().to_dict()
            for split in splits
        }

    @property
    def publishers_say(self) -> Mapping[str, str]:
        """What the publishers of the archive say that all classified images come from."""
        found = {source["layout"] for source in self.sources("classification")}
        return layouts.get(*found).published if len(found) == 1 else {}

    @property
    def sources_stated(self) -> bool:
        """Whether citation and licence of all sources are known."""
        sources = map(self.provenance, self.sources())
        return all(source.get("citation") and source.get("license") for source in sources)

    @property
    def unknown_images(self) -> int:
        """How many images of the study are of an unknown patient."""
        known = self.divided.get("patient_known", [])
        return sum(not is_true(value) for value in known)

    @property
    def audited(self) -> bool:
        """Whether the splits were checked for shared patients and images."""
        return not self.results.table("tables/leakage.csv").empty

    @property
    def heat_maps(self) -> bool:
        """Whether heat maps were made and measured."""
        return not self.results.table("tables/localisation.csv").empty

    @property
    def redrawn(self) -> bool:
        """Whether each training run had its own train, val and ensemble split."""
        return self.study.redrawn and len(self.study.runs) > 1

    @property
    def shared(self) -> list[str]:
        """What all trainings had in common, so that no interval or test counts its chance:
        the `division`, the `pool` of what was trained on, the `segmenters`."""
        found = ["pool"] if self.redrawn or self.folds else ["division", "pool"]
        return [*found, "segmenters"] if self.study.segmented else found

    @property
    def run_chance(self) -> str:
        """What differs between the runs of one loss: `seeds`, `divisions` or `folds`."""
        if self.folds:
            return "folds"
        return "divisions" if self.redrawn else "seeds"

    @cached_property
    def watched(self) -> dict[str, list[str]]:
        """What validation images decide in the trainings of the `networks`, the model-level `heads`
        and the networks of the lung `masks`."""
        ensembles = self.config["ensembles"]
        found = [watched(variant.training) for variant in self.study.listed.values()]
        networks = [one for one in ("stop", "rate", "epoch") if any(one in each for each in found)]
        heads = []
        if self.combines and "model_level" in ensembles["methods"]:
            heads = watched(ensembles["model_level"]["training"])
        masks = watched(self.config["segmentation"]["training"])
        return {"networks": networks, "heads": heads, "masks": masks}

    @property
    def combines(self) -> bool:
        """Whether the study builds ensembles of different losses."""
        ensembles = self.config["ensembles"]
        return bool(ensembles["methods"] and ensembles["top_k"])

    def segmenter(self, loss: str) -> str:
        """A network for lung masks by its loss, in words."""
        return segmentation_scores.label(loss)

    def class_images(self, split: str | None = None) -> dict[str, int]:
        """Images of each class in a split, or in the study."""
        part = self._part(split)
        labels = pd.Series(dtype=str) if part.empty else part["label"].astype(str)
        return {name: int((labels == name).sum()) for name in self.classes}

    @cached_property
    def left_out_kinds(self) -> dict[str, int]:
        """Files that are not used, by kind: `copies`, `foreign`, `known` and `unusable`."""
        reasons = self.left_out.get("reason", pd.Series(dtype=str)).astype(str)
        found = {
            "copies": int((reasons == COPY).sum()),
            "foreign": int(reasons.str.contains(FOREIGN, regex=False).sum()),
            "known": int(reasons.str.startswith(KNOWN).sum()),
        }
        return found | {"unusable": len(reasons) - sum(found.values())}

    @property
    def remarked(self) -> int:
        """Images that are used with a remark in rejected.csv."""
        return self.remarks["path"].nunique() if len(self.remarks) else 0
