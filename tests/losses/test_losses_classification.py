"""The classification losses: values by hand, limits, gradients, weights, registration."""

import importlib.util
import inspect
import math
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from multiloss import losses, references, study
from multiloss.job.errors import UserError
from multiloss.losses import CLASSIFICATION_LOSSES, catalog, check, classification_loss
from multiloss.losses import parameters as reader
from multiloss.networks import classifier
from multiloss.registry import Range, argument_name, described, public_name

TWELVE = [
    "cce",
    "cce_entropy",
    "kl_divergence",
    "focal",
    "hinge",
    "label_smoothed_cce",
    "label_smoothed_focal",
    "calibrated_cce",
    "calibrated_kl_divergence",
    "calibrated_focal",
    "calibrated_hinge",
    "calibrated_negative_entropy",
]
CALIBRATED = list(losses.calibrated())

# Two images, three classes: the first right with 0.7, the second wrong (class 1 at 0.3).
Y = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
P = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]], np.float32)
LN = math.log
H1 = -(0.7 * LN(0.7) + 0.2 * LN(0.2) + 0.1 * LN(0.1))
H2 = -(0.6 * LN(0.6) + 0.3 * LN(0.3) + 0.1 * LN(0.1))
# Accuracy 1/2, mean confidence (0.7 + 0.6) / 2.
DCA = 0.15
S, SMALL = 0.8 + 0.2 / 3, 0.2 / 3

BY_HAND = {
    "cce": (-LN(0.7), -LN(0.3)),
    "cce_entropy": (-LN(0.7) - 2 * H1 / 3, -LN(0.3) - 2 * H2 / 3),
    "kl_divergence": (-LN(0.7), -LN(0.3)),
    "focal": (-(0.3**2) * LN(0.7), -(0.7**2) * LN(0.3)),
    "hinge": (1 + 0.2 - 0.7, 1 + 0.6 - 0.3),
    "label_smoothed_cce": (
        -(S * LN(0.7) + SMALL * LN(0.2) + SMALL * LN(0.1)),
        -(SMALL * LN(0.6) + S * LN(0.3) + SMALL * LN(0.1)),
    ),
    "label_smoothed_focal": (
        -(S * 0.09 * LN(0.7) + SMALL * 0.64 * LN(0.2) + SMALL * 0.81 * LN(0.1)),
        -(SMALL * 0.16 * LN(0.6) + S * 0.49 * LN(0.3) + SMALL * 0.81 * LN(0.1)),
    ),
    "calibrated_cce": (-LN(0.7), -LN(0.3)),
    "calibrated_kl_divergence": (-LN(0.7), -LN(0.3)),
    "calibrated_focal": (-(0.3**2) * LN(0.7), -(0.7**2) * LN(0.3)),
    "calibrated_hinge": (1 + 0.2 - 0.7, 1 + 0.6 - 0.3),
    "calibrated_negative_entropy": (-LN(0.7) - 0.001 * H1, -LN(0.3) - 0.001 * H2),
}


def value(loss, y=Y, p=P, weights=None) -> float:
    return float(loss(y, p, sample_weight=weights))


def gradient(loss, y, p, weights=None) -> np.ndarray:
    with tf.GradientTape() as tape:
        variable = tf.Variable(p)
        result = loss(y, variable, sample_weight=weights)
    return tape.gradient(result, variable).numpy()


@pytest.fixture(scope="module")
def random_batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.ones(4), size=16).astype(np.float32)
    y = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 16)]
    return y, p, rng.uniform(0.2, 3, 16).astype(np.float32)


def test_every_loss_has_a_value_by_hand():
    assert set(CLASSIFICATION_LOSSES) == set(BY_HAND)
    assert [name for name in CLASSIFICATION_LOSSES if name in TWELVE] == TWELVE


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_every_loss_carries_its_words(kind):
    for name, loss in losses.described(kind).items():
        assert loss.sentence and "=" not in loss.sentence, name
        assert loss.cites and set(loss.cites) <= set(references.known()), name
    assert losses.described("classification")["cce_entropy"].title == "cross-entropy + entropy"
    assert losses.described("classification")["focal"].sentence == (
        "Cross-entropy that counts images the model already gets right less"
    )


def test_relations_lead_to_losses_and_parameters_that_exist():
    known = losses.described("classification")
    for name, relation in losses.relations().items():
        assert set(relation["same_as"].values()) <= set(known)
        assert set(relation["same_as"]) - {""} <= set(known[name].parameters)
        assert set(relation["negligible"]) <= set(known[name].parameters)
        assert relation["plain"] in {"", *known}
    assert set(losses.relations(["label_smoothed_focal"])) == {
        "label_smoothed_focal", "focal", "label_smoothed_cce", "cce",
    }  # fmt: skip
    assert losses.calibrated() == {
        "calibrated_cce": "cce",
        "calibrated_kl_divergence": "kl_divergence",
        "calibrated_focal": "focal",
        "calibrated_hinge": "hinge",
        "calibrated_negative_entropy": "cce",
    }


@pytest.mark.parametrize("name", BY_HAND)
def test_values_by_hand(name):
    loss = classification_loss(name)
    batch = DCA if name in CALIBRATED else 0.0
    np.testing.assert_allclose(loss.call(Y, P), BY_HAND[name], rtol=1e-5)
    assert value(loss) == pytest.approx(np.mean(BY_HAND[name]) + batch, rel=1e-5)


@pytest.mark.parametrize("name", TWELVE)
def test_class_weights_act_on_the_part_of_each_image_alone(name):
    weights = np.array([0.5, 4.0], np.float32)
    batch = DCA if name in CALIBRATED else 0.0
    expected = (0.5 * BY_HAND[name][0] + 4.0 * BY_HAND[name][1]) / 2 + batch
    assert value(classification_loss(name), weights=weights) == pytest.approx(expected, rel=1e-5)
    assert value(classification_loss(name), weights=weights[:, None]) == pytest.approx(
        expected, rel=1e-5
    )
    zero = value(classification_loss(name), weights=np.zeros(2, np.float32))
    assert zero == pytest.approx(batch, abs=1e-6)


def test_without_reduction_the_mean_is_the_loss():
    loss = CLASSIFICATION_LOSSES["calibrated_focal"](reduction=None)
    values = loss(Y, P, sample_weight=np.array([2.0, 3.0], np.float32)).numpy()
    expected = np.array([2, 3]) * BY_HAND["calibrated_focal"] + DCA
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_kl_divergence_is_cross_entropy_to_the_last_bit(random_batch):
    y, p, weights = random_batch
    for one, other in [("kl_divergence", "cce"), ("calibrated_kl_divergence", "calibrated_cce")]:
        a, b = classification_loss(one), classification_loss(other)
        assert np.array_equal(a.call(y, p), b.call(y, p))
        assert value(a, y, p, weights) == value(b, y, p, weights)
        assert np.array_equal(gradient(a, y, p), gradient(b, y, p))


def test_kl_divergence_of_soft_labels_by_hand():
    y = np.array([[0.5, 0.5, 0.0]], np.float32)
    p = np.array([[0.25, 0.5, 0.25]], np.float32)
    assert value(classification_loss("kl_divergence"), y, p) == pytest.approx(0.5 * LN(2), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters", "limit"),
    [
        ("focal", {"gamma": 0}, "cce"),
        ("cce_entropy", {"beta": 0}, "cce"),
        ("label_smoothed_cce", {"s": 0}, "cce"),
        ("label_smoothed_focal", {"s": 0}, "focal"),
        ("label_smoothed_focal", {"gamma": 0}, "label_smoothed_cce"),
        ("calibrated_cce", {"beta": 0}, "cce"),
        ("calibrated_kl_divergence", {"beta": 0}, "kl_divergence"),
        ("calibrated_focal", {"beta": 0}, "focal"),
        ("calibrated_focal", {"gamma": 0}, "calibrated_cce"),
        ("calibrated_hinge", {"beta": 0}, "hinge"),
        ("calibrated_negative_entropy", {"lambda": 0}, "calibrated_cce"),
        ("calibrated_negative_entropy", {"lambda": 0, "beta": 0}, "cce"),
    ],
)
def test_limits(name, parameters, limit, random_batch):
    y, p, weights = random_batch
    loss, simpler = classification_loss(name, **parameters), classification_loss(limit)
    assert value(loss, y, p, weights) == pytest.approx(value(simpler, y, p, weights), rel=1e-6)
    np.testing.assert_allclose(
        gradient(loss, y, p, weights), gradient(simpler, y, p, weights), rtol=1e-5, atol=1e-7
    )


def test_agrees_with_keras(random_batch):
    y, p, weights = random_batch
    for name, reference in [
        ("cce", keras.losses.CategoricalCrossentropy()),
        ("label_smoothed_cce", keras.losses.CategoricalCrossentropy(label_smoothing=0.2)),
        ("focal", keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0)),
        ("hinge", keras.losses.CategoricalHinge()),
        ("kl_divergence", keras.losses.KLDivergence()),
    ]:
        ours = value(classification_loss(name), y, p, weights)
        assert ours == pytest.approx(float(reference(y, p, weights)), rel=1e-5), name


@pytest.mark.parametrize("name", TWELVE)
def test_gradient_is_that_of_finite_differences(name, random_batch):
    y, p, weights = (array.astype(np.float64) for array in random_batch)
    y, p, weights = y[:5], p[:5], weights[:5]
    parameters = {k: v for k, v in catalog("classification")[name].items()}

    def in_double(q: np.ndarray) -> float:
        return independent(name, parameters, y, q, weights)

    numeric = np.empty_like(p)
    for index in np.ndindex(p.shape):
        step = np.zeros_like(p)
        step[index] = 1e-6
        numeric[index] = (in_double(p + step) - in_double(p - step)) / 2e-6
    exact = gradient(classification_loss(name), y, p.astype(np.float32), weights)
    np.testing.assert_allclose(exact, numeric, rtol=1e-3, atol=1e-5)


def independent(name, parameters, y, p, weights) -> float:
    """The formulas once more, image by image in plain numpy and double precision."""
    classes = y.shape[1]
    total = 0.0
    for label, q, weight in zip(y, p, weights, strict=True):
        h = -np.sum(q * np.log(q))
        s = parameters.get("s", 0.0)
        target = label * (1 - s) + s / classes
        gamma = parameters.get("gamma", 0.0)
        if "hinge" in name:
            k = int(label.argmax())
            part = max(0.0, 1 + max(np.delete(q, k)) - q[k])
        else:
            part = -sum(t * (1 - a) ** gamma * np.log(a) for t, a in zip(target, q, strict=True))
        if name == "cce_entropy":
            part -= parameters["beta"] * h / classes
        if name == "calibrated_negative_entropy":
            part -= parameters["lambda"] * h
        total += weight * part
    total /= len(y)
    if name in CALIBRATED:
        accuracy = np.mean(p.argmax(1) == y.argmax(1))
        total += parameters["beta"] * abs(accuracy - p.max(1).mean())
    return float(total)


@given(
    logits=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(2, 7)),
        elements=st.floats(-6, 6, width=32),
    ),
    name=st.sampled_from(TWELVE),
    seed=st.integers(0, 10),
)
@settings(max_examples=60, deadline=None)
def test_agrees_with_the_independent_formulas(logits, name, seed):
    rng = np.random.default_rng(seed)
    # Distinct probabilities: where two share the maximum, argmax is a matter of rounding.
    logits = logits + np.linspace(0, 0.1, logits.shape[1], dtype=np.float32)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = np.eye(p.shape[1], dtype=np.float32)[rng.integers(0, p.shape[1], len(p))]
    weights = rng.uniform(0, 3, len(p))
    parameters = catalog("classification")[name]
    expected = independent(name, parameters, y.astype(float), p.astype(float), weights)
    ours = classification_loss(name)
    assert value(ours, y, p, weights) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    # The order of the images and the names of the classes mean nothing.
    rows, columns = rng.permutation(len(p)), rng.permutation(p.shape[1])
    shuffled = value(ours, y[rows][:, columns], p[rows][:, columns], weights[rows])
    assert shuffled == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibration_gap_moves_the_confidence_towards_the_accuracy(name):
    plain = classification_loss(name, beta=0)
    full = classification_loss(name, beta=1)
    # Over-confident: accuracy 1/2, confidence 0.65. Descending must lower the confidence.
    step = gradient(full, Y, P) - gradient(plain, Y, P)
    np.testing.assert_allclose(step, [[0.5, 0, 0], [0.5, 0, 0]], atol=1e-6)
    # Under-confident: both right, confidence 0.65. Descending must raise it.
    right = np.eye(3, dtype=np.float32)[[0, 0]]
    step = gradient(full, right, P) - gradient(plain, right, P)
    np.testing.assert_allclose(step, [[-0.5, 0, 0], [-0.5, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibration_gap_ignores_class_weights_and_scales_with_beta(name):
    weights = np.array([3.0, 7.0], np.float32)
    base = value(classification_loss(name, beta=0), weights=weights)
    for beta in (0.5, 2.0):
        full = value(classification_loss(name, beta=beta), weights=weights)
        assert full - base == pytest.approx(beta * DCA, abs=1e-5)


def test_label_enters_the_calibration_gap_without_gradient():
    loss = classification_loss("calibrated_cce")
    with tf.GradientTape() as tape:
        labels = tf.constant(Y)
        tape.watch(labels)
        gap = loss.batch_term(labels, tf.constant(P))
    assert tape.gradient(gap, labels) is None


@pytest.mark.parametrize("name", TWELVE)
def test_perfect_prediction(name):
    p = Y.copy()
    result = value(classification_loss(name), Y, p)
    if "smoothed" in name:
        assert result > 0.1
    else:
        assert result == pytest.approx(0, abs=3e-6)
    assert np.isfinite(gradient(classification_loss(name), Y, p)).all()


@pytest.mark.parametrize("name", TWELVE)
def test_hopeless_prediction_is_finite(name):
    p = 1 - Y
    p /= p.sum(1, keepdims=True)
    assert np.isfinite(value(classification_loss(name), Y, p))
    assert np.isfinite(gradient(classification_loss(name), Y, p)).all()


def test_minimum_of_the_smoothed_loss_is_at_the_smoothed_label():
    loss = classification_loss("label_smoothed_cce", s=0.3)
    y = np.array([[1, 0, 0]], np.float32)
    target = np.array([[0.8, 0.1, 0.1]], np.float32)
    assert value(loss, y, target) == pytest.approx(-(0.8 * LN(0.8) + 0.2 * LN(0.1)), rel=1e-5)
    for other in ([0.9, 0.05, 0.05], [0.7, 0.15, 0.15], [0.8, 0.15, 0.05]):
        assert value(loss, y, np.array([other], np.float32)) > value(loss, y, target)


def test_nan_in_a_prediction_is_nan_in_the_loss():
    p = P.copy()
    p[0, 0] = np.nan
    for name in TWELVE:
        assert math.isnan(value(classification_loss(name), Y, p)), name


@pytest.mark.parametrize("name", TWELVE)
@pytest.mark.parametrize("classes", [4, None])
def test_graph_mode_equals_eager_mode_with_unknown_sizes(name, classes, random_batch):
    y, p, weights = random_batch
    loss = classification_loss(name)
    graph = tf.function(
        lambda a, b, w: loss(a, b, sample_weight=w),
        input_signature=[
            tf.TensorSpec((None, classes), tf.float32),
            tf.TensorSpec((None, classes), tf.float32),
            tf.TensorSpec((None,), tf.float32),
        ],
    )
    assert float(graph(y, p, weights)) == pytest.approx(value(loss, y, p, weights), rel=1e-6)
    assert float(graph(y[:3], p[:3], weights[:3])) == pytest.approx(
        value(loss, y[:3], p[:3], weights[:3]), rel=1e-6
    )


@pytest.mark.parametrize("name", TWELVE)
def test_half_precision_is_computed_in_single_precision(name):
    loss = classification_loss(name)
    half = P.astype(np.float16)
    result = loss(Y.astype(np.int32), tf.constant(half))
    assert result.dtype == tf.float32
    assert float(result) == pytest.approx(value(loss, Y, half.astype(np.float32)), rel=1e-6)
    certain = tf.constant(Y.astype(np.float16))
    assert np.isfinite(float(loss(Y, certain)))


def test_mixed_precision_policy_leaves_the_losses_alone():
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        assert value(classification_loss("cce")) == pytest.approx(np.mean(BY_HAND["cce"]), rel=1e-6)
    finally:
        keras.config.set_dtype_policy(before)


def test_a_keras_model_trains_on_it_with_class_weights():
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss=classification_loss("calibrated_focal"))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 4)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[x[:, :3].argmax(1)]
    history = model.fit(
        x, y, batch_size=16, epochs=8, verbose=0, class_weight={0: 1.0, 1: 2.0, 2: 0.5}
    )
    assert history.history["loss"][-1] < 0.7 * history.history["loss"][0]
    assert not model.run_eagerly


@pytest.mark.parametrize("name", TWELVE)
def test_survives_being_stored(name):
    parameters = {key: 0.3 for key in catalog("classification")[name]}
    loss = classification_loss(name, **parameters)
    stored = keras.losses.serialize(loss)
    again = keras.losses.deserialize(stored)
    assert type(again) is CLASSIFICATION_LOSSES[name]
    assert again.get_config() == loss.get_config()
    assert value(again) == value(loss)
    for key in parameters:
        assert again.get_config()[argument_name(key)] == 0.3


@pytest.mark.parametrize(
    ("y", "p"),
    [
        (Y, P[:, :2]),
        (Y[:1], P),
        (np.array([0, 1]), P),
        (Y[:, :, None], P[:, :, None]),
        (np.ones((2, 1)), np.ones((2, 1))),
    ],
)
def test_wrong_shapes_are_refused(y, p):
    for name in TWELVE:
        with pytest.raises(ValueError, match=f"'{name}' expects one-hot labels"):
            classification_loss(name)(y, p)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("focl", {}, r"unknown classification loss 'focl' \(did you mean 'focal'\?\): .*cce"),
        ("focal", {"gama": 2}, r"'focal' has no parameter 'gama' \(did you mean 'gamma'\?\)"),
        ("cce", {"gamma": 2}, "'cce' has no parameter 'gamma': it takes no parameters"),
        ("focal", {"gamma": -1}, "'gamma' of classification loss 'focal' is -1: .* at least 0"),
        ("focal", {"gamma": "2"}, "'gamma' .* is '2': it must be a number"),
        ("focal", {"gamma": None}, "'gamma' .* is None"),
        ("focal", {"gamma": True}, "'gamma' .* is True"),
        ("focal", {"gamma": math.nan}, "'gamma' .* is nan"),
        ("focal", {"gamma": math.inf}, "'gamma' .* is inf"),
        ("label_smoothed_cce", {"s": 1}, r"'s' .* is 1: it must be a number in \[0, 1\)"),
        ("calibrated_negative_entropy", {"lambda": -1}, "'lambda' .* is -1"),
    ],
)
def test_wrong_names_and_values_are_told_in_one_line(name, parameters, message):
    with pytest.raises(UserError, match=message) as caught:
        classification_loss(name, **parameters)
    assert "\n" not in str(caught.value)


def test_class_itself_checks_its_values():
    with pytest.raises(UserError, match="'gamma'"):
        CLASSIFICATION_LOSSES["focal"](gamma=-2)
    with pytest.raises(UserError, match="no parameter 'alpha'"):
        CLASSIFICATION_LOSSES["focal"](alpha=0.1)


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_catalog_read_from_the_source_is_the_registry(kind):
    classes = getattr(losses, f"{kind.upper()}_LOSSES")
    runtime = {
        name: {
            public_name(key): parameter.default
            for key, parameter in inspect.signature(cls.__init__).parameters.items()
            if key not in ("self", "name", "reduction", "options", "parameters")
        }
        for name, cls in classes.items()
    }
    assert catalog(kind) == runtime
    assert list(catalog(kind)) == list(runtime)
    for cls in classes.values():
        assert cls.__doc__ and issubclass(cls, keras.losses.Loss)


# A loss for imbalanced classes, as a user would write it: one class, nothing elsewhere.
BALANCED_SOFTMAX = '''

@loss("balanced_softmax", title="balanced softmax", cites=("good1952",))
class BalancedSoftmax(ClassificationLoss):
    """Cross-entropy with each class's probability weighted by its images in training.

    l = -log(w_y p_y / sum_k w_k p_k), w_k = n_k^tau, times an optional weight of the true class.
    """

    def __init__(
        self,
        tau: NonNegative = 1.0,
        alpha: list[NonNegative] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(tau=tau, alpha=alpha, **options)

    def see_class_counts(self, counts: Any) -> None:
        self.prior = ops.convert_to_tensor(counts, dtype=self.dtype) ** self.tau

    def per_image(self, y_true: Any, p: Any) -> Any:
        weighted = p * self.prior
        value = -ops.log(ops.sum(y_true * weighted, -1) / ops.sum(weighted, -1))
        return value if self.alpha is None else value * ops.sum(y_true * self.alpha, -1)


@loss("sharper_focal")
class SharperFocal(Focal):
    """Inherits gamma."""
'''


@pytest.fixture
def with_new_losses(tmp_path, monkeypatch):
    """The losses' source with two more classes, in place of the original."""
    original = sys.modules[CLASSIFICATION_LOSSES["cce"].__module__]
    source = tmp_path / "classification.py"
    source.write_text(inspect.getsource(original) + BALANCED_SOFTMAX, encoding="utf-8")
    monkeypatch.setitem(reader.SOURCES, "classification", source)
    specification = importlib.util.spec_from_file_location(original.__name__, source)
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, original.__name__, module)
    specification.loader.exec_module(module)
    yield source
    # Keras knows classes by name: the first ones again.
    for name, cls in original.LOSSES.items():
        keras.saving.register_keras_serializable("multiloss.classification", name)(cls)


def test_a_new_class_in_the_source_appears_by_itself(with_new_losses):
    found = catalog("classification")
    assert list(found) == [*TWELVE, "balanced_softmax", "sharper_focal"]
    assert found["sharper_focal"] == found["focal"]
    assert found["balanced_softmax"] == {"tau": 1.0, "alpha": None}
    known = described(with_new_losses, "loss")["balanced_softmax"]
    assert known.title == "balanced softmax" and known.cites == ("good1952",)
    assert known.parameters["alpha"].range == Range(0, many=True)
    check("classification", "balanced_softmax", {"alpha": [1, 0.5, 2.0]})
    for bad in ([], [1, -1], [True], "1", 1.0):
        with pytest.raises(UserError, match="a list of numbers at least 0"):
            check("classification", "balanced_softmax", {"alpha": bad})
    # It trains under the name that a study gives it, and the report has its title.
    assert study.variant_label("balanced_softmax", "balanced_softmax") == "balanced softmax"
    assert study.variant_label("balanced_softmax_2", "balanced_softmax") == "balanced softmax 2"


def test_a_loss_that_needs_class_counts_is_told_them(with_new_losses):
    labels = np.array([0, 0, 0, 0, 1, 1, 2])  # of the train split: 4, 2 and 1
    loss = classifier.training_loss({"name": "balanced_softmax"}, labels, 3)
    p = P.astype(np.float64)
    counts = np.array([4, 2, 1])
    expected = [-LN(counts[k] * q[k] / (counts @ q)) for k, q in zip(Y.argmax(1), p, strict=True)]
    np.testing.assert_allclose(loss.call(Y, P), expected, rtol=1e-5)
    # Equal classes: cross-entropy. A weight for each class comes as a list.
    equal = classifier.training_loss({"name": "balanced_softmax"}, np.arange(3), 3)
    np.testing.assert_allclose(equal.call(Y, P), BY_HAND["cce"], rtol=1e-5)
    entry = {"name": "balanced_softmax", "alpha": [2.0, 3.0, 5.0]}
    weighted = classifier.training_loss(entry, np.arange(3), 3)
    alpha = np.array(entry["alpha"])[Y.argmax(1)]
    np.testing.assert_allclose(weighted.call(Y, P), alpha * BY_HAND["cce"], rtol=1e-5)
    # In a graph, and with a class that training has no image of.
    graph = tf.function(lambda a, b: loss(a, b))
    assert float(graph(Y, P)) == pytest.approx(np.mean(expected), rel=1e-5)
    # The others hear of it and stay what they are.
    assert value(classifier.training_loss({"name": "cce"}, labels, 3)) == value(
        classification_loss("cce")
    )


def test_unknown_kind():
    with pytest.raises(ValueError, match="classification, segmentation"):
        catalog("detection")


def test_catalog_and_check_do_not_import_keras(root):
    code = (
        "import sys; from multiloss.losses import catalog, check; catalog('classification');"
        "check('segmentation', 'tversky', {'alpha': 0.5});"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root / "workflow")
