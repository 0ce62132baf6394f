"""Memory: estimated before it is taken, by every part; what does not fit is refused with a number that does."""

import subprocess
import sys

import pytest
import torch
import warp as wp
from commands import train
from env_cases import clip, saved, small_env
from torch import nn

from muscle_torch.config import Config, load_config
from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.models import make_policy
from muscle_torch.motion import MotionLibrary
from muscle_torch.physics.memory import (
    FILL,
    Memory,
    estimate,
    mujoco_bytes,
    oom_as_input_error,
    resolve_num_envs,
    warp_bytes,
)
from muscle_torch.rl import rows_at_once
from muscle_torch.rl.logger import device_bytes

TOY = ("task=toy_arm", "threads=1", "ppo.num_steps=8", "device=cpu", "evaluate=false", "max_iterations=1")
CPU = torch.device("cpu")


def of(task: str, hidden: int = 64, **changes) -> Memory:
    """Of a policy of two linear layers with `hidden` outputs each."""
    cfg = load_config(task, **changes)
    env = make_env(cfg, 1, "cpu", threads=1)
    policy = nn.Sequential(nn.Linear(3, hidden), nn.Linear(hidden, hidden))
    return estimate(env, policy, cfg, on_gpu=False, chunk=rows_at_once(env.observation_size))


def test_every_part_is_counted():
    short, long = (of("toy_arm", ppo={"num_steps": steps, "minibatches": 4}) for steps in (16, 32))
    size, hidden, muscles = 10, 2 * 64, 2  # of the toy arm: observation, outputs of the linear layers, actions
    per_step = 2 * size + 2 * muscles + 16 + (4 * size + 6 * hidden) / 4
    assert long.world - short.world == int(4 * 16 * per_step)
    parameters = [3 * n + n + n * n + n for n in (32, 64)]
    assert of("toy_arm", 64).fixed - of("toy_arm", 32).fixed == 9 * 4 * (parameters[1] - parameters[0])
    assert short.total(1000) - short.total(0) > 1000 * mujoco_bytes(make_embodiment("toy_arm").model)
    toy, arms, body = (make_embodiment(name).model for name in ("toy_arm", "bimanual", "fullbody"))
    assert 1_000 < warp_bytes(toy) < warp_bytes(arms) < warp_bytes(body) < 10_000_000


class Counting:
    """An allocator of Warp's that counts what is taken at once."""

    def __init__(self, real):
        self.real, self.taken, self.most = real, 0, 0

    def allocate(self, size_in_bytes):
        self.taken += size_in_bytes
        self.most = max(self.most, self.taken)
        return self.real.allocate(size_in_bytes)

    def deallocate(self, ptr, size_in_bytes):
        self.taken -= size_in_bytes
        self.real.deallocate(ptr, size_in_bytes)


SIZES = [("toy_arm", 64), ("bimanual", 64)]
SIZES += [pytest.param("bimanual", 1024, marks=pytest.mark.slow)]
SIZES += [pytest.param("fullbody", worlds, marks=pytest.mark.slow) for worlds in (64, 256, 1024)]


@pytest.mark.parametrize(("name", "worlds"), SIZES)
def test_the_estimate_of_warp_is_all_arrays_and_scratch(name, worlds, monkeypatch):
    """All that Warp's CPU device allocates for the worlds, and the most that a control step takes besides."""
    from muscle_torch.physics.warp_physics import WarpPhysics

    model = make_embodiment(name).model
    estimated = worlds * warp_bytes(model)
    cpu = wp.get_device("cpu")
    with monkeypatch.context() as patch:
        counted = Counting(cpu.default_allocator)
        patch.setattr(cpu, "default_allocator", counted)
        physics = WarpPhysics(model, worlds)
        counted.most = arrays = counted.taken
        physics._launch(lambda: physics._control_step(1))
    print(f"{name}, {worlds}: estimated {estimated}, arrays {arrays}, with scratch {counted.most}")
    assert arrays < counted.most <= estimated < 1.7 * counted.most
    physics.close()


def test_smaller_buffers_take_less():
    model = make_embodiment("bimanual").model
    assert warp_bytes(model, rows=400) > warp_bytes(model, rows=88) > warp_bytes(model, contacts=1, rows=40)


def test_the_memory_of_the_device_is_all_of_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (30 * 2**30, 80 * 2**30))
    assert device_bytes(torch.device("cuda", 0)) == 50 * 2**30


def test_the_most_that_fits_fits_and_one_more_does_not():
    memory = Memory(world=1000, fixed=5000, passing=10, steps=4, chunk=100, motion=0)
    assert memory.total(10) == 5000 + 10 * 1000 + 40 * 10 and memory.total(100) == 5000 + 100_000 + 100 * 10
    for free in (5000, 6039, 6040, 20_000, 1_000_000):
        most = memory.most(free)
        assert (most == 0 or memory.total(most) <= free) and memory.total(most + 1) > free


def test_what_does_not_fit_is_refused_with_a_number_that_does(tmp_path):
    memory = of("toy_arm")
    with pytest.raises(InputError) as caught:
        resolve_num_envs(load_config("toy_arm", num_envs=100_000_000), memory, CPU)
    fits = int(str(caught.value).split("num_envs=")[2].split()[0])
    assert resolve_num_envs(load_config("toy_arm", num_envs=fits), memory, CPU) == fits > 64
    all_the_same = load_config("toy_arm", num_envs=100_000_000, check_memory=False)
    assert resolve_num_envs(all_the_same, memory, CPU) == 100_000_000
    done = train(*TOY, "num_envs=100000000", cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "would fit" in done.stderr
    assert not list(tmp_path.iterdir())


def test_max_is_bounded_by_memory_and_threads():
    cfg = load_config("toy_arm", num_envs="max", threads=3)
    assert resolve_num_envs(cfg, of("toy_arm"), CPU) == 3 * 256
    large = Memory(world=2**30, fixed=0, passing=0, steps=1, chunk=1, motion=0)
    free = resolve_num_envs(cfg, large, CPU)
    assert 1 <= free < 3 * 256 and resolve_num_envs(cfg, large, CPU, sharing=2, processes=2) <= free + 1
    with pytest.raises(InputError, match="not one world"):
        resolve_num_envs(cfg, Memory(world=2**60, fixed=0, passing=0, steps=1, chunk=1, motion=0), CPU)
    assert 0 < FILL < 1


def test_max_trains_and_goes_on_and_other_words_are_refused(tmp_path):
    words = (*TOY, "num_envs=max", "experiment=max", "resume=auto")
    for updates in (1, 2):
        done = train(*words, f"max_iterations={updates}", cwd=tmp_path)
        assert done.returncode == 0 and "memory: about" in done.stdout and "for 256 worlds" in done.stdout, done.stderr
    for wrong in ("num_envs=many", "num_envs=1.5", "num_envs=true"):
        with pytest.raises(InputError, match="num_envs"):
            load_config(words=["task=toy_arm", wrong])
    with pytest.raises(InputError, match=r"train\.py"):
        make_env(load_config("toy_arm", num_envs="max"))
    assert Config.num_envs == 256


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("Failed to allocate 123 bytes on device 'cuda:0'"),
        MemoryError(),
    ],
)
def test_running_out_is_one_line(error):
    with pytest.raises(InputError, match="num_envs=6144 may fit"), oom_as_input_error(load_config(), 8192):
        raise error
    with pytest.raises(InputError, match="out of memory"), oom_as_input_error(load_config(), 8192):
        torch.empty(1 << 60)
    with pytest.raises(RuntimeError, match="something else"), oom_as_input_error(load_config(), 8192):
        raise RuntimeError("something else")


def test_a_motion_library_of_two_thousand_clips_is_accounted(tmp_path):
    """Bytes a frame are exact, so 2,000 clips of 5 s take 0.34 GB (toy arm), 1.6 GB (arms), 5.5 GB (full body)."""
    two = [clip(torch.zeros(frames), f"clip{frames}") for frames in (100, 150)]
    assert saved(tmp_path, *two)
    small, large = (MotionLibrary(clips, make_embodiment("toy_arm"), cache=False) for clips in (two[:1], two))
    frame = (large.nbytes - small.nbytes - 2 * 8) / 150  # two whole numbers a clip
    assert frame == (small.nbytes - 2 * 8) / 100
    for task, gigabytes in (("toy_arm", 0.336), ("bimanual", 1.6), ("fullbody", 5.5)):
        env = small_env(task, 1)
        a_frame = (env.goal.library.nbytes - 16 * env.goal.library.num_clips) / env.goal.library.num_frames
        assert 2000 * 500 * a_frame / 1e9 == pytest.approx(gigabytes, rel=0.1), task


def test_a_large_rollout_is_looked_at_in_parts(tmp_path):
    """Statistics and values of parts are those of the whole."""
    from muscle_torch.models.normalizer import ObservationNormalizer

    seen = torch.randn(1000, 5, generator=torch.Generator().manual_seed(0)) * 3 + 7
    whole, parts = ObservationNormalizer(5), ObservationNormalizer(5)
    whole.observe(seen)
    for part in seen.split(170):
        parts.observe(part)
    for one in (whole, parts):
        one.commit()
    assert torch.allclose(whole.mean, parts.mean) and torch.allclose(whole.var, parts.var)
    assert rows_at_once(2418) * 2418 <= 1 << 26 and rows_at_once(1 << 30) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("task", "worlds"), [("toy_arm", 2048), ("bimanual", 512), ("fullbody", 256)])
def test_memory_is_what_a_training_takes(task, worlds):
    """Growth of the resident memory from 32 worlds on, after an update: never above the estimate, nor below half."""
    code = """
import sys
from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.rl.logger import resident_bytes
from muscle_torch.models import make_policy
from muscle_torch.rl import Trainer
cfg = load_config(sys.argv[1], num_envs=int(sys.argv[2]), device="cpu", threads=2, stages=["ppo"])
env = make_env(cfg)
trainer = Trainer(env, make_policy(cfg.policy, env, cfg.exploration), cfg, None)
trainer.iteration()
print(resident_bytes())
"""
    small, large = (
        int(subprocess.run([sys.executable, "-c", code, task, n], capture_output=True, text=True, check=True).stdout)
        for n in ("32", str(worlds))
    )
    cfg = load_config(task)
    env = make_env(cfg, 1, "cpu", threads=1)
    policy = make_policy(cfg.policy, env, cfg.exploration)
    memory = estimate(env, policy, cfg, on_gpu=False, chunk=rows_at_once(env.observation_size))
    ratio = (memory.total(worlds) - memory.total(32)) / (large - small)
    print(task, f"estimated / measured {ratio:.2f}")
    assert 1.0 <= ratio < 2.0, (memory, large - small)
