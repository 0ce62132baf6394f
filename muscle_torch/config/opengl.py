"""OpenGL without a display: the check for a missing library, and the error message."""

import ctypes
import ctypes.util
import os
import platform

from muscle_torch.errors import InputError

LIBRARY = "OSMesa"
NO_OPENGL = (
    "no OpenGL without a screen: install EGL (NVIDIA's driver has it; `apt-get install libegl1 libgl1`) or OSMesa "
    "(`apt-get install libosmesa6`)"
)


def check_opengl() -> None:
    """Raise InputError if MUJOCO_GL=osmesa but the library is missing, because `import mujoco` would fail."""
    if platform.system() != "Linux" or os.environ.get("MUJOCO_GL", "").lower() != "osmesa":
        return
    for name in (ctypes.util.find_library(LIBRARY), f"lib{LIBRARY}.so", f"lib{LIBRARY}.so.8", f"lib{LIBRARY}.so.6"):
        try:
            if name and ctypes.CDLL(name):
                return
        except OSError:
            continue
    raise InputError(f"{NO_OPENGL}; MUJOCO_GL=osmesa allows only OSMesa (unset MUJOCO_GL to let muscle_torch choose)")
