"""Colors of images, videos and the viewer.

Muscles change from dark blue at rest to bright orange at full activation. Hue and lightness both change, so that
readers with color vision deficiencies can tell them apart. The reference is a translucent green.
"""

import numpy as np

GHOST = np.array([0.0, 0.58, 0.42, 0.38], dtype=np.float32)
RELAXED = np.array([0.24, 0.33, 0.50, 1.0])  # color of a muscle at activation 0
ACTIVE = np.array([1.0, 0.42, 0.05, 1.0])  # and at activation 1
BONE = [0.90, 0.87, 0.80, 1.0]
LANDMARK = np.array([0.85, 0.15, 0.55, 1.0], dtype=np.float32)
BACKGROUND = (242, 245, 250)  # of empty cells, red, green and blue from 0 to 255


def muscle_color(activation: np.ndarray) -> np.ndarray:
    """Return the colors of muscles, (..., 4) in [0, 1].

    Args:
        activation: Activations, (...,); values outside [0, 1] are clipped.
    """
    level = np.clip(activation, 0.0, 1.0)[..., None]
    return RELAXED + level * (ACTIVE - RELAXED)
