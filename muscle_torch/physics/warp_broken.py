"""Mark broken worlds (NaN or huge numbers) and hold them in the model's default pose until they are reset.

The solver iterates until the last world has converged, so one diverging world would make all others iterate up to the
limit; broken worlds are therefore kept out of it. (A world of NaNs, for which every comparison with the tolerance is
false, leaves the solver of MuJoCo Warp 3.17 after one iteration because its line search returns 0; this is not
guaranteed.) As on MuJoCo C such a world is in the default pose afterwards, and its numbers are finite.
"""

# Kernels are written in Warp's language, which shares only its grammar with Python.
# pyright: reportIndexIssue=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

import mujoco_warp as mjw
import warp as wp

_LARGEST = wp.constant(1e10)  # MuJoCo's mjMAXVAL: larger numbers are treated as NaN


@wp.func
def _is_bad(value: float) -> bool:
    return not (wp.abs(value) < _LARGEST)  # NaN compares false


@wp.kernel(enable_backward=False)
def _mark(
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    act: wp.array2d[float],
    ctrl: wp.array2d[float],
    broken: wp.array[int],
):
    world, i = wp.tid()
    bad = False
    if i < qpos.shape[1]:
        bad = _is_bad(qpos[world, i])
    if i < qvel.shape[1]:
        bad = bad or _is_bad(qvel[world, i])
    if i < act.shape[1]:
        bad = bad or _is_bad(act[world, i])
    if i < ctrl.shape[1]:
        bad = bad or _is_bad(ctrl[world, i])
    if bad:
        broken[world] = 1


@wp.kernel(enable_backward=False)
def _put_to_rest(
    broken: wp.array[int],
    qpos0: wp.array2d[float],
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    act: wp.array2d[float],
    ctrl: wp.array2d[float],
    warmstart: wp.array2d[float],
):
    world, i = wp.tid()
    if broken[world] == 0:
        return
    if i < qpos.shape[1]:
        qpos[world, i] = qpos0[world % qpos0.shape[0], i]
    if i < qvel.shape[1]:
        qvel[world, i] = 0.0
        warmstart[world, i] = 0.0
    if i < act.shape[1]:
        act[world, i] = 0.0
    if i < ctrl.shape[1]:
        ctrl[world, i] = 0.0


@wp.kernel(enable_backward=False)
def _mark_diverging(acceleration: wp.array2d[float], broken: wp.array[int]):
    world, dof = wp.tid()
    if _is_bad(acceleration[world, dof]):
        broken[world] = 1


@wp.kernel(enable_backward=False)
def _free_of_forces(
    broken: wp.array[int],
    acceleration: wp.array2d[float],
    force: wp.array2d[float],
    warmstart: wp.array2d[float],
    rows: wp.array[int],
):
    world, dof = wp.tid()
    if broken[world] == 0:
        return
    acceleration[world, dof] = 0.0
    force[world, dof] = 0.0
    warmstart[world, dof] = 0.0
    rows[world] = 0


def freeze_broken(m: mjw.Model, d: mjw.Data, broken: wp.array) -> None:
    """Mark worlds with a number that is NaN or beyond 1e10, and put all marked ones to rest in the default pose.

    Run `update_kinematics` afterwards.

    Args:
        m: The model on the device.
        d: The worlds.
        broken: Marks (W,) int, 1: broken.
    """
    size = (d.nworld, max(a.shape[1] for a in (d.qpos, d.qvel, d.act, d.ctrl)))
    wp.launch(_mark, size, [d.qpos, d.qvel, d.act, d.ctrl], [broken])
    wp.launch(_put_to_rest, size, [broken, m.qpos0], [d.qpos, d.qvel, d.act, d.ctrl, d.qacc_warmstart])


def freeze_diverging(d: mjw.Data, broken: wp.array) -> None:
    """Mark worlds whose acceleration is NaN or beyond 1e10, and remove forces and constraints from all marked ones.

    Call it before the solver, which then solves these worlds (acceleration 0) without iterating.

    Args:
        d: The worlds.
        broken: Marks (W,) int, 1: broken.
    """
    wp.launch(_mark_diverging, d.qacc_smooth.shape, [d.qacc_smooth], [broken])
    wp.launch(_free_of_forces, d.qacc_smooth.shape, [broken], [d.qacc_smooth, d.qfrc_smooth, d.qacc_warmstart, d.nefc])
