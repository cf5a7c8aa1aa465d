"""Folds: each pass tests on every patient once, whole groups, and nothing sees the test fold."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss.data import folds
from multiloss.data.tables import external_split
from multiloss.job.errors import UserError
from test_splits import CLASSES, RATIOS, kermany_like, table


def runs_of(manifest: pd.DataFrame, count: int, runs: int, seed: int = 1) -> list[pd.DataFrame]:
    return [folds.divide(manifest, RATIOS, count, run, seed, CLASSES) for run in range(runs)]


@settings(max_examples=25, deadline=None)
@given(
    patients=st.lists(
        st.tuples(st.sampled_from(CLASSES), st.integers(1, 6)), min_size=45, max_size=120
    ),
    count=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_a_pass_tests_on_every_patient_once(patients, count, seed) -> None:
    # As many of each class as it takes for the folds and the three other splits.
    padding = [(label, 1) for label in CLASSES for _ in range(count + 6)]
    rows = [(f"P{n}", label, "", images) for n, (label, images) in enumerate(patients + padding)]
    manifest = table(*rows)
    found = runs_of(manifest, count, 2 * count, seed)
    for first in (0, count):
        tested = pd.concat([own["split"] == "test" for own in found[first : first + count]], axis=1)
        assert (tested.sum(axis=1) == 1).all()
    for own in found:
        assert (own.groupby("group")["split"].nunique() == 1).all()
        assert set(own["split"]) == {"train", "val", "ensemble", "test"}
        # Every class is learned, chosen and tested on.
        assert (pd.crosstab(own["split"], own["label"]).reindex(columns=CLASSES) > 0).all(axis=None)
        assert own.drop(columns="split").equals(manifest.drop(columns="split"))


def test_folds_have_every_class_in_its_share() -> None:
    manifest = kermany_like(test=False)
    whole = manifest["label"].value_counts()
    for own in runs_of(manifest, 5, 5):
        counts = pd.crosstab(own["split"], own["label"])
        assert (np.abs(counts.loc["test"] - whole / 5) <= 2).all()
        rest = whole - counts.loc["test"]
        for split, ratio in RATIOS.items():
            assert (np.abs(counts.loc[split] - ratio * rest) <= 2).all()


def test_passes_draw_other_folds_and_the_order_of_rows_is_nothing() -> None:
    manifest = kermany_like(test=False)
    found = runs_of(manifest, 3, 6)
    tests = [own["split"] == "test" for own in found]
    assert not any(tests[fold].equals(tests[3 + other]) for fold in range(3) for other in range(3))
    # Of single patients a third stays in a fold by chance.
    same = np.mean([(tests[fold] & tests[3 + fold]).sum() / tests[fold].sum() for fold in range(3)])
    assert 0.2 < same < 0.47
    shuffled = manifest.sample(frac=1, random_state=3)
    for run in (1, 4):
        again = folds.divide(shuffled, RATIOS, 3, run, 1, CLASSES)
        assert again.sort_index().equals(found[run])
    # What splits rows had before is nothing to a run, nor is another run.
    assert folds.divide(found[2], RATIOS, 3, 4, 1, CLASSES).equals(found[4])
    assert not runs_of(manifest, 3, 1, seed=2)[0].equals(found[0])


def test_external_images_stay_and_have_no_say() -> None:
    manifest = kermany_like(test=False)
    far = table(("Q1", "viral", "", 9), ("Q2", "normal", "", 4))
    far["split"] = external_split("clinic")
    both = pd.concat([manifest, far], ignore_index=True)
    for run, own in enumerate(runs_of(both, 3, 3)):
        assert (own["split"].iloc[len(manifest) :] == external_split("clinic")).all()
        alone = folds.divide(manifest, RATIOS, 3, run, 1, CLASSES)
        assert own.iloc[: len(manifest)]["split"].equals(alone["split"])


def test_refusals_are_one_line_that_names_the_key() -> None:
    shipped = kermany_like()
    number = (shipped["shipped_split"] == "test").sum()
    with pytest.raises(UserError) as refused:
        folds.assign(shipped, RATIOS, "shipped", 5, 1, CLASSES)
    assert str(refused.value) == (
        f"splits.folds: source 'own' ships a test split ({number} images), which folds would train "
        "on: set splits.folds to null, or splits.test to 0.2 to divide all patients whatever "
        "folder they are in"
    )
    own = folds.assign(shipped, RATIOS, 0.2, 5, 1, CLASSES)
    assert own.equals(folds.divide(shipped, RATIOS, 5, 0, 1, CLASSES))

    rows = [(f"{label}{n}", label, "", 1) for label in CLASSES[:2] for n in range(20)]
    few = table(*rows, *((f"v{n}", "viral", "", 5) for n in range(4)))
    with pytest.raises(UserError) as refused:
        folds.divide(few, RATIOS, 5, 0, 1, CLASSES)
    assert str(refused.value) == (
        "splits.folds: class 'viral' has 4 patients, too few for 5 folds: set splits.folds to 4 or "
        "fewer, or add patients of the class"
    )
    # Enough for the folds, and then not for train, val and ensemble.
    with pytest.raises(UserError, match="run 3, outside its test fold: class 'viral' has no image"):
        folds.divide(few[few["group"] != "v3"], RATIOS, 3, 3, 1, CLASSES)


def test_labels_of_the_test_fold_divide_nothing_else() -> None:
    """Exchanged within the fold: who is trained on, and in which split, stays."""
    manifest = kermany_like(test=False)
    own = folds.divide(manifest, RATIOS, 4, 1, 1, CLASSES)
    rest = own[own["split"] != "test"]
    exchanged = manifest.copy()
    inside = own["split"] == "test"
    labels = np.random.default_rng(0).permutation(manifest.loc[inside, "label"])
    exchanged.loc[inside, "label"] = labels
    assert not exchanged.equals(manifest)
    with pytest.MonkeyPatch.context() as patch:
        # The fold as it was: its labels draw it, and it is what they may draw.
        patch.setattr(folds, "draw", lambda groups, *_: inside.loc[groups.index].astype(int))
        again = folds.divide(exchanged, RATIOS, 4, 1, 1, CLASSES)
    assert again.loc[rest.index, "split"].equals(rest["split"])
