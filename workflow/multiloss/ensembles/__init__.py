"""Choosing models, combining them, and judging the combinations, all on the `ensemble` split.

Light enough for a Snakefile: names are read from the source, and nothing else is imported.
"""

from pathlib import Path

from multiloss import registry

# Made by a network of its own from the members' features, not from predictions.
MODEL_LEVEL = "model_level"


def method_names() -> dict[str, str]:
    """Every ensemble method a config may name, with its kind, in the order of the study.

    Kinds: `prediction-level` (combined here, from stored probabilities) and `model-level`
    (a network trained on the members' features).
    """
    source = registry.parse(Path(__file__).with_name("combiners.py"))
    names = registry.registered_classes(source, "register")
    return {name: "prediction-level" for name in names} | {MODEL_LEVEL: "model-level"}
