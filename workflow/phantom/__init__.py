"""Phantom chest radiographs with known lungs and lesions, since no real set may be bundled."""

from phantom.archive import write_archive
from phantom.pathology import KINDS
from phantom.picture import Phantom, generate, render

__all__ = ["KINDS", "Phantom", "generate", "render", "write_archive"]
