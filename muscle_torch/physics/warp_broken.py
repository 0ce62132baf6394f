"""Worlds whose numbers are broken: marked, and held in the model's default pose until they are reset.

The solver turns until the last world has converged. A world whose numbers explode keeps it turning up to the limit for
all the others; none such reaches it. (A world of NaNs, for which every comparison with the tolerance is false, leaves
the solver of MuJoCo Warp 3.17 after one turn, because its line search returns 0: that is chance rather than design.)
As on MuJoCo C such a world stands in the default pose afterwards, and its numbers are finite.
"""

# Kernels are Warp's language, of which only the grammar is Python's.
# pyright: reportIndexIssue=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

import mujoco_warp as mjw
import warp as wp

_LARGEST = wp.constant(1e10)  # MuJoCo's mjMAXVAL: beyond it a number is as bad as NaN


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
    """Mark worlds of which a number is NaN or beyond 1e10, and put all marked ones to rest in the default pose.

    broken: (W,) int, 1: broken. Positions must be looked at afterwards.
    """
    size = (d.nworld, max(a.shape[1] for a in (d.qpos, d.qvel, d.act, d.ctrl)))
    wp.launch(_mark, size, [d.qpos, d.qvel, d.act, d.ctrl], [broken])
    wp.launch(_put_to_rest, size, [broken, m.qpos0], [d.qpos, d.qvel, d.act, d.ctrl, d.qacc_warmstart])


def freeze_diverging(d: mjw.Data, broken: wp.array) -> None:
    """Mark worlds that accelerate by NaN or beyond 1e10, and take forces and constraints off all marked ones.

    To be called before the solver, which then finds their acceleration, 0, at once.
    """
    wp.launch(_mark_diverging, d.qacc_smooth.shape, [d.qacc_smooth], [broken])
    wp.launch(_free_of_forces, d.qacc_smooth.shape, [broken], [d.qacc_smooth, d.qfrc_smooth, d.qacc_warmstart, d.nefc])
