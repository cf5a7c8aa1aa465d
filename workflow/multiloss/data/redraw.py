"""Further divisions of the same patients into train, val and ensemble; the test split stays."""

import logging
from collections.abc import Mapping, Sequence

import pandas as pd

from multiloss.data import splits
from multiloss.data.tables import REDRAWN_SPLITS
from multiloss.job.errors import UserError
from multiloss.job.seeds import derive

logger = logging.getLogger(__name__)


def redraw(
    manifest: pd.DataFrame, ratios: Mapping[str, float], run: int, seed: int, classes: Sequence[str]
) -> pd.DataFrame:
    """The manifest with another division of the patients of train, val and ensemble.

    `manifest`: as from `splits.assign`; the rows of all other splits, and the order of all rows,
    stay. `ratios`: shares of train, val and ensemble. The division is drawn as the first one, by
    whole groups and with every class in its share (see `splits.divide`), from `seed` and the number
    of the `run`; neither the first division nor anything of the other rows has an influence.

    Raises `UserError` naming the run where a class cannot be in every split, or where the split
    train has one patient only.
    """
    total = sum(float(ratios[name]) for name in REDRAWN_SPLITS)
    shares = {name: float(ratios[name]) / total for name in REDRAWN_SPLITS}
    divided = manifest.copy()
    pool = divided[divided["split"].isin(REDRAWN_SPLITS)]
    try:
        divided.loc[pool.index, "split"] = splits.divide(
            pool["group"], pool["label"], shares, derive(seed, "splits", run), classes
        )
        splits.refuse_lone_training(divided)
    except UserError as error:
        raise UserError(f"splits.redraw: run {run}: {error}") from None
    own = divided.loc[pool.index]
    moved = own["group"][own["split"] != pool["split"]].nunique()
    told = [f"{name} {(own['split'] == name).sum()}" for name in REDRAWN_SPLITS]
    logger.info(
        "run %d: %s images; %d of %d patients are in another split than in run 0",
        *(run, ", ".join(told), moved, own["group"].nunique()),
    )
    return divided
