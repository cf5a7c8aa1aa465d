"""What pneumonia does to the lungs: air gives way to fluid, focally or along the bronchi.

Bacterial: one dense patch in one lobe, with soft ragged edges, bounded by a fissure where it
reaches one, sometimes with air-filled bronchi in it. Viral: thickened bronchial walls, a net of
fine lines and a faint haze in both lungs, densest about the hila.
"""

from dataclasses import dataclass

import numpy as np

from phantom.anatomy import SIDES, Anatomy
from phantom.geometry import Frame, Texture, ribbon
from phantom.tissue import Tissue

KINDS = ("normal", "bacterial", "viral")
# Side, range across (0 inner to 1 outer edge), range down (0 apex to 1 dome), fissure below it.
LOBES = {
    "right upper": ("right", (0.30, 0.70), (0.16, 0.40), 0.50),
    "right middle": ("right", (0.15, 0.50), (0.60, 0.80), None),
    "right lower": ("right", (0.25, 0.75), (0.68, 0.95), None),
    "left upper": ("left", (0.35, 0.70), (0.16, 0.45), None),
    "lingula": ("left", (0.45, 0.70), (0.55, 0.75), None),
    "left lower": ("left", (0.50, 0.82), (0.68, 0.95), None),
}


@dataclass(frozen=True)
class Patch:
    """A consolidation: radii in cm, density 1 when no air is left."""

    lobe: str
    across: float
    down: float
    radii: tuple[float, float]
    tilt: float
    density: float
    softness: float
    bronchogram: float
    ragged: Texture
    fine: Texture


@dataclass(frozen=True)
class Interstitium:
    """A diffuse pattern; `walls` and `net` in cm of tissue, `haze` as a share of the air."""

    walls: float
    net: float
    haze: float
    reach: float  # how far from the hila it fades, cm
    balance: float  # the right lung's part minus the left's
    mesh: Texture
    mesh_coarse: Texture
    patchy: Texture


@dataclass(frozen=True)
class Finding:
    """All that one patient has: the diagnosis `kind`, its severity in [0, 1], and its signs."""

    kind: str
    severity: float
    patches: tuple[Patch, ...] = ()
    interstitium: Interstitium | None = None


def _patch(rng: np.random.Generator, unit: float, severity: float) -> Patch:
    lobe = str(rng.choice(list(LOBES)))
    _, across, down, _ = LOBES[lobe]
    size = unit * (1.7 + 2.2 * severity) * rng.uniform(0.8, 1.2)
    aspect = rng.uniform(0.75, 1.35)
    return Patch(
        lobe=lobe,
        across=rng.uniform(*across),
        down=rng.uniform(*down),
        radii=(size * aspect, size / aspect),
        tilt=rng.uniform(-0.7, 0.7),
        density=min(0.97, (0.45 + 0.5 * severity) * rng.uniform(0.85, 1.15)),
        softness=rng.uniform(0.6, 1.1),
        bronchogram=rng.uniform(0.4, 0.8) if rng.random() < 0.4 else 0.0,
        ragged=Texture.draw(rng, 1.3),
        fine=Texture.draw(rng, 0.45),
    )


def _interstitium(rng: np.random.Generator, unit: float, severity: float) -> Interstitium:
    def part() -> float:
        return float((0.25 + 0.75 * severity) * rng.uniform(0.7, 1.3))

    return Interstitium(
        walls=1.1 * part() * unit,
        net=2.0 * part() * unit,
        haze=0.40 * part(),
        reach=unit * rng.uniform(3.2, 6.0),
        balance=rng.uniform(-0.2, 0.2),
        mesh=Texture.draw(rng, 0.55),
        mesh_coarse=Texture.draw(rng, 0.95),
        patchy=Texture.draw(rng, 2.2),
    )


def draw_finding(
    rng: np.random.Generator, kind: str, anatomy: Anatomy, severity: float, mimic: float = 0.0
) -> Finding:
    """The signs of `kind` (normal, bacterial, viral) at `severity`, at random.

    `mimic` in [0, 1] adds fainter signs of the other kind (to a normal chest: of either), as
    crowded vessels, old scars or a collapsed segment do in practice.
    """
    if kind not in KINDS:
        raise ValueError(f"no phantoms of kind '{kind}'; known are {', '.join(KINDS)}")
    patches: list[Patch] = []
    interstitium = None
    unit = anatomy.unit
    focal = kind == "bacterial" or (mimic > 0 and (kind == "viral" or rng.random() < 0.4))
    if focal:
        strength = severity if kind == "bacterial" else 0.45 * mimic
        patches.append(_patch(rng, unit, strength))
    if kind == "viral" or (mimic > 0 and (kind == "bacterial" or not focal)):
        strength = severity if kind == "viral" else 0.55 * mimic
        interstitium = _interstitium(rng, unit, strength)
        if kind != "viral":
            interstitium = _weaken(interstitium, mimic)
    return Finding(kind, severity, tuple(patches), interstitium)


def _weaken(pattern: Interstitium, share: float) -> Interstitium:
    return Interstitium(
        walls=pattern.walls * share,
        net=0.6 * pattern.net * share,
        haze=pattern.haze * share,
        reach=pattern.reach,
        balance=pattern.balance,
        mesh=pattern.mesh,
        mesh_coarse=pattern.mesh_coarse,
        patchy=pattern.patchy,
    )


def _bronchi(anatomy: Anatomy, frame: Frame, side: str) -> np.ndarray:
    """Lumen of the larger bronchi of one lung in [0, 1]."""
    canvas = frame.blank()
    for diameter, points in anatomy.trees[side].by_diameter():
        if diameter >= 0.12:
            frame.stroke(canvas, points, 255, 0.9 * diameter)
    return frame.smooth(canvas, 0.05) / np.float32(255)


def _consolidation(patch: Patch, anatomy: Anatomy, frame: Frame, lung: np.ndarray) -> np.ndarray:
    """Share of the air that the patch replaces, in [0, 1]."""
    side, _, _, fissure = LOBES[patch.lobe]
    x, y = anatomy.place(side, patch.across, patch.down)
    cos, sin = np.float32(np.cos(patch.tilt)), np.float32(np.sin(patch.tilt))
    dx, dy = frame.x - np.float32(x), frame.y - np.float32(y)
    u = (cos * dx + sin * dy) / np.float32(patch.radii[0])
    v = (cos * dy - sin * dx) / np.float32(patch.radii[1])
    radius = np.sqrt(u * u + v * v)
    fine = patch.fine.sample(frame)
    radius += np.float32(0.22) * patch.ragged.sample(frame) + np.float32(0.1) * fine
    share = np.clip((1 - radius) / np.float32(patch.softness) + 0.5, 0, 1)
    share = share * share * (3 - 2 * share)
    if fissure is not None:
        level = fissure * anatomy.dome(side) + 0.12 * np.abs(dx)
        share = share * frame.step(level - frame.y, 0.2)
    if patch.lobe == "right middle":
        share = share * frame.step(frame.y - 0.5 * anatomy.dome(side) - 0.05 * dx, 0.25)
    share = share * np.clip(0.92 + 0.12 * fine, 0.6, 1.1)
    return np.clip(share, 0, 1) * lung


def _spread(pattern: Interstitium, anatomy: Anatomy, frame: Frame, side: str) -> np.ndarray:
    """Local strength of the diffuse pattern in one lung, about 0 to 1.3."""
    x, y = anatomy.hilum(side)
    gap = ((frame.x - x) ** 2 + 0.6 * (frame.y - y - 1.0) ** 2) / np.float32(pattern.reach**2)
    weight = np.float32(0.42) + np.float32(0.58) * np.exp(-gap)
    share = 1 + SIDES[side] * -0.5 * pattern.balance
    return weight * np.float32(share) * np.clip(1 + 0.32 * pattern.patchy.sample(frame), 0.15, 1.9)


def _cuffs(anatomy: Anatomy, frame: Frame) -> np.ndarray:
    """Thickened bronchial walls: tram lines along the bronchi, rings where one is seen end on."""
    canvas = frame.blank()
    ring = np.linspace(0, 2 * np.pi, 13)[:-1]
    circle = np.stack([np.cos(ring), np.sin(ring)], axis=1)
    for tree in anatomy.trees.values():
        large = tree.diameter > 0.1
        points, diameter = tree.points[large], tree.diameter[large]
        for edge in ribbon(points, 0.20 + 0.9 * diameter[:, None]):
            frame.stroke(canvas, edge, 190, 0.12)
        radius = 0.16 + 0.5 * diameter[::4, None, None]
        frame.stroke(canvas, points[::4, -1:] + radius * circle, 200, 0.12, closed=True)
    return frame.smooth(canvas, 0.11) / np.float32(255)


def _net(pattern: Interstitium, frame: Frame) -> np.ndarray:
    """Fine crossing lines in [0, 1]: the zero lines of smooth noise, at two widths of mesh.

    Each mesh fades where the other is strong, which breaks its loops into short strands.
    """
    fine, coarse = pattern.mesh.sample(frame), pattern.mesh_coarse.sample(frame)
    lines = np.exp(-((fine / np.float32(0.30)) ** 2)) * np.clip(0.55 + 0.6 * coarse, 0, 1)
    lines += np.exp(-((coarse / np.float32(0.22)) ** 2)) * np.clip(0.45 - 0.6 * fine, 0, 1)
    return frame.smooth(np.clip(lines, 0, 1.2), 0.05)


@dataclass(frozen=True)
class Change:
    """What a finding does: share of the air that is left, tissue added (cm), lesion in {0, 1}."""

    air_left: np.ndarray
    tissue: np.ndarray
    lesion: np.ndarray


def affect(finding: Finding, anatomy: Anatomy, frame: Frame, tissue: Tissue) -> Change:
    """The change that `finding` makes to the lungs of `tissue`, on the canvas of `frame`.

    The lesion is where the diagnosis shows: the consolidation where it takes at least half of
    what it takes at its centre, or the zone of the diffuse pattern where it is at least as
    strong as half its strength at the hila. Signs that only mimic another kind are no lesion.
    """
    shape = next(iter(tissue.lungs.values())).shape
    left, added = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    lesion = np.zeros(shape, np.float32)
    for patch in finding.patches:
        side = LOBES[patch.lobe][0]
        lung = tissue.lungs[side]
        share = _consolidation(patch, anatomy, frame, lung)
        if finding.kind == "bacterial":
            lesion = np.maximum(lesion, (frame.smooth(share, 0.25) > 0.4) * lung)
        if patch.bronchogram:
            # Air in the bronchi is part of the lesion, though it is dark.
            share = share * (1 - np.float32(patch.bronchogram) * _bronchi(anatomy, frame, side))
        left *= 1 - np.float32(patch.density) * share
    if finding.interstitium is not None:
        pattern = finding.interstitium
        strength = np.zeros(shape, np.float32)
        for side, lung in tissue.lungs.items():
            strength += lung * _spread(pattern, anatomy, frame, side)
        left *= np.clip(1 - np.float32(pattern.haze) * strength, 0.1, 1)
        lines = np.float32(pattern.net) * _net(pattern, frame)
        lines += np.float32(pattern.walls) * _cuffs(anatomy, frame)
        added += lines * strength
        if finding.kind == "viral":
            lesion = np.maximum(lesion, (strength > 0.5).astype(np.float32))
    return Change(left, added, (lesion > 0.5).astype(np.float32))
