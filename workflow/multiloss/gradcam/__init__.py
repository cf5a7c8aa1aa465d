"""Where a network looks: Grad-CAM maps, and how far they can be trusted."""

from typing import Any


def __getattr__(name: str) -> Any:
    # Measures and figures of maps need no TensorFlow.
    if name == "heatmap":
        from multiloss.gradcam.maps.maps import heatmap

        return heatmap
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
