"""The library: forward kinematics as in the files, resampling, the cache, rows, relative sites."""

import dataclasses
import itertools
import json
import warnings
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from conftest import data_file

from muscle_torch.embodiments import Embodiment, make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import (
    MotionClip,
    MotionLibrary,
    Sampler,
    generate,
    load_motion,
    relative_sites_from_matrices,
    site_velocity,
)
from muscle_torch.motion import cache as disk
from muscle_torch.motion.resample import resample

ORACLES = [
    ("bimanual_gmr", "bimanual_traj", "bimanual", True),
    ("bimanual_nofing", "bimanual_traj", "bimanual", False),
    ("fullbody", "fullbody_traj", "fullbody", False),
]
CLIPS = [
    ("bimanual", "MyoBimanualArm", ("cmu_02_05_punch", "cmu_02_06_bend_scoop_lift", "rmr_abd01_abduction")),
    ("fullbody", "MyoFullBody", ("cmu_02_01_walk", "cmu_02_03_run", "opensim_walk3d")),
]


@pytest.fixture(scope="module")
def toy() -> Embodiment:
    return make_embodiment("toy_arm")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MUSCLE_TORCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "motion"


def toy_clip(toy: Embodiment, angles: np.ndarray, frequency: float = 100.0) -> MotionClip:
    qpos = np.asarray(angles, dtype=np.float32)[:, None]
    return MotionClip("made", qpos, frequency, toy.joint_names, toy.name, toy.model_version)


def stored_sites(arrays, order, parent_cvel, com) -> tuple[torch.Tensor, ...]:
    """(pos, mat, angvel, linvel) of a file's arrays in the order of the tracked sites."""
    pos = torch.from_numpy(arrays[0][:, order])
    mat = torch.from_numpy(arrays[1][:, order]).unflatten(-1, (3, 3))
    return pos, mat, *site_velocity(pos, torch.from_numpy(parent_cvel), torch.from_numpy(com)[:, None])


def assert_sites(library: MotionLibrary, first: int, sites: tuple[torch.Tensor, ...], atol: float = 1e-5) -> None:
    rows = slice(first, first + len(sites[0]))
    for name, want in zip(("site_pos", "site_mat", "site_angvel", "site_linvel"), sites, strict=True):
        torch.testing.assert_close(
            getattr(library, name)[rows], want, atol=atol, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )
    for name, want in zip(("rpos", "rrot", "rvel"), relative_sites_from_matrices(*sites), strict=True):
        torch.testing.assert_close(
            getattr(library, name)[rows], want, atol=atol, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(("body", "folder", "names"), CLIPS)
def test_forward_kinematics_match_the_files(body, folder, names):
    embodiment = make_embodiment(body)
    paths = [data_file(f"data/clips/{folder}/{name}.npz") for name in names]
    library = MotionLibrary(load_motion(paths, embodiment), embodiment, cache=False, threads=2)
    assert library.names == list(names)
    for index, path in enumerate(paths):
        with np.load(path, allow_pickle=False) as stored:
            order = [stored["site_names"].tolist().index(name) for name in embodiment.site_names]
            bodies = [embodiment.model.body(i).name for i in embodiment.site_body_ids]
            parents = [stored["body_names"].tolist().index(name) for name in bodies]
            arrays = (stored["site_xpos"], stored["site_xmat"])
            sites = stored_sites(arrays, order, stored["cvel"][:, parents], stored["subtree_com"][:, 1])
        assert library.length[index] == len(sites[0])
        assert_sites(library, int(library.start[index]), sites)


@pytest.mark.parametrize(("oracle", "trajectory", "body", "fingers"), ORACLES)
def test_the_library_holds_what_the_reference_tracks(oracle, trajectory, body, fingers):
    embodiment = make_embodiment(body, fingers=fingers)
    library = MotionLibrary(load_motion(data_file(f"oracle/{trajectory}.npz"), embodiment), embodiment, cache=False)
    with np.load(data_file(f"oracle/{oracle}.npz"), allow_pickle=False) as z:
        assert library.start.tolist() == z["env_traj_split_points"][:-1].tolist()
        np.testing.assert_allclose(library.qpos, z["env_traj_qpos"], atol=1e-6)
        np.testing.assert_allclose(library.qvel, z["env_traj_qvel"], atol=1e-6)
        order, arrays = z["site_traj_index"], (z["env_traj_site_xpos"], z["env_traj_site_xmat"])
        com = z["env_traj_subtree_com_root"]
        assert_sites(library, 0, stored_sites(arrays, order, z["env_traj_cvel_parent"][:, order], com))


@pytest.mark.parametrize("oracle", [row[0] for row in ORACLES])
def test_relative_sites_are_the_references(oracle):
    with np.load(data_file(f"oracle/{oracle}.npz"), allow_pickle=False) as z:
        z = {key: z[key] for key in z.files if key != "env_traj_qpos"}
    layout = json.loads(str(z["meta_json"]))["obs_layout"]
    first = next(row[2] for row in layout if row[0].startswith("Goal"))
    sites = stored_sites(
        (z["site_xpos"], z["site_xmat"]),
        np.arange(z["site_xpos"].shape[1]),
        z["site_parent_cvel"],
        z["subtree_com_root"],
    )
    got = torch.cat([part.flatten(1) for part in relative_sites_from_matrices(*sites)], dim=1)
    want = torch.from_numpy(z["obs"][:, first : first + got.shape[1]])
    torch.testing.assert_close(got, want, atol=1e-12, rtol=0)


def test_relative_sites_by_hand():
    """The anchor is turned by 90 degrees about z, the other site by 180, and sits 1 m along x."""
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    mat = torch.stack((turn, turn @ turn))
    pos, angvel = torch.tensor([[0.0, 0, 0], [1, 0, 0]]), torch.tensor([[0.0, 0, 1], [2, 0, 0]])
    linvel = torch.tensor([[0.0, 0, 0], [0, 3, 0]])
    rpos, rrot, rvel = relative_sites_from_matrices(pos, mat, angvel, linvel)
    torch.testing.assert_close(rpos, torch.tensor([[1.0, 0, 0]]))
    torch.testing.assert_close(rrot, torch.tensor([[0.0, 0, torch.pi / 2]]))
    # (R0' R1)' (2, 0, 0) = (0, -2, 0), less (0, 0, 1); R0 (0, -3, 0) = (3, 0, 0).
    torch.testing.assert_close(rvel, torch.tensor([[0.0, -2, -1, 3, 0, 0]]))


def test_site_velocity_is_the_derivative_of_the_position(toy):
    """A hand 0.3 m from the elbow on a steady swing of 2 rad/s moves at 0.6 m/s."""
    library = MotionLibrary([toy_clip(toy, 0.2 + 0.02 * np.arange(50))], toy, cache=False)
    by_differences = (library.site_pos[2:] - library.site_pos[:-2]) * 50
    torch.testing.assert_close(library.site_linvel[1:-1], by_differences, atol=1e-4, rtol=0)
    torch.testing.assert_close(library.site_linvel[:, 2].norm(dim=-1), torch.full((50,), 0.6), atol=1e-4, rtol=0)
    torch.testing.assert_close(library.site_angvel[:, 2], torch.tensor([[0.0, -2, 0]]).expand(50, 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("frequency", [30.0, 60.0, 120.0, 240.0])
def test_a_sine_keeps_its_time_and_its_velocity(toy, frequency):
    def angle(t):
        return 1.0 + 0.5 * np.sin(3 * t)

    frames = round(2 * frequency) + 1
    clip = toy_clip(toy, angle(np.arange(frames) / frequency), frequency)
    library = MotionLibrary([clip], toy, cache=False)
    t = np.arange(201) / 100
    assert library.length.tolist() == [201]
    np.testing.assert_allclose(library.qpos[:, 0], angle(t), atol=1e-4)
    np.testing.assert_allclose(library.qvel[:, 0], 1.5 * np.cos(3 * t), atol=2e-2 if frequency < 60 else 3e-3)


def test_a_turning_root_has_its_body_frame_angular_velocity():
    """A free joint that turns steadily about its own axis, with the sign of the quaternion flipping."""
    rate = np.array([0.5, -1.0, 2.0])
    quat = np.array([0.6, 0.0, 0.8, 0.0])
    frames = [np.concatenate((np.zeros(3), quat))]
    for frame in range(60):
        mujoco.mju_quatIntegrate(quat, rate, 1 / 30)
        frames.append(np.concatenate(([0.1 * (frame + 1) / 30, 0, 0], quat if frame % 3 else -quat)))
    qpos, qvel = resample(np.array(frames), 30, 100, has_root=True)
    np.testing.assert_allclose(np.linalg.norm(qpos[:, 3:], axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(qvel[:, 3:], np.tile(rate, (len(qvel), 1)), atol=2e-3)
    np.testing.assert_allclose(qvel[:, :3], np.tile([0.1, 0, 0], (len(qvel), 1)), atol=1e-9)


def test_the_references_interpolation_is_reproduced():
    """30 Hz source -> what the reference's environment used; it also moves each clip's start to x = y = 0."""
    embodiment = make_embodiment("fullbody")
    with np.load(data_file("oracle/fullbody.npz"), allow_pickle=False) as z:
        z = {key: z[key] for key in z.files if key.startswith(("raw_", "env_traj_", "joint_names", "site_traj"))}
    names = tuple(z["joint_names"].tolist())
    shared = (names, embodiment.name, embodiment.model_version, "", "")
    clips = [MotionClip(f"{i}", z[f"raw_qpos_{i}"], 30.0, *shared, z[f"raw_qvel_{i}"]) for i in (0, 1)]
    library = MotionLibrary(clips, embodiment, interpolation="reference", cache=False)
    shift = torch.zeros(library.num_frames, 3)
    for start, length in zip(library.start.tolist(), library.length.tolist(), strict=True):
        shift[start : start + length, :2] = library.qpos[start, :2]
    got = library.qpos.clone()
    got[:, :3] -= shift
    np.testing.assert_allclose(got, z["env_traj_qpos"], atol=1e-5)
    np.testing.assert_allclose(library.qvel, z["env_traj_qvel"], atol=1e-5)
    order = z["site_traj_index"]
    np.testing.assert_allclose(library.site_pos - shift[:, None], z["env_traj_site_xpos"][:, order], atol=1e-5)
    np.testing.assert_allclose(library.site_mat.flatten(2), z["env_traj_site_xmat"][:, order], atol=1e-5)


def test_the_references_downsampling_takes_every_nth_frame(toy):
    clip = toy_clip(toy, np.linspace(0, 1, 201) ** 2, 200.0)
    library = MotionLibrary([clip], toy, interpolation="reference", cache=False)
    np.testing.assert_array_equal(library.qpos[:, 0], clip.qpos[::2, 0])
    np.testing.assert_allclose(library.qvel[:-1, 0], np.diff(clip.qpos[::2, 0]) * 100, atol=1e-4)
    assert library.qvel[-1] == library.qvel[-2]


def test_an_unknown_interpolation_is_reported(toy):
    with pytest.raises(InputError, match="derivative, reference"):
        MotionLibrary(generate("swing", toy), toy, interpolation="linear", cache=False)


def test_velocity_is_the_derivative_if_missing():
    """Put on the reference, the body moves with it: integrating qvel gives the next qpos."""
    embodiment = make_embodiment("bimanual")
    library = MotionLibrary(generate("lift", embodiment), embodiment, cache=False)
    middle = 0.5 * (library.qvel[1:] + library.qvel[:-1])
    assert float((library.qpos[1:] - library.qpos[:-1] - 0.01 * middle).abs().max()) < 2e-4


def test_rows_stay_inside_their_clip(toy):
    library = MotionLibrary(generate("all", toy), toy, cache=False)
    lengths = library.length.tolist()
    assert library.start.tolist() == [0, *itertools.accumulate(lengths)][:-1]
    clip, frame = torch.tensor([0, 0, 1, 1]), torch.tensor([-3, 10_000, 0, 10_000])
    want = [0, lengths[0] - 1, lengths[0], sum(lengths) - 1]
    assert library.rows(clip, frame).tolist() == want
    ahead = library.rows(clip[:, None], torch.tensor([[0, 20]]))
    assert library.qpos[ahead].shape == (4, 2, 1)


def entries_of(library: MotionLibrary) -> list[torch.Tensor]:
    return [library.qpos, library.qvel, library.site_pos, library.site_mat, library.site_linvel, library.rvel]


def test_the_cache_is_exact_and_recovers_from_damage(cache, toy, monkeypatch):
    clips = generate("all", toy)
    fresh = entries_of(MotionLibrary(clips, toy, cache=False))
    assert not cache.exists()
    first = MotionLibrary(clips, toy)
    files = sorted(cache.glob("*.npz"))
    assert len(files) == len(list(cache.iterdir())) == 2
    files[0].write_bytes(files[0].read_bytes()[:100])
    np.savez(files[1], qpos=np.zeros((3, 1)))
    healed = MotionLibrary(clips, toy)
    monkeypatch.setattr("muscle_torch.motion.library.site_motion", lambda *_: pytest.fail("not from the cache"))
    again = MotionLibrary(clips, toy)
    for library in (first, healed, again):
        assert all(torch.equal(a, b) for a, b in zip(entries_of(library), fresh, strict=True))


def test_the_cache_distinguishes_bodies_and_interpolations(cache, toy):
    clip = toy_clip(toy, np.linspace(0.2, 1, 31), 30.0)
    MotionLibrary([clip], toy)
    MotionLibrary([clip], toy, interpolation="reference")
    longer = make_embodiment("toy_arm")
    longer.model.body("hand").pos[2] -= 0.1
    moved = MotionLibrary([clip], longer)
    assert len(list(cache.glob("*.npz"))) == 3
    assert not torch.equal(moved.site_pos, MotionLibrary([clip], toy).site_pos)


def test_the_cache_is_bounded(cache, toy):
    import os

    for age, clip in enumerate(generate("all", toy)):
        MotionLibrary([clip], toy)
        for path in cache.glob("*.npz"):
            os.utime(path, (age, age)) if path.stat().st_mtime > 100 else None
    newest = max(cache.glob("*.npz"), key=lambda path: path.stat().st_mtime)
    disk.prune(max_bytes=newest.stat().st_size)
    assert list(cache.glob("*.npz")) == [newest]


def test_an_unwritable_cache_is_only_a_warning(tmp_path, toy, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MUSCLE_TORCH_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="MUSCLE_TORCH_CACHE"):
        library = MotionLibrary(generate("swing", toy), toy)
    assert library.num_clips == 1


def test_threads_do_not_change_the_result(toy):
    clips = [toy_clip(toy, 0.5 + 0.1 * np.sin(np.arange(20 + i))) for i in range(12)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, four = (MotionLibrary(clips, toy, threads=n, cache=False) for n in (1, 4))
    assert all(torch.equal(a, b) for a, b in zip(entries_of(one), entries_of(four), strict=True))


def test_no_motion_at_all_is_reported(toy):
    with pytest.raises(InputError, match="motion="):
        MotionLibrary([], toy)


def sampler(toy: Embodiment, seed: int = 0, start: str = "random") -> Sampler:
    clips = [toy_clip(toy, np.linspace(0.2, 1, frames)) for frames in (2, 3, 500)]
    return Sampler(MotionLibrary(clips, toy, cache=False), torch.Generator().manual_seed(seed), start)


def test_start_frames_leave_at_least_one_step(toy):
    clip, frame = sampler(toy).sample(30_000)
    for index, length in enumerate((2, 3, 500)):
        frames = frame[clip == index]
        assert 9_000 < len(frames) < 11_000
        assert set(frames.tolist()) == set(range(length - 1))
    assert not sampler(toy, start="beginning").sample(100)[1].any()
    with pytest.raises(InputError, match="beginning"):
        sampler(toy, start="begining")


def test_clips_are_drawn_by_weight(toy):
    drawn = sampler(toy)
    drawn.set_weights(torch.tensor([1.0, 0.0, 3.0]))
    share = torch.bincount(drawn.sample(40_000)[0], minlength=3) / 40_000
    torch.testing.assert_close(share, torch.tensor([0.25, 0.0, 0.75]), atol=0.01, rtol=0)
    for wrong in (torch.zeros(3), torch.ones(2), torch.tensor([1.0, -1.0, 1.0])):
        with pytest.raises(InputError):
            drawn.set_weights(wrong)


def test_a_sampler_continues_where_it_was(toy):
    drawn = sampler(toy)
    drawn.set_weights(torch.tensor([1.0, 2.0, 3.0]))
    drawn.sample(7)
    state, want = drawn.generator.get_state(), drawn.sample(50)
    other = sampler(toy, seed=5)
    other.generator.set_state(state)
    other.set_weights(drawn.weights)
    assert all(torch.equal(a, b) for a, b in zip(other.sample(50), want, strict=True))


def test_a_clip_at_the_origin_is_where_the_environment_puts_it():
    """Poses and sites of all frames, against MuJoCo; the library is unchanged."""
    body = make_embodiment("fullbody")
    clip = generate("sway", body)[0]
    away = clip.qpos.copy()
    away[:, :2] += (3.0, -2.0)
    library = MotionLibrary([clip, dataclasses.replace(clip, name="away", qpos=away)], body, cache=False)
    before = library.qpos.clone()
    moved, data = library.clip_at_origin(1), mujoco.MjData(body.model)
    assert torch.equal(moved.qpos[0, :2], torch.zeros(2)) and torch.equal(library.qpos, before)
    for frame in (0, 50, library.length[1] - 1):
        data.qpos[:] = moved.qpos[frame]
        mujoco.mj_kinematics(body.model, data)
        np.testing.assert_allclose(data.site_xpos[body.site_ids], moved.site_pos[frame], atol=1e-5)
    torch.testing.assert_close(moved.qpos, library.clip_at_origin(0).qpos, atol=1e-6, rtol=0)
    assert torch.equal(moved.qvel, library.qvel[library.clip_rows(1)])
