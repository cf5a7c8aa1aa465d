"""The body of a child at random: its measures, contours, vessels and textures.

Body frame: x grows towards the patient's left (the right of the picture), y downwards, z
towards the front; the origin lies on the midline at the level of the lung apices. The ribs are
curves in space, so that turning the patient moves their front and back parts, the heart and
the spine against each other as in a rotated radiograph.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import PchipInterpolator

from phantom.geometry import Texture

SIDES = {"right": -1, "left": 1}
# Grown bronchi and vessels end here: below, a branch is thinner than any detector resolves.
THINNEST_VESSEL = 0.07


@dataclass(frozen=True)
class Tree:
    """Vessels of one lung, each with its bronchus: points (n, 4, 2) and diameters (n,) in cm."""

    points: np.ndarray
    diameter: np.ndarray

    def by_diameter(self) -> list[tuple[float, np.ndarray]]:
        """Branches of like diameter together, thinnest first."""
        classes = np.unique(np.round(self.diameter / 0.04).astype(int), return_inverse=True)
        return [
            (0.04 * float(size), self.points[classes[1] == i]) for i, size in enumerate(classes[0])
        ]


@dataclass(frozen=True)
class Anatomy:
    """One child. Lengths in cm, angles in radians."""

    half_width: float  # inside of the rib cage, widest
    lung_height: float  # apex to the top of the right diaphragm dome
    bell: float  # 0 barrel-shaped, 1 bell-shaped thorax
    depth: float  # half of the chest from front to back
    wall: float  # soft tissue between ribs and skin
    lung_density: float  # of the air-filled lung, water = 1
    dome_height: float  # dome top to costophrenic angle
    left_dome_lower: float
    medial: float  # midline to the inner edge of the lung
    heart_width: float
    heart_height: float
    heart_tilt: float
    heart_shift: float  # of the centre to the left of the midline
    heart_depth: float
    mediastinum: float  # half-width of the great vessels
    thymus: float  # 0 none, 1 a broad sail
    aorta: float  # radius of the knob
    spine_bend: float
    rib_width: float
    rib_drop: float
    rib_bone: float
    clavicle_slope: float
    arm_angle: float  # from straight down, outwards
    gas: tuple[tuple[float, float, float, float], ...]  # x, y below the dome, radius, depth
    vessel_gain: float
    trees: dict[str, Tree]
    parenchyma: Texture
    coarse: Texture
    muscle: Texture

    @property
    def arms_up(self) -> bool:
        """Whether the arms are held above the head."""
        return self.arm_angle > np.pi / 2

    @property
    def unit(self) -> float:
        """Size of this child relative to the one that the constants are written for."""
        return self.half_width / 9.0

    def dome(self, side: str) -> float:
        """Level of the top of the diaphragm, cm."""
        return self.lung_height + (self.left_dome_lower if side == "left" else 0.0)

    def base(self, side: str) -> float:
        """Level of the costophrenic angle, cm."""
        return self.dome(side) + self.dome_height

    def lateral(self, side: str, y: np.ndarray) -> np.ndarray:
        """Distance of the lung's outer edge from the midline at the levels `y`."""
        bell = self.bell
        curve = PchipInterpolator(
            [-0.2, 0.0, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0, 1.6],
            [
                0.38,
                0.40,
                0.50 - 0.02 * bell,
                0.61 - 0.05 * bell,
                0.76 - 0.08 * bell,
                0.91 - 0.07 * bell,
                0.98 - 0.03 * bell,
                1.0,
                1.0,
            ],
        )
        return self.half_width * curve(np.clip(y / self.base(side), -0.2, 1.6)).astype(np.float32)

    def inner(self, side: str, y: np.ndarray) -> np.ndarray:
        """Distance of the lung's inner edge from the midline at the levels `y`."""
        medial = self.medial / self.half_width
        curve = PchipInterpolator(
            [-0.2, 0.0, 0.03, 0.1, 0.25, 0.6, 1.0, 1.6],
            [0.40, 0.40, 0.28, medial + 0.05, medial, medial, medial + 0.01, medial + 0.02],
        )
        return self.half_width * curve(np.clip(y / self.base(side), -0.2, 1.6)).astype(np.float32)

    def diaphragm(self, side: str, distance: np.ndarray) -> np.ndarray:
        """Level of the diaphragm at a `distance` from the midline."""
        across = distance / self.half_width
        outwards = np.clip((across - 0.42) / 0.58, 0, None)
        inwards = np.clip((0.42 - across) / 0.42, 0, None)
        return self.dome(side) + self.dome_height * (
            0.62 * outwards**2 + 0.38 * outwards**5 + 0.45 * inwards**2
        )

    def hilum(self, side: str) -> tuple[float, float]:
        """Where vessels and bronchi enter the lung."""
        level = 0.42 if side == "left" else 0.46
        return SIDES[side] * (self.medial + 1.0 * self.unit), level * self.lung_height

    def place(self, side: str, across: float, down: float) -> tuple[float, float]:
        """A point in a lung: `across` 0 inner to 1 outer edge, `down` 0 apex to 1 dome."""
        y = down * self.dome(side)
        inner, outer = (float(f(side, np.array(y))) for f in (self.inner, self.lateral))
        return SIDES[side] * (inner + across * (outer - inner)), y

    def arm(self, sign: int) -> tuple[np.ndarray, np.ndarray]:
        """Shoulder joint and elbow of one arm, cm."""
        joint = np.array([sign * (self.half_width + 0.4 * self.unit), 0.9 * self.unit])
        direction = np.array([sign * np.sin(self.arm_angle), np.cos(self.arm_angle)])
        return joint, joint + 14 * self.unit * direction

    def breathe(self, amount: float) -> "Anatomy":
        """The same child after a breath of another depth: `amount` cm added to the lungs."""
        density = self.lung_density * (1 - 0.06 * amount)
        return replace(self, lung_height=self.lung_height + amount, lung_density=density)


def _grow(rng: np.random.Generator, start: tuple[float, float], side: int) -> Tree:
    """Vessels that fan out from the hilum, fork, turn slightly and thin out."""
    angle = np.deg2rad([-78, -50, -22, 6, 32, 56, 78, 100]) + rng.normal(0, 0.14, 8)
    diameter = rng.uniform(0.26, 0.46, 8)
    point = np.tile(np.array(start), (8, 1))
    points, diameters = [], []
    while len(angle):
        count = len(angle)
        turns = angle[:, None] + np.cumsum(rng.normal(0, 0.14, (count, 3)), axis=1)
        stride = rng.uniform(0.36, 0.60, (count, 3))
        moves = stride[..., None] * np.stack([side * np.cos(turns), np.sin(turns)], axis=-1)
        path = np.concatenate([point[:, None], point[:, None] + np.cumsum(moves, axis=1)], axis=1)
        points.append(path)
        diameters.append(diameter)
        fork = rng.uniform(0.25, 0.6, count)
        shares = rng.uniform(0.56, 0.8, (2, count))
        thinner = np.concatenate([diameter * shares[0], diameter * shares[1]])
        alive = thinner > THINNEST_VESSEL
        angle = np.concatenate([turns[:, -1] - fork, turns[:, -1] + fork])[alive]
        point = np.concatenate([path[:, -1], path[:, -1]])[alive]
        diameter = thinner[alive]
    return Tree(np.concatenate(points), np.concatenate(diameters))


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """One child, of about one to five years, at random."""
    half_width = rng.uniform(7.8, 10.2)
    unit = half_width / 9.0
    gas = tuple(
        (
            rng.uniform(2.5, 6.0) if i == 0 else rng.uniform(-6, 6),
            rng.uniform(1.3, 2.4) if i == 0 else rng.uniform(3, 6),
            rng.uniform(0.8, 1.9),
            rng.uniform(0.8, 3.0),
        )
        for i in range(int(rng.integers(0, 5)))
    )
    anatomy = Anatomy(
        half_width=half_width,
        lung_height=unit * rng.uniform(10.6, 13.2),
        bell=rng.uniform(0, 1),
        depth=unit * rng.uniform(5.6, 6.8),
        wall=unit * rng.uniform(0.7, 1.6),
        lung_density=rng.uniform(0.24, 0.36),
        dome_height=unit * rng.uniform(2.0, 3.4),
        left_dome_lower=unit * rng.uniform(-0.1, 0.9),
        medial=unit * rng.uniform(1.1, 1.7),
        heart_width=unit * rng.uniform(4.1, 5.2),
        heart_height=unit * rng.uniform(4.4, 5.5),
        heart_tilt=np.deg2rad(rng.uniform(20, 48)),
        heart_shift=unit * rng.uniform(0.7, 1.5),
        heart_depth=unit * rng.uniform(7.8, 9.6),
        mediastinum=unit * rng.uniform(1.7, 2.4),
        thymus=rng.beta(0.6, 2.6),
        aorta=unit * rng.uniform(0.7, 1.1),
        spine_bend=rng.normal(0, 0.18),
        rib_width=unit * rng.uniform(0.50, 0.70),
        rib_drop=rng.uniform(0.85, 1.2),
        rib_bone=rng.uniform(0.8, 1.2),
        clavicle_slope=rng.uniform(0.15, 0.5),
        arm_angle=np.deg2rad(rng.choice([rng.uniform(8, 25), rng.uniform(120, 160)])),
        gas=gas,
        vessel_gain=rng.uniform(0.75, 1.25),
        trees={},
        parenchyma=Texture.draw(rng, 0.28),
        coarse=Texture.draw(rng, 1.6),
        muscle=Texture.draw(rng, 2.4),
    )
    trees = {side: _grow(rng, anatomy.hilum(side), sign) for side, sign in SIDES.items()}
    return replace(anatomy, trees=trees)
