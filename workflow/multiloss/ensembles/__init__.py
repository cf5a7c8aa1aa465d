"""Choosing models, combining them, and judging the combinations, all on the `ensemble` split.

Light enough for a Snakefile: numpy only; scipy and scikit-learn come in when a method fits.
"""

# Made by a network of its own from the members' features, not from predictions.
MODEL_LEVEL = "model_level"


def method_names() -> dict[str, str]:
    """Every ensemble method a config may name, with its kind, in the order of the study.

    Kinds: `prediction-level` (combined here, from stored probabilities) and `model-level`
    (a network trained on the members' features).
    """
    from multiloss.ensembles.combiners import COMBINERS

    return {name: "prediction-level" for name in COMBINERS} | {MODEL_LEVEL: "model-level"}
