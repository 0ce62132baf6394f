"""Options of muscle control: one set of gains for all clips and bodies."""

from dataclasses import dataclass, field

from muscle_torch.motion.dynamic_filter import FilterOptions
from muscle_torch.motion.feasibility import Infeasible


@dataclass(frozen=True)
class TaskOptions:
    """Gains and weights of the tasks. Frequencies [rad/s] are those of critically damped errors."""

    joint_frequency: float = 20.0  # trunk and legs
    limb_frequency: float = 10.0  # light limbs: arms
    root_frequency: float = 5.0  # horizontal position of the root
    height_frequency: float = 16.0  # height of the root
    turn_frequency: float = 10.0  # orientation of the root
    com_frequency: float = 5.0  # horizontal position of the mass centre
    lean_frequency: float = 5.0  # orientation of the torso in the world
    foot_frequency: float = 25.0  # swing feet
    root_weight: float = 3.0  # of its horizontal acceleration, relative to 1 for the Gauss metric
    height_weight: float = 20.0  # of its vertical acceleration
    turn_weight: float = 20.0  # of its angular acceleration
    com_weight: float = 100.0  # of the mass centre's horizontal acceleration
    lean_weight: float = 5.0  # of the torso's angular acceleration
    momentum_weight: float = 0.5  # of the rate of angular momentum about the mass centre
    momentum_rate: float = 5.0  # [1/s] gain of the error of angular momentum
    foot_weight: float = 10.0  # of a swing foot's linear acceleration
    foot_correction: float = 20.0  # [m/s^2] limit of the linear correction added to the reference's acceleration
    foot_turn_correction: float = 100.0  # [rad/s^2] limit of the angular correction
    foot_turn_weight: float = 2.0  # of a swing foot's angular acceleration
    clearance_weight: float = 20.0  # of the vertical acceleration of its lowest point, while too near the floor
    leg_inertia: float = 1.0  # [kg m^2] added to the metric's diagonal, so that light distal joints have weight
    trunk_inertia: float = 0.3  # [kg m^2]
    limb_inertia: float = 0.03  # [kg m^2]
    ball_damping: float = 0.4  # damping of the inverse kinematics of ball joints near singular poses


@dataclass(frozen=True)
class StepOptions:
    """Placement of swing feet."""

    capture: float = 1.0  # displacement of the foothold / error of the divergent component at landing
    forward_margin: float = 0.04  # [m] error that the centre of pressure of the standing foot can correct, fore and aft
    sideways_margin: float = 0.0  # [m] the same, sideways
    latest: float = 0.3  # [s] limit of the preview
    farthest: float = 0.25  # [m] limit of the displacement from the reference's foothold
    clearance: float = 0.03  # [m] height of the foot's lowest point in the middle of a swing
    lift: float = 0.03  # [m] added to the reference's height in the middle of a swing
    press: float = 0.005  # [m] target depth below the floor for a foot that should stand and has no contact
    outward: float = 0.02  # [m] lateral displacement beyond the reference: the next step can catch a fall inwards
    gap: float = 0.10  # [m] minimal lateral distance of the feet, or that of the reference if smaller
    least_gap: float = 0.06  # [m] lower limit of the latter
    rise_time: float = 0.06  # [s] ramp of the clearance at the start of a swing
    fall_time: float = 0.12  # [s] ramp at its end


@dataclass(frozen=True)
class ProgrammeOptions:
    """Costs and limits of the quadratic program of a control step."""

    effort: float = 100.0  # cost of squared activation
    deviation: float = 0.0  # cost of squared deviation from the clip's feedforward activation
    change: float = 100.0  # cost of squared change of activation within a control step
    motor_effort: float = 100.0  # cost of squared motor controls, in units of their range
    contact_weight: float = 10.0  # weight of the residual of the contact law
    force_cost: float = 1e-4  # [1/N^2] cost of squared contact-edge forces
    stance_slack: float = 0.1  # cost of squared separation of a standing foot's contacts
    swing_slack: float = 0.01  # the same for other contacts
    horizon: float = 0.01  # [s] horizon of implicit damping
    iterations: int = 60  # limit of Newton's method
    tolerance: float = 1e-2  # of the dual gradient, at which Newton's method stops
    decisions: int = 1  # times that each contact is set to force or separation and the program is solved again


@dataclass(frozen=True)
class MuscleControlOptions:
    """All options of `MuscleControl`."""

    infeasible: Infeasible = Infeasible.keep  # infeasible motions: warn and continue (keep), or reject them
    processes: int = 1  # number of planning processes; 1: plan in this process
    filter: FilterOptions = field(default_factory=FilterOptions)
    tasks: TaskOptions = field(default_factory=TaskOptions)
    steps: StepOptions = field(default_factory=StepOptions)
    programme: ProgrammeOptions = field(default_factory=ProgrammeOptions)
