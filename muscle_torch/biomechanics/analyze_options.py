"""Options of `tools/analyze.py`."""

import dataclasses
from typing import Any

from muscle_torch.config import key


@dataclasses.dataclass(frozen=True)
class AnalyzeOptions:
    """Options of the program."""

    checkpoint: str = key("", "a policy: checkpoint file, run folder or pretrained:<name>")
    archive: Any = key("", "rollouts of tools/evaluate.py (.npz), or a list of such files (seeds)")
    conditions: Any = key(
        [],
        "two or more rollout archives of one body, to compare: files or lists of files (seeds), or conditions.able=...",
    )
    rollout: str = key("", "rollout archive (.npz) of a clip of trial=, to compare with its plates, moments and EMG")
    trial: str = key("", "folder of the recorded trial: motion, force plates, joint moments, EMG (.sto, .mot, .csv)")
    emg: str = key("", "trial=: EMG file, if the folder contains none or several; also motion=, forces=, moments=")
    map: str = key("", "trial=: your own table of muscles (YAML or CSV), extends biomechanics/emg_muscles.yaml")
    side: str = key("r", "trial=: side of EMG channels whose name contains none: r or l")
    motion: Any = key("", "OpenSim coordinates (.mot, .sto) or motion clips; with checkpoint=: motions to follow")
    forces: str = key("", "ground forces for inverse dynamics of motion=; alone (also .c3d, .txt): analyse its strides")
    rate: float = key(0.0, "sampling rate of forces= if its time column is missing or wrong", "Hz")
    task: str = key("", "body of motion=, such as bimanual; empty: that of the clip, or the full body")
    reference: str = key(
        "",
        "to compare with: curves (.npz with angle_deg, moment_Nm, grf_pctBW), a clip, a .mot; without feet: a motion",
    )
    reference_forces: str = key("", "ground reaction forces of reference=, if it is an OpenSim motion")
    reference_mass: float = key(0.0, "mass of the subject of reference=, if it is an OpenSim motion", "kg")
    reference_trial: int = key(0, "use only this trial of the curves in reference= (from 1); 0: the mean of all")
    seeds: int = key(1, "checkpoint=: rollouts of each motion; the first uses the mean action, the others sample")
    episode: int = key(-1, "index of the episode in the rollouts, or of the motion; -1: all together")
    force_threshold: float = key(0.0, "a foot is on the plate above this; 0: 20, or 50 for forces= alone", "N")
    mass: float = key(0.0, "the subject's mass; 0: the model's", "kg")
    height: float = key(0.0, "the subject's height, stated in the report", "m")
    leg_length: float = key(0.0, "the subject's leg length, hip to ankle; 0: from motion= if it contains the size", "m")
    angle_unit: str = key("auto", "angles of an OpenSim motion=: deg, rad, or auto (as stated in the header)")
    convention: str = key("auto", "sign of knee flexion in motion=: rajagopal (+), gait2392 (-) or auto")
    swap_plates: bool = key(False, "exchange right and left in the force file")
    start: float = key(0.0, "start of the analysed part of an OpenSim motion; 0: the beginning", "s")
    end: float = key(0.0, "end of the analysed part; 0: the end", "s")
    cutoff: float = key(6.0, "low-pass of a motion before inverse dynamics (Winter 2009: 6)", "Hz")
    angle_cutoff: float = key(
        0.0, "low-pass of the angles before segmentation into cycles, or of the movement; 0: off", "Hz"
    )
    moments: str = key("", "joint moments of the same motion from another program (.sto), to compare over time")
    inverse_dynamics: bool = key(True, "false: use the moments in moments= instead of computing them")
    points: int = key(101, "points of a normalized cycle")
    synergies: int = key(8, "maximum number of muscle synergies; 0: none")
    optimise: bool = key(False, "static optimisation of the muscles after inverse dynamics (walks: needs forces=)")
    embodiment: dict[str, Any] = key({}, "options of the body, such as embodiment.fingers=true")
    device: str = key("auto", "checkpoint: auto, cpu, cuda or cuda:N")
    threads: int = key(0, "checkpoint: physics threads on a CPU; 0: all cores")
    output: str = key("gait_report", "folder for the report, its tables and the rollouts")
