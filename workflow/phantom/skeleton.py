"""Bones as thicknesses along the beam, in centimetres."""

import numpy as np

from phantom.anatomy import SIDES, Anatomy
from phantom.geometry import Frame, ribbon

RIBS = 12
# How far each rib descends from the spine to its front end, cm.
RIB_DROPS = (2.8, 4.0, 5.0, 5.6, 6.0, 6.3, 6.3, 6.1, 6.0, 6.2, 6.6, 7.0)


def _rib_lines(anatomy: Anatomy, side: str, turn: float) -> np.ndarray:
    """Centre lines of one side's ribs in the picture, (ribs, n, 2) cm, from spine to front."""
    u, sign = anatomy.unit, SIDES[side]
    number = np.arange(RIBS)[:, None]
    start = number * anatomy.lung_height / 8.6 - 0.35 * u
    drop = anatomy.rib_drop * u * np.array(RIB_DROPS)[:, None]
    reach = anatomy.lateral(side, np.clip(start + 0.42 * drop, 0, None)) + 0.2 * u
    reach = np.maximum(reach, anatomy.half_width * np.array([0.5, 0.62, 0.7] + [0.0] * 9)[:, None])
    reach = reach * np.array([1.0] * 9 + [1.0, 1.0, 0.95])[:, None]
    end = np.pi * np.array([0.76] * 7 + [0.66, 0.6, 0.5, 0.40, 0.26])[:, None]
    t = 0.02 + np.linspace(0, 1, 34)[None, :] ** 1.15 * (end - 0.02)
    x = 0.9 * u + (reach - 0.9 * u) * np.sin(t) ** 0.75
    z = -anatomy.depth * 0.8 * np.cos(t)
    rise = 0.45 * u * np.sin(np.minimum(2 * t, np.pi))
    y = start + drop * ((1 - np.cos(t)) / 2) ** 1.08 - rise
    return np.stack([sign * x + turn * z, y], axis=-1)


def _long_bone(frame: Frame, canvas: np.ndarray, line: np.ndarray, width, body, cortex) -> None:
    """Draw a tube of bone: marrow is thinner along the beam than the rims."""
    one, other = ribbon(line, width)
    frame.fill(canvas, np.vstack([one, other[::-1]]), body)
    for edge in (one, other):
        frame.stroke(canvas, edge, cortex, 0.06)


def _ribs(anatomy: Anatomy, frame: Frame, turn: float) -> np.ndarray:
    """Bone of the rib cage, cm."""
    back, front = frame.blank(), frame.blank()
    for side in SIDES:
        for number, line in enumerate(_rib_lines(anatomy, side, turn)):
            width = anatomy.rib_width * (0.8 if number < 2 or number > 9 else 1.0)
            bend = int(np.argmax(np.abs(line[:, 0]))) + 1
            faint = 0.6 if number > 8 else 1.0
            _long_bone(frame, back, line[:bend], width, int(105 * faint), int(165 * faint))
            if len(line) - bend > 2:
                _long_bone(frame, front, line[bend - 2 :], 1.1 * width, 85, 130)
    bone = frame.smooth(back, 0.06) + frame.smooth(front, 0.08)
    return bone * np.float32(anatomy.rib_bone / 255)


def _spine(anatomy: Anatomy, frame: Frame, turn: float) -> np.ndarray:
    """Bone of the vertebrae, cm."""
    u, canvas = anatomy.unit, frame.blank()
    spacing = anatomy.lung_height / 8.6
    angles = np.linspace(0, 2 * np.pi, 14)[:-1]
    oval = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    level = np.arange(-6, 16)
    x = anatomy.spine_bend * np.sin(level * spacing / 6) - turn * anatomy.depth * 0.5
    at = np.stack([x, level * spacing], axis=1)[:, None]
    # Vertebrae grow downwards; endplates and pedicles are denser than the bodies.
    w, h = (1.0 + 0.018 * level)[:, None, None] * u, 0.40 * spacing
    corners = np.array([[-1, -h], [-0.9, 0], [-1, h], [1, h], [0.9, 0], [1, -h]])
    bodies = corners * np.concatenate([w, np.ones_like(w)], axis=-1) + at
    frame.fill(canvas, bodies, 120)
    frame.stroke(canvas, bodies, 165, 0.08, closed=True)
    process = np.array([[1.0, -0.15], [1.75, -0.35], [1.75, 0.0], [1.0, 0.2]]) * u
    for sign in SIDES.values():
        frame.fill(canvas, oval * (0.20 * u, 0.30 * u) + (sign * 0.6 * u, -0.1 * spacing) + at, 160)
        frame.fill(canvas, process * (sign, 1) + at, 80)
    frame.fill(canvas, oval * (0.16 * u, 0.38 * u) + (-turn * 2.0, 0.35 * spacing) + at, 160)
    return frame.smooth(canvas, 0.09) * np.float32(0.8 * anatomy.rib_bone / 255)


def _shoulders(anatomy: Anatomy, frame: Frame, turn: float) -> np.ndarray:
    """Bone of collar bones, shoulder blades and upper arms, cm."""
    u, a = anatomy.unit, anatomy.half_width
    thick, thin = frame.blank(), frame.blank()
    up = anatomy.arms_up
    t = np.linspace(0, 1, 16)
    for sign in SIDES.values():
        slope = anatomy.clavicle_slope + (0.35 if up else 0.0)
        x = 1.1 * u + t * (a - 1.4 * u)
        y = 1.9 * u - slope * 5.0 * u * t - 0.35 * u * np.sin(2 * np.pi * t * 0.9)
        line = np.stack([sign * x + turn * anatomy.depth * 0.7 * (1 - t), y], axis=1)
        _long_bone(frame, thick, line, u * (0.58 + 0.14 * np.cos(2 * np.pi * t)), 100, 150)
        joint, elbow = anatomy.arm(sign)
        shaft = joint + np.linspace(0, 1, 8)[:, None] * (elbow - joint)
        _long_bone(frame, thick, shaft, 1.15 * u, 120, 210)
        ring = np.linspace(0, 2 * np.pi, 18)
        head = joint + 0.95 * u * np.stack([np.cos(ring), np.sin(ring)], axis=1)
        frame.fill(thick, head, 165)
        lift = -1.0 * u if up else 0.0
        blade = np.array(
            [[a * 0.98, 0.2], [a * 0.72, 0.9], [a * 0.76, 3.0], [a * 0.88, 6.4], [a * 1.02, 3.2]]
        )
        blade[:, 1] = blade[:, 1] * u + lift
        blade[:, 0] *= sign
        frame.fill(thin, blade, 75)
        frame.stroke(thin, blade[1:], 150, 0.14)
        spine = np.array([blade[1], (blade[1] + blade[0]) / 2 + (0, -0.25 * u), joint])
        frame.stroke(thin, spine, 120, 0.4)
    jaw = np.linspace(0.15, 0.85, 12) * np.pi
    chin = np.stack([3.9 * u * np.cos(jaw), -9.2 * u + 4.4 * u * np.sin(jaw)], axis=1)
    frame.stroke(thick, chin, 230, 0.9 * u)
    bone = frame.smooth(thick, 0.08) * np.float32(1.3 / 255)
    return (bone + frame.smooth(thin, 0.12) * np.float32(0.5 / 255)) * np.float32(anatomy.rib_bone)


def bones(anatomy: Anatomy, frame: Frame, turn: float) -> np.ndarray:
    """All bone on a canvas, (height, width) float32, with the patient turned by `turn` radians."""
    bone = _ribs(anatomy, frame, turn) + _spine(anatomy, frame, turn)
    return bone + _shoulders(anatomy, frame, turn)
