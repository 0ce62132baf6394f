"""Read the published mouse forelimb (Leonardis et al. 2025) from the user's copy of `mouse_arm.xml`.

Source: talmolab/track-mjx (BSD-3), branch eric/akira-muscles, commit ae8d31f. Its mesh paths are absolute and belong
to another machine, so meshes are read from the folder of the XML; they are left out if one is missing there.
"""

import hashlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import mujoco

from muscle_torch.errors import InputError

from .embodiment import muscle_names, names_of

SOURCE = "mouse_arm.xml of github.com/talmolab/track-mjx, branch eric/akira-muscles, commit ae8d31f"
JOINTS = ("sh_elv", "sh_extension", "sh_rotation", "elbow")
MUSCLES = ("Pec_C", "Lat", "PD", "AD", "MD", "Triceps_Lateral", "Triceps_Long", "Brachialis", "Biceps_Long")
MASS, MASS_TOLERANCE = 0.970e-3, 0.01  # [kg], relative
# The mass of the radius comes from its mesh alone; so do those of clavicle and scapula, which do not move.
RADIUS_MASS = 1.8e-6  # [kg]
BODIES = ("scapula", "humerus", "ulna", "wrist_body")  # to which tracked sites are fixed
MARKER = (0.0, 0.003, 0.0)  # published wrist marker in wrist_body [m]
TIMESTEP, ITERATIONS = 0.00125, 6  # [s]; those of the published task. The file has 0.001 s and 30


def load_mouse_arm(path: str | Path) -> mujoco.MjSpec:
    """Read the published arm; add tracked sites, the task's timestep and solver limits, and a control range of [-1, 1].

    With this range, action mappings act as on the other bodies; MuJoCo's muscles clip controls to [0, 1].

    Args:
        path: The file `mouse_arm.xml`.

    Raises:
        InputError: The file is missing, is not a MuJoCo model, or is not this arm.
    """
    path = Path(path).expanduser()
    spec = _read(path)
    _check(spec, path)
    sites = {
        "shoulder_mimic": ("scapula", spec.body("humerus").pos),
        "elbow_mimic": ("ulna", (0.0, 0.0, 0.0)),
        "wrist_mimic": ("wrist_body", MARKER),
    }
    for name, (body, place) in sites.items():
        spec.body(body).add_site(name=name, pos=place, size=[0.0002, 0.0002, 0.0002], group=4)
    for muscle in spec.actuators:
        muscle.ctrlrange = [-1.0, 1.0]
    spec.njmax = spec.nconmax = -1  # the file reserves 53 MB per world for contacts, and there are none
    spec.option.timestep = TIMESTEP
    spec.option.iterations = spec.option.ls_iterations = ITERATIONS
    return spec


def mouse_version(path: str | Path) -> str:
    """Return a version that identifies the arm's parameter set: a digest of the file."""
    return f"mouse_arm.xml {hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()[:12]}"


def _read(path: Path) -> mujoco.MjSpec:
    where = f"embodiment.path={path}"
    if not path.is_file():
        raise InputError(f"{where}: there is no such file; give {SOURCE}")
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError as error:
        raise InputError(f"{where}: is no XML ({error}); give {SOURCE}") from None
    if root.tag != "mujoco":
        raise InputError(f"{where}: is no MuJoCo model, its first element is <{root.tag}>; give {SOURCE}")
    _place_meshes(root, path.parent)
    try:
        return mujoco.MjSpec.from_string(ElementTree.tostring(root, encoding="unicode"))
    except ValueError as error:
        raise InputError(f"{where}: cannot be read: {_in_one_line(error)}; give {SOURCE}") from None


def _place_meshes(root: ElementTree.Element, folder: Path) -> None:
    """Point mesh files to those of the same name in the folder or below it; if one is missing, leave out all."""
    meshes = root.findall("asset/mesh")
    beside = {file.name.lower(): file for file in folder.rglob("*") if file.suffix.lower() in (".stl", ".obj")}
    places = [beside.get(Path(mesh.get("file", "")).name.lower()) for mesh in meshes]
    if all(places):
        for mesh, place in zip(meshes, places, strict=True):
            mesh.set("file", str(place))
        return
    for asset in root.findall("asset"):
        for mesh in asset.findall("mesh"):
            asset.remove(mesh)
    for body in root.iter("body"):
        drawn = [geom for geom in body.findall("geom") if geom.get("mesh")]
        for geom in drawn:
            body.remove(geom)
        if drawn and body.get("name") == "radius" and body.find("inertial") is None:
            body.append(
                ElementTree.Element("inertial", pos="0 0 0", mass=str(RADIUS_MASS), diaginertia="1e-11 1e-11 1e-11")
            )


def _check(spec: mujoco.MjSpec, path: Path) -> None:
    """Raise InputError unless the model is the published arm, whatever parameter set of it."""
    where = f"embodiment.path={path}"
    try:
        model = spec.compile()
    except ValueError as error:
        raise InputError(f"{where}: does not compile: {_in_one_line(error)}; give {SOURCE}") from None
    for what, names, expected in (
        ("joints", names_of(model, "joint"), JOINTS),
        ("muscles", muscle_names(model), MUSCLES),
    ):
        if sorted(names) != sorted(expected) or (what == "muscles" and model.nu != len(expected)):
            different = sorted(set(names) ^ set(expected))
            raise InputError(
                f"{where}: another model than the mouse forelimb: {len(names)} {what} instead of {len(expected)}, "
                f"{', '.join(different[:4]) or 'unnamed'} differ; give {SOURCE}"
            )
    missing = [body for body in BODIES if body not in names_of(model, "body")]
    if missing:
        raise InputError(
            f"{where}: another model than the mouse forelimb: it has no body {missing[0]!r}; give {SOURCE}"
        )
    mass = float(model.body_subtreemass[0])
    if abs(mass - MASS) > MASS_TOLERANCE * MASS:
        raise InputError(
            f"{where}: weighs {1e3 * mass:.4g} g, the mouse forelimb {1e3 * MASS:.3f} g; is a mesh or an <inertial> "
            f"missing? Give {SOURCE}"
        )


def _in_one_line(error: ValueError) -> str:
    return " ".join(str(error).split()).removeprefix("Error: ")
