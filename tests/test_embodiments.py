"""The bodies: names, sizes and physics of the published ones, guarded against a MuJoCo that bends muscles otherwise."""

import dataclasses
import json
import re

import mujoco
import numpy as np
import pytest
from conftest import data_file

from muscle_torch.embodiments import EMBODIMENTS, guard, make_embodiment
from muscle_torch.embodiments.embodiment import names_of
from muscle_torch.embodiments.lean import lean_model
from muscle_torch.errors import InputError

ALL = [
    (name, {option.name: value})
    for name, row in EMBODIMENTS.items()
    for option in dataclasses.fields(row.options)
    for value in ((False, True) if option.type is bool else (option.default,))
]
SMALL = ("toy_arm", "mouse")  # without a mirror image, and nothing to look at
PUBLISHED = [
    ("bimanual_nofing", "bimanual", {"fingers": False}),
    ("bimanual_gmr", "bimanual", {"fingers": True}),
    ("fullbody", "fullbody", {"fingers": False}),
]


@pytest.fixture(params=PUBLISHED, ids=lambda row: row[0])
def published(request):
    """(embodiment, dump of the published system, its meta data)."""
    file, name, options = request.param
    dump = np.load(data_file(f"oracle/{file}.npz"), allow_pickle=True)
    return make_embodiment(name, **options), dump, json.loads(str(dump["meta_json"]))


def test_names_sizes_and_sites_are_the_published_ones(published):
    embodiment, dump, meta = published
    model = embodiment.model
    assert embodiment.name == meta["model"]
    assert embodiment.joint_names == tuple(dump["joint_names"])
    assert embodiment.actuator_names == tuple(dump["actuator_names"])
    assert embodiment.site_names == tuple(dump["sites_for_mimic"])
    assert {key: getattr(embodiment.whole_model, key) for key in meta["sizes"]} == meta["sizes"]
    assert (model.opt.timestep, embodiment.substeps) == (meta["opt"]["timestep"], meta["n_substeps"])


def test_control_steps_are_the_published_ones(published):
    """Replays dumped control steps; in a few poses four muscles' paths differ a little between the MuJoCo versions."""
    embodiment, dump, meta = published
    model = embodiment.model
    for key, value in meta["opt"].items():
        setattr(model.opt, key, value)
    data = mujoco.MjData(model)
    length, site = [], []
    for i in range(len(dump["reward"])):
        data.qpos[:], data.qvel[:], data.act[:] = dump["pre_qpos"][i], dump["pre_qvel"][i], dump["pre_act"][i]
        data.qacc_warmstart[:] = dump["pre_qacc_warmstart"][i]
        data.ctrl[:] = dump["action"][i].clip(-1, 1)
        mujoco.mj_step(model, data, meta["n_substeps"])
        length.append(np.abs(data.actuator_length - dump["actuator_length"][i]).max())
        site.append(np.abs(data.site_xpos[embodiment.site_ids] - dump["site_xpos"][i]).max())
    assert np.median(length) < 1e-9 and max(length) < 3e-3
    assert np.median(site) < 1e-9 and max(site) < 3e-4


def test_full_body_with_fingers_has_the_published_sizes():
    model = make_embodiment("fullbody", fingers=True).whole_model
    sizes = (model.nq, model.nv, model.nu, model.njnt, model.ntendon, model.neq, model.nsite)
    assert sizes == (129, 128, 416, 123, 424, 51, 2038)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_every_body_is_consistent(name, options):
    embodiment = make_embodiment(name, **options)
    defaults = dataclasses.asdict(EMBODIMENTS[name].options())
    assert embodiment.key == name and dataclasses.asdict(embodiment.options) == defaults | options
    model = embodiment.model
    assert embodiment.control_frequency * embodiment.substeps * model.opt.timestep == pytest.approx(1)
    assert len(embodiment.site_names) >= 3
    assert list(model.site_bodyid[embodiment.site_ids]) == list(embodiment.site_body_ids)
    grouped = {muscle for muscles in embodiment.groups.values() for muscle in muscles}
    assert grouped == set(embodiment.muscle_names)
    assert len(embodiment.joint_qpos_ids) == model.njnt - (embodiment.root_joint is not None)
    assert np.all(model.actuator_ctrlrange == [-1, 1])
    paired = [muscle for pair in embodiment.left_right for muscle in pair]
    assert len(set(paired)) == len(paired) and (name in SMALL or len(paired) == model.nu)
    assert embodiment.build_spec().compile().nq == model.nq


# What a model without its bones may have otherwise: where its geoms and names are, and sizes that only sleep looks at.
OTHERWISE = ("geom_", "site_", "mesh_", "tex_", "bvh_", "body_bvh", "body_geom", "pair_geom", "name")
OTHERWISE += ("wrap_objid", "wrap_prm", "sensor_objid", "body_margin", "dof_length")


@pytest.mark.parametrize(("name", "options"), [row for row in ALL if row[0] not in SMALL])
def test_what_is_simulated_is_the_whole_body_without_what_is_seen(name, options):
    """Every array of the model but those of geometry, and two control steps out of a wild state, equal to the bit."""
    embodiment = make_embodiment(name, **options)
    lean, whole = embodiment.model, embodiment.whole_model
    assert lean.ngeom < 0.6 * whole.ngeom and lean.nmesh == 0 and whole.nmesh > 60
    arrays = [key for key in dir(whole) if isinstance(getattr(whole, key), np.ndarray)]
    compared = [key for key in arrays if not key.startswith((*OTHERWISE, "_"))]
    for key in compared:
        np.testing.assert_array_equal(getattr(lean, key), getattr(whole, key), err_msg=key)
    assert {"body_mass", "body_inertia", "tendon_length0", "actuator_acc0", "actuator_lengthrange"} <= set(compared)
    assert lean.stat.meaninertia == whole.stat.meaninertia
    random, ends = np.random.default_rng(0), []
    qvel, act = random.normal(0, 1, whole.nv), random.uniform(0, 1, whole.na)
    for model in (lean, whole):
        data = mujoco.MjData(model)
        data.qvel[:], data.act[:], data.ctrl[:] = qvel, act, 2 * act - 1
        mujoco.mj_step(model, data, 2 * embodiment.substeps)
        ends.append((data.qpos, data.qvel, data.act, data.actuator_force, data.sensordata, np.array(data.ncon)))
    for got, want in zip(*ends, strict=True):
        np.testing.assert_array_equal(got, want)
    for kind in ("actuator", "body", "joint", "sensor", "tendon"):
        assert names_of(lean, kind) == names_of(whole, kind)
    gone = set(names_of(whole, "site")) - set(names_of(lean, "site"))
    assert len(gone) > 40 and not [site for site in gone if re.search("marker|mimic|tip$|touch|ASI|MAL", site)]


SEEN = """<mujoco><asset><mesh name="bone" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset><worldbody>
  <geom name="floor" type="plane" size="1 1 .1"/>
  <body><freejoint/><site name="A-P1" pos="0 0 1"/><site name="A-P2"/><site name="A_side"/><site name="B_side"/>
    <site name="B-P1_left"/><site name="skin"/><site name="C-P1"/><site name="landmark"/>
    <geom name="flesh" type="box" size=".1 .2 .3" pos="0 1 0" density="1000" contype="0" conaffinity="0"/>
    <geom name="bone" type="mesh" mesh="bone" contype="0" conaffinity="0"/>
    <geom name="pulley" type="cylinder" size=".1 .1" pos="0 0 .5" contype="0" conaffinity="0"/>
    <geom name="idle" type="cylinder" size=".1 .1" mass="1" contype="0" conaffinity="0"/>
    <geom name="sole" size=".1" contype="0" conaffinity="0"/></body></worldbody>
  <contact><pair geom1="floor" geom2="sole"/></contact>
  <tendon><spatial><site site="A-P1"/><geom geom="pulley" sidesite="A_side"/><site site="A-P2"/></spatial></tendon>
  <sensor><touch site="C-P1"/></sensor></mujoco>"""


def test_only_what_touches_bends_or_measures_stays_and_keeps_its_weight():
    lean = lean_model(mujoco.MjSpec.from_string(SEEN))
    whole = mujoco.MjModel.from_xml_string(SEEN)
    assert [lean.geom(i).name for i in range(lean.ngeom)] == ["floor", "pulley", "sole"] and lean.nmesh == 0
    sites = {lean.site(i).name for i in range(lean.nsite)}
    assert sites == {"A-P1", "A-P2", "A_side", "C-P1", "skin", "landmark"}  # B and its side are of no muscle
    assert lean.body_mass[1] == whole.body_mass[1] > 1000 * 0.2 * 0.4 * 0.6
    for key in ("body_ipos", "body_iquat", "body_inertia", "tendon_length0"):
        np.testing.assert_allclose(getattr(lean, key), getattr(whole, key), rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_projected_poses_meet_the_joint_equalities(name):
    """After `project`, MuJoCo's own residual of the joint couplings is zero."""
    embodiment = make_embodiment(name)
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    low, high = model.jnt_range[embodiment.scalar_joint_ids].T
    for fraction in (0.2, 0.5, 0.8):
        qpos = model.qpos0.copy()
        qpos[embodiment.joint_qpos_ids] = low + fraction * (high - low)
        residuals = []
        for pose in (qpos, embodiment.project(qpos)):
            mujoco.mj_resetData(model, data)
            data.qpos[:] = pose
            mujoco.mj_forward(model, data)
            rows = data.efc_type[: data.nefc] == mujoco.mjtConstraint.mjCNSTR_EQUALITY
            residuals.append(np.abs(data.efc_pos[: data.nefc][rows]).max())
        assert residuals[0] > 1e-2 and residuals[1] < 1e-12
    batch = np.stack((qpos, model.qpos0)).astype(np.float32)
    np.testing.assert_allclose(embodiment.project(batch)[0], pose, atol=1e-6)


def test_each_caller_has_its_own_model():
    first, second = make_embodiment("toy_arm"), make_embodiment("toy_arm")
    first.model.opt.timestep = 1.0
    assert second.model.opt.timestep == 0.002


def test_unknown_names_offer_the_nearest():
    with pytest.raises(InputError, match="bimanual"):
        make_embodiment("bimanual_arms")
    embodiment = make_embodiment("bimanual")
    with pytest.raises(InputError, match="'DELT1'"):
        embodiment.resolve("actuator", ["DELT1", "DELT9"])
    with pytest.raises(InputError, match="right_hand_mimic"):
        embodiment.resolve("site", ["right_hand"])


def test_toy_arm_falls_without_excitation_and_lifts_with_it():
    model = make_embodiment("toy_arm").model
    data = mujoco.MjData(model)
    ends = []
    for flexor in (0.0, 0.25, 1.0):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.ctrl[:] = 1.2, (flexor, 0.0)
        mujoco.mj_step(model, data, 1500)
        ends.append(float(data.qpos[0]))
    assert abs(ends[0]) < 0.02 and 1.2 < ends[1] < 2.2 and ends[2] > 2.25


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_guard_names_the_muscle_that_changed(name, monkeypatch):
    embodiment = make_embodiment(name)
    guard.check_muscle_lengths(embodiment)
    muscle = embodiment.actuator_names.index("TMAJ")
    tendon = embodiment.model.actuator_trnid[muscle, 0]
    first = embodiment.model.tendon_adr[tendon]
    embodiment.model.site_pos[embodiment.model.wrap_objid[first]] += 0.01
    with pytest.raises(InputError, match=r"TMAJ.* mm .*3\.17 is required.*pip install"):
        guard.check_muscle_lengths(embodiment)


def test_guard_names_the_wrong_package(monkeypatch):
    versions = {"mujoco": "3.17.0", "mujoco-warp": "3.17.0", "musclemimic-models": "1.0.6"}
    monkeypatch.setattr(guard, "package_version", versions.get)
    guard.check_mujoco()
    guard.check_models()
    for package, version, text in (
        ("mujoco", "4.0.0", "MuJoCo 4.0.0 is installed, 3.17 is required"),
        ("mujoco", "3.170.0", "is required"),
        ("mujoco-warp", "3.15.0", "mujoco-warp 3.15.0 does not fit"),
        ("musclemimic-models", "1.0.5", r"version 1.0.5: run `pip install musclemimic-models==1.0.6`"),
        ("musclemimic-models", None, r"missing: run `pip install musclemimic-models==1.0.6`"),
    ):
        monkeypatch.setattr(guard, "package_version", (versions | {package: version}).get)
        with pytest.raises(InputError, match=text) as caught:
            guard.check_mujoco()
            guard.check_models()
        assert "\n" not in str(caught.value)
    guard.check_mujoco()
    make_embodiment("toy_arm")  # a body of its own file needs no package of bodies


def test_guard_table_is_what_this_mujoco_gives():
    """The stored table can be made again, and its poses lie within the joint ranges."""
    embodiment = make_embodiment("bimanual", fingers=True)
    made, stored = guard.make_table([embodiment])[embodiment.name], guard._table()[embodiment.name]
    assert made["lengths"].keys() == stored["lengths"].keys()
    np.testing.assert_allclose(list(made["lengths"].values()), list(stored["lengths"].values()), atol=2e-6)


def elevation_inertia(embodiment) -> dict[str, float]:
    """[kg m^2] of joints with the arms as they hang; the plane of elevation takes its coupled hinge along."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    hanging = {"elv_angle_r": 0.0, "shoulder_elv_r": 0.37, "shoulder_rot_r": 0.5, "elbow_flex_r": 0.45}
    for joint, angle in hanging.items():
        data.joint(joint).qpos = angle
    data.qpos[:] = embodiment.project(data.qpos)
    mujoco.mj_forward(model, data)
    full = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, full)
    turned = {name: np.zeros(model.nv) for name in hanging}
    for name, direction in turned.items():
        direction[model.joint(name).dofadr[0]] = 1.0
    turned["elv_angle_r"][model.joint("shoulder1_r2_r").dofadr[0]] = -1.0
    return {name: float(direction @ full @ direction) for name, direction in turned.items()}


@pytest.mark.parametrize("body", ["bimanual", "fullbody"])
def test_the_phantoms_carry_most_of_the_shoulders_inertia_until_they_are_light(body: str):
    published, light = make_embodiment(body), make_embodiment(body, light_phantoms=True)
    heavy, freed = elevation_inertia(published), elevation_inertia(light)
    assert heavy["elv_angle_r"] > 1.0 > 10 * freed["elv_angle_r"]
    # Elevation turns one phantom of 1 kg m^2 against 1e-3, the joints beyond the phantoms none.
    assert heavy["shoulder_elv_r"] - freed["shoulder_elv_r"] == pytest.approx(0.999, abs=2e-3)
    for joint in ("shoulder_rot_r", "elbow_flex_r"):
        assert heavy[joint] == pytest.approx(freed[joint], rel=1e-6)
    np.testing.assert_array_equal(published.model.body_mass, light.model.body_mass)
    # Files written before the option existed stay those of the published body.
    assert published.identity["embodiment_options"] == {"fingers": False}
    assert light.identity["embodiment_options"] == {"fingers": False, "light_phantoms": True}
