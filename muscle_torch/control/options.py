"""Options of muscle control: one set of gains for every clip and body."""

from dataclasses import dataclass, field

from muscle_torch.motion.dynamic_filter import FilterOptions
from muscle_torch.motion.feasibility import Infeasible


@dataclass(frozen=True)
class TaskOptions:
    """What the body should do at each control step; frequencies [rad/s] are of critically damped errors."""

    joint_frequency: float = 20.0  # trunk and legs
    limb_frequency: float = 10.0  # light limbs: arms
    root_frequency: float = 5.0  # horizontal position of the root
    height_frequency: float = 16.0  # its height
    turn_frequency: float = 10.0  # its orientation
    com_frequency: float = 5.0  # mass centre, horizontally
    foot_frequency: float = 25.0  # swing feet
    root_weight: float = 3.0  # of its horizontal acceleration, against 1 of the Gauss metric
    height_weight: float = 20.0  # of its vertical acceleration
    turn_weight: float = 20.0  # of its angular acceleration
    com_weight: float = 100.0  # of the mass centre's horizontal acceleration
    momentum_weight: float = 0.5  # of the rate of angular momentum about the mass centre
    momentum_rate: float = 5.0  # [1/s] at which its error should vanish
    foot_weight: float = 10.0  # of a swing foot's linear acceleration
    foot_correction: float = 20.0  # [m/s^2] of a swing foot at most, beyond the reference's
    foot_turn_correction: float = 100.0  # [rad/s^2]
    foot_turn_weight: float = 2.0  # of its angular acceleration
    clearance_weight: float = 20.0  # of the vertical acceleration of its lowest point, while that is too near the floor
    leg_inertia: float = 1.0  # [kg m^2] added to the metric's diagonal: errors of light distal joints count too
    trunk_inertia: float = 0.3
    limb_inertia: float = 0.03
    ball_damping: float = 0.4  # of the inverse kinematics of three hinges through a point, near their singular poses


@dataclass(frozen=True)
class StepOptions:
    """Where swing feet go."""

    capture: float = 1.0  # metres of placement a metre of the divergent component's error at landing
    forward_margin: float = 0.04  # [m] of error that the standing foot's centre of pressure can undo, fore and aft
    sideways_margin: float = 0.0  # [m]
    latest: float = 0.3  # [s] of growth at most that is previewed
    farthest: float = 0.25  # [m] from the reference's foot
    clearance: float = 0.03  # [m] of the real foot above the floor in the middle of a swing
    lift: float = 0.03  # [m] added to the reference's height there
    press: float = 0.005  # [m] below the floor that a foot aims at which should stand and does not touch it
    outward: float = 0.02  # [m] sideways beyond the reference: a fall inwards is caught by the next step
    gap: float = 0.10  # [m] sideways between the feet, less if the reference has less
    least_gap: float = 0.06  # [m]
    rise_time: float = 0.06  # [s] over which clearance begins
    fall_time: float = 0.12  # [s] over which it ends


@dataclass(frozen=True)
class ProgrammeOptions:
    """The quadratic programme of a control step."""

    effort: float = 100.0  # cost of squared activation
    deviation: float = 0.0  # cost of its squared deviation from the clip's feedforward
    change: float = 100.0  # cost of its squared change in a control step
    motor_effort: float = 100.0  # cost of a motor's squared control, in units of its range
    contact_weight: float = 10.0  # of the contact law's residual
    force_cost: float = 1e-4  # of squared contact-edge force [1/N^2]
    stance_slack: float = 0.1  # cost of a standing foot's points leaving the floor
    swing_slack: float = 0.01
    horizon: float = 0.01  # [s] of implicit damping
    iterations: int = 60  # of Newton's method at most
    tolerance: float = 1e-2
    decisions: int = 1  # times that contacts are decided (force or separation) and the programme is solved again


@dataclass(frozen=True)
class MuscleControlOptions:
    """All options of `MuscleControl`."""

    infeasible: Infeasible = Infeasible.keep  # motions that no body can follow: warn and go on, or refuse them
    processes: int = 1  # that plan environments side by side; 1: this one alone
    filter: FilterOptions = field(default_factory=FilterOptions)
    tasks: TaskOptions = field(default_factory=TaskOptions)
    steps: StepOptions = field(default_factory=StepOptions)
    programme: ProgrammeOptions = field(default_factory=ProgrammeOptions)
