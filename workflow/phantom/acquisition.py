"""From thicknesses to a picture: pose, beam, scatter, noise, film curve, collimation."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import CubicSpline

from phantom.anatomy import Anatomy
from phantom.geometry import Frame

# Linear attenuation at about 70 kVp (1/cm): water, and what bone adds to the water it displaces.
WATER = 0.19
BONE = 0.42
# The canvas is this much larger than the picture on each side, so that tilting shows no edge.
MARGIN = 0.07
# Strokes of the side letters in a box 0.6 wide and 1 high.
LETTERS = {
    "R": (
        ((0, 1), (0, 0), (0.4, 0), (0.55, 0.1), (0.58, 0.27), (0.5, 0.45), (0.35, 0.52), (0, 0.52)),
        ((0.3, 0.52), (0.6, 1)),
    ),
    "L": (((0, 0), (0, 1), (0.55, 1)),),
}


@dataclass(frozen=True)
class Acquisition:
    """One exposure. Angles in radians, shifts as shares of the picture."""

    tilt: float  # in the plane of the picture
    turn: float  # about the body's long axis
    fill: tuple[float, float]  # share of the picture's width and height that the lungs take
    shift: tuple[float, float]
    breath: float  # cm
    photons: float  # a pixel behind nothing
    scatter: float  # scattered per primary photon
    heel: tuple[float, float]  # uneven exposure across and down, in units of attenuation
    blur: float  # cm
    detail: float  # edge enhancement of the digital system
    window: tuple[float, float]  # shift and stretch of the display window
    gamma: float
    black: int
    shutters: tuple[float, float, float, float]  # left, right, top, bottom shares cut off
    shutter_tilt: float
    marker: str
    marker_place: tuple[float, float]
    marker_size: float
    wires: tuple[tuple[float, ...], ...]  # y-values in shares at equal steps across
    folds: float


def draw_acquisition(
    rng: np.random.Generator,
    noise: float = 1.0,
    hard: bool = False,
    blur: float = 1.0,
    contrast: float = 1.0,
) -> Acquisition:
    """One exposure at random; `hard` turns and exposes the patient badly.

    `noise`, `blur` and `contrast` scale those of the usual system; no draw depends on them.
    """
    wide = 1.8 if hard else 1.0
    shutters = [0.0] * 4
    if rng.random() < 0.25:
        for edge in range(4):
            if rng.random() < 0.5:
                shutters[edge] = rng.uniform(0.01, 0.05)
    marker = str(rng.choice(["", "R", "L"], p=[0.4, 0.45, 0.15]))
    wires = tuple(
        tuple(rng.uniform(-0.05, 0.55) + np.cumsum(rng.normal(0, 0.09, 6)))
        for _ in range(int(rng.integers(1, 3)) if rng.random() < 0.07 else 0)
    )
    return Acquisition(
        tilt=np.deg2rad(wide * rng.normal(0, 1.8)),
        turn=np.clip(wide * rng.normal(0, 0.05), -0.22, 0.22),
        fill=(rng.uniform(0.66, 0.84), rng.uniform(0.62, 0.80)),
        shift=(rng.normal(0, 0.02), rng.normal(0, 0.02)),
        breath=rng.normal(0, 0.25) - (rng.uniform(0.3, 1.3) if hard else 0.0),
        photons=rng.uniform(12000, 50000) / max(noise, 1e-6) ** 2,
        scatter=rng.uniform(0.4, 1.0),
        heel=(rng.normal(0, 0.06 * wide), rng.normal(0, 0.08 * wide)),
        blur=blur * rng.uniform(0.02, 0.06) * (1.5 if hard else 1.0),
        detail=rng.uniform(0.15, 0.7),
        window=(wide * rng.normal(0, 0.05), (1 + rng.uniform(-0.12, 0.16 * wide)) / contrast),
        gamma=rng.uniform(0.65, 1.0),
        black=int(rng.integers(0, 22)),
        shutters=tuple(shutters),
        shutter_tilt=rng.normal(0, 0.01),
        marker=marker,
        marker_place=(rng.uniform(0.03, 0.10), rng.uniform(0.06, 0.22)),
        marker_size=rng.uniform(0.04, 0.06),
        wires=wires,
        folds=rng.uniform(0, 0.10) if rng.random() < 0.3 else 0.0,
    )


def frame_for(
    anatomy: Anatomy, acquisition: Acquisition, height: int, width: int
) -> tuple[Frame, int]:
    """The canvas of a picture of `height` x `width` pixels, and its margin in pixels."""
    margin = int(np.ceil(MARGIN * max(height, width)))
    bottom = max(anatomy.base("left"), anatomy.base("right"))
    scale = min(
        acquisition.fill[0] * width / (2 * anatomy.half_width),
        acquisition.fill[1] * height / bottom,
    )
    centre_x = -acquisition.shift[0] * width / scale
    centre_y = 0.48 * bottom - acquisition.shift[1] * height / scale
    rows, columns = height + 2 * margin, width + 2 * margin
    frame = Frame(
        rows, columns, scale, centre_x - columns / (2 * scale), centre_y - rows / (2 * scale)
    )
    return frame, margin


def tilt(values: np.ndarray, angle: float, margin: int) -> np.ndarray:
    """Turn a canvas about its middle and cut the margin off; the type stays."""
    rows, columns = values.shape
    matrix = cv2.getRotationMatrix2D((columns / 2 - 0.5, rows / 2 - 0.5), np.rad2deg(angle), 1.0)
    matrix[:, 2] -= margin
    size = (columns - 2 * margin, rows - 2 * margin)
    return cv2.warpAffine(
        values,
        matrix,
        size,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _blocked(acquisition: Acquisition, height: int, width: int) -> np.ndarray | None:
    """Where the shutters let nothing through, or None if they are open."""
    if not any(acquisition.shutters):
        return None
    left, right, top, bottom = acquisition.shutters
    x, y = np.arange(width)[None, :] / width, np.arange(height)[:, None] / height
    skew = acquisition.shutter_tilt
    return (
        (x + skew * y < left)
        | (1 - x - skew * y < right)
        | (y - skew * x < top)
        | (1 - y + skew * x < bottom)
    ) & np.array([left, right, top, bottom]).any()


def expose(
    attenuation: np.ndarray, acquisition: Acquisition, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Photons, scatter, noise and film for a map of attenuation; uint8 of the same shape.

    Primary photons I = exp(-attenuation); scattered ones are a
    wide blur of I times the attenuation; the counts carry
    Poisson noise (normal at these counts); the film answers to log exposure with an S-curve
    between a black and a white point that the system finds from the picture itself.
    """
    height, width = attenuation.shape
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    uneven = np.float32(acquisition.heel[0]) * x + np.float32(acquisition.heel[1]) * y
    if acquisition.folds:
        edge = y - 0.5 * x * (1 if acquisition.heel[0] > 0 else -1) - np.float32(0.1)
        uneven = uneven + np.float32(acquisition.folds) * (edge > 0) * np.exp(-4 * np.abs(edge))
    for wire in acquisition.wires:
        attenuation = _wire(attenuation, wire)
    primary = np.exp(-attenuation - uneven * (attenuation > 0.05))
    # Light scatters where there is something to scatter it: in proportion to the way through it.
    source = cv2.resize(
        primary * attenuation,
        (max(8, width // 8), max(8, height // 8)),
        interpolation=cv2.INTER_AREA,
    )
    wide = cv2.GaussianBlur(source, (0, 0), 2.5 * scale / 8)
    scattered = cv2.resize(wide, (width, height), interpolation=cv2.INTER_LINEAR)
    light = primary + np.float32(acquisition.scatter) * scattered
    light = cv2.GaussianBlur(light, (0, 0), max(acquisition.blur * scale, 0.35))
    grains = rng.standard_normal((height, width), dtype=np.float32)
    # The screen spreads each photon's light a little.
    grains = cv2.GaussianBlur(grains, (0, 0), 0.6) * np.float32(2.0)
    light = light + np.sqrt(light / np.float32(acquisition.photons)) * grains
    density = -np.log(np.clip(light, 1e-4, None))
    local = cv2.GaussianBlur(density[::2, ::2], (0, 0), max(0.8 * scale / 2, 0.5))
    local = cv2.resize(local, (width, height), interpolation=cv2.INTER_LINEAR)
    sharp = density + np.float32(acquisition.detail) * (density - local)
    inner = density[height // 6 : -height // 6, width // 6 : -width // 6]
    low, high = np.percentile(inner[::3, ::3], (4, 97))
    middle = (low + high) / 2 + acquisition.window[0] * (high - low)
    span = (high - low) * acquisition.window[1] * 1.1
    level = np.clip((sharp - np.float32(middle)) / np.float32(span), -3, 3)
    curve = 1 / (1 + np.exp(-np.float32(3.6) * level))
    grey = curve ** np.float32(acquisition.gamma) * (250 - acquisition.black) + acquisition.black
    picture = np.clip(np.round(grey), 0, 255).astype(np.uint8)
    blocked = _blocked(acquisition, height, width)
    if blocked is not None:
        picture[blocked] = acquisition.black // 2
    if acquisition.marker:
        _mark(picture, acquisition)
    return picture


def _wire(attenuation: np.ndarray, wire: tuple[float, ...]) -> np.ndarray:
    """A lead of a monitor across the chest."""
    height, width = attenuation.shape
    t = np.linspace(0, len(wire) - 1, 60)
    levels = CubicSpline(np.arange(len(wire)), wire)(t) * height
    points = np.stack([t / (len(wire) - 1) * width, levels], axis=1)
    canvas = np.zeros((height, width), np.uint8)
    cv2.polylines(
        canvas,
        [np.round(points * 16).astype(np.int32)],
        False,
        255,
        max(1, width // 160),
        cv2.LINE_AA,
        4,
    )
    return attenuation + canvas.astype(np.float32) * np.float32(0.9 / 255)


def _mark(picture: np.ndarray, acquisition: Acquisition) -> None:
    """Burn the side letter in: R stands at the picture's left, the patient's right."""
    height, width = picture.shape
    size = acquisition.marker_size * height
    across, down = acquisition.marker_place
    x = across * width if acquisition.marker == "R" else (1 - across) * width - 0.6 * size
    corner = np.array([x, down * height])
    strokes = [
        np.round((corner + size * np.array(s)) * 16).astype(np.int32)
        for s in LETTERS[acquisition.marker]
    ]
    cv2.polylines(picture, strokes, False, 245, max(1, round(0.16 * size)), cv2.LINE_AA, 4)
