"""The physics' kernels, compiled for a GPU by NVIDIA's compiler, which Warp carries: no GPU is needed for that."""

import json
from collections import defaultdict

import pytest
import torch
import warp as wp

from muscle_torch.envs import make_env

HOPPER = 90  # compute capability 9.0: H100, H200
SHARED = 48 << 10  # bytes of shared memory that a block may have on every GPU since 2014


class OnCUDA:
    """A device of which mujoco_warp asks which kernels suit it."""

    is_cuda, is_cpu = True, False

    def __init__(self, device):
        self._device = device

    def __getattr__(self, name):
        return getattr(self._device, name)


def launched(task: str) -> dict[tuple[wp.Module, int], set[str]]:
    """(module, threads a block) -> the kernels of a control step with a reset; where there is a choice, CUDA's."""
    found: dict[tuple[wp.Module, int], set[str]] = defaultdict(set)
    launch, tiled, get_device = wp.launch, wp.launch_tiled, wp.get_device

    def told(call):
        def run(kernel, *given, **named):
            found[kernel.module, named.get("block_dim", 256)].add(kernel.key)
            return call(kernel, *given, **named)

        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wp, "launch", told(launch))
        patch.setattr(wp, "launch_tiled", told(tiled))
        env = make_env(task, 2, device="cpu", backend="warp")
        patch.setattr(wp, "get_device", lambda *given: get_device(*given) if given else OnCUDA(get_device()))
        env.begin()
        env.physics._graphs.clear()
        env.advance(torch.zeros(2, env.action_size))
        env.restart(torch.ones(2, dtype=torch.bool))
        env.close()
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("task", ["bimanual", "fullbody"])
def test_every_kernel_of_a_control_step_compiles_for_a_gpu(tmp_path, monkeypatch, task):
    kernels = launched(task)
    for (module, block), keys in kernels.items():
        folder = tmp_path / f"{module.name}_{block}"
        monkeypatch.setitem(module.options, "block_dim", block)
        files = wp.compile_aot_module(module, arch=HOPPER, module_dir=folder, use_ptx=False)
        assert any(file.stat().st_size > 1000 for file in files), module.name
        (meta,) = folder.glob("*.meta")
        needed = {name: size for name, size in json.loads(meta.read_text()).items() if name.endswith("smem_bytes")}
        for key in keys:
            own = [size for name, size in needed.items() if name.startswith(key.rsplit(".", 1)[-1])]
            assert own and max(own) <= SHARED, (key, own)
    assert sum(len(keys) for keys in kernels.values()) > 80
