"""Drawings within the page: nothing runs or loads, ids are unique, letters stay letters."""

import base64
import re
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from multiloss.job.errors import UserError
from multiloss.report import pictures

EVIL = '<script>alert("1")</script> & <b onclick="x">'


def drawn(path: Path, label: str = EVIL, noise: bool = True) -> Path:
    """A Matplotlib drawing with a hostile label, a mark of a model, a clip and an image."""
    with matplotlib.rc_context({"svg.fonttype": "none", "text.parse_math": False}):
        figure = Figure(figsize=(4, 2))
        axes, panel = figure.subplots(1, 2)
        axes.plot([0, 1], [0, 1], gid="model:cce-r0")
        axes.set_yticks([0, 1], ["cross-entropy †", label])
        rng = np.random.default_rng(0)
        panel.imshow(rng.random((90, 90)) if noise else np.zeros((2, 2)))
        figure.savefig(path)
    return path


def test_a_drawing_of_matplotlib(tmp_path: Path) -> None:
    path = drawn(tmp_path / "a.svg")
    picture = pictures.inline(path, "f1-", 'A "title" <i>', {"cross-entropy": "cce-r0"})
    text = picture.markup
    assert (round(picture.width_mm, 1), round(picture.height_mm, 1)) == (101.6, 50.8)
    # Its photograph is a JPEG of as many pixels as the page shows.
    assert len(text) < 0.95 * path.stat().st_size
    assert text.startswith(
        '<svg viewBox="0 0 288 144" role="img" aria-label="A &#34;title&#34; &lt;i'
    )
    assert set(re.findall(r"<([a-zA-Z]+)", text)) <= (
        pictures._SHAPES | pictures._GROUPS | pictures._WORDS
    )
    assert "<script" not in text and "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;" in text
    assert not re.search(r"\son\w+=|javascript:|https?:", re.sub(r">[^<]*<", "><", text))
    # The label by its words, the curve by its gid.
    assert re.findall(r'<(\w+) data-model="cce-r0"', text) == ["text", "g"]
    ids = re.findall(r' id="([^"]*)"', text)
    assert ids and len(ids) == len(set(ids)) and all(one.startswith("f1-") for one in ids)
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]*)', text)) <= set(ids)
    assert (
        re.findall(r"\d\.\d{3,}", re.sub(r'(style|transform|xlink:href)="[^"]*"', "", text)) == []
    )


def test_photographs_are_packed_and_drawn_pixels_kept(tmp_path: Path) -> None:
    noisy = pictures.inline(drawn(tmp_path / "a.svg"), "f", "").markup
    flat = pictures.inline(drawn(tmp_path / "b.svg", noise=False), "f", "").markup
    assert "data:image/webp;base64," in noisy and "data:image/png" not in noisy
    assert "data:image/png;base64," in flat and "data:image/webp" not in flat
    pixels = np.random.default_rng(0).integers(0, 255, (40, 80, 3), np.uint8)
    narrow = cv2.imdecode(np.frombuffer(pictures.webp(pixels, 20), np.uint8), -1)
    assert narrow.shape == (10, 20, 3)


def write(path: Path, inside: str) -> Path:
    opening = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'width="96" height="48">'
    )
    path.write_text(f"{opening}{inside}</svg>", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "inside", ["<script>x</script>", "<foreignObject/>", '<a href="http://x"><path d=""/></a>']
)
def test_what_no_drawing_has_is_refused(tmp_path: Path, inside: str) -> None:
    path = write(tmp_path / "a.svg", inside)
    with pytest.raises(UserError, match="a.svg has an element"):
        pictures.inline(path, "f", "")


def test_what_runs_or_loads_is_left_out(tmp_path: Path) -> None:
    text = write(
        tmp_path / "a.svg",
        '<path d="M 0 0 L 1.23456 2" onload="x" class="y"/><style>* {fill: red}</style>'
        '<image xlink:href="http://x/y.png" width="1"/><use xlink:href="other.svg#a"/>'
        '<image xlink:href="data:image/svg+xml;base64,AAAA" width="1"/>',
    )
    picture = pictures.inline(text, "f", "")
    assert (picture.width_mm, picture.height_mm) == (25.4, 12.7)  # pixels of 1/96 inch
    inside = picture.markup.partition(">")[2]
    assert inside == '<path d="M0 0L1.23 2"/><image width="1"/><use/><image width="1"/></svg>'


@pytest.mark.parametrize("text", ["", "<svg", "<html/>", "\x89PNG"])
def test_damaged_files_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.svg"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(f"{path} is n")):
        pictures.inline(path, "f", "")


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    data = base64.b64encode(b"x" * 9000).decode()
    path = write(tmp_path / "a.svg", f'<image xlink:href="data:image/png;base64,{data}"/>')
    with pytest.raises(UserError, match="damaged image"):
        pictures.inline(path, "f", "")
