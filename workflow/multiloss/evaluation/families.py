"""Which models are compared with which, and in which families of Holm's correction."""

from collections.abc import Sequence

import pandas as pd

from multiloss.evaluation.resamples import Models

# Two names for the same objective: such models differ by run-to-run noise alone.
SAME_OBJECTIVE = (("kl_divergence", "cce"), ("calibrated_kl_divergence", "calibrated_cce"))
# A loss with the calibration gap, and the nearest one without. The last one's entropy term has a
# weight of 0.001 against the 2 / K of `cce_entropy`: that pair would compare entropy penalties.
CALIBRATED = {
    "calibrated_cce": "cce",
    "calibrated_kl_divergence": "kl_divergence",
    "calibrated_focal": "focal",
    "calibrated_hinge": "hinge",
    "calibrated_negative_entropy": "cce",
}
PRIMARY = ("mcc", "accuracy")
CALIBRATION = ("ece", "classwise_ece", "brier", "log_loss")
BEST_MEMBER, SEED_ENSEMBLE = "against_best_member", "against_seed_ensemble"
BEST_SINGLE = "against_best_single"
BASELINE, NOISE_FLOOR = "against_baseline", "noise_floor"
ABLATIONS, CALIBRATION_FAMILY = "ablations", "calibrated_against_plain"
SINGLES = "single_models"

Pair = tuple[str, str, str]


def _by_loss(models: Models, kinds: Sequence[str]) -> dict[tuple[str, int], str]:
    return {
        (entry["loss"], entry["replicate"]): model
        for model, entry in models.items()
        if entry["kind"] in kinds
    }


def pairs(models: Models, members: pd.DataFrame, baseline: str) -> list[Pair]:
    """All planned comparisons (family, model_a, model_b); differences are a minus b.

    `members`: ensembles/members.csv (ensemble, member, rank), where rank 1 is the best member
    on the `ensemble` split. An ensemble whose members are ensembles also meets the best single
    model of its replicate, or it would be called better without having beaten that. Losses,
    ablations and the baseline are paired within a replicate; an ensemble without a replicate
    (of seeds) meets replicate 0.
    """
    singles = _by_loss(models, ["single"])
    best = {}
    for row in members.sort_values("rank", kind="stable").to_dict("records"):
        best.setdefault(row["ensemble"], row["member"])
    best_single = {
        models[ensemble].get("replicate"): member
        for ensemble, member in best.items()
        if models.get(ensemble, {}).get("kind") == "ensemble"
        and models.get(member, {}).get("kind") == "single"
    }
    of_seeds = {
        entry["k"]: model for model, entry in models.items() if entry["kind"] == "seed_ensemble"
    }
    planned: list[Pair] = []
    for model, entry in models.items():
        kind, replicate = entry["kind"], entry.get("replicate") or 0
        base = singles.get((baseline, replicate))
        if kind in ("ensemble", "seed_ensemble") and model in best:
            planned.append((BEST_MEMBER, model, best[model]))
            single = best_single.get(entry.get("replicate"))
            if single is not None and models.get(best[model], {}).get("kind") == "ensemble":
                planned.append((BEST_SINGLE, model, single))
        if kind == "ensemble" and entry["k"] in of_seeds:
            planned.append((SEED_ENSEMBLE, model, of_seeds[entry["k"]]))
        if kind != "ablation" and base not in (None, model):
            planned.append((BASELINE, model, base))
        if kind == "ablation" and base is not None:
            planned.append((ABLATIONS, model, base))
        if kind == "single":
            for loss, other in SAME_OBJECTIVE:
                if entry["loss"] == loss and (other, replicate) in singles:
                    planned.append((NOISE_FLOOR, model, singles[other, replicate]))
            plain = CALIBRATED.get(entry["loss"])
            if (plain, replicate) in singles:
                planned.append((CALIBRATION_FAMILY, model, singles[plain, replicate]))
    order = [BEST_MEMBER, BEST_SINGLE, SEED_ENSEMBLE, BASELINE, ABLATIONS, NOISE_FLOOR]
    order.append(CALIBRATION_FAMILY)
    return sorted(planned, key=lambda pair: order.index(pair[0]))


def without_seed_ensemble(models: Models) -> list[tuple[str, str]]:
    """The ensembles that no ensemble of as many seeds stands beside, and why."""
    sizes = {entry["k"] for entry in models.values() if entry["kind"] == "seed_ensemble"}
    runs = len({entry["replicate"] for entry in models.values() if entry["kind"] == "single"})
    return [
        (
            model,
            f"no ensemble of {entry['k']} seeds of one loss to compare with: "
            f"it takes {entry['k']} replicates, or ensembles.seed_ensemble.further_seeds; "
            f"the study has {runs}",
        )
        for model, entry in models.items()
        if entry["kind"] == "ensemble" and entry["k"] not in sizes
    ]
