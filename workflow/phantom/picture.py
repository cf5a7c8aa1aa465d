"""One radiograph of one phantom child, with the truth about it."""

from dataclasses import dataclass

import numpy as np

from phantom import acquisition as exposure
from phantom.acquisition import Acquisition, draw_acquisition
from phantom.anatomy import Anatomy, draw_anatomy
from phantom.pathology import Finding, affect, draw_finding
from phantom.tissue import project


@dataclass(frozen=True)
class Phantom:
    """A picture and what is known about it, all (height, width) uint8; masks are 0 or 255.

    `lung_left` is the patient's left lung, which lies on the right of the picture.
    """

    image: np.ndarray
    lung_left: np.ndarray
    lung_right: np.ndarray
    lesion: np.ndarray

    @property
    def lungs(self) -> np.ndarray:
        """Both lungs in one mask."""
        return np.maximum(self.lung_left, self.lung_right)


def render(
    anatomy: Anatomy,
    finding: Finding,
    acquisition: Acquisition,
    rng: np.random.Generator,
    height: int = 256,
    width: int = 256,
    vessel_gain: float = 1.0,
) -> Phantom:
    """The radiograph of a child with a finding; `rng` draws the photon noise alone."""
    child = anatomy.breathe(acquisition.breath)
    frame, margin = exposure.frame_for(child, acquisition, height, width)
    tissue = project(child, frame, acquisition.turn, vessel_gain)
    change = affect(finding, child, frame, tissue)
    lungs = np.maximum(tissue.lungs["left"], tissue.lungs["right"])
    room = np.clip(tissue.air / np.float32(2.5), 0, 1) * lungs
    air = tissue.air * change.air_left + tissue.other_air
    solid = (tissue.vessels * change.air_left + change.tissue) * room
    attenuation = np.float32(exposure.WATER) * np.clip(tissue.water - air + solid, 0, None)
    attenuation += np.float32(exposure.BONE) * tissue.bone * (tissue.water > 0.5)
    attenuation = exposure.tilt(attenuation, acquisition.tilt, margin)
    image = exposure.expose(attenuation, acquisition, frame.scale, rng)
    shapes = [tissue.lungs["left"], tissue.lungs["right"], change.lesion * lungs]
    masks = []
    for shape in shapes:
        grey = exposure.tilt((255 * shape).astype(np.uint8), acquisition.tilt, margin)
        masks.append(np.where(grey > 127, 255, 0).astype(np.uint8))
    return Phantom(image, *masks)


def generate(
    kind: str,
    rng: np.random.Generator,
    height: int = 256,
    width: int = 256,
    severity: float = 0.7,
    mimic: float = 0.0,
    hard: bool = False,
    noise: float = 1.0,
) -> Phantom:
    """One phantom of a new child: `kind` is normal, bacterial or viral.

    `severity` in [0, 1] scales size and density of the disease, `mimic` in [0, 1] adds signs
    of the other kinds, `hard` asks for a bad pose and exposure, `noise` scales the noise.
    """
    anatomy = draw_anatomy(rng)
    finding = draw_finding(rng, kind, anatomy, severity, mimic)
    acquisition = draw_acquisition(rng, noise, hard)
    return render(anatomy, finding, acquisition, rng, height, width)
