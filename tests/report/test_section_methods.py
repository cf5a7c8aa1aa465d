"""The methods paragraph, its references and formats follow from the configuration and tables."""

import copy
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from multiloss import references
from multiloss.report.blocks import Section
from multiloss.report.citations import Cited, cite, linked
from multiloss.report.facts import Facts
from multiloss.report.methods import Citation, Methods
from report_studies import CITATION, facts_of, section, words
from synthetic_results import configuration

NOWHERE = Path("nowhere")


@pytest.fixture
def config() -> dict[str, Any]:
    losses = ["cce", "focal", "calibrated_cce", "hinge"]
    return copy.deepcopy(configuration(losses=losses, replicates=3, ablations=("without_crop",)))


def methods(config: dict[str, Any], **tables: pd.DataFrame) -> Section:
    return section(facts_of(NOWHERE, config, **tables), "62_methods")


def text_of(config: dict[str, Any], **tables: pd.DataFrame) -> str:
    """The paragraphs as the page shows them."""
    shown = str(methods(config, **tables).blocks[0].text)
    return words(shown[: shown.index("<details>")])


def formats(found: Section) -> dict[str, str]:
    pattern = r'<pre data-format="(\w+)"[^>]*>(.*?)</pre>'
    return dict(re.findall(pattern, str(found.blocks[0].text), re.S))


# ---- words --------------------------------------------------------------------------------
def test_it_tells_how_networks_were_trained(config: dict[str, Any]) -> None:
    config["segmentation"]["encoder_weights"] = "imagenet"
    config["classification"]["training"] |= {
        "optimizer": {"name": "sgd", "learning_rate": 0.0001, "momentum": 0.9, "nesterov": True,
                      "decay": 0.000001},
        "warmup_fraction": 0.1, "early_stopping": {"patience": 10}, "monitor": "val_accuracy",
        "epochs": 64, "keep": "best",
    }  # fmt: skip
    text = text_of(config)
    assert "with EfficientNet-B0 [2] as its encoder, which started from ImageNet weights" in text
    assert "(learning rate 0.0001, Nesterov momentum 0.9, decay 0.000001 per step)" in text
    assert "for at most 64 epochs" in text and "over the first 10% of the steps" in text
    assert "early stopping after 10 epochs without better validation accuracy" in text
    assert "the weights of the epoch with the best validation accuracy were kept" in text
    assert (
        "cross-entropy; focal loss (γ = 2); calibrated cross-entropy (β = 1); hinge loss)" in text
    )
    assert "cut at block5c_add" in text and "at 64 × 64 pixels" in text
    assert "Cross-entropy was also trained without the crop to the lungs." in text
    assert "and each of 3 seeds" in text and "4 losses" in text
    config["classification"]["training"]["early_stopping"] = None
    assert "for 64 epochs" in text_of(config)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"schedule": "constant", "warmup_fraction": 0.0}, "with a constant learning rate"),
        (
            {"schedule": "constant", "warmup_fraction": 0.1},
            "linear warm-up of the learning rate over the first 10% of the steps and a constant "
            "rate afterwards",
        ),
        ({"schedule": "cosine", "warmup_fraction": 0.0}, "with cosine decay of the learning rate"),
        (
            {"schedule": "cosine", "warmup_fraction": 0.2},
            "over the first 20% of the steps and cosine decay to 0 afterwards",
        ),
        (
            {"reduce_on_plateau": {"factor": 0.5, "patience": 3, "min_delta": 0.0,
                                   "min_learning_rate": 0.00001}},
            "the learning rate multiplied by 0.5 after 3 epochs without better validation loss, "
            "down to 0.00001",
        ),
    ],
    ids=["constant", "warm-up", "cosine", "cosine-after-warm-up", "plateau"],
)  # fmt: skip
@pytest.mark.parametrize("part", ["segmentation", "classification"])
def test_it_tells_the_schedule_as_the_config_has_it(
    config: dict[str, Any], part: str, settings: dict[str, Any], told: str
) -> None:
    config[part]["training"] |= {"monitor": "val_loss"} | settings
    shown = methods(config).blocks[0].text
    paragraphs = re.findall("<p>(.*?)</p>", str(shown), re.S)
    assert told in words(paragraphs[{"segmentation": 1, "classification": 2}[part]])


def test_images_are_told_by_where_they_come_from(config: dict[str, Any]) -> None:
    assert text_of(config).startswith("All images and masks were synthetic, made by a generator")
    source = config["data"]["sources"][0]
    source |= {"name": "ours", "layout": "table", "citation": "Doe J. <b> & others"}
    assert text_of(config).startswith(
        "Images to classify came from ours (Doe J. <b> & others); lung masks for training and lung "
        "masks for testing came from a generator of phantom radiographs."
    )
    source |= {"name": "public", "layout": "kermany"}
    assert text_of(config).startswith("Images to classify came from public (layout of [1]);")


def test_files_that_were_left_out_are_counted_by_kind(config: dict[str, Any]) -> None:
    from multiloss.data.manifest import COPY, FOREIGN, KEPT

    facts = facts_of(NOWHERE, config)
    reasons = [COPY, COPY, f"class 'x' {FOREIGN}", "not an image", f"{KEPT}: small"]
    facts.results.table = lambda name: (  # type: ignore[method-assign]
        pd.DataFrame({"reason": reasons, "path": list("abcde")})
        if name == "data/rejected.csv"
        else pd.DataFrame()
    )
    assert Methods(facts).left_out == {"copies": 2, "foreign": 1, "known": 0, "unusable": 1}


def test_ensembles_and_thresholds_are_told_as_the_config_has_them(config: dict[str, Any]) -> None:
    text = text_of(config)
    assert "majority vote (the class that most members name); simple average" in text
    assert re.search(r"stacking \(a small network on [^)]*\) \[\d+\]", text)
    assert "the threshold with the largest Youden index" in text
    config["ensembles"]["methods"] = []
    config["evaluation"]["operating_point"] = "specificity_95"
    config["segmentation"]["ensemble_size"] = 1
    config["gradcam"]["enabled"] = False
    found = methods(config)
    text = words(found.blocks[0].text)
    assert "thresholds chosen for a specificity of 95% on the ensemble split" in text
    assert "The one with the best mean Dice on validation images" in text
    assert "Ensembles were built" not in text and "Selvaraju" not in text


def test_tests_and_corrections_are_those_of_the_tables(config: dict[str, Any]) -> None:
    numbers = ["difference", "ci_low", "ci_high", "p_adjusted", "replicates_a", "replicates_b"]
    shared = {"metric": "mcc", "primary": True, "p_value": 0.5, "reject": False}
    shared |= dict.fromkeys(numbers, 1.0)
    replicates = pd.DataFrame(
        [shared | {"family": "against_baseline", "hypotheses": 3, "correction": "max-T",
                   "method": "pooled", "loss_a": "focal", "loss_b": "cce"}]
    )  # fmt: skip
    runs = pd.DataFrame(
        [shared | {"family": "against_best_member", "hypotheses": 1, "correction": "Holm",
                   "test": test, "model_a": "a", "model_b": "b", "permutations": 9999}
         for test in ("permutation", "delong", "mcnemar")]
    )  # fmt: skip
    text = text_of(config, replicate_comparisons=replicates, significance=runs)
    assert (
        "by the test MCC alone: each loss against the baseline (3 hypotheses); each ensemble "
        "against its best member (1 hypothesis)."
    ) in text
    assert (
        "by sign-flip permutation by patient (up to 9,999 permutations); secondary tests were "
        "DeLong's test ["
    ) in text
    assert re.search(
        r"adjusted within each family of hypotheses by Holm's method \[\d+\] or a step-down max-T "
        r"method \[\d+, \d+\]; a test is significant at an adjusted p of at most 0\.05\.",
        text,
    )
    assert (
        "random factors, the variance between runs pooled over the losses, by Student's t" in text
    )
    own = pd.concat([replicates.assign(method="own"), replicates.assign(metric="brier")])
    text = text_of(config, replicate_comparisons=own, significance=runs)
    assert "each with the variances of its two losses, by Student's t" in text
    text = text_of(config, significance=runs)
    assert "max-T" not in text and "by Holm's method [" in text
    assert "Cochran" not in text and "bootstrap over patients" not in text
    assert "adjusted within" not in text_of(config)


def test_it_cites_what_the_registries_name(config: dict[str, Any]) -> None:
    """A loss cites its own sources, whatever its name has in it."""
    known = ("Crammer", "Pereyra", "Liang", "Lin T-Y", "Szegedy")
    for loss, authors in (
        ("hinge", {"Crammer"}),
        ("calibrated_negative_entropy", {"Pereyra", "Liang"}),
        ("label_smoothed_focal", {"Lin T-Y", "Szegedy"}),
    ):
        one = configuration(losses=["cce", loss])
        one["segmentation"]["losses"] = [{"name": "bce"}]
        cited = words(methods(one).blocks[0].text).partition("References")[2]
        assert {name for name in known if name in cited} == authors, loss


# ---- references and formats ------------------------------------------------------------------
def test_references_are_numbered_in_the_order_of_the_text(config: dict[str, Any]) -> None:
    text = text_of(config)
    cited = [[int(n) for n in group.split(", ")] for group in re.findall(r"\[([\d, ]+)\]", text)]
    # Numbers within one citation are sorted; their first appearance is in the order of the text.
    assert all(group == sorted(group) for group in cited)
    highest = 0
    for group in cited:
        new = [n for n in group if n > highest]
        assert new == list(range(highest + 1, highest + 1 + len(new)))
        highest += len(new)
    shown = methods(config)
    assert len(re.findall('<li id="reference-', str(shown.blocks[0].text))) == highest
    assert f"with {highest} references" in words(shown.finding)
    assert '<a href="https://doi.org/10.1109/ICCV.2017.74">doi:10.1109/ICCV.2017.74</a>' in str(
        shown.blocks[0].text
    )


def test_the_formats_say_the_same_with_the_same_references(config: dict[str, Any]) -> None:
    found = formats(methods(config))
    assert list(found) == ["text", "markdown", "latex", "bibtex"]
    entries = re.findall(r"^@\w+\{(\w+),$", found["bibtex"], re.M)
    keys = re.findall(r"@(\w+)", found["markdown"])
    assert list(dict.fromkeys(keys)) == entries
    quoted = [key for group in re.findall(r"\\cite\{(.*?)\}", found["latex"])
              for key in group.split(",")]  # fmt: skip
    assert quoted == keys
    assert f"{len(entries)}. " in found["text"] and f"{len(entries) + 1}. " not in found["text"]


def test_each_format_quotes_what_is_special_in_it() -> None:
    cited = Cited.of(
        f"<p>a_b &amp; &lt;i&gt; 5%,\n  64 × 64 {cite('holm1979', 'lin2017')}; "
        f"top\N{NO-BREAK SPACE}3 *x* {cite('lin2017')}</p><p></p><p>#1 ~ α</p>"
    )
    assert cited.keys == ["holm1979", "lin2017"]
    first, second = cited.text.split("\n\n")[:2]
    assert first == "a_b & <i> 5%, 64 × 64 [1, 2]; top\N{NO-BREAK SPACE}3 *x* [2]"
    assert cited.text.endswith(f"2. {references.cited('lin2017')}")
    assert cited.markdown.split("\n\n") == [
        r"a\_b & \<i\> 5%, 64 × 64 [@holm1979; @lin2017]; top"
        "\N{NO-BREAK SPACE}3 \\*x\\* [@lin2017]",
        r"\#1 ~ α",
    ]
    assert cited.latex.split("\n\n") == [
        r"a\_b \& \textless{}i\textgreater{} 5\%, 64 $\times$ 64 \cite{holm1979,lin2017}; "
        r"top~3 *x* \cite{lin2017}",
        r"\#1 \textasciitilde{} $\alpha$",
    ]
    assert str(cited.html[0]).startswith("a_b &amp; &lt;i&gt; 5%")
    assert '[<a href="#reference-holm1979">1</a>, <a href="#reference-lin2017">2</a>]' in str(
        cited.html[0]
    )
    with pytest.raises(KeyError):
        cite("nobody1900")


def test_dois_in_text_are_links_and_nothing_else_is() -> None:
    assert linked("A <b>. doi:10.1/x_(y)9. arXiv:1905.11946") == (
        'A &lt;b&gt;. <a href="https://doi.org/10.1/x_(y)9">doi:10.1/x_(y)9</a>. '
        '<a href="https://arxiv.org/abs/1905.11946">arXiv:1905.11946</a>'
    )
    assert linked("doi:unknown; javascript:alert(1)") == "doi:unknown; javascript:alert(1)"


def test_references_are_written_in_one_style() -> None:
    assert references.cited("delong1988").endswith(
        "a nonparametric approach. Biometrics 1988;44(3):837-845. doi:10.2307/2531595"
    )
    assert references.cited("tan2019").endswith("ICML 2019. arXiv:1905.11946")
    assert references.cited("ronneberger2015").endswith(
        "MICCAI 2015, LNCS 9351:234-241. doi:10.1007/978-3-319-24574-4_28"
    )
    for key, entry in references.known().items():
        assert key.rstrip("abc").endswith(str(entry["year"])), key
        assert {"authors", "title", "year"} <= set(entry)
        assert sum(place in entry for place in references.PLACES) <= 1, key
        assert "doi" not in entry or entry["doi"].startswith("10."), key
        written = references.cited(key)
        assert not written.endswith(".") and "  " not in written and ".." not in written


def test_bibtex_has_every_field_of_a_reference() -> None:
    assert references.bibtex("lin2017") == (
        "@inproceedings{lin2017,\n"
        "  author = {Lin, T.-Y. and Goyal, P. and Girshick, R. and He, K. and Dollár, P.},\n"
        "  title = {{Focal loss for dense object detection}},\n"
        "  booktitle = {ICCV},\n"
        "  year = {2017},\n"
        "  pages = {2999--3007},\n"
        "  doi = {10.1109/ICCV.2017.324}\n}"
    )
    wang = references.bibtex("vancalster2025")
    assert "{Van Calster, B. and Collins, G. S. and Vickers, A. J. and others}" in wang
    assert "  number = {12},\n  pages = {100916}," in wang and wang.startswith("@article{")
    assert references.bibtex("lee2023").startswith("@misc{lee2023,")
    assert "eprint = {2306.06342},\n  archiveprefix = {arXiv}" in references.bibtex("lee2023")
    made = references.entry(
        "own", {"authors": "The A & B group", "title": "x", "note": "Version 1"}
    )
    assert "author = {{The A \\& B group}}" in made and "note = {Version 1}" in made
    for key, entry in references.known().items():
        found = references.bibtex(key)
        assert found.count("{") == found.count("}") and f"year = {{{entry['year']}}}" in found
        # Everybody has a family name and initials.
        authors = re.findall(r"author = \{(.*)\},", found)[0].split(" and ")
        assert all(name == "others" or ", " in name for name in authors), key


def test_how_to_cite_agrees_with_the_citation_file(config: dict[str, Any]) -> None:
    asked = yaml.safe_load(CITATION)
    config["data"]["sources"][0] |= {"name": "ours", "layout": "table", "citation": "Doe J. 2020"}
    facts: Facts = facts_of(NOWHERE, config)
    found = section(facts, "66_cite", citation=Citation(CITATION))
    text = words(found.blocks[0].text)
    article = asked["preferred-citation"]
    for part in (asked["title"], f"Version {asked['version']}", asked["authors"][0]["name"]):
        assert part in text
    for part in (article["title"], article["journal"], article["doi"], article["start"]):
        assert str(part) in text
    # The list of references writes the article in the same way.
    assert references.cited("rajaraman2021") in text
    assert "The data source ours: Doe J. 2020. Licence: made up." in text
    assert "author = {{The multiloss authors}}" in formats(found)["bibtex"]
    (note,) = section(facts, "66_cite", citation=Citation("")).blocks
    assert "was not handed to the report" in note.text
