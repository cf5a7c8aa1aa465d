"""What the ensemble methods are called, take and mean, told without importing what they need.

Read from their classes in `ensembles.combiners`, so that a Snakefile and a study can know them.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from multiloss import registry
from multiloss.registry import Parameter

# Made by a network of its own from the members' features, not from predictions.
MODEL_LEVEL = "model_level"
SOURCE = Path(__file__).parent / "ensembles" / "combiners.py"


@dataclass(frozen=True)
class Method:
    """What is known of an ensemble method, as its class in `combiners.py` says it.

    `level`: `prediction` (made from stored probabilities) or `model` (a network on the members'
    features); `complexity`: order from simple to elaborate; `fitted`: whether it looks at labels;
    `trained_on`: the split whose class prevalence its probabilities assume, "" where that is its
    members'; `fits_a_network`: whether each fit trains one, which is slow; `caveat`: what must be
    said beside its calibration errors, log loss and Brier score; `options`: what the config may
    set, with default and range; `cites`: keys of report/references.yaml.
    """

    name: str
    title: str
    sentence: str
    level: str
    complexity: int
    fitted: bool
    trained_on: str
    fits_a_network: bool
    caveat: str
    cites: tuple[str, ...]
    options: dict[str, Parameter]


@cache
def ensemble_methods() -> dict[str, Method]:
    """Every ensemble method that a config may name, in the order of the study."""
    return {
        name: Method(
            name,
            known.title,
            known.sentence,
            known.keywords.get("level", "prediction"),
            known.keywords["complexity"],
            known.keywords.get("fitted", False),
            known.keywords.get("trained_on", ""),
            known.keywords.get("fits_a_network", False),
            known.keywords.get("caveat", ""),
            known.cites,
            known.parameters,
        )
        for name, known in registry.described(SOURCE, "register").items()
    }


def options_of(method: str) -> dict[str, Parameter]:
    """The options of a method, each with default and range."""
    return ensemble_methods()[method].options
