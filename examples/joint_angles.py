"""Joint angles of a motion by name: `python examples/joint_angles.py` (optional: motion, body)."""

import sys

import numpy as np

from muscle_torch.embodiments import make_embodiment
from muscle_torch.motion import load_motion


def main(motion: str = "drink", body: str = "bimanual") -> dict[str, tuple[float, float]]:
    """Print and return the range of motion of each joint that moves, in degrees."""
    clip = load_motion([motion], make_embodiment(body))[0]  # a built-in name, a file, a folder or a glob
    print(f"{clip.name}: {clip.duration:.1f} s at {clip.frequency:g} Hz")
    ranges = {}
    for joint in clip.joint_names[clip.has_root :]:
        angle = np.degrees(clip[joint])  # (frames,); slides are in m
        if np.ptp(angle) > 1:
            ranges[joint] = (float(angle.min()), float(angle.max()))
            print(f"  {joint:28s} {angle.min():7.1f} to {angle.max():6.1f} deg")
    return ranges


if __name__ == "__main__":
    main(*sys.argv[1:3])
