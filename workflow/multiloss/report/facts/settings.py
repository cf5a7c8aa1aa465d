"""What the config says of the study."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import yaml

from multiloss import losses
from multiloss.data.sources.addresses import public
from multiloss.job.summary import step_times
from multiloss.report.blocks import p_value
from multiloss.report.facts.values import (
    differences,
    loss_parameters,
)
from multiloss.report.results import Results
from multiloss.statistics.crossed import ENOUGH_SEEDS
from multiloss.study import ModelTable, Study


class SettingsFacts:
    """What the config says of the study."""

    def __init__(self, results: Results, config: Mapping[str, Any]) -> None:
        self.results = results
        self.config = config

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
    def losses_alone(self) -> bool:
        """Whether each variant has a loss of its own and they are trained alike otherwise."""
        variants, settings = self.study.listed.values(), self.config["classification"]
        alike = len({variant.loss["name"] for variant in variants}) == len(variants)
        return alike and not any(differences(variant, settings) for variant in variants)

    @property
    def variants(self) -> list[dict[str, Any]]:
        """Each variant that the config lists: `name`, what its loss is (`sentence`), the loss's
        `parameters`, which settings differ from the study's (`otherwise`), and the variant that has
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
    def decisive(self) -> list[str]:
        """Tables with a row for whatever was planned: without any, the answer would be another."""
        compared = len(self.losses) > 1
        return [
            "tables/metrics.csv",
            *["tables/significance.csv"] * compared,
            *["tables/replicate_comparisons.csv"] * (compared and self.replicates > 1),
        ]

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
