"""Reading images of every kind; the files are made by another library where that matters."""

import hashlib
import io
import struct
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from multiloss.config import generator_options
from multiloss.data.images import (
    DECODABLE_ENDINGS,
    ImageError,
    decode,
    decode_pixels,
    in_threads,
    read_grey,
    read_mask_for,
    read_own_mask,
    read_unchanged,
    resize,
    write_png,
)
from multiloss.data.sources.listing import IMAGE_ENDINGS
from multiloss.job.errors import UserError
from phantom.archive import write_archive
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


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "gif", "jp2", "webp"])
@pytest.mark.parametrize("lost", [3, 10, "half"])
def test_truncated_files(picture, tmp_path, ending, lost):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(picture).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if lost == "half" else content[:-lost])
    with pytest.raises(ImageError, match="truncated"):
        read_grey(path)


@pytest.fixture(scope="module")
def jpegs() -> dict[str, bytes]:
    """A picture of 400 by 500 pixels with detail everywhere, as JPEG of three kinds."""
    noise = np.random.default_rng(1).integers(0, 256, (400, 500)).astype(np.uint8)
    picture = cv2.GaussianBlur(noise, (5, 5), 0)
    kinds = {
        "baseline": [],
        "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 8],
    }
    return {
        kind: cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()
        for kind, options in kinds.items()
    }


END = b"\xff\xd9"


@pytest.mark.parametrize("kind", ["baseline", "progressive", "restarts"])
def test_jpeg_that_has_lost_data_whatever_its_end_says(jpegs, kind):
    whole = jpegs[kind]
    middle = len(whole) // 2
    random = np.random.default_rng(0).integers(0, 255, 3000).astype(np.uint8).tobytes()
    damaged = {
        "half": whole[:middle],
        "half with an end": whole[:middle] + END,
        "nine tenths with an end": whole[: len(whole) * 9 // 10] + END,
        "half of it zero": whole[:middle] + bytes(len(whole) - middle),
        "half of it zero, with an end": whole[:middle] + bytes(len(whole) - middle) + END,
        "middle lost": whole[:middle] + whole[middle + 5000 :],
        "middle zero": whole[:middle] + bytes(5000) + whole[middle + 5000 :],
        "middle overwritten": whole[:middle] + random + whole[middle + 3000 :],
        "another file begins": whole[:middle] + whole,
        "no picture": whole[: whole.find(b"\xff\xda")] + END,
    }
    for name, content in damaged.items():
        with pytest.raises(ImageError, match="truncated"):
            decode_pixels(content)
            pytest.fail(name)
    # Nothing is lost with the end marker, and nothing behind it counts.
    for content in (whole[:-2], whole[:-1], whole + END, whole + bytes(50), whole + whole[:999]):
        assert np.array_equal(decode_pixels(content), decode_pixels(whole))


def test_progressive_jpeg_without_its_last_scans(jpegs):
    whole = jpegs["progressive"]
    scans = [place for place in range(len(whole)) if whole[place : place + 2] == b"\xff\xda"]
    assert len(scans) > 3
    # Cut where a scan ends: what is there is sound, and libjpeg has nothing to say.
    tables = whole.rfind(b"\xff\xc4", 0, scans[-1])
    cut = tables if tables > scans[-2] else scans[-1]
    with pytest.raises(ImageError, match="scans are missing"):
        decode_pixels(whole[:cut] + END)


def test_lost_restart_interval(jpegs):
    whole = jpegs["restarts"]
    one, two = whole.find(b"\xff\xd2"), whole.find(b"\xff\xd3")
    assert 0 < one < two
    with pytest.raises(ImageError, match="instead of RST2|premature end"):
        decode_pixels(whole[:one] + whole[two:])


def test_damaged_jpeg_inside_of_a_tiff_file(picture):
    large = Image.fromarray(np.tile(picture, (5, 5)))
    content = file(large, "TIFF", compression="jpeg")
    assert decode_pixels(content).shape == (300, 240)
    place = content.find(b"\xff\xda") + 500
    with pytest.raises(ImageError, match="corrupt JPEG data"):
        decode_pixels(content[:place] + END + content[place + 2 :])


def test_jpeg_of_12_bits_is_named(jpegs):
    content = bytearray(jpegs["baseline"])
    content[content.find(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageError, match="a JPEG file of 12 bits: save it as PNG or TIFF"):
        decode_pixels(bytes(content))


def test_what_does_not_bear_on_a_jpeg_picture_is_not_damage(jpegs):
    whole = jpegs["baseline"]
    odd = b"\xff\xe0\x00\x10JFIF\0\x07\x07\0\0\1\0\1\0\0"  # of a revision that is none
    profile = b"\xff\xe2\x00\x10ICC_PROFILE\0\1\7"  # the first of seven parts
    thumbnail = b"\xff\xe1\x01\x02Exif\0\0\xff\xd8\xff\xda\x00\xff\xd9" + bytes(243)
    content = whole[:2] + odd + profile + thumbnail + b"\xff\xff" + whole[2:]
    assert np.array_equal(decode_pixels(content), decode_pixels(whole))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
def test_no_kind_of_damage_ends_in_anything_but_a_reason(picture, jpegs):
    rng = np.random.default_rng(0)
    image = Image.fromarray(picture)
    kinds = ("JPEG", "TIFF", "PNG", "GIF", "JPEG2000", "WEBP", "BMP")
    contents = [file(image, kind) for kind in kinds] + [jpegs["progressive"]]
    contents += [tiff((picture, {}), (picture, {254: 1})), file(image, "TIFF", compression="jpeg")]
    refused = 0
    for number in range(600):
        content = bytearray(contents[number % len(contents)])
        where = rng.integers(min(len(content), 700), size=3)
        if number % 3 == 0:
            content = content[: where[0]]
        elif number % 3 == 1:
            del content[where[0] : where[0] + 20]
        else:
            for place in where:
                content[place] = rng.integers(256)
        try:
            decode(bytes(content))
        except ImageError:
            refused += 1
    assert 300 < refused < 600


def test_damage_behind_rubbish_in_the_head(jpegs):
    whole = jpegs["baseline"]
    # An application segment that says to be shorter than it is.
    short = whole[:2] + b"\xff\xe1\0\x08" + bytes(90) + whole[2:]
    with pytest.raises(ImageError, match="90|84 extraneous bytes|premature end"):
        decode_pixels(short[: len(short) // 2] + END)


def test_jpegs_are_looked_at_in_several_threads(jpegs):
    whole, half = jpegs["baseline"], jpegs["baseline"][:9000]

    def sound(content: bytes) -> bool:
        try:
            decode_pixels(content)
        except ImageError:
            return False
        return True

    assert list(in_threads(sound, [whole, half] * 20, 4)) == [True, False] * 20


def test_threads_take_few_items_ahead():
    """However many images there are, a few of them are at work or wait to be taken."""
    taken: list[int] = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    found = in_threads(lambda number: -number, items(), 2)
    assert [next(found) for _ in range(10)] == [-number for number in range(10)]
    assert len(taken) < 40
    assert list(found) == [-number for number in range(10, 1000)]


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


def file(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def tiff(*pages: tuple[np.ndarray, dict[int, int]], order: str = "<") -> bytes:
    """An uncompressed TIFF file of grey pages (array, further or other tags)."""
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    for number, (array, tags) in enumerate(pages):
        bits = tags.get(258, array.itemsize * 8)
        if array.itemsize * 8 == bits:
            data = array.astype(array.dtype.newbyteorder(order)).tobytes()
        else:  # packed, each row to whole bytes
            digits = array[..., None].astype(np.uint32) >> np.arange(bits)[::-1] & 1
            data = np.packbits(digits.astype(np.uint8).reshape(len(array), -1), axis=1).tobytes()
        height, width = array.shape
        all_tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 277: 1, 278: height}
        all_tags |= {279: len(data)} | tags
        start = len(out) + 2 + 12 * (len(all_tags) + 1) + 4
        out += struct.pack(f"{order}H", len(all_tags) + 1)
        for tag, value in sorted((all_tags | {273: start}).items()):
            out += struct.pack(f"{order}HHII", tag, 4, 1, value)
        last = number + 1 == len(pages)
        out += struct.pack(f"{order}I", 0 if last else start + len(data)) + data
    return out


def png16(array: np.ndarray, significant: int | None = None) -> bytes:
    """A 16-bit grey PNG file, with the chunk sBIT if asked for."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    height, width = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0))
        + (chunk(b"sBIT", bytes([significant])) if significant else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 15, 16])
def test_16_bit_values_in_the_range_that_is_given(bits):
    values = np.array([[0, 1, 2 ** (bits - 1), 2**bits - 1]] * 4, np.uint16)
    grey = decode_pixels(png16(values), bits)
    assert grey[0].tolist() == [0, round(255 / (2**bits - 1)), 128, 255]
    if bits < 16:
        with pytest.raises(ImageError, match=f"values up to {2**bits} do not fit in {bits} bits"):
            decode_pixels(png16(values + 1), bits)


def test_all_depths_read_back_an_8_bit_picture(picture):
    for bits in (8, 10, 12, 14, 16):
        deep = np.round(picture / 255 * (2**bits - 1)).astype(np.uint16)
        for content in (png16(deep), tiff((deep, {})), tiff((deep, {}), order=">")):
            assert np.array_equal(decode_pixels(content, bits), picture), bits


def test_depth_that_a_file_states(picture):
    dim = (picture.astype(np.uint16) << 4) // 8  # up to about 500
    assert decode(png16(dim, 12)).bits == 12
    assert decode(png16(dim)).bits is None
    assert decode(tiff((dim, {281: 4095}))).bits == 12
    # The largest value of this one image is no depth, nor is that of the type.
    assert decode(tiff((dim, {281: int(dim.max())}))).bits is None
    assert decode(tiff((dim, {281: 65535}))).bits is None
    alone = decode_pixels(png16(dim, 12))
    assert np.array_equal(alone, decode_pixels(png16(dim), 12))
    # As the standard has it, 12 bits are stretched to 16.
    assert np.array_equal(decode_pixels(png16(picture.astype(np.uint16) * 257, 12)), picture)


@pytest.mark.parametrize("bits", [1, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_whose_zero_is_white_is_turned_once(picture, bits, order):
    most = 2**bits - 1
    values = np.round(picture / 255 * most).astype(np.uint8 if bits <= 8 else np.uint16)
    true = np.round(values / most * 255)
    black = decode_pixels(tiff((values, {258: bits}), order=order))
    white = decode_pixels(tiff((most - values, {258: bits, 262: 0}), order=order))
    # Packed values are stretched by a shift: 4095 becomes 65520 of 65535.
    assert np.abs(black - true).max() <= (1 if bits in (10, 12, 14) else 0)
    assert np.abs(white - true).max() <= (1 if bits in (10, 12, 14) else 0)


def test_12_bits_in_a_16_bit_tiff_whose_zero_is_white(picture):
    values = picture.astype(np.uint16) * 16
    content = tiff((4095 - values, {262: 0}))
    assert np.abs(decode_pixels(content, 12).astype(int) - picture).max() <= 1


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_whose_zero_is_white(picture, compression):
    for values in (picture, picture.astype(np.uint16) * 257):
        image = Image.fromarray(values)
        black = file(image, "TIFF", compression=compression)
        white = bytearray(black)
        place = white.find(struct.pack("<HHI", 262, 3, 1))
        white[place + 8] = 0  # the same values, now with white as zero
        assert np.array_equal(decode_pixels(black), picture)
        assert np.array_equal(decode_pixels(bytes(white)), 255 - picture)


def test_tiff_that_states_12_bits_and_stores_16(picture):
    values = picture.astype(np.uint16) * 16
    content = tiff((values, {}))
    wrong = content.replace(
        struct.pack("<HHII", 258, 4, 1, 16), struct.pack("<HHII", 258, 4, 1, 12)
    )
    with pytest.raises(ImageError, match="12 bits a pixel with 5760 bytes of pixels, not 4320"):
        decode_pixels(wrong)


def test_several_pages_or_frames_are_refused(picture):
    blank, page = Image.new("L", (48, 60)), Image.fromarray(picture)
    for kind in ("TIFF", "GIF", "WEBP", "PNG"):
        three = file(
            blank, kind, save_all=True, append_images=[page, Image.fromarray(255 - picture)]
        )
        with pytest.raises(ImageError, match=r"^3 (pages|frames) in one file"):
            decode_pixels(three)
        one = file(page, kind, save_all=True, append_images=[])
        assert np.abs(decode_pixels(one).astype(int) - picture).mean() < 3


def test_reduced_copies_beside_the_full_image_of_a_tiff_file(picture):
    small, smaller = picture[::2, ::2].copy(), picture[::4, ::4].copy()
    full = (picture, {})
    for pages in (
        [full, (small, {254: 1}), (smaller, {254: 1})],
        [(smaller, {254: 1}), full],
        [(small, {254: 0, 255: 2}), full],
    ):
        assert np.array_equal(decode_pixels(tiff(*pages)), picture)
    for pages, reason in (
        ([full, (small, {})], "2 pages"),  # not marked as a copy
        ([(small, {}), full], "2 pages"),
        ([full, full, (small, {254: 1})], "3 pages"),
        ([(small, {}), (picture, {254: 1})], "2 pages"),  # a copy larger than its image
        ([(small, {254: 1})], "marked as a reduced copy"),
    ):
        with pytest.raises(ImageError, match=reason):
            decode_pixels(tiff(*pages))


def test_size_is_read_before_the_pixels_are():
    def claimed(width: int, height: int) -> bytes:
        return png16(np.zeros((1, 1), np.uint16)).replace(
            struct.pack(">II", 1, 1), struct.pack(">II", width, height), 1
        )

    for width, height in ((32000, 32000), (20000, 10001), (70000, 20)):
        with pytest.raises(ImageError, match=rf"^{width}x{height} pixels; at most 200 megapixels"):
            # The checksum of the header has to be right for it to be believed.
            content = claimed(width, height)
            header = content[12:29]
            decode_pixels(content[:29] + struct.pack(">I", zlib.crc32(header)) + content[33:])
    with pytest.raises(ImageError, match="at most 200 megapixels"):
        decode_pixels(tiff((np.zeros((2, 2), np.uint8), {256: 40000, 257: 40000})))


@pytest.mark.parametrize("ending", sorted(DECODABLE_ENDINGS))
def test_every_ending_that_is_said_to_be_decodable(picture, tmp_path, ending):
    path = tmp_path / f"a{ending}"
    if ending in (".jpe", ".jfif"):
        path.write_bytes(file(Image.fromarray(picture), "JPEG", quality=95))
    else:
        Image.fromarray(picture).save(path)
    assert np.abs(read_grey(path).astype(int) - picture).mean() < 6


def test_endings_that_are_listed_can_be_decoded():
    assert IMAGE_ENDINGS <= DECODABLE_ENDINGS


@pytest.mark.parametrize("where", ["memory", "file"])
def test_8_bit_files_are_as_the_decoder_has_them(tmp_path, where):
    """Phantoms as they are published, and as any other library would save them."""
    archive = tmp_path / "phantoms.zip"
    options = generator_options({"train": 6, "test": 3, "size": [64, 96]})
    write_archive(options, "classification", 5, archive)
    with zipfile.ZipFile(archive) as opened:
        contents = [opened.read(name) for name in opened.namelist() if not name.endswith("/")]
    checked = 0
    for content in contents:
        plain = cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        )
        if plain is None:
            continue
        checked += 1
        (tmp_path / "a").write_bytes(content)
        own = decode_pixels(content, 8) if where == "memory" else read_grey(tmp_path / "a")
        assert np.array_equal(own, plain)
    assert checked >= 9


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
    mask = read_mask_for((20, 30), [tmp_path / "left.png", tmp_path / "right.png"])
    assert mask.dtype == bool and np.array_equal(mask, (left | right) > 0)


def test_masks_of_other_grey_values(tmp_path):
    inside = np.zeros((20, 20), bool)
    inside[4:9] = True
    for value in (1, 7, 127):
        write_png(inside * np.uint8(value), tmp_path / "a.png")
        assert np.array_equal(read_mask_for((20, 20), [tmp_path / "a.png"]), inside)
    soft = np.where(inside, 200, 90).astype(np.uint8)
    write_png(soft, tmp_path / "a.png")
    assert np.array_equal(read_mask_for((20, 20), [tmp_path / "a.png"]), inside)
    write_png(np.zeros((20, 20), np.uint8), tmp_path / "a.png")
    assert not read_mask_for((20, 20), [tmp_path / "a.png"]).any()


def lung_mask(height: int = 96, width: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Two lungs, the right one (at the left) and the left one."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    right, left = (((x - c) / 0.16) ** 2 + ((y - 0.5) / 0.34) ** 2 < 1 for c in (0.3, 0.7))
    return right, left


def mask_of(values: np.ndarray, tmp_path: Path, ending: str = "png", **options) -> np.ndarray:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(values).save(path, **options)
    return read_mask_for(values.shape[:2], [path])


@pytest.mark.parametrize("low, high", [(0, 1), (1, 2), (0, 255), (100, 200), (0, 7), (254, 255)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_larger_of_two_values_is_inside(tmp_path, low, high, dtype):
    inside = np.logical_or(*lung_mask())
    assert np.array_equal(mask_of(np.where(inside, high, low).astype(dtype), tmp_path), inside)


@pytest.mark.parametrize("labels", [(1, 2), (2, 1), (85, 170), (1, 255), (10, 20), (254, 255)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_mask_with_labels_is_refused_with_its_values(tmp_path, labels, dtype):
    right, left = lung_mask()
    values = (right * labels[0] + left * labels[1]).astype(dtype)
    named = ", ".join(map(str, sorted({0, *labels})))
    with pytest.raises(ImageError, match=rf"holds 3 grey values \({named}\); a mask has two"):
        mask_of(values, tmp_path)


def test_small_and_lossy_labels_are_refused(tmp_path):
    right, left = lung_mask(384, 320)
    heart = np.zeros_like(right)
    heart[200:212, 155:165] = True
    values = ((right | left) * 255 + heart * 128).astype(np.uint8)
    with pytest.raises(ImageError, match=r"holds 3 grey values \(0, 128, 255\)"):
        mask_of(values, tmp_path)
    two = (right * 85 + left * 170).astype(np.uint8)
    for quality in (60, 80, 95):
        with pytest.raises(ImageError, match="grey values"):
            mask_of(two, tmp_path, "jpg", quality=quality)
    with pytest.raises(ImageError, match="grey values"):
        mask_of(cv2.resize(two, (500, 600), interpolation=cv2.INTER_LINEAR), tmp_path)


def test_soft_borders_and_lossy_compression_stay_masks(tmp_path):
    inside = np.logical_or(*lung_mask(384, 320))
    values = inside * np.uint8(255)
    for ending, options in (
        *(("jpg", {"quality": quality}) for quality in (20, 50, 75, 90, 100)),
        ("webp", {"quality": 50}),
        ("png", {}),
    ):
        found = mask_of(values, tmp_path, ending, **options)
        assert (found != inside).mean() < 0.005, (ending, options)
    blurred = cv2.GaussianBlur(values, (0, 0), 2)
    assert (mask_of(blurred, tmp_path) != inside).mean() < 0.01
    for size in ((60, 72), (200, 240), (777, 932)):
        soft = cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
        found = mask_of(soft, tmp_path)
        assert found.shape == size[::-1] and abs(found.mean() - inside.mean()) < 0.01


def test_picture_is_no_mask(picture, tmp_path):
    with pytest.raises(ImageError, match="a picture, not a mask|grey values"):
        mask_of(picture, tmp_path)


def test_outline_is_no_mask(tmp_path):
    inside = np.logical_or(*lung_mask()).astype(np.uint8)
    outline = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    with pytest.raises(ImageError, match="marks an outline only"):
        mask_of(outline * np.uint8(255), tmp_path)
    # A small hole is left a hole.
    inside[inside.shape[0] // 2, inside[inside.shape[0] // 2].argmax() + 3] = 0
    assert (mask_of(inside, tmp_path) == inside).all()


def test_inverted_mask_is_refused(tmp_path):
    inside = np.logical_or(*lung_mask())
    for values in (~inside * np.uint8(255), np.where(inside, 1, 2).astype(np.uint8)):
        with pytest.raises(ImageError, match="takes in all four corners: an inverted mask"):
            mask_of(values, tmp_path)
    with pytest.raises(ImageError, match="all four corners"):
        mask_of(np.full((40, 40), 255, np.uint8), tmp_path)
    with pytest.raises(ImageError, match="most of the border"):
        most = np.full((40, 40), 255, np.uint8)
        most[:5, :5] = 0
        mask_of(most, tmp_path)
    # One lung at the border is none of these.
    edge = np.zeros((40, 40), np.uint8)
    edge[:30, :20] = 255
    assert mask_of(edge, tmp_path).sum() == 600


def test_mask_of_another_size_and_the_same_proportions(tmp_path):
    inside = np.zeros((64, 64), bool)
    inside[16:48, 8:32] = True
    write_png(inside, tmp_path / "a.png")
    for side, factor in ((128, 2), (32, 0.5)):
        sizes: list[str] = []
        mask = read_mask_for((side, side), [tmp_path / "a.png"], sizes)
        expected = np.zeros((side, side), bool)
        expected[int(16 * factor) : int(48 * factor), int(8 * factor) : int(32 * factor)] = True
        assert np.array_equal(mask, expected) and sizes == ["64x64"]
    # 299 pixels by 256, and sides that were rounded up or down.
    assert read_mask_for((75, 75), [tmp_path / "a.png"]).mean() == pytest.approx(3 / 16, abs=0.01)
    for shape in ((1000, 1015), (1000, 985)):
        assert read_mask_for(shape, [tmp_path / "a.png"]).shape == shape
    for shape in ((1000, 1017), (1000, 984), (64, 65), (128, 64)):
        with pytest.raises(ImageError, match="mask has size 64x64, its image .* other proportions"):
            read_mask_for(shape, [tmp_path / "a.png"])


def test_own_masks_may_hold_anything_or_nothing(tmp_path):
    for mask in (np.zeros((20, 30), bool), np.ones((20, 30), bool)):
        write_png(mask, tmp_path / "a.png")
        assert np.array_equal(read_own_mask((20, 30), tmp_path / "a.png"), mask)
    with pytest.raises(ImageError, match="mask has size 30x20, its image 60x40"):
        read_own_mask((40, 60), tmp_path / "a.png")


def test_masks_of_wrong_size(tmp_path):
    write_png(np.zeros((20, 30), np.uint8), tmp_path / "a.png")
    with pytest.raises(ImageError, match="mask has size 30x20, its image 30x21: of other"):
        read_mask_for((21, 30), [tmp_path / "a.png"])
    with pytest.raises(ImageError, match="no mask"):
        read_mask_for((20, 30), [])


def test_unreadable_mask_is_named(tmp_path):
    (tmp_path / "a_mask.png").touch()
    with pytest.raises(ImageError, match="mask a_mask.png: the file is empty"):
        read_mask_for((20, 20), [tmp_path / "a_mask.png"])


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
