"""Reading images of every kind; the files are made by another library where that matters."""

import hashlib
import struct
import zlib

import cv2
import numpy as np
import pytest
from multiloss.errors import UserError
from multiloss.images import (
    ImageError,
    in_threads,
    read_grey,
    read_mask,
    read_mask_for,
    read_unchanged,
    resize,
    write_png,
)
from PIL import Image


@pytest.fixture
def picture() -> np.ndarray:
    """A smooth grey picture of 60 by 48 pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 48)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (7, 7), 0)


def test_grey_png_is_exact(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert np.array_equal(read_grey(tmp_path / "a.png"), picture)


@pytest.mark.parametrize("ending", ["tif", "bmp"])
def test_other_lossless_files(picture, tmp_path, ending):
    Image.fromarray(picture).save(tmp_path / f"a.{ending}")
    assert np.array_equal(read_grey(tmp_path / f"a.{ending}"), picture)


def test_16_bits_are_divided_by_257(picture, tmp_path):
    deep = picture.astype(np.uint16) * 257
    deep[0, :4] = [0, 128, 129, 65535]  # 0.498 and 0.502 of a grey level
    Image.fromarray(deep).save(tmp_path / "a.png")
    grey = read_grey(tmp_path / "a.png")
    assert grey.dtype == np.uint8
    assert grey[0, :4].tolist() == [0, 0, 1, 255]
    assert np.array_equal(grey[1:], picture[1:])


def test_16_bit_colour(tmp_path):
    deep = np.full((20, 20, 3), 257 * 90, np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    assert np.array_equal(read_grey(tmp_path / "a.png"), np.full((20, 20), 90, np.uint8))


def test_colour_becomes_luminance(tmp_path):
    rgb = np.zeros((20, 30, 3), np.uint8)
    rgb[:, :10, 0] = rgb[:, 10:20, 1] = rgb[:, 20:, 2] = 255
    Image.fromarray(rgb).save(tmp_path / "a.png")
    grey = read_grey(tmp_path / "a.png")
    # ITU-R BT.601 weights, and Pillow's independent conversion.
    assert grey[0, [0, 10, 20]].tolist() == pytest.approx([76.2, 149.7, 29.1], abs=1)
    own = np.asarray(Image.fromarray(rgb).convert("L")).astype(int)
    assert np.abs(grey - own).max() <= 1


def test_kinds_that_all_show_the_same_grey(picture, tmp_path):
    triple = np.stack([picture] * 3, -1)
    half_clear = np.full_like(picture, 100)
    Image.fromarray(triple).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([triple, half_clear])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([picture, half_clear]), mode="LA").save(tmp_path / "la.png")
    Image.fromarray(picture).convert("P").save(tmp_path / "palette.png")
    for kind in ("rgb", "rgba", "la", "palette"):
        assert np.array_equal(read_grey(tmp_path / f"{kind}.png"), picture), kind
    Image.fromarray(picture).save(tmp_path / "grey.jpg", quality=95)
    Image.fromarray(triple).save(tmp_path / "rgb.jpg", quality=95)
    Image.fromarray(triple).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    Image.fromarray(picture).save(tmp_path / "progressive.jpg", quality=95, progressive=True)
    for kind in ("grey", "rgb", "cmyk", "progressive"):
        error = np.abs(read_grey(tmp_path / f"{kind}.jpg").astype(int) - picture)
        assert error.mean() < 2, kind


def test_bilevel(picture, tmp_path):
    Image.fromarray(picture > 128).save(tmp_path / "a.png")
    assert np.array_equal(read_grey(tmp_path / "a.png"), (picture > 128) * np.uint8(255))


def test_orientation_tag_does_not_turn_the_pixels(picture, tmp_path):
    tags = Image.Exif()
    tags[0x112] = 6
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=tags)
    assert read_grey(tmp_path / "a.jpg").shape == picture.shape


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize("lost", [3, 10, "half"])
def test_truncated_files(picture, tmp_path, ending, lost):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(picture).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if lost == "half" else content[:-lost])
    with pytest.raises(ImageError, match="truncated"):
        read_grey(path)


def test_bytes_behind_the_end_of_a_jpeg_do_no_harm(picture, tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(picture).save(path)
    whole = read_grey(path)
    path.write_bytes(path.read_bytes() + b"\0" * 100)
    assert np.array_equal(read_grey(path), whole)


def test_damaged_png(picture, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(ImageError, match="unreadable"):
        read_grey(path)


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match="empty"):
        read_grey(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ImageError, match="not an image"):
        read_grey(tmp_path / "text.png")
    with pytest.raises(ImageError, match="cannot be opened"):
        read_grey(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="cannot be opened"):
        read_grey(tmp_path)


def test_image_without_pixels(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 0, 0, 8, 0, 0, 0, 0)
    content = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError):
        read_grey(tmp_path / "a.png")


def test_float_pixels_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), np.ones((20, 20), np.float32))
    with pytest.raises(ImageError, match="float32"):
        read_grey(tmp_path / "a.tif")


def test_mask_is_the_union(tmp_path):
    left, right = np.zeros((2, 20, 30), np.uint8)
    left[5:10, 3:9] = 255
    right[5:10, 20:26] = 255
    write_png(left, tmp_path / "left.png")
    write_png(right, tmp_path / "right.png")
    mask = read_mask([tmp_path / "left.png", tmp_path / "right.png"])
    assert mask.dtype == bool and np.array_equal(mask, (left | right) > 0)


def test_masks_of_other_grey_values(tmp_path):
    inside = np.zeros((20, 20), bool)
    inside[4:9] = True
    for value in (1, 7, 127):
        write_png(inside * np.uint8(value), tmp_path / "a.png")
        assert np.array_equal(read_mask([tmp_path / "a.png"]), inside)
    soft = np.where(inside, 200, 90).astype(np.uint8)
    write_png(soft, tmp_path / "a.png")
    assert np.array_equal(read_mask([tmp_path / "a.png"]), inside)
    write_png(np.zeros((20, 20), np.uint8), tmp_path / "a.png")
    assert not read_mask([tmp_path / "a.png"]).any()


def test_masks_of_wrong_size(tmp_path):
    write_png(np.zeros((20, 30), np.uint8), tmp_path / "a.png")
    write_png(np.zeros((20, 31), np.uint8), tmp_path / "b.png")
    with pytest.raises(ImageError, match="b.png has size 31x20, its partner 30x20"):
        read_mask([tmp_path / "a.png", tmp_path / "b.png"])
    with pytest.raises(ImageError, match="mask has size 30x20, its image 30x21: of other"):
        read_mask_for((21, 30), [tmp_path / "a.png"])
    with pytest.raises(ImageError, match="no mask"):
        read_mask([])


def test_unreadable_mask_is_named(tmp_path):
    (tmp_path / "a_mask.png").touch()
    with pytest.raises(ImageError, match="mask a_mask.png: the file is empty"):
        read_mask([tmp_path / "a_mask.png"])


def test_listed_image_must_still_be_the_same(picture, tmp_path):
    path = tmp_path / "a.png"
    write_png(picture, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (read_unchanged(path, digest, "8") == picture).all()
    write_png(255 - picture, path)
    with pytest.raises(UserError, match=r"a\.png: has changed since it was checked: put"):
        read_unchanged(path, digest, 8)
    path.unlink()
    with pytest.raises(UserError, match=r"a\.png: cannot be opened \(No such file"):
        read_unchanged(path, digest, 8)


def test_shrinking_averages_areas():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    blocks = image.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    assert np.abs(resize(image, 4) - blocks).max() <= 0.5
    assert resize(image, 4).dtype == np.uint8


def test_growing_interpolates(picture):
    flat = np.full((10, 10), 7, np.uint8)
    assert np.array_equal(resize(flat, (25, 31)), np.full((25, 31), 7))
    grown = resize(picture, (120, 96))
    assert np.abs(resize(grown, picture.shape).astype(int) - picture).mean() < 6
    assert resize(picture, picture.shape) is picture


def test_written_png_reads_back_and_repeats(picture, tmp_path):
    write_png(picture, tmp_path / "a.png")
    write_png(picture, tmp_path / "sub" / "b.png")
    assert np.array_equal(read_grey(tmp_path / "a.png"), picture)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "sub" / "b.png").read_bytes()
    colour = np.dstack([picture, picture // 2, 255 - picture])
    write_png(colour, tmp_path / "c.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "c.png")), colour)
    write_png(picture > 100, tmp_path / "d.png")
    assert set(np.unique(np.asarray(Image.open(tmp_path / "d.png")))) == {0, 255}
    with pytest.raises(TypeError, match="float64"):
        write_png(picture / 255, tmp_path / "e.png")


def test_order_of_results_in_threads():
    assert list(in_threads(lambda value: value**2, range(50), 4)) == [v**2 for v in range(50)]
    assert list(in_threads(str, [1, 2], 1)) == ["1", "2"]
