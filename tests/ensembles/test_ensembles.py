"""Choosing, combining and cross-fitting on the `ensemble` split, and nothing but that split."""

import functools
import itertools
import subprocess
import sys
import types

import numpy as np
import pandas as pd
import pytest
import simulated
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from multiloss import methods, predictions, references, study
from multiloss.data.tables import external_split
from multiloss.ensembles import build, combiners, crossfit, selection
from multiloss.job.errors import UserError
from multiloss.predictions import Predictions
from sklearn.metrics import log_loss, matthews_corrcoef

INTERVAL = build.Interval(resamples=50)


def random_p(rng, members=3, n=60, classes=3):
    return rng.dirichlet(np.ones(classes), size=(members, n)), rng.integers(classes, size=n)


def informative(seed, members=3, n=60):
    data = simulated.predictions(seed, {"ensemble": n}, members)
    return data.p, data.y


# -- names -------------------------------------------------------------------------------


def test_every_method_carries_its_words():
    known = methods.ensemble_methods()
    assert {name: method.level for name, method in known.items()} == {
        "majority_vote": "prediction",
        "simple_average": "prediction",
        "weighted_average": "prediction",
        "stacking": "prediction",
        "model_level": "model",
    }
    assert [name for name in known if known[name].level == "prediction"] == [*combiners.COMBINERS]
    for name, method in known.items():
        assert method.sentence and set(method.cites) <= set(references.known()), name
        if name in combiners.COMBINERS:
            made = combiners.COMBINERS[name]
            assert (made.complexity, made.fitted) == (method.complexity, method.fitted)
    assert [name for name in known if known[name].fits_a_network] == ["stacking"]
    assert known["stacking"].trained_on == "ensemble" and known["stacking"].cites == (
        "wolpert1992",
    )
    assert [name for name in known if known[name].caveat] == ["majority_vote"]
    # From simple to elaborate.
    order = sorted(known, key=lambda name: known[name].complexity)
    assert order == [
        "simple_average", "majority_vote", "weighted_average", "stacking", "model_level",
    ]  # fmt: skip


def test_a_method_declares_its_options():
    assert methods.options_of("simple_average") == methods.options_of("model_level") == {}
    assert {name: option.default for name, option in methods.options_of("stacking").items()} == {
        "alpha": 3.0,
        "max_iter": 5000,
    }
    default, allowed, words = methods.options_of("weighted_average")["starts"]
    assert words == "Starting points of the optimiser."
    assert default == 50 and str(allowed) == "a whole number at least 1"
    assert allowed.holds(1) and not any(map(allowed.holds, (0, 1.5, True, "3", None)))


def test_methods_are_known_without_importing_what_they_need(root):
    code = (
        "import sys; from multiloss import methods; methods.ensemble_methods();"
        "assert not {'numpy', 'scipy', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root / "workflow")


def test_an_unknown_method_is_named():
    with pytest.raises(UserError, match="'boosting' is unknown"):
        combiners.combiner("boosting", 0)


# -- majority vote and average -----------------------------------------------------------


def test_votes_by_hand():
    p = np.array([[[0.6, 0.3, 0.1]], [[0.2, 0.5, 0.3]], [[0.1, 0.8, 0.1]]])
    # votes (1, 2, 0), mean (0.3, 1.6/3, 0.5/3), both divided by 4
    want = [(1 + 0.3) / 4, (2 + 1.6 / 3) / 4, (0.5 / 3) / 4]
    np.testing.assert_allclose(combiners.MajorityVote().predict(p), [want])


def test_a_tied_vote_goes_to_the_larger_mean_not_to_the_higher_class():
    p = np.array([[[0.90, 0.10, 0.00]], [[0.05, 0.45, 0.50]]])  # one vote for 0, one for 2
    assert combiners.MajorityVote().predict(p).argmax() == 0
    three_ways = np.array([[[0.4, 0.3, 0.3]], [[0.0, 0.6, 0.4]], [[0.3, 0.3, 0.4]]])
    assert combiners.MajorityVote().predict(three_ways).argmax() == 1  # means .233, .4, .367


def test_votes_outweigh_any_mean():
    sure, unsure = [0.0, 1.0], [0.5 + 1e-6, 0.5 - 1e-6]
    p = np.array([[sure], [unsure], [unsure]])
    assert p.mean(axis=0)[0].argmax() == 1
    assert combiners.MajorityVote().predict(p)[0].argmax() == 0


def test_the_average_is_the_mean():
    p, y = random_p(np.random.default_rng(0))
    average = combiners.SimpleAverage().fit(p, y)
    np.testing.assert_allclose(average.predict(p), (p[0] + p[1] + p[2]) / 3)
    assert average.weights is None


# -- weighted average --------------------------------------------------------------------


def mixture_losses(weights, p, y):
    """Log loss of each row of weights (W, M)."""
    return -np.log(weights @ p[:, np.arange(len(y)), y]).mean(axis=1)


def expectation_maximisation(p, y, rounds=20000):
    """The best mixture weights by another road: w_m <- mean of w_m p_m / sum w p."""
    true = p[:, np.arange(len(y)), y]
    w = np.full(len(p), 1 / len(p))
    for _ in range(rounds):
        w = (w[:, None] * true / (w @ true)).mean(axis=1)
    return w


@pytest.mark.parametrize("seed", range(3))
def test_weights_beat_every_point_of_a_grid(seed):
    p, y = informative(seed)
    fitted = combiners.WeightedAverage(seed=1, starts=5).fit(p, y)
    steps = [w for w in itertools.product(range(101), repeat=3) if sum(w) == 100]
    grid = np.array(steps) / 100
    losses = mixture_losses(grid, p, y)
    assert mixture_losses(fitted.weights[None], p, y)[0] <= losses.min() + 1e-9
    assert np.abs(fitted.weights - grid[losses.argmin()]).max() < 0.05
    assert (fitted.weights >= 0).all() and fitted.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("members", [2, 5])
def test_weights_agree_with_expectation_maximisation(members):
    p, y = informative(members, members)
    fitted = combiners.WeightedAverage(seed=1, starts=5).fit(p, y)
    np.testing.assert_allclose(fitted.weights, expectation_maximisation(p, y), atol=2e-3)


def test_the_gradient_is_that_of_the_loss(monkeypatch):
    import scipy.optimize

    seen = {}

    def record(fun, start, **_):
        seen["fun"] = fun
        return types.SimpleNamespace(x=start)

    monkeypatch.setattr(scipy.optimize, "minimize", record)
    p, y = informative(0, 4)
    combiners.mixture_weights(p[:, np.arange(len(y)), y].T, np.full(4, 0.25))
    at = np.array([0.1, 0.2, 0.3, 0.4])
    numeric = scipy.optimize.approx_fprime(at, lambda w: seen["fun"](w)[0], 1e-7)
    np.testing.assert_allclose(seen["fun"](at)[1], numeric, rtol=1e-5)


def test_identical_members_share_the_weight_equally():
    p, y = informative(0, 1)
    fitted = combiners.WeightedAverage(seed=3).fit(np.repeat(p, 4, axis=0), y)
    np.testing.assert_allclose(fitted.weights, 0.25)
    np.testing.assert_allclose(fitted.predict(np.repeat(p, 4, axis=0)), p[0])


def test_a_perfect_member_takes_all_and_a_wrong_one_nothing():
    y = np.arange(30) % 3
    perfect = np.eye(3)[y]
    wrong = np.eye(3)[(y + 1) % 3]
    constant = np.full((30, 3), 1 / 3)
    fitted = combiners.WeightedAverage(seed=0).fit(np.stack([wrong, perfect, constant]), y)
    np.testing.assert_allclose(fitted.weights, [0, 1, 0], atol=1e-6)


def test_members_that_are_all_certain_and_wrong_give_finite_weights():
    y = np.arange(12) % 3
    wrong = np.stack([np.eye(3)[(y + 1) % 3], np.eye(3)[(y + 2) % 3]])
    fitted = combiners.WeightedAverage(seed=0, starts=3).fit(wrong, y)
    assert fitted.weights.sum() == pytest.approx(1) and (fitted.weights >= 0).all()


def test_one_member_gets_all_the_weight():
    p, y = informative(0, 1)
    assert combiners.WeightedAverage(starts=2).fit(p, y).weights.tolist() == [1.0]


# -- stacking ----------------------------------------------------------------------------


def test_stacking_has_one_hidden_layer_of_classes_times_members():
    p, y = informative(0, 5)
    stacked = combiners.Stacking(seed=1).fit(p, y)
    network = stacked._network
    assert [w.shape for w in network.coefs_] == [(15, 15), (15, 3)]
    assert (network.activation, network.out_activation_) == ("relu", "softmax")


def test_stacking_learns_what_no_average_can():
    # The only informative member says each class's name wrong, always in the same way.
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=150)
    renamed = 0.85 * np.eye(3)[(y + 1) % 3] + 0.05
    p = np.stack([renamed, *rng.dirichlet(np.ones(3) * 5, size=(2, 150))])
    stacked = combiners.Stacking(seed=1).fit(p[:, :100], y[:100]).predict(p[:, 100:])
    assert (stacked.argmax(axis=1) == y[100:]).mean() > 0.95
    assert (p[:, 100:].mean(axis=0).argmax(axis=1) == y[100:]).mean() < 0.4


def test_stacking_neither_overfits_nor_underfits_135_images():
    gains = []
    for seed in range(4):
        data = simulated.predictions(seed, {"ensemble": 135, "test": 1500}, 5)
        fit, new = data.only("ensemble"), data.only("test")
        stacked = combiners.Stacking(seed=seed).fit(fit.p, fit.y).predict(new.p)
        average = log_loss(new.y, new.p.mean(axis=0))
        gains.append(average - log_loss(new.y, stacked))
    assert np.mean(gains) > -0.03


def test_what_is_fitted_must_see_every_class():
    p, y = informative(0)
    seen = y != 1
    with pytest.raises(ValueError, match="every class"):
        combiners.Stacking(seed=0).fit(p[:, seen], y[seen])
    fits = {name: method.fits(y[seen], 3) for name, method in combiners.COMBINERS.items()}
    assert fits == {
        "majority_vote": True,
        "simple_average": True,
        "weighted_average": False,
        "stacking": False,
    }
    assert all(method.fits(y, 3) for method in combiners.COMBINERS.values())


# -- all methods -------------------------------------------------------------------------


@pytest.mark.parametrize("method", combiners.COMBINERS)
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_rows_sum_to_one_for_any_number_of_classes(method, classes):
    p, y = random_p(np.random.default_rng(classes), members=3, n=70, classes=classes)
    out = combiners.combiner(method, 5).fit(p, y).predict(p)
    assert out.shape == (70, classes) and (out >= 0).all()
    np.testing.assert_allclose(out.sum(axis=1), 1)


@pytest.mark.parametrize("method", ["majority_vote", "simple_average", "weighted_average"])
def test_the_order_of_members_does_not_matter(method):
    p, y = informative(2, 4)
    order = [2, 0, 3, 1]
    one = combiners.combiner(method, 5).fit(p, y)
    other = combiners.combiner(method, 5).fit(p[order], y)
    np.testing.assert_allclose(one.predict(p), other.predict(p[order]), atol=1e-4)
    if one.weights is not None:
        np.testing.assert_allclose(one.weights[order], other.weights, atol=1e-4)


@pytest.mark.parametrize("method", combiners.COMBINERS)
def test_constant_and_hard_members_do_no_harm(method):
    p, y = informative(1)
    hard = np.eye(3)[p[0].argmax(axis=1)]
    constant = np.tile([1.0, 0.0, 0.0], (len(y), 1))
    out = combiners.combiner(method, 5).fit(np.stack([p[0], hard, constant]), y)
    assert np.isfinite(out.predict(np.stack([p[0], hard, constant]))).all()


@pytest.mark.parametrize("method", combiners.COMBINERS)
def test_the_same_seed_gives_the_same_bytes(method):
    p, y = informative(1)
    outs = [combiners.combiner(method, 5).fit(p, y).predict(p).tobytes() for _ in range(2)]
    assert outs[0] == outs[1]


# -- ranking -----------------------------------------------------------------------------


def test_ranking_is_scikit_learns_mcc_and_reads_one_split():
    data = simulated.predictions(0)
    ranking = simulated.ranked(data)
    part = data.only("ensemble")
    want = {
        model: (matthews_corrcoef(part.y, p.argmax(axis=1)), log_loss(part.y, p))
        for model, p in zip(part.models, part.p, strict=True)
    }
    order = sorted(want, key=lambda model: -want[model][0])
    assert ranking["model"].tolist() == order
    assert ranking["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(ranking[["score", "log_loss"]], [want[model] for model in order])
    assert set(ranking["split"]) == {"ensemble"} and ranking["loss"][0] + "-r0" == order[0]


def test_ties_go_to_the_lower_log_loss_and_then_to_the_config():
    data = simulated.predictions(0, models=1)
    p = data.p[0]
    # Sharper or flatter probabilities: the same classes, another log loss; two are identical.
    powers = {"flat-r0": 0.5, "first-r0": 1.0, "second-r0": 1.0, "worse-r0": 6.0}
    stack = np.stack([p**power for power in powers.values()])
    stack /= stack.sum(axis=2, keepdims=True)
    tied = Predictions(data.rows, list(powers), data.classes, stack)
    ranking = simulated.ranked(tied)
    assert ranking["score"].nunique() == 1
    assert ranking["log_loss"].is_monotonic_increasing
    names = ranking["model"].tolist()
    assert names.index("second-r0") == names.index("first-r0") + 1


def test_an_undefined_score_ranks_as_chance_and_a_failed_model_last():
    data = simulated.predictions(0, models=4)
    data.p[0] = [0.8, 0.1, 0.1]
    data.p[1] = np.nan
    # The third always names a wrong class, which is worse than chance.
    data.p[2] = 0.1 + 0.7 * np.eye(3)[(data.y + 1) % 3]
    ranking = simulated.ranked(data)
    assert ranking["model"].tolist() == ["loss3-r0", "loss0-r0", "loss2-r0", "loss1-r0"]
    assert ranking["score"].isna().tolist() == [False, True, False, True]
    assert ranking["score"][2] < 0
    assert ranking["reason"].tolist() == ["", selection.UNDEFINED, "", selection.FAILED]
    assert selection.members(ranking, 4) == ranking["model"].tolist()
    assert selection.failed(ranking, selection.members(ranking, 3)) == []
    assert selection.failed(ranking, selection.members(ranking, 4)) == ["loss1-r0"]
    with pytest.raises(UserError, match=r"ensembles\.top_k: 5 members .* only 4"):
        selection.members(ranking, 5)


# -- cross-fitting -----------------------------------------------------------------------


class Memoriser(combiners.Combiner):
    """Knows the images it was fitted on by heart, and answers class 0 for all others."""

    fitted, complexity, name = True, 9, "memoriser"

    def fit(self, p, y):
        self.known = {row.tobytes(): label for row, label in zip(p[0], y, strict=True)}
        return self

    def predict(self, p):
        labels = [self.known.get(row.tobytes(), 0) for row in p[0]]
        return np.eye(p.shape[2])[labels]


def test_crossfitting_leaves_out_its_fold():
    data = simulated.predictions(0).only("ensemble")
    fold = crossfit.folds(data.patients, data.y, 5, seed=1)
    by_heart = Memoriser().fit(data.p, data.y).predict(data.p)
    assert (by_heart.argmax(axis=1) == data.y).all()
    left_out = crossfit.crossfit(Memoriser, data.p, data.y, fold)
    assert (left_out.argmax(axis=1) == 0).all()


def test_what_is_not_fitted_is_the_same_cross_fitted():
    data = simulated.predictions(0).only("ensemble")
    fold = crossfit.folds(data.patients, data.y, 5, seed=1)
    whole = combiners.MajorityVote().predict(data.p)
    assert (crossfit.crossfit(combiners.MajorityVote, data.p, data.y, fold) == whole).all()


def test_folds_keep_patients_together_and_classes_spread():
    data = simulated.predictions(3, {"ensemble": 200}).only("ensemble")
    fold = crossfit.folds(data.patients, data.y, 5, seed=1)
    assert pd.Series(fold).groupby(data.patients).nunique().max() == 1
    counts = pd.crosstab(fold, data.y)
    assert counts.shape == (5, 3) and counts.to_numpy().min() >= 5
    again = crossfit.folds(data.patients, data.y, 5, seed=1)
    assert (fold == again).all()
    assert (fold != crossfit.folds(data.patients, data.y, 5, seed=2)).any()


def test_few_patients_mean_fewer_folds_and_one_patient_none():
    y = np.array([0] * 10 + [1] * 10 + [2] * 3)
    patients = [f"p{k}" for k in range(23)]
    assert len(np.unique(crossfit.folds(patients, y, 5, 0))) == 3
    names = ["normal", "bacterial", "viral"]
    assert crossfit.obstacle(patients, y, names) == ""
    twins = patients[:20] + ["one"] * 3
    assert crossfit.obstacle(twins, y, names) == (
        "cannot be cross-fitted: class 'viral' has 1 patient in the split `ensemble`, "
        "two are needed"
    )
    assert "class 'viral' has 0 patients" in crossfit.obstacle(patients[:20], y[:20], names)
    # Nothing can be left out then, and nothing is made up: no class gets a probability of 0.
    fold = crossfit.folds(twins, y, 5, 0)
    assert set(fold) == {0}
    p = np.full((2, 23, 3), 1 / 3)
    for method in ("weighted_average", "stacking"):
        make = functools.partial(combiners.combiner, method, 0)
        assert np.isnan(crossfit.crossfit(make, p, y, fold)).all()
        apart = np.arange(23) // 10
        assert np.isnan(crossfit.crossfit(make, p, y, apart)).all()


def test_three_patients_of_two_classes_each_need_a_third_fold():
    # Each class's two patients share one with each other class: no two folds part all three.
    patients = np.repeat(["p", "q", "r"], 2)
    y = np.array([0, 1, 1, 2, 2, 0])
    fold = crossfit.folds(patients, y, 2, 0)
    assert fold.tolist() in [[0, 0, 1, 1, 2, 2], [1, 1, 0, 0, 2, 2]] or len(set(fold)) == 3
    assert all(set(y[fold != k]) == {0, 1, 2} for k in range(3))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=2, max_size=12),
    st.integers(2, 6),
    st.integers(0, 3),
)
def test_every_fit_sees_every_class(labels, count, seed):
    """Any mix: each patient (an inner list) has images of any classes."""
    patients = np.repeat([f"p{k}" for k in range(len(labels))], [len(own) for own in labels])
    y = np.concatenate([np.array(own) for own in labels])
    names = [str(k) for k in np.unique(y)]
    y = np.searchsorted(np.unique(y), y)
    assume(not crossfit.obstacle(patients, y, names))
    fold = crossfit.folds(patients, y, count, seed)
    assert pd.Series(fold).groupby(patients).nunique().max() == 1
    assert sorted(set(fold)) == list(range(fold.max() + 1))
    for k in range(fold.max() + 1):
        assert set(y[fold != k]) == set(y)
    # More folds than asked for only where pairs of patients bind that many classes together.
    assert len(set(fold)) <= max(count, 3)


def candidates(*rows):
    columns = ["kind", "model", "score", "log_loss", "complexity", "k"]
    return pd.DataFrame(rows, columns=columns).assign(reason="")


def picks(*rows):
    table = crossfit.choose(candidates(*rows))
    return dict(zip(table["what"], table["model"], strict=True))


def test_an_ensemble_must_beat_the_single_model():
    single = ("single", "a-r0", 0.7, 0.5, 0, np.nan)
    assert picks(single, ("ensemble", "e", 0.7, 0.1, 0, 3))["overall"] == "a-r0"
    assert picks(single, ("ensemble", "e", 0.7 + 1e-14, 0.1, 0, 3))["overall"] == "a-r0"
    assert picks(single, ("ensemble", "e", 0.71, 0.9, 3, 3))["overall"] == "e"
    assert picks(single, ("ensemble", "e", np.nan, 0.9, 3, 3))["overall"] == "a-r0"


def test_an_undefined_score_counts_as_chance_in_the_choice():
    """Eight images of class 0 and two of 1: single models that say 0 throughout have no MCC."""
    collapsed = [("single", "cce", np.nan, 0.4, 0, 0), ("single", "focal", np.nan, 0.5, 0, 0)]
    found = picks(
        *collapsed,
        ("ensemble", "average", np.nan, 0.4, 0, 2),
        ("ensemble", "stacking", -0.11, 0.9, 3, 2),
    )
    assert found == {"single": "cce", "ensemble": "average", "overall": "cce"}
    worse = ("single", "cce", -0.05, 0.1, 0, 0)
    assert picks(worse, collapsed[1])["single"] == "focal"
    better = ("ensemble", "stacking", 0.01, 0.9, 3, 2)
    assert picks(*collapsed, better)["overall"] == "stacking"


def test_what_has_no_log_loss_is_not_chosen_and_what_speaks_against_a_choice_is_said():
    table = candidates(
        ("single", "failed", np.nan, np.nan, 0, 0),
        ("single", "poor", -0.2, 0.5, 0, 0),
        ("ensemble", "unjudged", np.nan, np.nan, 3, 2),
    )
    table["reason"] = ["training failed", "it never predicts 'b'", "one patient"]
    chosen = crossfit.choose(table)
    assert chosen["model"].tolist() == ["poor", "poor"]
    notes = "Note: it never predicts 'b'; its score is not above that of chance, 0"
    assert chosen["rule"].str.endswith(notes).all()
    nothing = crossfit.choose(table.iloc[[0, 2]])
    assert nothing.empty and nothing.columns.tolist() == chosen.columns.tolist()


def test_ties_go_to_the_simpler_method_the_fewer_members_the_lower_log_loss():
    assert picks(
        ("single", "a-r0", 0.7, 0.5, 0, np.nan),
        ("single", "b-r0", 0.7, 0.4, 0, np.nan),
        ("ensemble", "stack3", 0.8, 0.1, 3, 3),
        ("ensemble", "average5", 0.8, 0.9, 0, 5),
        ("ensemble", "average3", 0.8, 0.95, 0, 3),
    ) == {"single": "b-r0", "ensemble": "average3", "overall": "average3"}


def test_without_ensembles_the_single_model_is_the_choice():
    assert picks(("single", "a-r0", 0.7, 0.5, 0, np.nan)) == {
        "single": "a-r0",
        "overall": "a-r0",
    }


# -- a whole replicate -------------------------------------------------------------------


def replicate_study(seed=0, sizes=None):
    """Singles, model-level ensembles and the entries of one replicate."""
    singles = simulated.predictions(seed, sizes)
    names = ["model_level-top3-r0", "model_level-top5-r0"]
    p = simulated.predictions(seed, sizes).p[:2] ** 0.8
    model_level = Predictions(
        singles.rows, names, singles.classes, p / p.sum(axis=2, keepdims=True)
    )
    entries = simulated.entries((*simulated.PREDICTION_LEVEL, "model_level"))
    entries["weighted_average-model_level-r0"] = {
        "method": "weighted_average", "k": 2, "replicate": 0, "level": "model_average",
        "members": tuple(names),
    }  # fmt: skip
    return singles, model_level, entries


def built(singles, model_level, entries, seed=1):
    ranking = simulated.ranked(singles)
    options = {"weighted_average": {"starts": 4}}
    return ranking, build.build(singles, ranking, model_level, entries, options, 4, seed, INTERVAL)


def test_a_replicates_ensembles():
    singles, model_level, entries = replicate_study()
    ranking, made = built(singles, model_level, entries)
    assert list(made.p) == [name for name in entries if not name.startswith("model_level")]
    top = selection.members(ranking, 3)
    np.testing.assert_allclose(made.p["simple_average-top3-r0"], singles.of(top).mean(axis=0))
    weights = made.weights.set_index(["ensemble", "member"])["weight"]
    assert weights.groupby("ensemble").sum().to_numpy() == pytest.approx([1.0] * 3)
    mixed = sum(weights["weighted_average-top3-r0", m] * singles.of([m])[0] for m in top)
    np.testing.assert_allclose(made.p["weighted_average-top3-r0"], mixed)
    both = made.weights[made.weights["ensemble"] == "weighted_average-model_level-r0"]
    assert both["member"].tolist() == model_level.models
    np.testing.assert_allclose(
        made.p["weighted_average-model_level-r0"],
        np.tensordot(both["weight"], model_level.p, axes=1),
    )


def test_candidates_hold_every_model_once_with_its_way_of_judging():
    singles, model_level, entries = replicate_study()
    _, made = built(singles, model_level, entries)
    table = made.candidates.set_index("model")
    assert table.index.tolist() == [*singles.models, *entries]
    fitted = table.index.str.startswith(("weighted", "stacking"))
    assert (table["folds"] == np.where(fitted, 4, 0)).all()
    assert (table["ci_low"] <= table["score"]).all()
    assert (table["score"] <= table["ci_high"]).all()
    part = model_level.only("ensemble")
    np.testing.assert_allclose(
        table["score"]["model_level-top5-r0"],
        matthews_corrcoef(part.y, part.p[1].argmax(axis=1)),
    )
    simplest = table["complexity"].drop(singles.models).idxmin()
    assert simplest.startswith("simple_average")
    assert table["complexity"].idxmax() == "weighted_average-model_level-r0"


def test_members_table():
    singles, model_level, entries = replicate_study()
    ranking, made = built(singles, model_level, entries)
    seeds = {"seed_average-loss1-top1": {"members": ("loss1-r0",), "k": 1}}
    table = build.member_table(entries, ranking, made.candidates, seeds)
    assert table["ensemble"].unique().tolist() == [*entries, *seeds]
    stack = table[table["ensemble"] == "stacking-top5-r0"]
    assert stack["member"].tolist() == ranking["model"].tolist()[:5]
    assert stack["rank"].tolist() == [1, 2, 3, 4, 5]
    assert stack["score"].is_monotonic_decreasing
    average = table[table["ensemble"] == "weighted_average-model_level-r0"]
    assert sorted(average["member"]) == model_level.models
    assert average["score"].is_monotonic_decreasing
    assert table.iloc[-1][["method", "member"]].tolist() == ["seed_average", "loss1-r0"]
    assert table["replicate"].isna().tolist() == [False] * (len(table) - 1) + [True]


def test_more_members_than_models_is_the_users_error():
    singles, _, _ = replicate_study()
    # The config refuses it; this guards the tables.
    entries = simulated.entries(["simple_average"], [7])
    with pytest.raises(UserError, match=r"ensembles\.top_k: 7"):
        built(singles, None, entries)


def lone_patient(data, classes=1):
    """The same, with all `ensemble` images of the last class belonging to one patient, or gone."""
    rows = data.rows.copy()
    rare = (rows["split"] == "ensemble") & (rows["label"] == data.classes[-1])
    if classes:
        rows.loc[rare, "patient_id"] = "lone"
        return Predictions(rows, data.models, data.classes, data.p)
    keep = ~rare.to_numpy()
    kept = rows[keep].reset_index(drop=True)
    return Predictions(kept, data.models, data.classes, data.p[:, keep])


FITTED = ("weighted_average", "stacking")


def test_a_class_with_one_patient_leaves_fitted_methods_out_of_the_choice():
    data = lone_patient(simulated.predictions(0))
    entries = simulated.entries(top_k=[3])
    _, made = built(data, None, entries)
    assert all(np.isfinite(p).all() for p in made.p.values())
    table = made.candidates.set_index("model")
    fitted = [f"{method}-top3-r0" for method in FITTED]
    assert table.loc[fitted, ["score", "log_loss", "ci_low"]].isna().all().all()
    assert (table.loc[fitted, "folds"] == 0).all()
    assert table.loc[fitted, "reason"].str.contains("class 'viral' has 1 patient").all()
    rest = table.drop(fitted)
    assert rest["score"].notna().all()
    chosen = crossfit.choose(made.candidates).set_index("what")["model"]
    assert chosen["ensemble"] in ("majority_vote-top3-r0", "simple_average-top3-r0")


def test_a_class_without_images_makes_fitted_methods_a_gap():
    data = lone_patient(simulated.predictions(0), classes=0)
    _, made = built(data, None, simulated.entries(top_k=[3]))
    for name, p in made.p.items():
        fitted = name.startswith(FITTED)
        assert np.isnan(p).all() if fitted else np.isfinite(p).all(), name
    reasons = made.candidates.set_index("model")["reason"]
    assert reasons["stacking-top3-r0"] == (
        "no probabilities: cannot be cross-fitted: class 'viral' has 0 patients in the split "
        "`ensemble`, two are needed"
    )
    assert made.weights.empty


def test_an_ensemble_with_a_failed_member_is_a_gap():
    singles, model_level, entries = replicate_study()
    singles.p[2:] = np.nan  # two are left of six
    model_level.p[0] = np.nan
    small = simulated.entries(top_k=[2])
    ranking, made = built(singles, model_level, small | entries)
    for name, p in made.p.items():
        assert np.isfinite(p).all() if "top2" in name else np.isnan(p).all(), name
    table = made.candidates.set_index("model")
    lost = selection.members(ranking, 3)[-1]
    assert (
        table["reason"]["simple_average-top3-r0"] == f"no probabilities: its member {lost} has none"
    )
    assert "model_level-top3-r0 has none" in table["reason"]["weighted_average-model_level-r0"]
    members = build.member_table(small | entries, ranking, made.candidates, {})
    assert (
        members.groupby("ensemble").size()[["stacking-top3-r0", "stacking-top5-r0"]] == [3, 5]
    ).all()
    chosen = crossfit.choose(made.candidates).set_index("what")["model"]
    assert "top2" in chosen["ensemble"]


def test_collapsed_models_are_chosen_with_what_speaks_against_them():
    data = simulated.predictions(0, models=3)
    data.p[:] = [0.8, 0.1, 0.1]
    _, made = built(data, None, simulated.entries(["simple_average", "stacking"], [2]))
    chosen = crossfit.choose(made.candidates).set_index("what")
    assert chosen["model"]["overall"] == "loss0-r0" and np.isnan(chosen["score"]["overall"])
    assert chosen["rule"]["overall"] == (
        "the single model, since no ensemble beats its score. Note: one class is predicted for all "
        "images: its MCC counts as 0; it predicts 'normal' for 100% of the images; its score is "
        "not above that of chance, 0"
    )


def test_model_level_on_other_images_is_refused():
    singles, model_level, entries = replicate_study()
    rows = model_level.rows[::-1].reset_index(drop=True)
    other = Predictions(rows, model_level.models, model_level.classes, model_level.p)
    with pytest.raises(UserError, match="model_level-top3-r0: images differ"):
        built(singles, other, entries)


# -- files and scripts -------------------------------------------------------------------


def test_predictions_read_back(tmp_path):
    data = simulated.predictions(0, classes=("no finding", "NA", "viral"))
    read = predictions.read(simulated.write(data, tmp_path), data.classes)
    assert read.rows.equals(data.rows) and read.models == data.models
    np.testing.assert_allclose(read.p, data.p, atol=1e-9)
    only = predictions.read(simulated.write(data, tmp_path), data.classes, splits=["ensemble"])
    assert set(only.rows["split"]) == {"ensemble"}
    assert (only.y == data.only("ensemble").y).all()


def test_an_empty_file_of_a_failed_model_is_nan(tmp_path):
    data = simulated.predictions(0, models=2)
    data.p[1] = np.nan
    read = predictions.read(simulated.write(data, tmp_path), data.classes)
    assert np.isnan(read.p[1]).all() and np.isfinite(read.p[0]).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.drop(columns="p_viral"), "column 'p_viral' is missing"),
        (lambda t: t.assign(p_viral=9), "image 'val-0' are not numbers .* sum to 1"),
        (lambda t: t.assign(p_viral=t["p_viral"].where(t.index != 3)), "image 'val-3' are not"),
        (lambda t: t.assign(p_viral="?"), "image 'val-0' are not numbers"),
        (lambda t: pd.concat([t, t.tail(1)]), "listed twice"),
        (lambda t: t[::-1], "images, splits or labels differ"),
        (lambda t: t.iloc[:0], "images, splits or labels differ"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage, message):
    data = simulated.predictions(0, models=2)
    paths = simulated.write(data, tmp_path)
    damage(pd.read_csv(paths[1])).to_csv(paths[1], index=False)
    with pytest.raises(UserError, match=f"loss1-r0.csv: .*{message}"):
        predictions.read(paths, data.classes)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "cce-r0.csv").write_text("")
    with pytest.raises(UserError, match="cce-r0.csv: not a readable table"):
        predictions.read([tmp_path / "cce-r0.csv"], ["a", "b"])


def test_an_unknown_label_and_an_absent_split_are_named():
    data = simulated.predictions(0)
    data.rows.loc[0, "label"] = "fungal"
    with pytest.raises(UserError, match="label 'fungal'"):
        _ = data.y
    with pytest.raises(UserError, match="no image in split 'train'"):
        data.only("train")


def run_ensembles(root, monkeypatch, data, model_level, entries, folder, seeds=None):
    """The scripts of one replicate and the tables over it; returns all written files."""
    averages = {}
    if seeds:
        members = tuple(f"loss0-r{run}" for run in range(3))
        averages = {"seed_average-loss0-top3": {"members": members, "k": 3}}
    common = {"classes": data.classes}
    further = seeds.models if seeds else []
    singles = simulated.write(data, folder / "predictions")
    out = folder / "ensembles"
    made = [name for name in entries if entries[name]["level"] != "model"]
    simulated.run_script(
        root, monkeypatch, "rank",
        input={"predictions": singles},
        params=common | {"models": study.entries(simulated.models_of(data).values())},
        output={"ranking": out / "ranking.csv"},
    )  # fmt: skip
    simulated.run_script(
        root, monkeypatch, "ensemble",
        input={
            "predictions": singles, "ranking": out / "ranking.csv",
            "model_level": simulated.write(model_level, folder / "predictions"),
        },
        params=common | {
            "ensembles": entries, "options": {"weighted_average": {"starts": 4}}, "folds": 4,
            "seed": 1, "resamples": 50, "confidence": 0.95,
        },
        output={
            "predictions": [folder / "predictions" / f"{name}.csv" for name in made],
            "weights": out / "w.csv", "candidates": out / "c.csv",
        },
    )  # fmt: skip
    simulated.run_script(
        root, monkeypatch, "ensemble_tables",
        input={
            "rankings": [out / "ranking.csv"], "weights": [out / "w.csv"],
            "candidates": [out / "c.csv"],
            "seeds": simulated.write(seeds, folder / "predictions") if seeds else [],
        },
        params={
            "classes": data.classes, "ensembles": entries, "seed_ensembles": averages,
            "seeds": {name: {"variant": "loss0", "replicate": int(name[-1])} for name in further},
            "divisions": None, "families": None,
        },
        output={
            key: out / f"{key}.csv" for key in ("members", "weights", "candidates", "chosen")
        },
    )  # fmt: skip
    return {name: folder / "predictions" / f"{name}.csv" for name in made}, out


def relabelled(data, rng, splits):
    """The same predictions with the labels of some splits permuted."""
    rows = data.rows.copy()
    for split in splits:
        keep = rows["split"] == split
        rows.loc[keep, "label"] = rng.permutation(rows.loc[keep, "label"].to_numpy())
    return Predictions(rows, data.models, data.classes, data.p)


def test_labels_outside_the_ensemble_split_change_nothing(root, monkeypatch, tmp_path):
    sizes = {"val": 12, "ensemble": 80, "test": 90, external_split("b"): 40}
    singles, model_level, entries = replicate_study(sizes=sizes)
    rng = np.random.default_rng(0)
    permuted = relabelled(singles, rng, ["test", "val", external_split("b")])
    assert not permuted.rows.equals(singles.rows)
    also = Predictions(permuted.rows, model_level.models, singles.classes, model_level.p)
    files, out = run_ensembles(root, monkeypatch, singles, model_level, entries, tmp_path / "a")
    other, changed = run_ensembles(root, monkeypatch, permuted, also, entries, tmp_path / "b")
    for path in sorted(out.iterdir()):
        assert path.read_bytes() == (changed / path.name).read_bytes(), path.name
    for name, path in files.items():
        before, after = (pd.read_csv(p).drop(columns="label") for p in (path, other[name]))
        pd.testing.assert_frame_equal(before, after, check_exact=True)


def test_labels_of_the_ensemble_split_do_matter(root, monkeypatch, tmp_path):
    singles, model_level, entries = replicate_study()
    permuted = relabelled(singles, np.random.default_rng(0), ["ensemble"])
    also = Predictions(permuted.rows, model_level.models, singles.classes, model_level.p)
    _, out = run_ensembles(root, monkeypatch, singles, model_level, entries, tmp_path / "a")
    _, changed = run_ensembles(root, monkeypatch, permuted, also, entries, tmp_path / "b")
    for name in ("ranking", "weights", "chosen"):
        assert (out / f"{name}.csv").read_bytes() != (changed / f"{name}.csv").read_bytes()


def test_written_tables_have_the_promised_columns(root, monkeypatch, tmp_path):
    singles, model_level, entries = replicate_study()
    files, out = run_ensembles(root, monkeypatch, singles, model_level, entries, tmp_path)
    read = {path.stem: pd.read_csv(path) for path in out.iterdir()}
    assert read["members"].columns.tolist() == build.MEMBER_COLUMNS
    assert read["weights"].columns.tolist() == ["ensemble", "replicate", "member", "weight"]
    assert read["chosen"]["what"].tolist() == ["single", "ensemble", "overall"]
    assert {"model", "metric", "split", "score", "ci_low", "ci_high", "folds", "n", "rule"} <= set(
        read["chosen"]
    )
    assert set(read["chosen"]["split"]) == {"ensemble"}
    one = pd.read_csv(files["stacking-top3-r0"])
    assert one.columns.tolist() == [*predictions.KEYS, *(f"p_{c}" for c in singles.classes)]
    assert set(one["split"]) == {"val", "ensemble", "test"}


def test_members_of_a_seed_ensemble_are_scored_though_nothing_ranks_them(
    root, monkeypatch, tmp_path
):
    singles, model_level, entries = replicate_study()
    seeds = Predictions(
        singles.rows, ["loss0-r1", "loss0-r2"], singles.classes, simulated.predictions(5).p[:2]
    )
    _, out = run_ensembles(root, monkeypatch, singles, model_level, entries, tmp_path, seeds)
    members = pd.read_csv(out / "members.csv")
    part = members[members["ensemble"] == "seed_average-loss0-top3"]
    on_split = (singles.rows["split"] == "ensemble").to_numpy()
    y = singles.y[on_split]
    found = {"loss0-r0": singles.p[0], "loss0-r1": seeds.p[0], "loss0-r2": seeds.p[1]}
    scores = {name: matthews_corrcoef(y, p[on_split].argmax(axis=1)) for name, p in found.items()}
    assert part["member"].tolist() == sorted(scores, key=lambda name: -scores[name])
    np.testing.assert_allclose(part["score"], sorted(scores.values(), reverse=True), atol=1e-9)
    chosen = pd.read_csv(out / "candidates.csv")["model"]
    assert not chosen.isin(["loss0-r1", "loss0-r2", "seed_average-loss0-top3"]).any()


def test_seed_ensemble_is_the_mean_of_its_seeds(root, monkeypatch, tmp_path):
    data = simulated.predictions(0, models=3)
    simulated.run_script(
        root, monkeypatch, "seed_ensemble",
        input={"predictions": simulated.write(data, tmp_path / "in")},
        params={"classes": data.classes, "divisions": None},
        output={"predictions": tmp_path / "seed_average-cce-top3.csv"},
    )  # fmt: skip
    read = predictions.read([tmp_path / "seed_average-cce-top3.csv"], data.classes)
    np.testing.assert_allclose(read.p[0], data.p.mean(axis=0), atol=1e-9)
