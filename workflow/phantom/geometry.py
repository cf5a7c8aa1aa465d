"""Drawing in centimetres: canvases, lines, ellipsoids, and noise that is fixed to the body."""

from dataclasses import dataclass

import cv2
import numpy as np

# Polygons are drawn with this many fractional bits, so that edges do not snap to pixels.
SHIFT = 4


@dataclass(frozen=True)
class Frame:
    """A canvas of `height` x `width` pixels, `scale` pixels a cm, whose corner is (x0, y0) cm."""

    height: int
    width: int
    scale: float
    x0: float
    y0: float

    @property
    def x(self) -> np.ndarray:
        """Pixel centres along a row, (1, width) float32, cm."""
        return (self.x0 + (np.arange(self.width, dtype=np.float32) + 0.5) / self.scale)[None, :]

    @property
    def y(self) -> np.ndarray:
        """Pixel centres down a column, (height, 1) float32, cm."""
        return (self.y0 + (np.arange(self.height, dtype=np.float32) + 0.5) / self.scale)[:, None]

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in cm as OpenCV's fixed-point pixel coordinates."""
        pixels = (np.asarray(points) - (self.x0, self.y0)) * self.scale - 0.5
        return np.round(pixels * (1 << SHIFT)).astype(np.int32)

    def window(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        """Rows and columns that hold all points within `reach` cm of (x, y)."""
        rows, columns = (
            slice(
                max(0, int((at - reach - zero) * self.scale) - 1),
                max(0, min(size, int((at + reach - zero) * self.scale) + 2)),
            )
            for at, zero, size in ((y, self.y0, self.height), (x, self.x0, self.width))
        )
        return rows, columns

    def blank(self) -> np.ndarray:
        """An empty 8-bit canvas."""
        return np.zeros((self.height, self.width), np.uint8)

    def fill(self, canvas: np.ndarray, points: np.ndarray, value: int) -> None:
        """Fill a polygon (n, 2), or many of one length (polygons, n, 2), given in cm."""
        shapes = self.pixels(points).reshape(-1, *np.shape(points)[-2:])
        cv2.fillPoly(canvas, list(shapes), value, cv2.LINE_AA, SHIFT)

    def stroke(
        self, canvas: np.ndarray, points: np.ndarray, value: int, width: float, closed: bool = False
    ) -> None:
        """Draw a line (n, 2), or many of one length (lines, n, 2), given in cm.

        `width` in cm; a line is at least one pixel wide.
        """
        thickness = max(1, round(width * self.scale))
        lines = self.pixels(points).reshape(-1, *np.shape(points)[-2:])
        cv2.polylines(canvas, list(lines), closed, value, thickness, cv2.LINE_AA, SHIFT)

    def smooth(self, values: np.ndarray, sigma: float) -> np.ndarray:
        """Gaussian blur with `sigma` in cm, as float32."""
        return cv2.GaussianBlur(values.astype(np.float32), (0, 0), max(sigma * self.scale, 0.3))

    def step(self, distance: np.ndarray, softness: float) -> np.ndarray:
        """0 outside, 1 inside an edge at distance 0 (cm) that is `softness` cm wide."""
        softness = max(softness, 1 / self.scale)
        return np.clip(distance / softness + 0.5, 0, 1)


@dataclass(frozen=True)
class Texture:
    """Smooth noise fixed to the body, so that one patient's images share it."""

    grid: np.ndarray
    cell: float

    # The part of the body frame that any picture can show.
    LEFT, TOP, WIDTH, HEIGHT = -15.0, -10.0, 30.0, 36.0

    @classmethod
    def draw(cls, rng: np.random.Generator, cell: float) -> "Texture":
        """White noise on a grid of `cell` cm, unit variance before interpolation."""
        shape = (int(cls.HEIGHT / cell) + 2, int(cls.WIDTH / cell) + 2)
        return cls(rng.standard_normal(shape, dtype=np.float32), cell)

    def sample(self, frame: Frame) -> np.ndarray:
        """The noise on a canvas, (height, width) float32."""
        step = 1 / (frame.scale * self.cell)
        matrix = np.array(
            [
                [step, 0, (frame.x0 - self.LEFT) / self.cell + 0.5 * step],
                [0, step, (frame.y0 - self.TOP) / self.cell + 0.5 * step],
            ]
        )
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        size = (frame.width, frame.height)
        return cv2.warpAffine(self.grid, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT)


def ribbon(line: np.ndarray, width: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both edges of a band of `width` cm (a number, or one a point) about lines (..., n, 2)."""
    along = np.empty_like(line)
    along[..., 1:-1, :] = line[..., 2:, :] - line[..., :-2, :]
    along[..., 0, :] = line[..., 1, :] - line[..., 0, :]
    along[..., -1, :] = line[..., -1, :] - line[..., -2, :]
    length = np.hypot(along[..., 0], along[..., 1]) + 1e-9
    half = np.asarray(width) / (2 * length)
    offset = np.stack([-along[..., 1] * half, along[..., 0] * half], axis=-1)
    return line + offset, line - offset


def ellipsoid(
    frame: Frame, centre: tuple[float, float], radii: tuple[float, float], tilt: float
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Relative thickness sqrt(1 - r^2) of an ellipsoid, and the window of the canvas it fills."""
    window = frame.window(*centre, max(radii))
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    dx = frame.x[:, window[1]] - np.float32(centre[0])
    dy = frame.y[window[0]] - np.float32(centre[1])
    u = (cos * dx + sin * dy) / np.float32(radii[0])
    v = (cos * dy - sin * dx) / np.float32(radii[1])
    return window, np.sqrt(np.clip(1 - u * u - v * v, 0, None))


def swell(
    canvas: np.ndarray,
    frame: Frame,
    centre: tuple[float, float],
    radii: tuple[float, float],
    tilt: float,
    depth: float,
) -> None:
    """Raise a map of depths in place to those of an ellipsoid `depth` cm thick at its centre."""
    window, chord = ellipsoid(frame, centre, radii, tilt)
    canvas[window] = np.maximum(canvas[window], np.float32(depth) * chord)
