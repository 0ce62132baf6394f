"""Retargeting: motion capture files to MotionClips. Readers, fitting, three methods, post-processing, quality."""

from .quality import THRESHOLDS, Quality, assess, reasons
from .raw import RawMotion
from .readers import READERS, ReadOptions, read_motion
from .retarget import METHODS, Result, Retargeter, RetargetOptions

__all__ = [
    "METHODS",
    "READERS",
    "THRESHOLDS",
    "Quality",
    "RawMotion",
    "ReadOptions",
    "Result",
    "RetargetOptions",
    "Retargeter",
    "assess",
    "read_motion",
    "reasons",
]
