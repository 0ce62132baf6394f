"""README and docs: snippets run, commands parse and (slow tier) run, paths exist."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, script, train
from conftest import DATA, data_file
from documentation import PAGES, PLACEHOLDER, Command, anchors, commands, links, paths, snippets

from muscle_torch.config import load_config, parse_words

COMMANDS = commands()
MINING = "tools/mine_experts.py"
SMALL = ["num_envs=4", "threads=1", "max_iterations=1", "ppo.num_steps=8", "ppo.minibatches=1", "device=cpu"]
TINY_POLICY = "policy.hidden=[16]"
SEARCH = ["cem.rounds=1", "cem.candidates=4", "cem.trials=1", "cem.steps=10"]
NOT_A_TOOL = {
    "-m pytest": "the tests themselves",
    "-m muscle_torch": "tests/test_entry_points.py",
    "tests/soak.py": "hours",
    "tools/typing_links.py": "writes into the checkout; tests/test_machine.py",
}
# Words of commands that need what a test machine does not have, and why they are not run.
NOT_RUN = {
    "hf://": "a network",
    "smpl=": "files behind a registration",
    "runs/<run>": "a name to fill in",
    "...": "a name to fill in",
    "my_package": "a package to fill in",
    "grf.c3d": "recordings of one's own: the commands A to I of the same page use published ones",
    "my_emg": "recordings of one's own",
    "emg=emg_assets": "published assets, which users bring",
    "input=walk.npy": "the result of a text-to-motion model",
    "motion=prompt": "the result of a text-to-motion model",
    "mouse_arm.xml": "the published arm and its clips, which users bring",
    "mine.csv": "recordings of one's own",
    "run.csv": "recordings of one's own",
    "static=": "recordings of one's own",
    "emg=trials/": "recordings of one's own",
    "compare=[a.json": "two measurements of one's own: tests/test_benchmark.py",
    "experiment=hip_moment_arms.csv": "command G has its path",
    "logger=wandb": "an account; tests/test_run_summary.py runs it offline",
    "able.npz,weak.npz]": "docs/exoskeleton.md makes the rollouts and runs it",
}


def schema(path: str) -> type:
    """Return the options class of a script: the second argument of its `run_command`."""
    module = script(path)
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_command":
            return getattr(module, ast.unparse(node.args[1]))
    raise AssertionError(f"{path} has no options")


def test_the_pages_have_snippets_and_commands():
    assert sum(len(snippets(page)) for page in PAGES) >= 12 and len(COMMANDS) >= 70
    assert {"train.py", "tools/evaluate.py", "tools/analyze.py"} <= {command.script for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.id)
def test_documented_commands_parse(command: Command):
    """The script exists and accepts every key and value."""
    if command.script.startswith("-m "):
        assert all((ROOT / word).exists() for word in command.words if word.startswith("tests/"))
        return
    assert (ROOT / command.script).is_file()
    words = [word for word in command.words if word not in ("...", "--help")]
    if command.script in NOT_A_TOOL or command.script.startswith("examples/"):
        return
    if command.script == MINING:
        words, training = script(MINING).split(words)
        load_config(words=training)
    if command.script == "train.py":
        load_config(words=[word for word in words if not word.startswith("policy=my_")])
    else:
        parse_words(schema(command.script), words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_links_exist(page: Path):
    missing = [path for path in paths(page) if Path(path).stem != PLACEHOLDER and not (ROOT / path).exists()]
    assert not missing, f"{page.name} names {', '.join(missing)}"
    for file, anchor in links(page):
        target = page.parent / file if file else page
        assert target.exists(), f"{page.name} links to {file}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {file}#{anchor}"


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """Return a folder with the files that the pages use: runs, rollouts, recordings, motions."""
    folder = tmp_path_factory.mktemp("desk")
    clips = data_file("data/clips/MyoBimanualArm")
    gait, falisse = data_file("data/opensim_core_walk3d"), data_file("data/falisse2019_gait_cycles")
    words = (*SMALL, TINY_POLICY, "task=bimanual", "evaluate=false", "motion=[wave,rest]")
    for name in ("my_run", "a", "b"):
        done = train(*words, f"experiment={name}", cwd=folder)
        assert done.returncode == 0, done.stderr
    walker = train(*SMALL, *SEARCH, TINY_POLICY, "task=fullbody", "evaluate=false", "experiment=walker", cwd=folder)
    assert walker.returncode == 0, walker.stderr
    words = (*SMALL, TINY_POLICY, "task=toy_arm", "policy=intention", "evaluate=false", "experiment=reacher")
    reacher = train(*words, cwd=folder)
    assert reacher.returncode == 0, reacher.stderr
    (folder / "my_clips").mkdir()
    for clip in sorted(clips.glob("*.npz"))[:1]:
        shutil.copy(clip, folder / "my_clips")
    shutil.copy(data_file("data/cmu_mocap_bvh/cmu_12_01_walk.bvh"), folder / "walk.bvh")
    retargeted = run(Command("", "tools/retarget.py", ("input=walk.bvh", "output=clips")), folder)
    assert retargeted.returncode == 0, retargeted.stderr
    for name in ("clip", "dance", "kick"):
        shutil.copy(folder / "clips" / "walk.npz", folder / f"{name}.npz")
    shutil.copy(falisse / "gait_cycles_trials1-7.npz", folder / "people.npz")
    shutil.copy(gait / "grf_walk.mot", folder / "grf.mot")
    for name in ("ik.mot", "walk.mot"):
        shutil.copy(gait / "coordinates.sto", folder / name)
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copy(ROOT / "examples" / "my_policy.py", folder / "my_module.py")
    for name, archive in (("my_run", "rollouts"), ("walker", "walks"), ("reacher", "latents")):
        words = (f"checkpoint=runs/{name}", f"archive={archive}.npz", "distances=false")
        done = run(Command("", "tools/evaluate.py", words), folder)
        assert done.returncode == 0, done.stderr
    return folder


def run(command: Command, folder: Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the command in `folder` on one core."""
    words = [sys.executable, str(ROOT / command.script), *command.words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False, env=environment
    )


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=lambda page: page.name)
def test_every_snippet_runs(desk, page, monkeypatch):
    """The snippets of a page run in sequence."""
    if page.name == "other_frameworks.md":
        pytest.importorskip("gymnasium")
        pytest.importorskip("rsl_rl")
    # No pages about networks or files beyond the desk: nothing is replaced in the code.
    monkeypatch.chdir(desk)
    code = "\n\n".join(snippets(page))
    path = desk / f"{page.stem}_snippets.py"
    path.write_text("import torch\n" + code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(path)], cwd=desk, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_readmes_and_the_docs_rollouts_leave_policies_in_control(desk, monkeypatch):
    """`env.rollout` with an actor and with a loaded policy plays what the policy says, step by step."""
    import torch

    from muscle_torch.envs import make_env
    from muscle_torch.models import load_policy, make_policy

    monkeypatch.chdir(desk)
    policy = load_policy("runs/my_run")
    env = make_env("bimanual", num_envs=2, device="cpu", threads=1, motion="wave")
    mine = make_policy("examples/my_policy.py:MyPolicy", env, env.config.exploration)
    for one in (policy, policy.actor, mine.actor, make_policy("mlp", env).actor):
        played = env.rollout(5, one, break_when_any_done=False)
        assert played["action"].shape == (2, 5, 64)
    played = env.rollout(5, policy, break_when_any_done=False)
    torch.testing.assert_close(played["action"], policy.act(played["observation"]), rtol=0, atol=1e-5)
    assert float(played["action"].std()) > 1e-3
    env.close()


def _small(command: Command) -> Command:
    """Return the command with a budget of seconds, on the CPU, with files of the desk."""
    words = list(command.words)
    if command.script == "train.py" and "--help" not in words:
        words += _train_words(words)
    if command.script == MINING:
        words += [*SMALL, TINY_POLICY, "gate_hidden=[16]", "experts=2", "evaluate=false"]
    if command.script == "tools/benchmark.py":
        words = [word for word in words if not word.startswith(("preset=", "precision="))]
        words += ["num_envs=2", "device=cpu", "threads=1", "steps=2", "repeats=1"]
    variables = {"$D": str(DATA / "data"), **_variables(command.page)}
    for name, value in reversed(variables.items()):
        words = [word.replace(name, value) for word in words]
    swapped = INSTEAD["tools/analyze.py"] if "task=fullbody" in words else INSTEAD.get(command.script, {})
    words = [swapped.get(word, word) for word in words]
    return Command(command.page, command.script, tuple(words))


# What a page calls by one name for bodies of two kinds: script -> word -> the desk's.
INSTEAD = {
    "tools/analyze.py": {
        "checkpoint=runs/my_run": "checkpoint=runs/walker",
        "archive=rollouts.npz": "archive=walks.npz",
    },
    MINING: {"motion=clips": "motion=all"},
    "tools/check_motion.py": {"motion=my_clips/": "motion=clips/"},
}


def _train_words(words: list[str]) -> list[str]:
    if any(word.startswith("resume=runs/") for word in words):
        return ["max_iterations=2", "threads=1", "evaluate=false"]
    sizes = ("preset=paper", "preset=release", "policy=", "checkpoint=pretrained:")
    sized = any(word.startswith(sizes) for word in words)
    arms = ["motion=my_clips/"] if "task=bimanual" in words and "motion=clips" in words else []
    more = [*SMALL, *SEARCH, "evaluate=false", "check_memory=false", *arms]
    return [*more, *([] if sized else [TINY_POLICY]), *(["num_envs=2"] if "preset=paper" in words else [])]


def _variables(page: str) -> dict[str, str]:
    """Return the variables `F=$D/folder` of a page's code blocks."""
    text = next(one for one in PAGES if one.name == page).read_text(encoding="utf-8")
    return {f"${name}": value for name, value in re.findall(r"\b([A-Z])=(\$D/\S+)", text)}


# tests/test_examples.py runs the examples.
_TOOLS = [c for c in COMMANDS if c.script not in NOT_A_TOOL and not c.script.startswith("examples/")]
_RUNNABLE = [c for c in _TOOLS if not any(word in c.id for word in NOT_RUN)]


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({command.page for command in _RUNNABLE}))
def test_every_documented_command_runs(desk, page):
    """In the order of the page, with a budget of seconds; documented errors count as success."""
    failed = []
    for command in _RUNNABLE:
        if command.page != page or command.script == "tools/play.py":  # serves until stopped: tests/test_viewer.py
            continue
        done = run(_small(command), desk, timeout=1800)
        if done.returncode not in ((0, 1) if "infeasible=reject" in command.words else (0,)):
            failed.append(f"{command.id}: {done.stderr[-300:]}")
    assert not failed, "\n".join(failed)


def test_what_is_not_run_is_reported():
    """No command disappears in silence: each is run, or a reason stands above."""
    left = [c for c in _TOOLS if c not in _RUNNABLE]
    used = {word for word in NOT_RUN for c in left if word in c.id}
    assert used == set(NOT_RUN), f"no command needs {set(NOT_RUN) - used} any more"
    assert len(_RUNNABLE) > len(left)
