"""Installs muscle_torch. `envs/`, `models/`, `cfg/` and `tools/` stand at the root but live inside the package."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

INSIDE = {f"muscle_torch.{name}": name for name in ("envs", "models", "cfg", "tools")}
FOLDERS = find_packages(include=["muscle_torch*", "envs*", "models*", "cfg*", "tools*"])
PACKAGES = [name if name.startswith("muscle_torch") else f"muscle_torch.{name}" for name in FOLDERS]

# Each is imported only by the files that need it.
EXTRAS = {
    "faces": ["gymnasium>=1.1", "rsl-rl-lib>=5.0"],
    "export": ["onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.22"],
    "viewer": ["viser>=1.1", "trimesh>=4.0"],
    "hub": ["huggingface_hub>=0.30", "tensorstore>=0.1.70"],
    "biomech": ["ezc3d>=1.6", "scikit-learn>=1.5"],
    "mouse": ["h5py>=3.11"],
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5", "mkdocstrings[python]>=1.0"],
    "wandb": ["wandb>=0.19"],
    "myo-sim": ["myo-sim>=0.2.4,<0.3"],  # before 0.2.4 the legs of the body with an abdomen passed through each other
}
TEST = [
    *("pytest>=8", "pytest-timeout>=2.3", "pytest-xdist>=3.6", "ruff>=0.15", "pyright>=1.1.400", "codespell>=2.4"),
    "playwright>=1.40",
    *("nbclient>=0.10", "ipykernel>=6.29"),  # the notebook
    "mm-evalkit>=0.1",  # reads the rollout archives
]


class BuildWithTrain(build_py):
    """Install train.py, which stands at the root, as `muscle_torch.train`: `muscle-torch train` runs it."""

    def find_package_modules(self, package, package_dir):
        modules = super().find_package_modules(package, package_dir)
        return [*modules, (package, "train", "train.py")] if package == "muscle_torch" else modules


setup(
    name="muscle_torch",
    version="0.1.0",
    description="Teach muscle-driven human bodies to move by imitation: PyTorch, TorchRL, MuJoCo Warp",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    cmdclass={"build_py": BuildWithTrain},
    entry_points={"console_scripts": ["muscle-torch = muscle_torch.__main__:main"]},
    packages=PACKAGES,
    package_dir={"muscle_torch": "muscle_torch", **INSIDE},
    package_data={
        "muscle_torch.cfg": ["task/*.yaml", "preset/*.yaml", "profile/*.yaml", "motions/*.txt"],
        "muscle_torch.biomechanics": ["*.yaml", "*.csv"],
        "muscle_torch.embodiments": ["*.json"],
        "muscle_torch.pretrained": ["*/policy.pt", "*/metrics.json"],
    },
    install_requires=[
        "mujoco>=3.17,<3.18",
        "mujoco-warp>=3.17,<3.18",
        "musclemimic-models>=1.0.6,<1.1",
        "torch>=2.11",
        "torchrl>=0.14.1",
        "tensordict>=0.14.3",
        "warp-lang>=1.19",
        "omegaconf>=2.3",
        "tensorboard>=2.17",
        "mink>=1.0",
        "smplx>=0.1.28",
        "scipy>=1.13",
        "numpy>=2.0",
        "matplotlib>=3.9",
        "tqdm>=4.66",
        "imageio-ffmpeg>=0.5",
    ],
    extras_require={**EXTRAS, "test": [*TEST, *(package for extra in EXTRAS.values() for package in extra)]},
)
