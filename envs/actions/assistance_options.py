"""The table of assistance controllers and their options. Does not import torch, so that `--help` responds at once."""

import dataclasses

from muscle_torch.config import Row, key


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Options of `assistance=zero`, and of a checkpoint."""


@dataclasses.dataclass(frozen=True)
class ProfileOptions:
    """Options of `assistance=profile`. Times are in % of the gait cycle, from heel strike to heel strike."""

    ankle_peak: float = key(-0.4, "peak torque of ankles, per body mass; plantarflexion < 0", "N m/kg")
    ankle_time: float = key(50.0, "time of the peak", "% of the cycle")
    ankle_rise: float = key(25.0, "time from onset to peak", "% of the cycle")
    ankle_fall: float = key(12.0, "time from peak to end", "% of the cycle")
    hip_peak: float = key(0.15, "peak torque of hips and of other joints, per body mass; flexion > 0", "N m/kg")
    hip_time: float = key(65.0, "time of the peak", "% of the cycle")
    hip_rise: float = key(20.0, "time from onset to peak", "% of the cycle")
    hip_fall: float = key(20.0, "time from peak to end", "% of the cycle")


@dataclasses.dataclass(frozen=True)
class MyoelectricOptions:
    """Options of `assistance=myoelectric`."""

    gain: float = key(1.0, "fraction of the torque limit at full activation of all muscles on that side of the joint")
    threshold: float = key(0.02, "activation below which a motor stays idle")


# Name -> action space without actions that drives the device. "zero": the motors stay idle; "policy": a checkpoint's
# policy acts as a partner.
ASSISTANCE: dict[str, Row] = {
    "zero": Row("", NoOptions),
    "profile": Row("muscle_torch.envs.actions.assistance:ProfileAssistance", ProfileOptions),
    "myoelectric": Row("muscle_torch.envs.actions.assistance:MyoelectricAssistance", MyoelectricOptions),
    "policy": Row("", NoOptions),
}
