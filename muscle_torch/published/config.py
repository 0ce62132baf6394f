"""Translate the published system's configuration, as stored in its checkpoints, to this package's.

Settings that only matter for further training (rewards, schedules, budgets) are translated as far as possible, and the
rest is listed in `notes`. Settings that would silently change the network's input or output raise an InputError.
"""

import ast
from collections.abc import Mapping
from typing import Any, NamedTuple

from muscle_torch.config import Config, config_from_dict, load_config, tasks
from muscle_torch.errors import InputError, nearest

BODIES = {"MyoFullBody": "fullbody", "MyoBimanualArm": "bimanual"}
GOALS = {"GoalTrajMimic": "fullbody", "GoalBimanualTrajMimic": "bimanual"}  # and their drawing variants, ...v2
MUSCLE = ("length", "velocity", "force", "excitation", "activation")
ACTIVATIONS = {"swish": "silu"}
# Reward weights and sharpnesses: term here -> name there; its default weight if the config does not set it.
TERMS = {"qpos": "qpos", "qvel": "qvel", "root_pos": "root_pos", "root_vel": "root_vel", "rpos": "rpos"}
TERMS |= {"rquat": "rquat", "rvel_rot": "rvel", "rvel_lin": "rvel"}
DEFAULT_WEIGHTS = {"qvel": 0.2, "root_vel": 0.2, "rpos": 0.5, "rquat": 0.3}
ROOT_TERMS = ("root_pos", "root_vel")
PENALTIES = ("action_out_of_bounds", "joint_acc", "joint_torque", "action_rate", "activation_energy")
# Site order if the config does not list the sites; for the arms it differs from the configs'. (): the body's order.
ARM = ("shoulder_mimic", "elbow_mimic", "hand_mimic")
DEFAULT_SITES = {
    "fullbody": (),
    "bimanual": ("upper_body_mimic", *(f"{side}_{site}" for side in ("right", "left") for site in ARM)),
}
# Thresholds of the evaluation tables (paper, section 5 and table 8).
PAPER_THRESHOLDS = {
    "fullbody": {"mean_relative_site_deviation": 0.5, "root_deviation": 0.5},
    "bimanual": {"mean_site_deviation": 0.25},
}


class Published(NamedTuple):
    """A translated configuration."""

    config: Config
    sites: tuple[str, ...]  # tracked sites in the order that the network was trained on; (): the body's order
    model_version: str  # of the body's package; "": not stored in the checkpoint
    notes: tuple[str, ...]  # settings that could not be translated


def published_config(stored: Mapping[str, Any]) -> Published:
    """Translate the configuration of a published checkpoint.

    Args:
        stored: The JSON of its `config/metadata`.

    Raises:
        InputError: The JSON is not as expected, or the network cannot be used here.
    """
    experiment = stored.get("experiment")
    if not isinstance(experiment, dict) or not isinstance(experiment.get("env_params"), dict):
        raise InputError("config/metadata has no experiment.env_params: this checkpoint was written by another program")
    try:
        return _translated(stored, experiment)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"config/metadata is not as expected: {type(error).__name__} {error}") from None


def _translated(stored: Mapping[str, Any], experiment: Mapping[str, Any]) -> Published:
    env: Mapping[str, Any] = experiment["env_params"]
    notes: list[str] = []
    body = _body(env)
    _reject_unsupported(experiment, env, body)
    goal = env.get("goal_params") or {}
    policy, exploration = _network(experiment)
    values = {
        "task": next((t for t in tasks() if load_config(t).embodiment.name == body), body),
        "embodiment": {"name": body, "fingers": not env.get("disable_fingers", True)},
        "goal": {
            "name": "motion",
            "lookahead": int(goal.get("n_step_lookahead", 1)),
            "stride": int(goal.get("n_step_stride", 1)),
            "compact_reference": bool(goal.get("use_concise_lookahead", False)),
        },
        "actions": {"muscles": {"mapping": "half"}},
        "num_envs": int(experiment.get("num_envs", env.get("num_envs", 1))),
        "total_steps": int(experiment.get("total_timesteps", Config.total_steps)),
        "policy": policy,
        "exploration": exploration,
        "env": {"horizon": int(env.get("horizon", 1000))},
        "observation": _observation(env, goal, body),
        "reward": _reward(env.get("reward_params") or {}, body, notes),
        "termination": _thresholds(env, notes),
        "evaluation_termination": _thresholds(experiment.get("validation") or {}, []) or PAPER_THRESHOLDS[body],
        "ppo": _ppo(experiment),
        "optimizer": _optimizer(experiment, notes),
    }
    sites = tuple(goal.get("sites_for_mimic") or DEFAULT_SITES[body])
    return Published(config_from_dict(values), sites, _model_version(stored), tuple(notes))


def _body(env: Mapping[str, Any]) -> str:
    name = str(env.get("env_name", ""))
    if name.removeprefix("Mjx") not in BODIES:
        raise InputError(
            f"the checkpoint's body is {name!r}{nearest(name, list(BODIES))}: that body is not available here"
        )
    return BODIES[name.removeprefix("Mjx")]


def _reject_unsupported(experiment: Mapping[str, Any], env: Mapping[str, Any], body: str) -> None:
    """Raise InputError for settings that would change the meaning of the network's input or output."""
    goal = env.get("goal_params") or {}
    kind = str(env.get("goal_type", "")).removesuffix("v2")
    control = (env.get("control_params") or {}).get("mode", "direct")
    step = float(env.get("timestep") or 0.002) * int(env.get("n_substeps") or 5)
    unsupported = {
        f"goal_type {env.get('goal_type')}": GOALS.get(kind) != body,
        "enable_mimic_site_rpos_observations: false": not goal.get("enable_mimic_site_rpos_observations", True),
        "a history of observations (len_obs_history)": any(
            (w.get("len_obs_history") or 1) > 1 for w in (experiment, env)
        ),
        f"control steps of {step:g} s (here: 0.01)": abs(step - 0.01) > 1e-9,
        "observation groups": any(experiment.get(f"{part}_obs_group") for part in ("actor", "critic")),
        f"control {env.get('control_type')}, mode {control}": env.get("control_type", "DefaultControl")
        != "DefaultControl"
        or control != "direct",
    }
    for setting, is_used in unsupported.items():
        if is_used:
            raise InputError(f"the checkpoint was trained with {setting}, which this project does not support")


def _observation(env: Mapping[str, Any], goal: Mapping[str, Any], body: str) -> dict[str, Any]:
    full = body == "fullbody"
    muscle = [q for q in MUSCLE if env.get(f"enable_muscle_{q}_observations", False)]
    shown = {
        "root_pos": full and env.get("enable_joint_pos_observations", True),
        "joint_pos": env.get("enable_joint_pos_observations", True),
        "root_vel": full and env.get("enable_joint_vel_observations", True),
        "joint_vel": env.get("enable_joint_vel_observations", True),
        "muscle": bool(muscle),
        "touch": env.get("enable_touch_sensor_observations", full),
        "site_relative": True,
        "reference": True,
        "phase": goal.get("enable_motion_phase", True),
    }
    return {"terms": [name for name, on in shown.items() if on], "muscle": muscle}


def _reward(params: Mapping[str, Any], body: str, notes: list[str]) -> dict[str, Any]:
    if params.get("use_mean_exp_reward"):
        notes.append("use_mean_exp_reward: the rewards were means of exponentials, here they are exponentials of means")
    terms = {here: there for here, there in TERMS.items() if body == "fullbody" or here not in ROOT_TERMS}
    return {
        "weights": {o: float(params.get(f"{t}_w_sum", DEFAULT_WEIGHTS.get(t, 0.0))) for o, t in terms.items()},
        "sharpness": {o: float(params[f"{t}_w_exp"]) for o, t in terms.items() if f"{t}_w_exp" in params},
        "penalties": {
            name: float(params.get(f"{name}_coeff", 0.01 if name == PENALTIES[0] else 0.0))
            for name in PENALTIES
            if name == PENALTIES[0] or params.get(f"{name}_coeff")
        },
    }


def _thresholds(settings: Mapping[str, Any], notes: list[str]) -> dict[str, float]:
    """Return the termination terms of a `terminal_state_type` and its parameters; unknown types add a note."""
    kind = str(settings.get("terminal_state_type") or "").removesuffix("TerminalStateHandler")
    params = settings.get("terminal_state_params") or {}
    mean = float(params.get("mean_site_deviation_threshold", 0.3))
    if not params.get("enable_site_check", True) or kind in ("", "NoTerminal", "Bimanual"):
        return {}
    if kind == "MeanSiteDeviation":
        return {"mean_site_deviation": mean}
    if kind == "EnhancedBimanual":
        measure = "max_site_deviation" if params.get("site_deviation_mode") == "max" else "mean_site_deviation"
        return {measure: float(params.get("max_site_deviation", 0.5))}
    if kind in ("MeanRelativeSiteDeviation", "MeanRelativeSiteDeviationWithRoot"):
        thresholds = {"mean_relative_site_deviation": mean}
        if kind.endswith("WithRoot"):
            thresholds["root_deviation"] = float(params.get("root_deviation_threshold", 0.3))
            if params.get("root_orientation_threshold") is not None:
                thresholds["root_orientation"] = float(params["root_orientation_threshold"])
        return thresholds
    notes.append(f"termination {kind}: not supported, so training from this checkpoint never ends an episode early")
    return {}


def _network(experiment: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of `policy` and of `exploration`."""
    mixture, activation = experiment.get("moe_config") or {}, str(experiment.get("activation", "silu"))
    ppo = experiment.get("ppo_config") or experiment
    values: dict[str, Any] = {
        "hidden": _widths(experiment, "actor_hidden_layers"),
        "critic_hidden": _widths(experiment, "critic_hidden_layers"),
        "activation": ACTIVATIONS.get(activation, activation),
        "layernorm_epsilon": float(experiment.get("layernorm_eps", 1e-5)) if experiment.get("use_layernorm") else 0.0,
        "normalizer_epsilon": 1e-8,
        "normalizer_clip": 0.0,
    }
    exploration = {
        "initial_std": float(ppo.get("init_std", 1.0)),
        "min_std": 1e-8,  # the published policies' standard deviation has no bounds
        "max_std": 1e8,
        "learn_std": bool(ppo.get("learnable_std", True)),
    }
    if experiment.get("use_moe"):
        values["critic_hidden"] = []  # ignored there for a mixture of experts
        values["mixture"] = {
            "experts": int(mixture["num_experts"]),
            "layers": [int(i) for i in mixture["moe_at_layers"]],
            "networks": str(mixture.get("apply_moe_to", "both")),
            "temperature": float(mixture.get("temperature", 1.0)),
            "balance": float(mixture.get("load_balance_loss_weight", 0.01)),
        }
        return {"name": "moe", **values}, exploration
    if experiment.get("use_residual"):
        residual = str(experiment.get("residual_type", "gated"))
        return {"name": "gated_residual", **values, "residual": residual, "skip_gain": 1.0}, exploration
    return {"name": "mlp", **values}, exploration


def _widths(experiment: Mapping[str, Any], name: str) -> list[int]:
    """Return layer widths, stored as a list or as its text."""
    stored = experiment.get(name)
    try:
        widths = ast.literal_eval(stored) if isinstance(stored, str) else stored
        return [int(width) for width in widths or []]
    except (ValueError, SyntaxError, TypeError):
        raise InputError(f"the checkpoint's {name} is {stored!r}: expected a list of widths") from None


def _ppo(experiment: Mapping[str, Any]) -> dict[str, Any]:
    ppo = experiment.get("ppo_config") or experiment
    return {
        "num_steps": int(ppo.get("num_steps", 20)),
        "epochs": int(ppo.get("update_epochs", 1)),
        "minibatches": int(ppo.get("num_minibatches", 32)),
        "gamma": float(ppo.get("gamma", 0.99)),
        "gae_lambda": float(ppo.get("gae_lambda", 0.95)),
        "clip": float(ppo.get("clip_eps", 0.2)),
        "value_clip": float(ppo.get("clip_eps_vf", 0.2)),
        "value_coef": float(ppo.get("vf_coef", 0.5)),
        "entropy_coef": float(ppo.get("ent_coef", 0.0)),
        "max_grad_norm": float(experiment.get("max_grad_norm", 1.0)),
        "normalize_reward": bool(experiment.get("normalize_env", True)),
    }


def _optimizer(experiment: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    muon, name = experiment.get("muon_config") or {}, str(experiment.get("optimizer_type", "adamw"))
    if name == "muon" and (muon.get("adaptive") or not muon.get("nesterov", True)):
        notes.append("muon_config: adaptive and nesterov=false are not supported")
    schedule = "constant"
    if experiment.get("schedule") == "adaptive":
        schedule = "adaptive"
    elif experiment.get("anneal_lr"):
        schedule = "cosine" if experiment.get("lr_schedule_type") == "warmup_cosine" else "linear"
    # Their linear schedule ends at 0 regardless of min_lr_ratio.
    floor = float(experiment.get("min_lr_ratio", 0.0)) if schedule == "cosine" else 0.0
    decay = muon.get("weight_decay", 0.0) if name == "muon" else experiment.get("weight_decay", 0.0)
    options = {
        "name": name,
        "learning_rate": float(experiment.get("lr", 4e-4)),
        "schedule": schedule,
        "min_ratio": floor,
        "desired_kl": float(experiment.get("desired_kl") or 0.01),
        "weight_decay": float(decay or 0.0),
        "epsilon": 1e-8 if name == "muon" else 1e-5,
    }
    return options | ({"momentum": float(muon.get("beta", 0.95))} if name == "muon" else {})


def _model_version(stored: Mapping[str, Any]) -> str:
    """Return the first value of a key `...model...version`; "" if there is none, as in release 0.1.0."""
    for name, value in stored.items():
        if isinstance(value, Mapping):
            if version := _model_version(value):
                return version
        elif "model" in name and "version" in name and isinstance(value, str):
            return value
    return ""
