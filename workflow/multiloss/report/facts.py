"""What the tables say, asked in the words of the study. Nothing here writes sentences."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd
import yaml

from multiloss import losses
from multiloss.data import layouts
from multiloss.data.manifest import COPY, FOREIGN, KEPT, KNOWN
from multiloss.data.sources.addresses import public
from multiloss.data.tables import external_split, is_external
from multiloss.evaluation import NEAR_ONE, families, segmentation_scores
from multiloss.evaluation.families import (
    BASELINE,
    BEST_MEMBER,
    BEST_SINGLE,
    NOISE_FLOOR,
    SEED_ENSEMBLE,
)
from multiloss.figures import selection
from multiloss.gradcam.localisation import AGAINST_BASELINE, GAIN, UNIFORM
from multiloss.job.summary import step_times
from multiloss.methods import Method, ensemble_methods
from multiloss.report.blocks import is_true, p_value, plural
from multiloss.report.results import Results
from multiloss.statistics import calibration_measures
from multiloss.statistics.bootstrap import INTERVALS, PUBLISHED
from multiloss.statistics.crossed import ENOUGH_SEEDS
from multiloss.statistics.metrics import (
    CLASS_METRICS,
    MACRO,
    MAIN,
    OF_CLASS,
    PRIMARY,
    Row,
    lookup,
    shown,
)
from multiloss.study import ANY_FINDING, KINDS, OWN_KEYS, ModelTable, Study, Variant
from multiloss.study import BEST_SINGLE as BEST_SINGLE_METHOD

__all__ = ["BASELINE", "BEST_MEMBER", "BEST_SINGLE", "NOISE_FLOOR", "SEED_ENSEMBLE", "Facts"]

# The primary test: sign flips by patient.
PRIMARY_TEST = "permutation"


@dataclass(frozen=True)
class Estimate:
    """A metric of one model with its interval; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A paired test of a against b; `difference` is a minus b.

    `hypotheses`: how many its family has, over which `correction` goes; `seeds`: whether it counts
    the chance of the training runs, of which a has `runs_a` and b `runs_b`, and so speaks of losses
    or methods; otherwise it speaks of two runs.
    """

    a: str
    b: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    reject: bool
    family: str
    hypotheses: int = 0
    correction: str = "Holm"
    seeds: bool = False
    runs_a: int = 1
    runs_b: int = 1

    @property
    def verdict(self) -> str:
        """'better', 'worse' or 'open'; the first two only when the corrected test rejects."""
        if not self.reject or not self.difference:
            return "open"
        return "better" if self.difference > 0 else "worse"

    @property
    def estimate(self) -> Estimate:
        """The difference with its interval."""
        return Estimate(self.difference, self.low, self.high)

    @property
    def size(self) -> float:
        """How large the difference is, either way."""
        return abs(self.difference)

    @property
    def turned(self) -> "Comparison":
        """The same of b against a."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
            runs_a=self.runs_b,
            runs_b=self.runs_a,
        )


@dataclass(frozen=True)
class Floor:
    """Differences between two names of one objective, which the training run alone makes.

    `largest` of them in size; `within` of the `others`, differences between another loss and the
    baseline, are no larger.
    """

    pairs: list[Comparison]
    largest: float
    others: int
    within: int


@dataclass(frozen=True)
class Hit:
    """A secondary test that rejects: of `model` against `other` (empty: of many at once)."""

    model: str
    other: str
    metric: str
    test: str
    p_value: float


@dataclass
class Degenerate:
    """What is wrong with the classes that a model names on one split.

    `never`: classes with images there that it never names, with the number of their images;
    `dominant`: the class that it names for a share `share` of all images; `chance`: its MCC,
    where that is no better than chance. An undefined MCC counts as 0.
    """

    model: str
    never: dict[str, int] = field(default_factory=dict)
    dominant: str = ""
    share: float = math.nan
    chance: float = math.nan

    @property
    def collapsed(self) -> bool:
        """Whether it tells classes apart so little that its scores say nothing of its loss."""
        return bool(self.dominant) or not math.isnan(self.chance)


@dataclass(frozen=True)
class Spread:
    """Standard deviation between the runs of one loss (`seeds`, on `df` degrees of freedom) and
    between the means of `count` losses of different objectives, with the F test of whether these
    differ by more than seeds make them."""

    seeds: float
    df: int
    losses: float
    count: int
    statistic: float
    p_value: float
    remark: str


@dataclass(frozen=True)
class PrimaryFamily:
    """A family of hypotheses that was said before any result: how many, and how many reject."""

    name: str
    hypotheses: int
    rejected: int
    correction: str
    seeds: bool


@dataclass(frozen=True)
class Optimism:
    """Means over the ensembles of their test MCC as published, on patients left out of the choice
    and as chosen here; of optimism and of the gain from the other choice; the extremes of optimism.
    """

    ensembles: int
    published: float
    unseen: float
    ours: float
    optimism: float
    lowest: float
    highest: float
    gain: float


@dataclass(frozen=True)
class Heat:
    """The share of heat in a region: least and largest of `models`, and of a uniform map.

    `tests` paired tests against the uniform map were made; `above` and `below` are those that
    reject, `gain` is the largest difference of those above. `others`, `more` and `less` are the
    same against the baseline's maps.
    """

    models: int
    least: float
    largest: float
    uniform: float
    tests: int
    above: int
    below: int
    gain: float
    others: int
    more: int
    less: int


@dataclass(frozen=True)
class Ranking:
    """Between which ranks a model may lie by the tests of all pairs, among how many models."""

    model: str
    first: int
    last: int
    models: int
    pairs: int
    same_objective: str


def loss_parameters(kind: str, entry: Mapping[str, Any]) -> dict[str, float | None]:
    """The parameters that were used for a loss of the config, defaults included."""
    given = {key: value for key, value in entry.items() if key not in ("name", *OWN_KEYS)}
    return losses.catalog(kind).get(entry["name"], {}) | given


def count_of(value: Any) -> int:
    """A whole number of a table; 0 where it has none."""
    return 0 if value is None or pd.isna(value) else int(value)


def percent(share: float) -> str:
    """'12%'; never 0% for some nor 100% for not all."""
    if 0 < share < 0.01 or 0.99 < share < 1:
        return "less than 1%" if share < 0.5 else "more than 99%"
    return f"{100 * share:.0f}%"


def _ends(key: str) -> tuple[str, str]:
    """The columns of the ends of a value's interval."""
    return f"{key}_low", f"{key}_high"


def watched(training: Mapping[str, Any]) -> list[str]:
    """What the validation images of a training decide: 'stop', 'rate' and 'epoch', or nothing."""
    does = {
        "stop": training["early_stopping"],
        "rate": training["reduce_on_plateau"],
        "epoch": training["keep"] == "best",
    }
    return [name for name, so in does.items() if so]


def _is_remark(reason: Any) -> bool:
    return str(reason).startswith(KEPT)


def differences(variant: Variant, settings: Mapping[str, Any]) -> list[str]:
    """'epochs 2': what the training of a variant has otherwise than `classification` says."""
    said = []
    if variant.class_weights != settings["class_weights"]:
        said.append(f"class weights {variant.class_weights}")
    for part in ("training", "augmentation"):
        said += _changes(getattr(variant, part), settings[part])
    return said


def _changes(given: Mapping[str, Any], usual: Mapping[str, Any], above: str = "") -> list[str]:
    said = []
    for key, value in given.items():
        was, name = usual.get(key), f"{above}{key}".replace("_", " ")
        if value == was:
            continue
        if isinstance(value, Mapping):
            said += _changes(value, was if isinstance(was, Mapping) else {}, f"{key} ")
        else:
            shown = {None: "none", True: "yes", False: "no"}.get(value, value)
            said.append(f"{name} {shown:g}" if isinstance(shown, float) else f"{name} {shown}")
    return said


class Facts:
    """One study's config and tables."""

    def __init__(self, results: Results, config: Mapping[str, Any]) -> None:
        self.results = results
        self.config = config

    # ---- config ---------------------------------------------------------------------------
    @property
    def classes(self) -> list[str]:
        return [str(name) for name in self.config["classes"]]

    @cached_property
    def study(self) -> Study:
        """The config's variants and models; with folds those of the first run."""
        return Study(self.config).shown

    @property
    def folds(self) -> int:
        """How many folds the runs take turns in testing on; 0 where all have one test split."""
        return Study(self.config).folds

    @property
    def losses(self) -> list[str]:
        """Names of the variants that the config lists."""
        return list(self.study.listed)

    @property
    def losses_told(self) -> str:
        """'12 losses'; 'variants' where a loss is listed twice or one is trained otherwise."""
        words = ("loss", "losses") if self.losses_alone else ("variant", "variants")
        return plural(len(self.study.listed), *words)

    @property
    def losses_alone(self) -> bool:
        """Whether each variant has a loss of its own and they are trained alike otherwise."""
        variants, settings = self.study.listed.values(), self.config["classification"]
        alike = len({variant.loss["name"] for variant in variants}) == len(variants)
        return alike and not any(differences(variant, settings) for variant in variants)

    @property
    def variants(self) -> list[dict[str, Any]]:
        """Each variant that the config lists: `name`, what its loss is (`sentence`), the loss's
        `parameters`, what differs from the study's settings (`otherwise`), and the variant that has
        the same objective (`same`, "" without one)."""
        settings, known = self.config["classification"], losses.described("classification")
        same = {a: b for pair in self.same_objective for a, b in (pair, pair[::-1])}
        return [
            {
                "name": name,
                "sentence": known[variant.loss["name"]].sentence,
                "parameters": loss_parameters("classification", variant.loss),
                "otherwise": differences(variant, settings),
                "same": same.get(name, ""),
            }
            for name, variant in self.study.listed.items()
        ]

    @cached_property
    def planned(self) -> ModelTable:
        """Every model that the config asks for; one that only a table has is refused."""
        return ModelTable(self.study.models.values(), self.results.root / "data/models.csv")

    def label(self, name: str) -> str:
        """A model, or a loss for all its runs, in words: `cce-r0` is 'cross-entropy'.

        The number of a run is told where its loss was trained more than once.
        """
        if name not in self.planned:
            return self.planned.label_of(name)
        model = self.planned[name]
        several = any(other.replicate for other in self.planned.families[model.family])
        return model.label_of_run if several else model.label

    def labels(self, names: Sequence[str]) -> list[str]:
        """The losses, or kinds of ensembles, of those models in words, each once."""
        return list(dict.fromkeys(self.label(self.family(name)) for name in names))

    @cached_property
    def _further(self) -> frozenset[str]:
        """Variants that the study trains again for its ensembles of seeds."""
        models = self.study.models.values()
        return frozenset(model.variant for model in models if model.kind == "seed")

    @cached_property
    def faulty(self) -> frozenset[str]:
        """Models that `degenerate` knows on the test split, and the losses of such runs."""
        found = self.degenerate()
        families = {self.family(name) for name in found if self.planned[name].replicate is not None}
        return frozenset(found) | families

    def family(self, name: str) -> str:
        """What a model's runs have in common; a variant itself."""
        return self.planned[name].family if name in self.planned else name

    @property
    def replicates(self) -> int:
        return len(self.study.replicates)

    @property
    def enough_seeds(self) -> int:
        """Runs of each loss from which on their spread can be relied on."""
        return ENOUGH_SEEDS

    @property
    def baseline_loss(self) -> str:
        """Name of the variant that all are compared with."""
        return self.study.baseline

    @property
    def baseline(self) -> str:
        """Its first run."""
        return self.study.run(self.baseline_loss, 0).name

    @property
    def alpha(self) -> float:
        return float(self.config.get("significance", {}).get("alpha", 0.05))

    @property
    def confidence(self) -> str:
        level = 100 * float(self.config.get("evaluation", {}).get("confidence", 0.95))
        return f"{level:g}%"

    def p(self, value: Any, digits: int = 3) -> str:
        """A p value for reading; close to alpha with as many digits as tell the side it is on."""
        return p_value(value, self.alpha, digits)

    def sources(self, role: str | None = None) -> list[Mapping[str, Any]]:
        return [s for s in self.config["data"]["sources"] if role in (None, s["role"])]

    def provenance(self, source: Mapping[str, Any]) -> dict[str, Any]:
        """What the config says of a source, completed by what its download recorded."""
        record = self.results.json(f"data/downloads/{source['name']}.json")
        terms = {key: source.get(key) for key in ("license", "citation", "homepage")}
        known = [*record.items(), *terms.items()]
        found = {**source, **{key: value for key, value in known if value}}
        for key in ("url", "masks_url"):
            if found.get(key):  # an earlier version recorded passwords, too
                found[key] = public(str(found[key]))
        return found

    @property
    def phantom(self) -> bool:
        """True when any image that is classified comes from the generator."""
        return any(s["layout"] == "phantom" for s in self.sources("classification"))

    @property
    def generated(self) -> bool:
        """True when all images that are classified come from the generator."""
        return {s["layout"] for s in self.sources("classification")} == {"phantom"}

    @property
    def settings(self) -> str:
        """The whole config with every default filled in, as YAML; without what was not used."""
        # By way of JSON: Snakemake's config may hold its own kinds of mappings.
        plain = json.loads(json.dumps(self.config))
        for key in () if self.study.segmented else ("segmentation", "crop"):
            plain.pop(key, None)
        return yaml.safe_dump(
            plain, sort_keys=False, allow_unicode=True, width=88, default_flow_style=False
        )

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        """What each rule took, longest first: `job.summary.StepTime` as mappings."""
        return [asdict(step) for step in step_times(self.results.root)]

    # ---- images ---------------------------------------------------------------------------
    @cached_property
    def manifest(self) -> pd.DataFrame:
        return self.results.table("data/manifest.csv")

    @property
    def external(self) -> list[str]:
        """The splits of external tests, in the order of the config."""
        return [external_split(name) for name in self.study.external]

    def images(self, split: str) -> int:
        return 0 if self.manifest.empty else int((self.manifest["split"] == split).sum())

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

    def size(self, split: str | None = None) -> str:
        """'4,000 images of 3,500 patients'; says so where patients are not known."""
        images = plural(len(self._part(split)), "image")
        unknown = self.unknown(split)
        if unknown == 1:
            return f"{images} (patients unknown)"
        patients = plural(self.patients(split), "patient")
        if unknown:
            return f"{images} of at most {patients} (unknown for {percent(unknown)} of the images)"
        return f"{images} of {patients}"

    @cached_property
    def left_out(self) -> pd.DataFrame:
        """Rows of rejected.csv on files that are not used."""
        table = self.results.table("data/rejected.csv")
        return table if table.empty else table[~table["reason"].map(_is_remark)]

    @cached_property
    def remarks(self) -> pd.DataFrame:
        """Rows of rejected.csv on images that are used all the same."""
        table = self.results.table("data/rejected.csv")
        return table if table.empty else table[table["reason"].map(_is_remark)]

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
            split: table.loc[table["split"] == split, "label"].value_counts().to_dict()
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
        """What all trainings had in common, so that no interval or test counts its chance."""
        found = [] if self.redrawn or self.folds else [f"one division of the {self.unit}s"]
        found.append(
            f"one pool of training {self.unit}s" if self.unit == "patient" else "one pool of images"
        )
        return [*found, "one set of lung segmenters"] if self.study.segmented else found

    @property
    def run_chance(self) -> str:
        """What differs between the runs of one loss: 'seeds', or 'runs (seed and division)'."""
        if self.folds:
            return f"folds (training {self.unit}s and seed)"
        return "runs (seed and division)" if self.redrawn else "seeds"

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

    # ---- metrics --------------------------------------------------------------------------
    def metric(self, name: str) -> Row:
        """What a value of the column `metric` means. Raises UserError for an unknown one."""
        return lookup(name, self.classes)

    @cached_property
    def all_metrics(self) -> pd.DataFrame:
        table = self.results.table("tables/metrics.csv")
        for column in ("model", "kind", "split", "metric", "ci_method", "value"):
            if column not in table.columns:
                table[column] = pd.Series(dtype=float if column == "value" else str)
        return table

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row per model, split and metric: the published interval has its own place."""
        table = self.all_metrics
        table = table[table["ci_method"] != PUBLISHED]
        return table.drop_duplicates(["model", "split", "metric"])

    @cached_property
    def _values(self) -> dict[tuple[str, str, str], Estimate]:
        table = self.metrics
        if table.empty:
            return {}
        low = table.get("ci_low", pd.Series(math.nan, table.index))
        high = table.get("ci_high", pd.Series(math.nan, table.index))
        keys = zip(table["model"], table["split"], table["metric"], strict=True)
        values = zip(table["value"], low, high, strict=True)
        return {key: Estimate(*value) for key, value in zip(keys, values, strict=True)}

    def value(self, model: str, metric: str = PRIMARY, split: str = "test") -> Estimate:
        return self._values.get((model, split, metric), Estimate(math.nan, math.nan, math.nan))

    def models(self, *kinds: str, split: str = "test") -> list[str]:
        """Models of those kinds that have metrics on the split, best MCC first, ties by name."""
        table = self.metrics[(self.metrics["split"] == split) & self.metrics["kind"].isin(kinds)]
        table = table[table["value"].notna()]

        def best_first(name: str) -> tuple[float, str]:
            value = self.value(name, split=split).value
            return (math.inf if math.isnan(value) else -value, name)

        return sorted(set(table["model"]), key=best_first)

    def scores(self, model: str, split: str = "test") -> dict[str, Estimate]:
        """The metrics of a model that the report has tables of, by their names."""
        names = [*shown(MAIN), *shown(MACRO)]
        return {name: self.value(model, name, split) for name in names}

    def class_scores(self, model: str, label: str) -> dict[str, Estimate]:
        """The same of one class on the test split, by the names that they have for any class."""
        return {name: self.value(model, CLASS_METRICS[name].of(label)) for name in shown(OF_CLASS)}

    @cached_property
    def published(self) -> dict[str, Estimate]:
        """Test MCC with the interval of the original publication, which assumes independence."""
        table = self.all_metrics
        keep = (table["ci_method"] == PUBLISHED) & (table["metric"] == PRIMARY)
        return {
            row["model"]: Estimate(row["value"], row["ci_low"], row["ci_high"])
            for row in table[keep & (table["split"] == "test")].to_dict("records")
        }

    @cached_property
    def _over_runs(self) -> pd.DataFrame:
        needed = (
            "family",
            "kind",
            "metric",
            "replicates",
            "mean",
            "sd",
            "minimum",
            "maximum",
            "runs",
        )
        return self.results.table("tables/replicates.csv", needed)

    def over_runs(self, kind: str, metric: str = PRIMARY) -> dict[str, dict[str, Any]]:
        """Rows of replicates.csv by family, highest mean first; empty where each has one run."""
        table = self._over_runs
        if self.replicates == 1 or table.empty:
            return {}
        table = table[(table["kind"] == kind) & (table["metric"] == metric)]
        table = table[table["mean"].notna()].sort_values(
            ["mean", "family"], ascending=[False, True]
        )
        return {str(row["family"]): row for row in table.to_dict("records")}

    def mean_scores(self, kind: str, family: str) -> dict[str, Estimate]:
        """By metric the mean over the runs of a family, with the lowest and the highest of them."""
        metrics = self._over_runs["metric"].unique()
        rows = {metric: self.over_runs(kind, metric).get(family) for metric in metrics}
        return {
            metric: Estimate(row["mean"], row["minimum"], row["maximum"])
            for metric, row in rows.items()
            if row is not None
        }

    def twin(self, name: str) -> str:
        """The loss that a loss, or that of a run, has the objective of; "" without one."""
        own = self.family(name)
        return next((b for a, b in self.same_objective if a == own), "")

    def undefined(self, *kinds: str) -> list[dict[str, Any]]:
        """Test metrics without a value: titles of the `metrics` of each `model` and `reason`."""
        table = self.all_metrics
        if "reason" not in table.columns:
            return []
        keep = table["value"].isna() & table["reason"].notna() & (table["split"] == "test")
        table = table[keep & table["kind"].isin(kinds)].drop_duplicates(["model", "metric"])
        return [
            {
                "model": model,
                "reason": reason,
                "metrics": [self.metric(name).title for name in part["metric"]],
            }
            for (model, reason), part in table.groupby(["model", "reason"], sort=False)
        ]

    def trainings(self) -> list[dict[str, Any]]:
        """Each training that has a history, in the config's order: `model`, `epochs`, `failed`
        (the loss was not a number), `best` epoch by validation MCC and that `val_mcc`, and the
        `loss` and `val_loss` of the last epoch."""
        found = []
        for model in self.planned.values():
            if not model.trained:
                continue
            history = self.results.table(f"models/{model.variant}/{model.replicate}.history.csv")
            if history.empty or not {"epoch", "loss", "val_loss"} <= set(history.columns):
                continue
            last = history.iloc[-1]
            row = {"model": model.name, "epochs": len(history), "failed": pd.isna(last["loss"])}
            row |= {"loss": last["loss"], "val_loss": last["val_loss"]}
            scores = history.get("val_mcc", pd.Series(dtype=float))
            if scores.notna().any():
                best = scores.idxmax()
                row |= {"best": history.at[best, "epoch"], "val_mcc": scores[best]}
            found.append(row)
        return found

    @property
    def kept(self) -> list[tuple[str, str]]:
        """What trainings keep ('best' or 'last' epoch) and monitor, each way once."""
        listed_ = [variant.training for variant in self.study.listed.values()]
        return list(dict.fromkeys((each["keep"], each["monitor"]) for each in listed_))

    @cached_property
    def singles(self) -> list[str]:
        return self.models("single")

    @cached_property
    def ensembles(self) -> list[str]:
        return self.models("ensemble")

    @cached_property
    def seed_ensembles(self) -> list[str]:
        return self.models("seed_ensemble")

    @cached_property
    def further_seeds(self) -> list[str]:
        """Trainings of one loss beyond the replicates, made for its ensembles of seeds."""
        table = self.metrics[self.metrics["kind"] == "seed"]
        return list(dict.fromkeys(table["model"]))

    @cached_property
    def seed_values(self) -> list[float]:
        """Test MCC of every run of the loss that was trained further times; empty without one.

        The runs of the study stand first; an MCC that is not defined counts as 0.
        """
        if not self.further_seeds:
            return []
        found = [self.planned[name] for name in self.models("single", "seed")]
        runs = [model for model in found if model.variant == self.study.repeated]
        runs.sort(key=lambda model: model.replicate)
        values = [self.value(model.name).value for model in runs]
        return [0.0 if math.isnan(value) else value for value in values]

    @cached_property
    def seeds_told(self) -> str:
        """'5 seeds (1 replicate of the study and 4 more)' of that loss."""
        further = len([name for name in self.further_seeds if self.runs(name)])
        own = plural(len(self.seed_values) - further, "replicate")
        return f"{len(self.seed_values)} seeds ({own} of the study and {further} more)"

    @cached_property
    def missing_models(self) -> list[str]:
        """Models that the config asks for and the tables do not have: failed trainings."""
        # A failed training has rows, all of them empty.
        have = set(self.metrics.loc[self.metrics["value"].notna(), "model"])
        return [name for name in self.planned if name not in have]

    def without_probabilities(self, models: Iterable[str]) -> list[Method]:
        """Ensemble methods of those models whose outputs are no probabilities."""
        used = {self.planned[name].method for name in models if name in self.planned}
        return [m for name, m in ensemble_methods().items() if name in used and m.caveat]

    def level(self, ensemble: str) -> str:
        """'losses', 'seeds' or 'ensembles': what the members of an ensemble are."""
        model = self.planned[ensemble]
        if model.kind == "seed_ensemble":
            return "seeds"
        return "ensembles" if model.level == "model_average" else "losses"

    def level_of_family(self, family: str) -> str:
        """The same of a kind of ensembles, which is known by one of them."""
        return self.level(self.planned.families[family][0].name)

    # ---- models that tell no classes apart -----------------------------------------------
    def degenerate(self, split: str = "test") -> dict[str, Degenerate]:
        """What tables/degenerate.csv says of each model on a split, and undefined MCCs."""
        return self._degenerate.get(split, {})

    @cached_property
    def _degenerate(self) -> dict[str, dict[str, Degenerate]]:
        found: dict[str, dict[str, Degenerate]] = {"test": {}, "ensemble": {}}

        def of(split: str, model: str) -> Degenerate:
            return found.setdefault(split, {}).setdefault(model, Degenerate(model))

        for row in self.results.table("tables/degenerate.csv").records():
            entry, name = of(row["split"], row["model"]), str(row["class"])
            if row["problem"] == "class_never_predicted":
                entry.never[name] = int(row["value"])
            elif row["problem"] == "one_class_dominates":
                entry.dominant, entry.share = name, float(row["value"])
            else:
                entry.chance = float(row["value"])
        for split in ("test", "ensemble"):
            for model in self.models(*KINDS, split=split):
                if math.isnan(self.value(model, split=split).value):
                    of(split, model).chance = 0.0
        return found

    @property
    def degenerate_first(self) -> list[str]:
        """The models that `degenerate` knows on the test split, collapsed ones first."""
        found = self.degenerate()
        return sorted(found, key=lambda name: (not found[name].collapsed, name))

    @property
    def collapsed_singles(self) -> list[str]:
        """Single models that tell no classes apart on the test split."""
        return [name for name in self.singles if self.collapsed(name)]

    def collapsed(self, name: str) -> bool:
        """Whether a model, or all runs of a loss, tell no classes apart on the test split."""
        return bool(self.runs(name)) and all(
            name in self.degenerate() and self.degenerate()[name].collapsed
            for name in self.runs(name)
        )

    def runs(self, name: str) -> list[str]:
        """The evaluated runs of a loss (or of ensembles of one kind), or the model itself."""
        models = self.models(*KINDS)
        further = self.further_seeds  # they take no part in the comparisons of losses
        return [
            model
            for model in models
            if name == model or (name == self.family(model) and model not in further)
        ]

    @cached_property
    def interval_method(self) -> str:
        """How the intervals of MCC were made, in words; several where models differ."""
        table = self.metrics[(self.metrics["metric"] == PRIMARY)]
        used = table.loc[table["split"] == "test", "ci_method"].dropna().unique()
        names = [INTERVALS.get(name, str(name)) for name in sorted(used)]
        return " or ".join(names) or "bootstrap"

    @cached_property
    def near_one(self) -> dict[str, int]:
        """By metric how many models have a test value whose interval is known to be too narrow."""
        table = self.metrics
        if table.empty:
            return {}
        table = table[(table["split"] == "test") & table["kind"].isin(["single", "ensemble"])]
        told = table["reason"].astype(str).str.contains(NEAR_ONE, regex=False)
        return table.loc[told, "metric"].value_counts(sort=False).to_dict()

    def detectable(self, question: str) -> tuple[float, float] | None:
        """Least and largest difference that its tests would have found with 80% power."""
        table = self.results.table("tables/verdicts.csv")
        if table.empty:
            return None
        found = table.loc[table["question"] == question, "detectable_corrected"].dropna()
        return None if found.empty else (float(found.min()), float(found.max()))

    def operating_points(self, model: str) -> list[dict[str, Any]]:
        """What a model does on the test split at the thresholds of the ensemble split.

        For each class against the rest: `class`, `threshold`, `sensitivity` and `specificity` by
        image, `of_patients` and `spared_patients` the same by patient (NaN where each patient has
        one image), `images` and `patients` with the class. Of more than two classes with one
        without a finding, first any finding: called where that class is not, by image alone.
        """
        needed = ("model", "class", "split", "threshold")
        table = self.results.table("tables/operating_points.csv", needed)
        if table.empty:
            return []
        table = table[table["model"] == model]
        patients = table[table["split"] == "test"].to_dict("records")
        patients = {row["class"]: row for row in patients}
        found: list[dict[str, Any]] = []
        for row in table[table["split"] != "test"].to_dict("records"):
            name, own = str(row["class"]), patients.get(row["class"], {})

            def by_patient(what: str, own: Mapping[str, Any] = own) -> Estimate:
                return Estimate(*(own.get(key, math.nan) for key in (what, *_ends(what))))

            point = {
                "class": name,
                "threshold": row["threshold"],
                "sensitivity": self.value(model, CLASS_METRICS["sensitivity"].of(name)),
                "specificity": self.value(model, CLASS_METRICS["specificity"].of(name)),
                "of_patients": by_patient("sensitivity"),
                "spared_patients": by_patient("specificity"),
                "images": int((self._part("test")["label"] == name).sum()),
                "patients": own.get("n_positive"),
            }
            if name == self.study.negative_class and len(self.classes) > 2:
                turned = {
                    "class": ANY_FINDING,
                    "threshold": 1 - row["threshold"],
                    "sensitivity": point["specificity"],
                    "specificity": point["sensitivity"],
                    "images": self.images("test") - point["images"],
                }
                found.insert(0, turned)
            found.append(point)
        return found

    # ---- choices --------------------------------------------------------------------------
    @cached_property
    def chosen_table(self) -> pd.DataFrame:
        return self.results.table("ensembles/chosen.csv")

    def chosen(self, what: str) -> str | None:
        """The model chosen on the ensemble split: 'single', 'ensemble' or 'overall'."""
        table = self.chosen_table
        if table.empty:
            return None
        names = table.loc[table["what"] == what, "model"]
        return str(names.iloc[0]) if len(names) else None

    @cached_property
    def members(self) -> pd.DataFrame:
        return self.results.table("ensembles/members.csv")

    def best_member(self, ensemble: str) -> str | None:
        """The first member by rank, that is by its score on the ensemble split."""
        if self.members.empty:
            return None
        part = self.members[self.members["ensemble"] == ensemble]
        return (
            None if part.empty else str(part.sort_values("rank", kind="stable")["member"].iloc[0])
        )

    def members_of(self, ensemble: str) -> list[str]:
        """Members of an ensemble, the best first; of an average of seeds its runs."""
        if ensemble in self.planned and self.planned[ensemble].members:
            return list(self.planned[ensemble].members)
        if "ensemble" not in self.members.columns:
            return []
        part = self.members[self.members["ensemble"] == ensemble]
        return list(part.sort_values("rank", kind="stable")["member"])

    @property
    def methods(self) -> list[Method]:
        """What is known of the ensemble methods of the config."""
        return [ensemble_methods()[name] for name in self.config["ensembles"]["methods"]]

    # ---- comparisons ----------------------------------------------------------------------
    @property
    def tested(self) -> str:
        """The metric by which the primary hypotheses are tested."""
        return str(self.config["significance"].get("metric", PRIMARY))

    @cached_property
    def significance(self) -> pd.DataFrame:
        return self.results.table("tables/significance.csv")

    @property
    def permutations(self) -> int:
        """The most sign flips of any test, 0 if not told; the correction can ask for more."""
        told = self.significance.get("permutations", pd.Series(dtype=float))
        most = pd.to_numeric(told, errors="coerce").max()
        return 0 if pd.isna(most) else int(most)

    @cached_property
    def run_tests(self) -> pd.DataFrame:
        """Rows of the test between two runs by the metric that is tested."""
        table = self.significance
        if table.empty:
            return table
        keep = (table["metric"] == self.tested) & table["model_b"].notna()
        return table[keep & (table["test"] == PRIMARY_TEST)]

    @cached_property
    def made(self) -> pd.DataFrame:
        """Rows of the paired tests that could be made."""
        table = self.significance
        return table[table["p_value"].notna()] if "p_value" in table else table

    @cached_property
    def secondary(self) -> pd.DataFrame:
        """Tests that were made between two runs beside the primary ones."""
        made = self.made
        return made if made.empty else made[~made["primary"].map(is_true)]

    @cached_property
    def primary_families(self) -> list[PrimaryFamily]:
        """The families that carry the answer, with what their tests say."""
        found = []
        for name, seeds in (
            ("tables/replicate_comparisons.csv", True),
            ("tables/ensemble_comparisons.csv", True),
            ("tables/fold_comparisons.csv", True),
            ("tables/significance.csv", False),
        ):
            table = self.results.table(name)
            if table.empty:
                continue
            table = table[table["primary"].map(is_true) & table["p_value"].notna()]
            for family, part in table.groupby("family", sort=False):
                found.append(
                    PrimaryFamily(
                        str(family),
                        int(part["hypotheses"].iloc[0]),
                        int(part["reject"].map(is_true).sum()),
                        str(part["correction"].iloc[0]),
                        seeds,
                    )
                )
        return found

    @cached_property
    def _comparisons(self) -> dict[tuple[str, str, str], Comparison]:
        """Tests between two runs by kind of comparison and models, both ways round."""
        found: dict[tuple[str, str, str], Comparison] = {}
        for row in self.run_tests.records():
            kind = families.of_column(str(row["family"]))[0]
            for sign, a, b in ((1, "model_a", "model_b"), (-1, "model_b", "model_a")):
                ends = sorted((sign * row["ci_low"], sign * row["ci_high"]))
                test = Comparison(
                    a=row[a],
                    b=row[b],
                    metric=row["metric"],
                    difference=sign * row["difference"],
                    low=ends[0],
                    high=ends[1],
                    p_value=row["p_value"],
                    p_adjusted=row["p_adjusted"],
                    reject=is_true(row["reject"]),
                    family=str(row["family"]),
                    hypotheses=count_of(row.get("hypotheses")),
                    correction=str(row.get("correction")),
                )
                found.setdefault((kind, test.a, test.b), test)
        return found

    def compare(self, a: str | None, b: str | None, family: str) -> Comparison | None:
        """The test of run a against run b of that kind, whichever way round the table has it."""
        if a is None or b is None:
            return None
        found = (self._comparisons.get((one, a, b)) for one in families.ALSO.get(family, (family,)))
        return next(filter(None, found), None)

    def against_baseline(self, models: Sequence[str]) -> list[Comparison]:
        """Tests of those runs against the baseline's of the same replicate."""
        found = []
        for model in models:
            own = self.study.run(self.baseline_loss, self.planned[model].replicate or 0)
            test = self.compare(model, own.name, BASELINE)
            if test is not None and not math.isnan(test.difference):
                found.append(test)
        return found

    @cached_property
    def loss_tests(self) -> list[Comparison]:
        """Each other objective against the baseline, which are the hypotheses of the study.

        Over seeds where these are known, else by run.
        """
        if self.crossed:
            return self.crossed
        tests = self.against_baseline([name for name in self.singles if name != self.baseline])
        return [test for test in tests if families.of_column(test.family)[0] == BASELINE]

    def loss_test(self, loss: str) -> Comparison | None:
        """One loss against the baseline, also one whose objective another loss stands for."""
        tests = self.crossed + self.crossed_repeated
        if not tests:
            tests = self.against_baseline(self.runs(loss))
        return next((test for test in tests if self.family(test.a) == loss), None)

    @cached_property
    def crossed(self) -> list[Comparison]:
        """Losses against the baseline with seeds and patients as crossed factors."""
        return self._crossed(BASELINE)

    @cached_property
    def crossed_repeated(self) -> list[Comparison]:
        """The same of losses whose objective another one stands for."""
        return self._crossed(families.REPEATED_BASELINE)

    @cached_property
    def crossed_floor(self) -> list[Comparison]:
        """The pairs with the same objective in the same way."""
        return self._crossed(NOISE_FLOOR)

    def fold_tests(self, family: str) -> list[Comparison]:
        """Comparisons over folds of one family of fold_comparisons.csv that could be tested."""
        table = self.results.table("tables/fold_comparisons.csv")
        if "a" not in table.columns:
            return []
        table = table[(table["family"] == family) & table["p_value"].notna()]
        return [
            self._over_seeds(row, row["a"], row["b"], "folds", "folds")
            for row in table.to_dict("records")
        ]

    def _crossed(self, family: str) -> list[Comparison]:
        if self.folds:
            return self.fold_tests(family)
        table = self.results.table("tables/replicate_comparisons.csv")
        if table.empty:
            return []
        keep = (table["metric"] == self.tested) & table["p_value"].notna()
        keep &= table["family"].map(lambda name: families.of_column(str(name))[0]) == family
        return [
            self._over_seeds(row, row["loss_a"], row["loss_b"], "replicates_a", "replicates_b")
            for row in table[keep].records()
        ]

    @staticmethod
    def _over_seeds(row: Mapping[str, Any], a: str, b: str, runs_a: str, runs_b: str) -> Comparison:
        return Comparison(
            a=a,
            b=b,
            metric=row["metric"],
            difference=row["difference"],
            low=row["ci_low"],
            high=row["ci_high"],
            p_value=row["p_value"],
            p_adjusted=row["p_adjusted"],
            reject=is_true(row["reject"]),
            family=str(row["family"]),
            hypotheses=count_of(row["hypotheses"]),
            correction=str(row["correction"]),
            seeds=True,
            runs_a=count_of(row[runs_a]),
            runs_b=count_of(row[runs_b]),
        )

    @cached_property
    def _gains(self) -> dict[tuple[str, str], Comparison]:
        """Gains of ensembles over seeds or folds, by family and what they are compared with."""
        if self.folds:
            families_of = {"best_member": BEST_MEMBER, "best_single": BEST_SINGLE}
            return {
                (test.a, against): test
                for against, family in families_of.items()
                for test in self.fold_tests(family)
            }
        table = self.results.table("tables/ensemble_comparisons.csv")
        if table.empty:
            return {}
        table = table[(table["metric"] == self.tested) & table["p_value"].notna()]
        return {
            (row["ensemble"], row["against"]): self._over_seeds(
                row, row["ensemble"], row["opponent"], "replicates", "replicates"
            )
            for row in table.records()
        }

    def gain(self, ensemble: str, against: str) -> Comparison | None:
        """What a kind of ensemble gains over seeds; `against` as in ensemble_comparisons.csv."""
        return self._gains.get((self.family(ensemble), against))

    def gains(self, against: str) -> list[Comparison]:
        """Those gains of all kinds of ensembles; empty where seeds are not known."""
        return [test for (_, other), test in self._gains.items() if other == against]

    @cached_property
    def spread(self) -> Spread | None:
        """How far runs of one loss lie apart, and losses; None where nothing was trained twice."""
        table = self.results.table("tables/seed_spread.csv")
        if table.empty:
            return None
        rows = table[table["metric"] == self.tested].set_index("row")
        pooled, losses_row = rows.loc["pooled"], rows.loc["losses"]
        if math.isnan(pooled["sd"]):
            return None
        return Spread(
            seeds=pooled["sd"],
            df=count_of(pooled["df_seeds"]),
            losses=losses_row["sd"],
            count=count_of(losses_row["replicates"]),
            statistic=losses_row["statistic"],
            p_value=losses_row["p_value"],
            remark="" if pd.isna(losses_row["reason"]) else str(losses_row["reason"]),
        )

    @cached_property
    def optimism(self) -> Optimism | None:
        """What choosing on the test split does to the test MCC of ensembles, if that was told."""
        table = self.results.table("tables/optimism.csv")
        if table.empty:
            return None
        told = table["optimism"].notna() & table["choice_gain"].notna()
        table = table[told & (table["metric"] == PRIMARY) & (table["method"] != BEST_SINGLE_METHOD)]
        if table.empty:
            return None
        names = ["as_published", "out_of_bag", "ours", "optimism"]
        published, unseen, ours, optimism = table[names].mean()
        least, most = table["optimism"].min(), table["optimism"].max()
        gain = table["choice_gain"].mean()
        return Optimism(len(table), published, unseen, ours, optimism, least, most, gain)

    def heat(self, measure: str) -> Heat | None:
        """Where heat lies by a share of it; None where that, or a uniform map's, is not known."""
        table = self.results.table("tables/localisation.csv")
        if table.empty:
            return None
        part = table[(table["metric"] == measure) & table["value"].notna()]
        uniform = part.loc[part["model"] == UNIFORM, "value"]
        shares = part.loc[part["model"] != UNIFORM, "value"]
        if uniform.empty or shares.empty:
            return None
        gains = self._rejected(table, measure + GAIN)
        others = self._rejected(table, measure + AGAINST_BASELINE)
        return Heat(
            models=len(shares),
            least=shares.min(),
            largest=shares.max(),
            uniform=uniform.iloc[0],
            tests=gains[0],
            above=int((gains[1] > 0).sum()),
            below=int((gains[1] < 0).sum()),
            gain=gains[1].max(),
            others=others[0],
            more=int((others[1] > 0).sum()),
            less=int((others[1] < 0).sum()),
        )

    def _rejected(self, table: pd.DataFrame, metric: str) -> tuple[int, pd.Series]:
        """How many paired tests of a metric were made, and the differences that reject."""
        made = table[(table["metric"] == metric) & table["p_adjusted"].notna()]
        return len(made), made.loc[made["p_adjusted"] <= self.alpha, "value"]

    def ranking(self, model: str | None) -> Ranking | None:
        """The rank interval of a model; None where no pair was tested."""
        table = self.results.table("tables/rank.csv")
        if model is None or table.empty:
            return None
        own = table[(table["model"] == model) & (table["hypotheses"] > 0)]
        if own.empty:
            return None
        row = own.records()[0]
        twins = "" if pd.isna(row["same_objective"]) else str(row["same_objective"])
        ends = (int(row[key]) for key in ("rank_first", "rank_last", "models", "hypotheses"))
        return Ranking(model, *ends, twins)

    def calibration_pairs(
        self, version: str = "raw", measure: str = calibration_measures.DISTANCE.name
    ) -> pd.DataFrame:
        """Calibrated losses against their plain forms by a measure; empty where there are none."""
        table = self.results.table("tables/calibration_comparisons.csv")
        if table.empty:
            return pd.DataFrame()
        return selection.calibration_pairs(table, version, measure)

    def without_plain_form(self) -> dict[str, str]:
        """Calibrated losses that are compared with no plain form, and why."""
        variants = {name: asdict(variant) for name, variant in self.study.listed.items()}
        return families.plain_forms(variants)[1]

    def uncalibrated(self, pairs: pd.DataFrame) -> list[str]:
        """Of calibration pairs, by loss, those with a run that tells no classes apart."""
        return [
            str(loss)
            for loss, plain in pairs["plain"].items()
            if any(
                run in self.degenerate() and self.degenerate()[run].collapsed
                for name in (str(loss), plain)
                for run in self.runs(name)
            )
        ]

    def against_best_member(self) -> list[Comparison]:
        """Primary tests of each ensemble against its best member, best MCC first."""
        tests = [
            self.compare(name, self.best_member(name), BEST_MEMBER)
            for name in [*self.ensembles, *self.seed_ensembles]
        ]
        return [test for test in tests if test is not None and not math.isnan(test.difference)]

    @cached_property
    def same_objective(self) -> list[tuple[str, str]]:
        """Pairs of losses that the tables compare as two names of one objective.

        Whether two losses are one objective depends on their parameters, which the steps that
        write the tables look at.
        """
        pairs: dict[tuple[str, str], None] = {}
        for name, columns in (
            ("tables/significance.csv", ["model_a", "model_b"]),
            ("tables/replicate_comparisons.csv", ["loss_a", "loss_b"]),
        ):
            table = self.results.table(name)
            if {"family", *columns} <= set(table.columns):
                kinds = table["family"].map(lambda name: families.of_column(str(name))[0])
                rows = table.loc[kinds == NOISE_FLOOR, columns]
                for a, b in rows.itertuples(index=False):
                    pairs[self.family(a), self.family(b)] = None
        return list(pairs)

    def is_same_objective(self, a: str, b: str) -> bool:
        """Whether two losses are one function under two names."""
        return (a, b) in self.same_objective or (b, a) in self.same_objective

    def noise_floor(self) -> list[Comparison]:
        """The primary tests of two runs with the same objective, run by run.

        Pairs of models that tell no classes apart are left out: they differ by nothing.
        """
        tests = [
            self.compare(row["model_a"], row["model_b"], NOISE_FLOOR)
            for row in self.run_tests.records()
            if families.of_column(str(row["family"]))[0] == NOISE_FLOOR
        ]
        return [test for test in tests if test is not None and self.tells(test)]

    def against_single(self, ensemble: str) -> Comparison | None:
        """An ensemble of ensembles against the best single model."""
        tests = (self.compare(ensemble, name, BEST_SINGLE) for name in self.singles)
        return next((test for test in tests if test is not None), None)

    def as_many_seeds(self, ensemble: str | None) -> str | None:
        """Of the ensembles of seeds, the one of as many models as the ensemble, or any."""
        return min(
            sorted(self.seed_ensembles),
            key=lambda name: self.compare(ensemble, name, SEED_ENSEMBLE) is None,
            default=None,
        )

    @cached_property
    def floor(self) -> Floor | None:
        """How far models of one objective differ; None where no objective was trained twice."""
        if self.crossed_floor and self.replicates > 1:
            pairs, tests = self.crossed_floor, self.crossed
        else:
            pairs, tests = self.noise_floor(), self.against_baseline(self.singles)
        if not pairs:
            return None
        baseline, largest = self.baseline_loss, max(abs(pair.difference) for pair in pairs)
        sizes = [
            abs(test.difference)
            for test in tests
            if self.tells(test) and not self.is_same_objective(self.family(test.a), baseline)
        ]
        return Floor(pairs, largest, len(sizes), sum(size <= largest for size in sizes))

    @cached_property
    def hits(self) -> list[Hit]:
        """Secondary tests that reject, smallest corrected p first.

        Two models that tell no classes apart may differ, say in calibration, but no loss deserves
        it: such tests are left out here.
        """
        table = self.secondary
        if table.empty:
            return []
        table = table[table["reject"].map(is_true)].sort_values("p_adjusted", kind="stable")
        found = []
        for row in table.records():
            other = "" if pd.isna(row["model_b"]) else str(row["model_b"])
            if not (other and self.collapsed(row["model_a"]) and self.collapsed(other)):
                # Of all models at once, the family says which.
                model = row["model_a"] if other else self._family_in_words(row["family"])
                found.append(Hit(model, other, row["metric"], row["test"], row["p_adjusted"]))
        return found

    @cached_property
    def key_models(self) -> dict[str, list[str]]:
        """The models that the answer speaks of, by name, with what each is there: `baseline`,
        `single`, `ensemble` and `overall` as they were chosen, `member` (the best of the chosen
        ensemble), `seeds` (averaged, as many as that ensemble has models)."""
        chosen, roles = self.chosen("ensemble"), {}
        for role, model in (
            ("baseline", self.baseline),
            ("single", self.chosen("single")),
            ("member", self.best_member(chosen) if chosen else None),
            ("ensemble", chosen),
            ("seeds", self.as_many_seeds(chosen)),
            ("overall", self.chosen("overall")),
        ):
            if model and self.runs(model):
                roles.setdefault(model, []).append(role)
        return roles

    @property
    def overall_rule(self) -> str:
        """Why the overall choice fell as it did, as chosen.csv has it; empty where unknown."""
        rows = self.chosen_table
        if rows.empty:
            return ""
        rules = rows.loc[rows["what"] == "overall", "rule"].dropna()
        return str(rules.iloc[0]) if len(rules) else ""

    def tells(self, test: Comparison) -> bool:
        """Whether a comparison has a difference, and not of two models that tell nothing apart."""
        return not math.isnan(test.difference) and not (
            self.collapsed(test.a) and self.collapsed(test.b)
        )

    def verdicts(self, tests: Sequence[Comparison]) -> dict[str, list[Comparison]]:
        """Comparisons by their verdict; as `neither` those of two models that tell nothing."""
        found: dict[str, list[Comparison]] = {
            "better": [],
            "worse": [],
            "open": [],
            "neither": [],
        }
        for test in tests:
            found[test.verdict if self.tells(test) else "neither"].append(test)
        return found

    def from_baseline(self, name: str) -> Comparison | None:
        """A loss, or a run of an ablation, against the baseline, whatever family has the test."""
        if name in self.planned and self.planned[name].kind == "ablation":
            own = self.study.run(self.baseline_loss, self.planned[name].replicate or 0).name
            return self.compare(name, own, families.ABLATIONS)
        floor = (
            test if test.b == self.baseline_loss else test.turned
            for test in self.crossed_floor
            if self.baseline_loss in (test.a, test.b)
        )
        own_loss = self.family(name)
        return next((test for test in floor if test.a == own_loss), self.loss_test(own_loss))

    @cached_property
    def ensemble_tests(self) -> list[Comparison]:
        """Each kind of ensemble against its best member: over seeds where known, else by run."""
        by_run, gains = self.against_best_member(), self.gains("best_member")
        return gains + [test for test in by_run if not gains or test.a in self.seed_ensembles]

    def ensembles_of(self, level: str) -> list[Comparison]:
        """Of these the ensembles whose members are of one `level`."""
        return [
            test
            for test in self.ensemble_tests
            if (self.level if test.a in self.planned else self.level_of_family)(test.a) == level
        ]

    def ensemble_test(self, name: str, against: str) -> Comparison | None:
        """The same of one ensemble, or of its kind; `against` as in ensemble_comparisons.csv."""
        if against == "best_member":
            tests = self.ensemble_tests
        else:
            tests = self.gains(against) or [
                test
                for (kind, a, _), test in self._comparisons.items()
                if (kind, a) == (SEED_ENSEMBLE, name)
            ]
        return next((t for t in tests if t.a in (name, self.family(name))), None)

    @cached_property
    def all_tests(self) -> list[dict[str, Any]]:
        """Every paired test: the primary ones first, then by their adjusted p values.

        Rows of significance.csv, and those over seeds that could be made, as `a`, `b`, `metric`,
        `comparison` (families.label), `test` ('' over seeds), `difference`, `statistic`, `p`,
        `adjusted`, `hypotheses`, `correction`, `significant`, `primary`, `reason`.
        """
        needed = ("family", "metric", "difference", "ci_low", "ci_high", "p_value", "p_adjusted")
        needed += ("hypotheses", "correction", "reject", "primary", "reason")
        found = []
        for name, a, b in (
            ("tables/replicate_comparisons.csv", "loss_a", "loss_b"),
            ("tables/ensemble_comparisons.csv", "ensemble", "opponent"),
            ("tables/significance.csv", "model_a", "model_b"),
        ):
            table = self.results.table(name, (a, b, *needed))
            for row in table.to_dict("records"):
                test = row.get("test", "")
                if not test and pd.isna(row["p_value"]):
                    continue
                found.append(
                    {
                        "comparison": self._family_in_words(row["family"]),
                        "family": str(row["family"]),
                        # A test of all models at once names none.
                        "a": "" if pd.isna(row[b]) else row[a],
                        # Best members over seeds may be of several kinds.
                        "b": [] if pd.isna(row[b]) else row[b].split(";"),
                        "metric": self.metric(row["metric"]).title,
                        "test": families.test_label(test) if test else "",
                        "difference": Estimate(row["difference"], row["ci_low"], row["ci_high"]),
                        "statistic": row.get("statistic", math.nan),
                        "p": row["p_value"],
                        "adjusted": row["p_adjusted"],
                        "hypotheses": row["hypotheses"],
                        "correction": row["correction"],
                        "significant": is_true(row["reject"]),
                        "primary": is_true(row["primary"]),
                        "reason": row["reason"],
                    }
                )

        def order(row: Mapping[str, Any]) -> tuple[bool, bool, float]:
            unknown = pd.isna(row["adjusted"])
            return not row["primary"], unknown, 0.0 if unknown else row["adjusted"]

        return sorted(found, key=order)

    def _family_in_words(self, family: Any) -> str:
        """Without the test and the metric, which are told beside it."""
        return families.label(str(family).partition(" (")[0], self.unit)

    @cached_property
    def test_families(self) -> list[dict[str, Any]]:
        """By family of significance.csv: `label`, `comparisons` planned, tests `made`,
        `hypotheses`, `correction`, `significant` ones, and whether it is `primary`."""
        table = self.significance
        if "family" not in table.columns:
            return []
        return [
            {
                "label": families.label(str(name), self.unit),
                "comparisons": len(part),
                "made": int(part["p_value"].notna().sum()),
                "hypotheses": part["hypotheses"].iloc[0],
                "correction": part["correction"].iloc[0],
                "significant": int(part["reject"].map(is_true).sum()),
                "primary": is_true(part["primary"].iloc[0]),
            }
            for name, part in table.groupby("family", sort=False)
        ]

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Rows of diversity.csv on the test split, most disagreement first."""
        table = self.results.table("tables/diversity.csv", ("disagreement",))
        if table.empty:
            return table
        table = table[table["split"] == "test"] if "split" in table else table
        return table.sort_values("disagreement", ascending=False, kind="stable")

    @property
    def disagreement(self) -> dict[str, float]:
        """Mean disagreement of the pairs that differ in their losses, or in their seeds."""
        pairs = self.pairs
        if "differs" not in pairs.columns:
            return {}
        means = pairs.groupby("differs", sort=False)["disagreement"].mean()
        return {what: means[what] for what in ("losses", "seeds") if what in means}
