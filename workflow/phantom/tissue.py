"""What the beam passes on its way through the chest: water, air, bone, vessels."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from phantom.anatomy import SIDES, Anatomy
from phantom.geometry import Frame, ellipsoid, swell
from phantom.skeleton import bones


@dataclass(frozen=True)
class Tissue:
    """What the beam passes, all (height, width) float32 in cm, and the lungs' shapes in [0, 1]."""

    water: np.ndarray  # soft tissue if the chest held no air
    air: np.ndarray  # air of the lungs, before any disease
    other_air: np.ndarray  # windpipe, stomach, bowel
    bone: np.ndarray
    vessels: np.ndarray
    lungs: dict[str, np.ndarray]


def _add_limb(body: np.ndarray, frame: Frame, a: np.ndarray, b: np.ndarray, radius: float) -> None:
    """Raise a map of depths in place to those of a rounded cylinder from a to b."""
    middle, reach = (a + b) / 2, np.abs(b - a).max() / 2 + radius
    window = frame.window(*middle, reach)
    a, along = a.astype(np.float32), (b - a).astype(np.float32)
    px, py = frame.x[:, window[1]] - a[0], frame.y[window[0]] - a[1]
    t = np.clip((px * along[0] + py * along[1]) / (along @ along), 0, 1)
    gap = (px - t * along[0]) ** 2 + (py - t * along[1]) ** 2
    limb = 2 * np.sqrt(np.clip(np.float32(radius**2) - gap, 0, None))
    body[window] = np.maximum(body[window], limb)


def _body(anatomy: Anatomy, frame: Frame) -> np.ndarray:
    """Thickness of trunk, neck, arms and chin."""
    u, a, wall = anatomy.unit, anatomy.half_width, anatomy.wall
    up = anatomy.arms_up
    shoulder = 0.5 if up else 0.0
    levels = np.array([-30, -4.6, -2.8, -1.2, 0.6, 2.5, 5, 9, 14, 30]) * u
    widths = PchipInterpolator(
        levels,
        [
            3.2 * u,
            3.2 * u,
            (4.2 + shoulder) * u,
            (7.4 + shoulder) * u,
            a + 0.9 * u,
            a + 0.3 * u + 0.7 * wall,
            a + 0.2 * u + wall,
            a + 0.3 * u + wall,
            a + 0.2 * u + wall,
            a - 0.2 * u + wall,
        ],
    )(np.clip(frame.y, -29 * u, 29 * u)).astype(np.float32)
    depths = PchipInterpolator(
        levels, np.array([0.55, 0.55, 0.58, 0.66, 0.78, 0.9, 1.0, 1.05, 1.08, 1.08]) * anatomy.depth
    )(np.clip(frame.y, -29 * u, 29 * u)).astype(np.float32)
    body = 2 * depths * np.sqrt(np.clip(1 - (frame.x / widths) ** 2, 0, None)) ** np.float32(0.6)
    for sign in SIDES.values():
        joint, elbow = anatomy.arm(sign)
        _add_limb(body, frame, joint, elbow, 2.1 * u)
    swell(body, frame, (0.0, -9.2 * u), (4.6 * u, 4.9 * u), 0.0, 9 * u)
    return body


def _lung(
    anatomy: Anatomy, frame: Frame, side: str, middle: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shape in [0, 1] of one lung, and its depth in cm where the `middle` leaves room."""
    shape, air = np.zeros((2, frame.height, frame.width), np.float32)
    # Only the half of the canvas on this side of the midline.
    columns = np.flatnonzero(frame.x[0] * SIDES[side] > 0)
    if not columns.size:
        return shape, air
    half = (slice(None), slice(columns[0], columns[-1] + 1))
    distance = frame.x[half] * SIDES[side]
    outer, inner = anatomy.lateral(side, frame.y), anatomy.inner(side, frame.y)
    floor = anatomy.diaphragm(side, distance).astype(np.float32)
    inside = frame.step(outer - distance, 0.08) * frame.step(distance - inner, 0.08)
    inside *= frame.step(floor - frame.y, 0.12) * frame.step(frame.y, 0.1)
    taper = PchipInterpolator([-0.3, 0, 0.08, 0.25, 0.5, 1, 2], [0.3, 0.35, 0.55, 0.8, 0.95, 1, 1])(
        np.clip(frame.y / anatomy.lung_height, -0.3, 2)
    ).astype(np.float32)
    depth = 2 * np.float32(anatomy.depth - anatomy.wall - 0.6) * taper
    bulge = np.clip(1.02 - (distance / outer) ** 2, 0, None) ** np.float32(0.45)
    # The lung thins towards the spine, so its inner edge is soft in the picture.
    thin = np.sqrt(np.clip((distance - inner) / np.float32(1.3 * anatomy.unit), 0, 1))
    shape[half] = inside
    air[half] = inside * np.clip(depth * bulge * thin - middle[half], 0, None)
    return shape, air


def _mediastinum(anatomy: Anatomy, frame: Frame, turn: float) -> np.ndarray:
    """Depth of heart, great vessels and thymus, cm."""
    u, front, top = anatomy.unit, turn * 2.5, anatomy.lung_height
    half = PchipInterpolator(
        [-30, -3, 0, 0.25, 0.5, 0.8, 2],
        np.array([1.0, 1.0, 1.05, 1.0, 1.15, 1.2, 1.2]) * anatomy.mediastinum,
    )(np.clip(frame.y / top, -29, 2)).astype(np.float32)
    column = np.sqrt(np.clip(1 - ((frame.x - 0.6 * front) / half) ** 2, 0, None))
    depth = np.float32(6.5 * u) * column
    x, y = anatomy.heart_shift + front, top - 0.62 * anatomy.heart_height
    # Ventricles, right atrium, aortic knob, pulmonary trunk: centre, radii, tilt, depth.
    parts = [
        (
            (x, y),
            (anatomy.heart_height * 1.12, anatomy.heart_width * 0.95),
            anatomy.heart_tilt,
            anatomy.heart_depth,
        ),
        ((x - 2.3 * u, y - 0.2 * u), (2.4 * u, 3.0 * u), 0.15, 0.75 * anatomy.heart_depth),
        (
            (1.7 * u + front, 0.27 * top),
            (1.1 * anatomy.aorta, 1.2 * anatomy.aorta),
            0.0,
            4.5 * u,
        ),
        ((2.1 * u + front, 0.42 * top), (1.3 * u, 1.7 * u), -0.5, 4.5 * u),
    ]
    if anatomy.thymus > 0.15:
        size = anatomy.thymus
        for sign, share in ((-1, 1.0), (1, 0.8)):
            radii = ((1.6 + 2.2 * size * share) * u, (2.2 + 1.6 * size) * u)
            parts.append(((sign * 1.2 * u + front, 0.25 * top), radii, sign * 0.25, 3.2 * u))
    for part in parts:
        swell(depth, frame, *part)
    return depth


def _airways(anatomy: Anatomy, frame: Frame, turn: float) -> np.ndarray:
    """Air outside the lungs: windpipe, main bronchi, stomach and bowel, cm."""
    u, canvas = anatomy.unit, frame.blank()
    carina = np.array([0.15 * u, 0.33 * anatomy.lung_height])
    pipe = np.array([[0.0, -9 * u], [0.05 * u, -2 * u], carina])
    frame.stroke(canvas, pipe, 235, 0.85 * u)
    for side in SIDES:
        frame.stroke(canvas, np.array([carina, anatomy.hilum(side)]), 140, 0.55 * u)
    air = frame.smooth(canvas, 0.16 * u) * np.float32(0.95 * u / 255)
    for x, below, radius, depth in anatomy.gas:
        side = "left" if x > 0 else "right"
        y = float(anatomy.diaphragm(side, np.array(abs(x)))) + below
        radii = (radius * 1.25, min(radius, 0.8 * below))
        window, bubble = ellipsoid(frame, (x, y), radii, 0.1 * x)
        air[window] += np.float32(depth) * bubble
    return air


def _vessels(anatomy: Anatomy, frame: Frame, gain: float) -> np.ndarray:
    """Thickness of the vessels in the lungs, cm."""
    canvas = frame.blank()
    gain *= anatomy.vessel_gain
    for tree in anatomy.trees.values():
        for diameter, points in tree.by_diameter():
            value = min(255, int(420 * diameter * gain))
            frame.stroke(canvas, points, value, 0.8 * diameter)
    vessels = frame.smooth(canvas, 0.05) * np.float32(1.25 / 255)
    for side, sign in SIDES.items():
        x, y = anatomy.hilum(side)
        centre, radii = (x - sign * 0.2, y + 0.4), (0.9 * anatomy.unit, 1.7 * anatomy.unit)
        window, root = ellipsoid(frame, centre, radii, 0.35 * sign)
        vessels[window] += np.float32(1.6 * gain * anatomy.unit) * root * root
    return vessels


def project(anatomy: Anatomy, frame: Frame, turn: float, vessel_gain: float = 1.0) -> Tissue:
    """Thickness of each tissue along the beam, with the patient turned by `turn` radians.

    Positive `turn` moves what lies in front to the patient's left.
    """
    body = _body(anatomy, frame)
    depth_of_middle = _mediastinum(anatomy, frame, turn)
    lungs, air = {}, np.zeros_like(body)
    for side, sign in SIDES.items():
        lungs[side], lung_air = _lung(anatomy, frame, side, depth_of_middle)
        # Turning swings one lung towards the detector and lengthens the beam's way through it.
        air += np.float32(1 + 0.5 * turn * sign) * lung_air
    mottle = 1 + 0.035 * anatomy.parenchyma.sample(frame) + 0.06 * anatomy.coarse.sample(frame)
    air *= np.float32(1 - anatomy.lung_density) * np.clip(mottle, 0.6, 1.4)
    folds = 1 + 0.02 * anatomy.muscle.sample(frame)
    return Tissue(
        water=body * folds,
        air=np.minimum(air, 0.9 * body),
        other_air=np.minimum(_airways(anatomy, frame, turn), 0.5 * body),
        bone=bones(anatomy, frame, turn),
        vessels=_vessels(anatomy, frame, vessel_gain),
        lungs=lungs,
    )
