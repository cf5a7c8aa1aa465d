"""Splits: nobody on two sides, every class in its share, and nothing seen of the test labels."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss.data import splits
from multiloss.job.errors import UserError

CLASSES = ["normal", "bacterial", "viral"]
RATIOS = {"train": 0.70, "val": 0.15, "ensemble": 0.15}


def table(*rows: tuple) -> pd.DataFrame:
    """A manifest of (group, label, shipped split, number of images)."""
    own = [
        (f"{place}_{group}_{label}_{number}", label, group, group, shipped, "own", "")
        for place, (group, label, shipped, count) in enumerate(rows)
        for number in range(count)
    ]
    columns = ["image_id", "label", "patient_id", "group", "shipped_split", "source", "split"]
    return pd.DataFrame(own, columns=columns)


def kermany_like(seed: int = 0, test: bool = True) -> pd.DataFrame:
    """About 300 patients with 1 to 20 images, some with two classes, imbalanced."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(300):
        shipped = "test" if test and number % 6 == 0 else "train"
        label = rng.choice(CLASSES, p=[0.26, 0.48, 0.26])
        rows.append((f"P{number}", label, shipped, int(rng.geometric(0.5))))
        if rng.random() < 0.1:
            rows.append((f"P{number}", CLASSES[rng.integers(3)], shipped, 1))
    rows.append(("P1", "bacterial", "train", 20))
    return table(*rows)


def assign(manifest: pd.DataFrame, test="shipped", recurring="drop", seed=1, **more):
    ratios, classes = more.get("ratios", RATIOS), more.get("classes", CLASSES)
    return splits.assign(manifest, ratios, test, recurring, seed, classes)


def shares(manifest: pd.DataFrame) -> pd.DataFrame:
    counts = pd.crosstab(manifest["split"], manifest["label"])
    return counts / counts.sum()


def test_shares_of_every_class():
    manifest = kermany_like()
    divided, dropped = assign(manifest)
    assert dropped.empty
    assert (divided["split"] == "test").equals(divided["shipped_split"] == "test")
    counts = pd.crosstab(
        divided.loc[divided["split"] != "test", "split"],
        divided.loc[divided["split"] != "test", "label"],
    )
    for split, ratio in RATIOS.items():
        target = ratio * counts.sum()
        # Whole patients are moved: as good as it gets is about half of a small patient.
        assert (np.abs(counts.loc[split] - target) <= 1.5).all(), (split, counts.loc[split])


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_divided(seed):
    divided, _ = assign(kermany_like(seed), seed=seed)
    assert (divided.groupby("group")["split"].nunique() == 1).all()
    divided, _ = assign(kermany_like(seed, test=False), test=0.2, seed=seed)
    assert (divided.groupby("group")["split"].nunique() == 1).all()


def test_same_seed_same_splits_other_seed_others():
    manifest = kermany_like()
    assert assign(manifest)[0].equals(assign(manifest)[0])
    assert not assign(manifest)[0].equals(assign(manifest, seed=2)[0])


def test_order_of_rows_has_no_influence():
    manifest = kermany_like()
    one = assign(manifest)[0].set_index("image_id")["split"]
    other = assign(manifest.sample(frac=1, random_state=3))[0].set_index("image_id")["split"]
    assert other.reindex(one.index).equals(one)


def test_labels_of_the_shipped_test_have_no_influence():
    manifest = kermany_like()
    permuted = manifest.copy()
    test = permuted["shipped_split"] == "test"
    labels = permuted.loc[test, "label"].to_numpy()
    permuted.loc[test, "label"] = np.random.default_rng(0).permutation(labels)
    assert not permuted.equals(manifest)
    assert assign(permuted)[0]["split"].equals(assign(manifest)[0]["split"])


def test_drawn_test_split_has_its_share():
    divided, _ = assign(kermany_like(test=False), test=0.2)
    found = shares(divided)
    for split, share in {"train": 0.56, "val": 0.12, "ensemble": 0.12, "test": 0.2}.items():
        assert found.loc[split].to_numpy() == pytest.approx([share] * 3, abs=0.03)


def test_ratios_are_relative():
    manifest = kermany_like()
    doubled = {split: 2 * ratio for split, ratio in RATIOS.items()}
    assert assign(manifest, ratios=doubled)[0].equals(assign(manifest)[0])


def recurring_table() -> pd.DataFrame:
    own = kermany_like()
    return pd.concat([own, table(("P0", "viral", "train", 3), ("P6", "normal", "train", 2))])


def test_recurring_patients_are_dropped_from_the_other_splits():
    divided, dropped = assign(recurring_table().reset_index(drop=True))
    assert dropped.columns.tolist() == splits.DROPPED_COLUMNS
    assert dropped["patient_id"].tolist() == ["P0"] * 3 + ["P6"] * 2
    assert dropped["label"].tolist() == ["viral"] * 3 + ["normal"] * 2
    assert set(dropped["reason"]) == {"patient is in the shipped test set"}
    assert not set(divided["image_id"]) & set(dropped["image_id"])
    assert divided.loc[divided["group"].isin(["P0", "P6"]), "split"].unique() == ["test"]
    # Apart from that all is as if they had never been there.
    assert divided.equals(assign(kermany_like())[0])


def test_patients_who_share_an_image_with_the_test_are_dropped_for_that_reason():
    manifest = kermany_like()
    manifest.loc[manifest["patient_id"] == "P7", "group"] = "P6"  # P6 is in the test
    _, dropped = assign(manifest)
    assert set(dropped["patient_id"]) == {"P7"}
    assert dropped["reason"].str.contains("identical image").all()


def test_recurring_patients_divided_anew():
    manifest = recurring_table().reset_index(drop=True)
    divided, dropped = assign(manifest, recurring="resplit")
    assert dropped.empty and len(divided) == len(manifest)
    assert (divided.groupby("group")["split"].nunique() == 1).all()
    share = (manifest["shipped_split"] == "test").mean()
    assert (divided["split"] == "test").mean() == pytest.approx(share, abs=0.02)


def test_group_that_joins_patients_goes_to_one_side():
    """As by an image that two patients share: the group decides, not the patient."""
    manifest = kermany_like(test=False)
    manifest.loc[manifest["patient_id"].isin(["P3", "P4", "P5"]), "group"] = "P3"
    divided, _ = assign(manifest, test=0.2)
    assert divided.loc[divided["group"] == "P3", "split"].nunique() == 1


def test_few_patients_still_give_every_split_every_class():
    rows = [(f"{label}{number}", label, "", 1) for label in CLASSES for number in range(4)]
    divided, _ = assign(table(*rows), test=0.25)
    assert (pd.crosstab(divided["split"], divided["label"]) == 1).all().all()


def test_few_patients_of_several_classes():
    rows = [(f"P{number}", label, "", 1) for number in range(8) for label in CLASSES]
    divided, _ = assign(table(*rows), test=0.2)
    assert (pd.crosstab(divided["split"], divided["label"]) >= 1).all().all()


def test_images_and_patients_are_told_and_few_patients_warned_of(caplog):
    rows = [(f"{label}{n}", label, "", 2) for label in CLASSES for n in range(40)]
    rows += [("many", "viral", "", 60)]
    own = table(*rows).assign(patient_known=True)
    own.loc[:2, "patient_known"] = False
    with caplog.at_level("INFO"):
        assign(own, test=0.2, ratios={"train": 0.8, "val": 0.1, "ensemble": 0.1})
    lines = [record.getMessage() for record in caplog.records]
    # 64% of 80, 80 and 140 images, by whole patients with 2 images and one with 60.
    assert lines[0] == (
        "split train: 52 normal of 26 patients, 52 bacterial of 26 patients, 88 viral of 15 "
        "patients; 67 patients in all"
    )
    assert lines[1] == "split train: patient 'many' has 60 of its 192 images"
    assert lines[-2] == (
        "fewer than 10 patients of a class in a split, so that its scores are uncertain: val "
        "(normal 3, bacterial 3, viral 6); ensemble (normal 3, bacterial 3, viral 6); test (normal "
        "8, bacterial 8)"
    )
    assert lines[-1] == "the patient of 3 of 300 images is not known: each of them counts as one"


def test_train_of_one_patient_is_refused():
    rows = [("p0", label, "", 30) for label in CLASSES]
    rows += [(f"{label}{n}", label, "", 1) for label in CLASSES for n in range(3)]
    with pytest.raises(UserError, match="split 'train' has 90 images of one patient, 'p0'"):
        assign(table(*rows), test=0.2)


def test_class_that_cannot_be_everywhere_is_named():
    rows = [(f"{label}{n}", label, "", 1) for label in CLASSES for n in range(9)]
    own = table(*rows)
    own = own[~own["group"].isin([f"viral{n}" for n in range(2, 9)])]
    with pytest.raises(UserError, match="class 'viral' has no image in split 'val|ensemble|test'"):
        assign(own.reset_index(drop=True), test=0.2)


def test_class_that_the_shipped_test_lacks():
    own = kermany_like()
    own = own[~((own["shipped_split"] == "test") & (own["label"] == "viral"))]
    with pytest.raises(UserError, match="class 'viral' has no image in split 'test'.*share"):
        assign(own.reset_index(drop=True))


def test_class_that_is_only_in_the_shipped_test():
    own = kermany_like()
    own = own[~((own["shipped_split"] != "test") & (own["label"] == "viral"))]
    with pytest.raises(UserError, match="class 'viral' has no image outside the test split"):
        assign(own.reset_index(drop=True))


def test_no_shipped_test():
    with pytest.raises(UserError, match="splits.test is 'shipped'.*0.2"):
        assign(kermany_like(test=False))


def test_one_patient():
    with pytest.raises(UserError, match="1 patient in all, but 4 splits"):
        assign(table(*(("P1", label, "", 5) for label in CLASSES)), test=0.2)


@settings(max_examples=60, deadline=None)
@given(
    patients=st.lists(
        st.lists(st.integers(0, 1), min_size=1, max_size=12), min_size=12, max_size=60
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_division_holds_for_any_patients(patients, seed):
    """Every row gets one split, groups stay whole, each class is everywhere or it is an error."""
    groups = pd.Series([f"P{i}" for i, own in enumerate(patients) for _ in own])
    labels = pd.Series([("x", "y")[label] for own in patients for label in own])
    try:
        split = splits.divide(groups, labels, RATIOS, seed, ["x", "y"])
    except UserError:
        pure = pd.crosstab(groups, labels).reindex(columns=["x", "y"], fill_value=0) > 0
        # Only where a class is short of patients.
        assert pure.sum().min() < 6
        return
    assert split.isin(list(RATIOS)).all()
    assert (split.groupby(groups).nunique() == 1).all()
    assert (pd.crosstab(split, labels) > 0).all().all()


def lungs(*rows: tuple) -> pd.DataFrame:
    own = [
        (f"{source}_{group}_{number}", group, group, source, "")
        for source, group, count in rows
        for number in range(count)
    ]
    return pd.DataFrame(own, columns=["image_id", "patient_id", "group", "source", "split"])


ROLES = {"a": "lungs_train", "b": "lungs_test"}


def test_lungs():
    own = lungs(*(("a", f"P{n}", 1 + n % 3) for n in range(40)), ("b", "Q1", 3), ("b", "P7", 1))
    divided, dropped = splits.assign_lungs(own, ROLES, 0.15, seed=1)
    assert (divided.groupby("group")["split"].nunique() == 1).all()
    assert (divided["split"] == "test").equals(divided["source"] == "b")
    trained = divided[divided["split"] != "test"]
    assert (trained["split"] == "val").mean() == pytest.approx(0.15, abs=0.02)
    # A patient of the test is not trained on.
    assert dropped["patient_id"].tolist() == ["P7", "P7"] and (dropped["label"] == "").all()
    again, _ = splits.assign_lungs(own, ROLES, 0.15, seed=1)
    assert again.equals(divided)
    other, _ = splits.assign_lungs(own, ROLES, 0.15, seed=2)
    assert not other.equals(divided)


def test_too_few_lungs():
    with pytest.raises(UserError, match="1 patient with lung masks.*lungs_train"):
        splits.assign_lungs(lungs(("a", "P1", 5), ("b", "Q1", 3)), ROLES, 0.15, seed=1)


def test_a_class_with_one_patient_is_said_before_anything_is_trained(caplog):
    rows = [(f"n{k}", "normal", "train", 1) for k in range(70)]
    rows += [(f"r{k}", "rare", "train", 1) for k in range(5)]
    assign(table(*rows), test=0.25, classes=["normal", "rare"])
    said = [text for text in caplog.messages if "has one patient" in text]
    assert len(said) == 2
    assert said[0].startswith("class 'rare' has one patient in split 'ensemble': fitted ensembles")
    assert said[1].startswith("class 'rare' has one patient in split 'test'")
    caplog.clear()
    assign(kermany_like())
    assert "has one patient" not in caplog.text
