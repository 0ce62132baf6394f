"""Export a trained policy to one file that runs without muscle_torch: ONNX (.onnx) or TorchScript (.pt).

`python tools/export.py checkpoint=runs/my_run output=policy.onnx`. The file maps `observation` (batch, D) float32, as
returned by the environment, to `control` (batch, actuators) float32: values for MuJoCo's `ctrl` of the actuators in
`actuator_names`, for muscles their excitation in [0, 1]. It contains the observation normalizer, the policy (mode of
its distribution) and the action spaces, for any batch size. The metadata lists the observation's columns, the
actuators, the task and the body (ONNX: metadata_props; TorchScript: the extra file `metadata.json`). The file is read
back and compared on observations of the environment before it appears.
"""

import dataclasses
import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from muscle_torch.config import config_from_dict, config_to_dict, key, parse_words, run_command, with_overrides
from muscle_torch.errors import InputError
from muscle_torch.storage.files import write_atomically

TOLERANCE = 1e-5  # of a control; float32 sums in another order differ by less
MIN_OPSET = 18  # native opset of torch's exporter
METADATA_FILE = "metadata.json"  # of a TorchScript file


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Options of the program."""

    checkpoint: str = key("", "the trained policy: a checkpoint file, a run folder or pretrained:<name>")
    output: str = key("policy.onnx", "the file to write: .onnx or .pt (TorchScript)")
    opset: int = key(18, "ONNX operator set, at least 18")
    motion: Any = key("", "motion to check the file with; empty: the training's")


def main(words: Sequence[str]) -> int:
    """Export the policy; return the exit code."""
    options = parse_words(ExportOptions, words)
    if not options.checkpoint:
        raise InputError("no checkpoint: set checkpoint=<run folder or checkpoint file>")
    output = Path(options.output)
    if output.suffix not in WRITERS:
        raise InputError(f"cannot write {output}: output= must end in {' or '.join(WRITERS)}")
    from muscle_torch.models import load_policy

    policy = load_policy(options.checkpoint)
    observations, metadata, action_spaces = observe(policy, options.motion)
    metadata |= {"checkpoint": options.checkpoint}
    difference = export(policy, output, observations, metadata, options.opset, action_spaces)
    size = output.stat().st_size / 1e6
    kind = f"ONNX opset {options.opset}" if output.suffix == ".onnx" else "TorchScript"
    print(f"{output}: {kind}, {size:.2f} MB, observation (batch, {observations.shape[1]}) -> control (batch, ", end="")
    print(f"{len(metadata['actuator_names'])})")
    print(f"verified: controls for {len(observations)} observations differ by at most {difference:.1e}")
    return 0


class Controls(nn.Module):
    """Network from observation (B, D) to controls of the driven actuators (B, actuators)."""

    def __init__(self, policy: Any, actions: Any):
        """Combine a policy with its action spaces."""
        super().__init__()
        self.policy, self._actions = policy, actions

    def forward(self, observation: Tensor) -> Tensor:
        """Return the controls (B, actuators) for observations (B, D)."""
        action = self.policy.distribution(observation).mode
        return self._actions.driven_controls(self._actions.to_actuators(action), UNAVAILABLE, UNAVAILABLE)


class Unavailable:
    """Placeholder for physics and goal, which do not exist in an exported file."""

    def __getattr__(self, name: str) -> Any:
        raise InputError(
            f"an action space reads {name} of the simulation, which cannot be exported; use another action space"
        )


UNAVAILABLE: Any = Unavailable()


def export(
    policy: Any, output: Path, observations: Tensor, metadata: dict[str, Any], opset: int = 18, actions: Any = None
) -> float:
    """Write a policy and its action spaces to one file, and verify it.

    Args:
        policy: Of `load_policy`.
        output: The file; its suffix selects the format.
        observations: Observations to compare on, (N, D).
        metadata: Metadata for the file.
        opset: ONNX operator set.
        actions: `env.actions`; None: those of the policy's task.

    Returns:
        The largest difference of a control after reading back.

    Raises:
        InputError: The policy cannot be exported, or the difference is above `TOLERANCE`; no file is left.
    """
    actions = observe(policy, steps=1)[2] if actions is None else actions
    network = Controls(policy.policy, actions).to("cpu").eval()
    name = policy.policy.spec["name"]
    with write_atomically(output, "free disk space or choose another output=") as temporary:
        with _unchecked_distributions():
            WRITERS[output.suffix](network, observations, temporary, metadata, opset)
        difference = compare(READERS[output.suffix](temporary), network, observations)
        if not difference <= TOLERANCE:
            raise InputError(
                f"policy={name} cannot be exported: the {output.suffix} file's controls differ from the policy's "
                f"by {difference:.1e}; make its forward independent of values and of the batch size"
            )
    return difference


def compare(run: Callable[[np.ndarray], np.ndarray], network: nn.Module, observations: Tensor) -> float:
    """Return the largest difference of a control between `run` and `network`, for single and batched observations.

    Args:
        run: The exported file.
        network: The original.
        observations: (N, D).
    """
    with torch.no_grad():
        expected = network(observations).numpy()
    batches = [slice(0, 1), slice(1, None), slice(0, None)]
    try:
        differences = [np.abs(run(observations[rows].numpy()) - expected[rows]).max() for rows in batches]
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the exported file does not support every batch size: {_line(error)}") from None
    return float(np.max(differences))


def observe(policy: Any, motion: Any = "", steps: int = 64) -> tuple[Tensor, dict[str, Any], Any]:
    """Return observations of the policy in its task (steps, D), metadata for the file, and the action spaces.

    Args:
        policy: Of `load_policy`.
        motion: Value of `motion=`; empty: the training's.
        steps: Number of observations.

    Raises:
        InputError: The task has other sizes than the policy.
    """
    from muscle_torch import __version__
    from muscle_torch.envs import make_env

    # Alone: the file holds the policy's own actions, not those of a partner.
    config = with_overrides(config_from_dict(policy.config), partner="", assistance={"name": "zero"})
    options = {"motion": motion} if motion else {}
    env = make_env(config, 1, "cpu", backend="mujoco", threads=1, **options)
    try:
        sizes = policy.policy.spec["observation_size"], policy.policy.spec["action_size"]
        if (env.observation_size, env.action_size) != sizes:
            raise InputError(
                f"the checkpoint's policy has sizes {sizes}, but its task has ({env.observation_size}, "
                f"{env.action_size}): it is from another version of muscle_torch; retrain it"
            )
        observations = [env.begin()]
        while len(observations) < steps:
            step = env.advance(policy.act(observations[-1]))
            observations.append(env.restart(step.terminated | step.truncated))
        body = env.embodiment
        metadata = {
            "producer": f"muscle_torch {__version__}",
            "task": policy.task,
            "policy": policy.policy.spec["name"],
            **body.identity,
            "control_frequency": body.control_frequency,
            "actions": config_to_dict(config)["actions"],
            "actuator_names": [body.actuator_names[i] for i in env.actions.driven.tolist()],
            "muscle_names": list(body.muscle_names),
            "observation_layout": {k: [s.start, s.stop, s.step or 1] for k, s in env.observation_layout.items()},
        }
    finally:
        env.close()
    return torch.cat(observations), metadata, env.actions


def write_onnx(network: nn.Module, observations: Tensor, path: Path, metadata: dict[str, Any], opset: int) -> None:
    """Write one .onnx file with weights, free batch size, and metadata in metadata_props.

    Args:
        network: The network.
        observations: Example inputs, (N, D).
        path: The file.
        metadata: Metadata; all but text is stored as JSON.
        opset: ONNX operator set.

    Raises:
        InputError: The policy or opset is not supported, or a package is missing.
    """
    _need("onnx", "onnxscript", "onnxruntime")
    if opset < MIN_OPSET:
        raise InputError(f"opset={opset}: must be at least {MIN_OPSET}")
    import onnx

    batch = torch.export.Dim("batch")
    try:
        with _quiet():
            program = torch.onnx.export(
                network,
                (observations[:2],),
                input_names=["observation"],
                output_names=["control"],
                dynamic_shapes=({0: batch},),
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        model = program.model_proto
    except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"the policy cannot be exported to ONNX: {_line(error)}") from None
    written = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if written != opset:
        raise InputError(f"opset={opset} is not supported by this torch, but {written} is: remove opset=")
    onnx.helper.set_model_props(model, _texts(metadata))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def write_torchscript(
    network: nn.Module, observations: Tensor, path: Path, metadata: dict[str, Any], opset: int
) -> None:
    """Write a traced TorchScript file with metadata in its extra file `metadata.json`.

    Args:
        network: The network.
        observations: Example inputs, (N, D).
        path: The file.
        metadata: Metadata.
        opset: Unused.

    Raises:
        InputError: The policy cannot be traced.
    """
    try:
        with _quiet(), torch.no_grad():
            traced = torch.jit.trace(network, (observations[:2],), check_trace=False)
            torch.jit.save(traced, str(path), _extra_files={METADATA_FILE: json.dumps(metadata)})
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"the policy cannot be exported to TorchScript: {_line(error)}") from None


def read_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that runs an .onnx file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda observation: session.run(["control"], {"observation": observation})[0]  # type: ignore[return-value]


def read_torchscript(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that runs a TorchScript file."""
    loaded = torch.jit.load(str(path))
    return lambda observation: loaded(torch.from_numpy(observation)).numpy()


WRITERS: dict[str, Callable[[nn.Module, Tensor, Path, dict[str, Any], int], None]] = {
    ".onnx": write_onnx,
    ".pt": write_torchscript,
}
READERS: dict[str, Callable[[Path], Callable[[np.ndarray], np.ndarray]]] = {
    ".onnx": read_onnx,
    ".pt": read_torchscript,
}


def _texts(metadata: dict[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}


def _need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{package} is not installed: run `pip install 'muscle_torch[export]'`, or export to .pt")


def _line(error: BaseException) -> str:
    """Return the first line of an exporter's root error."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'unknown reason'}"


@contextmanager
def _unchecked_distributions() -> Iterator[None]:
    """Disable argument validation of distributions: it depends on values, which a graph cannot represent."""
    validate = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(validate)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporters' log output."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(None), redirect_stderr(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


if __name__ == "__main__":
    run_command(main, ExportOptions, __doc__ or "")
