"""The imitation environment: W bodies, each following a motion of the library. TorchRL's `EnvBase`, tensors inside.

`begin`, `assign`, `advance` and `restart` are the fast path: plain tensors, no host synchronisation on CUDA, and what
they return is never changed later. `reset`, `step` and `rollout` of TorchRL stand on top.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

from muscle_torch.config import Config
from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionLibrary, Sampler
from muscle_torch.physics import Physics

from .action import ActionMap
from .adaptation import Adaptation
from .goals.headline import Headline
from .history import History
from .metrics import tracking_errors
from .muscle_randomization import MuscleRandomization
from .observations import check_observation, layout, observe
from .rewards import Reward
from .state import ModelIndices, Reference, RootRange, State
from .terminations import Termination


class Transition(NamedTuple):
    """What one control step led to. `terminated | truncated` ends the episode; `restart` begins the next one."""

    observation: Tensor  # after the step, before any reset, (W, D)
    reward: Tensor  # (W,)
    terminated: Tensor  # lost the motion, bool (W,)
    truncated: Tensor  # end of the motion, horizon, or broken, bool (W,)
    terms: dict[str, Tensor]  # "reward/<term>" before its weight, "penalty", "err/<name>", each (W,)
    broken: Tensor  # not a number somewhere: reward and observation are 0, bool (W,)


class MuscleEnv(EnvBase):
    """One motion a world. Each control step advances the reference one frame, up to the last of the clip."""

    def __init__(
        self,
        config: Config,
        embodiment: Embodiment,
        library: MotionLibrary,
        sampler: Sampler,
        physics: Physics,
        evaluation: bool = False,
    ):
        """evaluation: thresholds of `config.evaluation_termination`, and `begin` gives out the clips in order."""
        super().__init__(device=physics.device, batch_size=torch.Size([physics.num_worlds]))
        self.config, self.embodiment, self.library, self.physics = config, embodiment, library, physics
        self.evaluation = evaluation
        self.num_envs = physics.num_worlds
        # On a CPU looking at a result saves work; on a GPU it would stop the queue until all before it is done.
        self._may_look = physics.device.type == "cpu"
        self._action_map = ActionMap(config.env, embodiment, self.device)
        self.action_names, self.zero_action = self._action_map.names, self._action_map.zero_action
        self.action_size = embodiment.model.nu
        self.measure_errors = True  # False leaves "err/..." out of `advance().terms`, which saves its time
        self._sampler = sampler
        self._body = ModelIndices.of(embodiment, self.device, config.excluded_sites)
        self._rows = self._body.rows
        self.muscles = MuscleRandomization(
            config.randomization, embodiment, self.num_envs, config.seed, middle=evaluation
        )
        self.muscles.apply(physics)
        self._root_range = RootRange.of(library.qpos) if self._body.has_root else None
        thresholds = config.evaluation_termination if evaluation else config.termination
        self._reward = Reward(config.reward, self._body, self.device)
        self._termination = Termination(thresholds, self._body, self.device)
        self._adaptation = None if evaluation else Adaptation(config, self._termination, self._reward, sampler)
        check_observation(config.observation, self._body)
        if config.env.horizon < 1:
            raise InputError(f"env.horizon={config.env.horizon}: an episode has at least 1 control step")
        shown = config.observation
        self._offsets = torch.arange(shown.lookahead, device=self.device) * shown.stride
        self._make_buffers()
        self._history = History(shown, layout(self._state(), shown.terms))
        self.observation_layout = self._history.layout
        self._observation = self._history.begin(observe(self._state(), shown.terms))
        self.observation_size = self._observation.shape[1]
        self._make_specs()

    # The fast path

    @torch.no_grad()
    def begin(self) -> Tensor:
        """Resets every world; the observation (W, D). Evaluation: world i gets clip i, from its first frame."""
        if self.evaluation:
            clip = torch.arange(self.num_envs, device=self.device) % self.library.num_clips
            return self.assign(clip, torch.zeros_like(clip))
        return self.assign(*self._sampler.sample(self.num_envs))

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """(clip, frame), each (count,), to begin on: as training begins its episodes."""
        return self._sampler.sample(count)

    @torch.no_grad()
    def assign(self, clip: Tensor, frame: Tensor) -> Tensor:
        """Puts every world on a frame (W,) of a clip (W,), at rest but for the motion's velocity; (W, D)."""
        if self._adaptation is not None:
            self._adaptation.forget()
        everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        with _small_and_exact():
            self._place(everyone, clip.to(self.device), frame.to(self.device))
            self._observation = self._history.begin(observe(self._state(), self.config.observation.terms))
        return self._observation

    @torch.no_grad()
    def advance(self, action: Tensor) -> Transition:
        """One control step under the action (W, nu), clipped to [-1, 1] a muscle but penalised as it is."""
        with _small_and_exact():
            action = self._action_map.to_muscles(action.to(self.device, torch.float32))
            if self._reward.needs_previous_qvel:
                self._previous_qvel.copy_(self.physics.field("qvel"))
            bad_start = self.physics.bad_worlds()  # what MuJoCo C finds wrong at a reset, a step forgets
            self.physics.step(self._action_map.to_controls(action), self.embodiment.substeps)
            torch.minimum(self._row + 1, self._last_row, out=self._row)
            self.episode_step += 1
            return self._judge(self._state(action=action), bad_start | self.physics.bad_worlds())

    def _judge(self, state: State, bad: Tensor) -> Transition:
        observation = self._history.add(self._observation, observe(state, self.config.observation.terms))
        reward, terms = self._reward(state)
        if self.measure_errors:
            terms |= tracking_errors(state)
        if self.evaluation:
            terms |= self._reward.others(state)
        # A sum is finite only if all of its numbers are.
        broken = bad | ~torch.isfinite(observation.sum(dim=1) + reward)
        terminated = self._termination(state) & ~broken
        truncated = (self.episode_step >= self.config.env.horizon) | (self._row >= self._last_row) | broken

        self._action.copy_(state.action)
        self.nan_resets += broken.sum()
        if self._adaptation is not None:
            self._adaptation.count(self.clip, terminated | truncated, terminated | broken)
        if not self._may_look or broken.any():
            observation = torch.where(broken.unsqueeze(1), 0.0, observation)
            reward = torch.where(broken, 0.0, reward)
        self._observation = observation
        return Transition(observation, reward, terminated, truncated, terms, broken)

    @torch.no_grad()
    def restart(self, done: Tensor) -> Tensor:
        """Begins a new episode in the worlds of `done` (W,) bool; the observation of all worlds after it (W, D).

        The other worlds' rows are those that `advance` returned.
        """
        if self._may_look and not done.any():
            return self._observation
        terms = self.config.observation.terms
        with _small_and_exact():
            self._place(done, *self._sampler.sample(self.num_envs))
            if self._may_look:  # observe only the worlds that changed
                worlds = done.nonzero().squeeze(1)
                begun = self._history.begin(observe(self._state(worlds), terms))
                self._observation = self._observation.index_copy(0, worlds, begun)
            else:
                begun = self._history.begin(observe(self._state(), terms))
                self._observation = torch.where(done.unsqueeze(1), begun, self._observation)
        return self._observation

    def adapt(self, total: Callable[[Tensor], Tensor] = lambda counts: counts) -> dict[str, float]:
        """Once an update: curricula and sampling follow how the episodes since the last call ended; metrics.

        total: where several environments learn together, what adds their counts up.
        """
        return {} if self._adaptation is None else self._adaptation.update(total)

    headline = Headline("err/site_abs", "site error", "mm", 1e3)

    def health(self) -> dict[str, Tensor]:
        """Return counters () since the environment was made; those of several processes add up.

        nan_resets: environments that diverged. overflow: buffers of the physics that ran over since the last call.
        """
        overflow = sum(self.physics.overflow().values())
        return {"nan_resets": self.nan_resets, "overflow": torch.full_like(self.nan_resets, overflow)}

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint stores to check that it fits another environment."""
        return {
            "embodiment": self.embodiment.name,
            "fingers": self.embodiment.fingers,
            "model_version": self.embodiment.model_version,
            "observation_size": self.observation_size,
            "action_size": self.action_size,
        }

    @property
    def clip_failure_rate(self) -> Tensor:
        """Running failures an episode of each clip, (C,); 0.5 (the prior) for clips not drawn yet. Training only."""
        assert self._adaptation is not None, "an evaluation keeps no running rates"
        return self._adaptation.failures.rate

    def snapshot(self) -> dict[str, Any]:
        """Copies of all that continues exactly."""
        own: dict[str, Any] = {name: getattr(self, name).clone() for name in self._OWN}
        adaptation = {} if self._adaptation is None else {"adaptation": self._adaptation.state()}
        own |= {"muscles": self.muscles.state(), "physics": self.physics.state(), "sampler": self._sampler.state()}
        return own | adaptation

    def load_snapshot(self, snapshot: dict[str, Any]) -> None:
        """Continues from a snapshot to the bit. Raises InputError where it is another environment's."""
        for name in self._OWN:
            if snapshot[name].shape != getattr(self, name).shape:
                raise InputError(
                    f"stored environment does not fit: {name} has shape {tuple(snapshot[name].shape)}, needed "
                    f"{tuple(getattr(self, name).shape)}; resume with the same task, num_envs and observation"
                )
        self.muscles.load_state(snapshot.get("muscles", {}), self.physics)
        self.physics.load_state(snapshot["physics"])
        self._sampler.load_state(snapshot["sampler"])
        if self._adaptation is not None and "adaptation" in snapshot:
            self._adaptation.load_state(snapshot["adaptation"])
        for name in self._OWN:
            # Replaced, not filled: what was returned before must not change.
            setattr(self, name, snapshot[name].to(self.device, copy=True))

    def close(self, *, raise_if_closed: bool = True) -> None:
        super().close(raise_if_closed=raise_if_closed)
        self.physics.close()

    # What is kept of each world

    _OWN = (
        *("clip", "episode_step", "nan_resets", "_row", "_first_row", "_last_row", "_origin"),
        *("_action", "_previous_qvel", "_observation"),
    )

    def _make_buffers(self) -> None:
        worlds, model = self.num_envs, self.embodiment.model
        whole = {"dtype": torch.long, "device": self.device}
        self.clip = torch.zeros(worlds, **whole)
        self.episode_step = torch.zeros(worlds, **whole)
        self.nan_resets = torch.zeros((), **whole)  # worlds that broke, since the environment was made
        self._first_row = self.library.start[self.clip].clone()  # of the clip, in the library's tables
        self._last_row = self._first_row + self.library.length[self.clip] - 1
        self._row = self._first_row.clone()  # where the reference is
        self._origin = torch.zeros(worlds, 2, device=self.device)
        self._action = torch.zeros(worlds, model.nu, device=self.device)
        self._previous_qvel = torch.zeros(worlds, model.nv, device=self.device)

    @property
    def observation(self) -> Tensor:
        """The newest observation, (W, D)."""
        return self._observation

    @property
    def frame(self) -> Tensor:
        """Frame of its clip that each world should be at, (W,)."""
        return self._row - self._first_row

    def _place(self, worlds: Tensor, clip: Tensor, frame: Tensor) -> None:
        """Puts the chosen worlds (W,) bool on a frame (W,) of a clip (W,); rows of the others are ignored.

        The body takes over the motion's position and velocity; horizontally, where it starts becomes the origin.
        """
        first = self.library.start[clip]
        last = first + self.library.length[clip] - 1
        row = torch.minimum(first + frame, last)
        self.clip = torch.where(worlds, clip, self.clip)
        self._first_row = torch.where(worlds, first, self._first_row)
        self._last_row = torch.where(worlds, last, self._last_row)
        self._row = torch.where(worlds, row, self._row)
        self.episode_step = torch.where(worlds, 0, self.episode_step)
        self._action = torch.where(worlds.unsqueeze(1), 0.0, self._action)
        qpos, qvel = self.library.qpos.index_select(0, row), self.library.qvel.index_select(0, row)
        if self._body.has_root:
            self._origin = torch.where(worlds.unsqueeze(1), qpos[:, :2], self._origin)
            qpos[:, :2].zero_()
        self.physics.reset(worlds, qpos, qvel)

    def _state(self, worlds: Tensor | None = None, action: Tensor | None = None) -> State:
        """What the terms see: of all worlds, or of those with these ids; action: the one that led here."""

        def own(values: Tensor) -> Tensor:
            return values if worlds is None else values.index_select(0, worlds)

        def read(name: str) -> Tensor:
            return own(self.physics.field(name, self._rows.get(name)))

        row, first, last = own(self._row), own(self._first_row), own(self._last_row)
        origin = own(self._origin) if self._body.has_root else None
        ahead = torch.minimum(row.unsqueeze(1) + self._offsets, last.unsqueeze(1))
        shown = self.config.observation
        return State(
            body=self._body,
            read=read,
            reference=Reference(self.library, row, origin),
            ahead=Reference(self.library, ahead, origin),
            phase=(row - first) / (last - first + 1),
            action=own(self._action) if action is None else action,
            previous_action=own(self._action),
            previous_qvel=own(self._previous_qvel),
            root_range=self._root_range,
            quantities=tuple(shown.muscle),
            concise=shown.concise,
        )

    # TorchRL

    def _make_specs(self) -> None:
        shape, device = self.batch_size, self.device

        def of(size: int) -> torch.Size:
            return torch.Size((*shape, size))

        flag = {"n": 1, "shape": of(1), "dtype": torch.bool, "device": device}
        self.observation_spec = Composite(
            observation=Unbounded(of(self.observation_size), device=device), shape=shape, device=device
        )
        self.action_spec = Bounded(-1.0, 1.0, of(self.action_size), device=device)
        self.reward_spec = Unbounded(of(1), device=device)
        self.done_spec = Composite(
            done=Binary(**flag), terminated=Binary(**flag), truncated=Binary(**flag), shape=shape, device=device
        )

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDict:
        chosen = None if tensordict is None else tensordict.get("_reset", None)
        observation = self.begin() if chosen is None else self.restart(chosen.view(self.num_envs))
        running = torch.zeros(*self.batch_size, 1, dtype=torch.bool, device=self.device)
        flags = dict.fromkeys(("done", "terminated", "truncated"), running)
        return self._packed(observation=observation, **flags)

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        step = self.advance(tensordict["action"])
        terminated, truncated = step.terminated.unsqueeze(1), step.truncated.unsqueeze(1)
        return self._packed(
            observation=step.observation,
            reward=step.reward.unsqueeze(1),
            done=terminated | truncated,
            terminated=terminated,
            truncated=truncated,
        )

    def _packed(self, **tensors: Tensor) -> TensorDict:
        return TensorDict({k: v.clone() for k, v in tensors.items()}, batch_size=self.batch_size, device=self.device)

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            self._sampler.generator.manual_seed(seed)


@contextmanager
def _small_and_exact() -> Iterator[None]:
    """The terms are many and small: torch's threads would wait for each other, and on a CPU take the physics' cores.
    And they are differences of what is nearly alike: `precision=tf32` is of the networks alone."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
