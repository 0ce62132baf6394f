"""Variance, forecasts and EMG of trials: signals whose answer is known, and the command from end to end."""

import dataclasses
import math

import numpy as np
import pytest
from commands import script
from env_cases import half_excited

from muscle_torch.biomechanics.components import principal_variance
from muscle_torch.biomechanics.latent_analysis import ForecastSettings, analyse_latents
from muscle_torch.biomechanics.series import TimeSeries
from muscle_torch.biomechanics.simplex import embed, forecast
from muscle_torch.biomechanics.trial_emg import TrialEmgSettings, compare_trials, read_recordings, read_starts
from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import PolicyController, evaluate
from muscle_torch.evaluation.archive_recorder import ArchiveRecorder
from muscle_torch.models import make_policy
from muscle_torch.motion.rollout_archive import RolloutArchive, write_archive

RATE = 4000.0  # of the synthetic EMG [Hz]
ENVELOPE = TrialEmgSettings(signal="envelope", percentile=100.0)


def logistic(steps: int, start: float) -> np.ndarray:
    """The chaotic map x' = 3.8 x (1 - x)."""
    x = [start]
    for _ in range(steps - 1):
        x.append(3.8 * x[-1] * (1 - x[-1]))
    return np.array(x)


def test_a_chaotic_signal_is_forecast_and_noise_is_not():
    trials = [logistic(300, start) for start in (0.2, 0.31, 0.47)]
    columns = [x[:, None] for x in trials]
    near = forecast(columns, trials, dimension=2, horizon=1)
    far = forecast(columns, trials, dimension=2, horizon=15)
    assert near.rho > 0.99 and far.rho < 0.6 < near.rho  # what is close parts: the horizon of chaos
    assert near.persistence < 0.0 and near.shuffled < 0.15 and near.count == 3 * (300 - 1 - 1)
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=300) for _ in range(3)]
    assert abs(forecast(columns, noise, dimension=2, horizon=1).rho) < 0.15


def test_a_signal_is_forecast_from_another_that_drives_it():
    """y(t) = x(t - 2)^2: what x does now tells y two steps ahead, and of a lone trial the first half is enough."""
    x = logistic(400, 0.3)
    y = np.concatenate((np.zeros(2), x[:-2] ** 2))
    many = forecast([x[:200, None], x[200:, None]], [y[:200], y[200:]], dimension=2, horizon=2)
    alone = forecast([x[:, None]], [y], dimension=2, horizon=2)
    assert many.rho > 0.99 and alone.rho > 0.99 and alone.count < 200


def test_delay_coordinates_by_hand():
    x = np.arange(8.0)[:, None] * np.array([1.0, 0.0])  # the second column does not vary: left out
    y = np.array([0.0, 1, 2, 3, np.nan, 5, 6, 7])
    embedding = embed([x, x], [y, y], dimension=2, lag=2, horizon=1)
    spread = np.arange(8.0).std()
    steps = [2, 5, 6]  # 3 and 4 meet the NaN, 7 has nothing after it
    assert embedding.points[:3] * spread == pytest.approx(np.array([[t, t - 2] for t in steps]))
    assert embedding.future[:3].tolist() == [3, 6, 7] and embedding.present[:3].tolist() == [2, 5, 6]
    assert embedding.trial.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"), [({"horizon": 0}, "at least 1"), ({"horizon": 400}, "too short"), ({"lag": 200}, "short")]
)
def test_forecasts_that_cannot_be_made_are_refused(options, message):
    x = logistic(100, 0.3)
    with pytest.raises(InputError, match=message):
        forecast([x[:, None]] * 2, [x, x], **options)


def test_variance_by_hand():
    t = np.arange(1000) * 2 * np.pi / 1000
    a, b = 2 * np.sqrt(2) * np.sin(t), np.sqrt(2) * np.cos(t)  # variances 4 and 1, uncorrelated
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    variance = principal_variance([np.stack((a, b), axis=1)[part] @ turn for part in (slice(0, 400), slice(400, None))])
    assert variance.fractions == pytest.approx([0.8, 0.2]) and variance.total == pytest.approx(5.0)
    assert variance.participation == pytest.approx(1 / (0.64 + 0.04))
    assert abs(variance.directions[0] @ turn[0]) == pytest.approx(1.0)
    assert variance.leading(3)[:2] == pytest.approx([0.8, 0.2]) and math.isnan(variance.leading(3)[2])
    with pytest.raises(InputError, match="do not vary"):
        principal_variance([np.ones((5, 2))])


def rollouts(tmp_path, policy=None) -> RolloutArchive:
    """Rollouts of the toy arm's two motions."""
    env = make_env("toy_arm", num_envs=2, device="cpu", backend="mujoco", threads=1, evaluation=True)
    made = None if policy is None else make_policy(load_config("toy_arm", policy=policy).policy, env)
    recorder = ArchiveRecorder(env, made.activity if made is not None else None)
    evaluate(env, half_excited(env) if made is None else PolicyController(made), callbacks=[recorder])
    env.close()
    write_archive(tmp_path / "rollouts.npz", recorder.archive())
    return recorder.archive()


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rollouts")
    return folder, rollouts(folder, {"name": "intention", "hidden": [8], "latent_size": 2})


def with_excitations(archive: RolloutArchive, *excitations: np.ndarray) -> RolloutArchive:
    """The same rollouts, cut to the length of these excitations (T,) of the first muscle."""
    episodes = []
    for episode, signal in zip(archive.episodes, excitations, strict=True):
        rows = {f.name: getattr(episode, f.name) for f in dataclasses.fields(episode)}
        cut = {k: v[: len(signal)] for k, v in rows.items() if isinstance(v, np.ndarray) and k != "reference"}
        network = {k: v[: len(signal)] for k, v in episode.network.items()}
        excitation = np.stack((signal, np.zeros_like(signal)), axis=1)
        episodes.append(dataclasses.replace(episode, **cut | {"excitation": excitation, "network": network}))
    return dataclasses.replace(archive, episodes=tuple(episodes))


def bursts(time: np.ndarray, phase: float) -> np.ndarray:
    """Activity in [0, 1] that rises and falls four times a second."""
    return 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time + phase)


def raw_emg(seconds: float, phase: float, start: float, seed: int) -> TimeSeries:
    """Noise whose amplitude is `bursts`, which begins at `start` [s] of the recording's clock."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(size=len(time))
    return TimeSeries(time, (bursts(time - start, phase) * noise)[:, None], ("biceps",))


def test_synthetic_emg_is_compared_at_the_same_instants(played):
    """0.3 s of rollout beside 0.9 s of EMG that begins 0.2 s before: the time bases match, or they do not."""
    archive = played[1]
    time = archive.dt * (np.arange(30) + 0.5)
    archive = with_excitations(archive, bursts(time, 0.0), bursts(time, 2.0))
    names = [episode.name for episode in archive.episodes]
    recordings = {
        name: raw_emg(0.9, phase, 0.2, i) for i, (name, phase) in enumerate(zip(names, (0.0, 2.0), strict=True))
    }
    settings = TrialEmgSettings(envelope=15.0, signal="raw")
    (pair,), notes = compare_trials(archive, recordings, {"biceps": "flexor"}, settings, dict.fromkeys(names, 0.2))
    assert pair.trials == tuple(names) and [len(values) for values in pair.emg] == [30, 30] and not notes
    assert pair.r > 0.85 and pair.shuffled_r < 0.3 and pair.mae < 0.6 * pair.constant < pair.silence
    # Published way: 0.9 s stretched over the 0.3 s of the rollout.
    stretched = {n: dataclasses.replace(one, time=(one.time - 0.2) / 3) for n, one in recordings.items()}
    (wrong,), _ = compare_trials(archive, stretched, {"biceps": "flexor"}, settings, dict.fromkeys(names, 0.0))
    assert wrong.r < 0.5 and wrong.mae > 1.5 * pair.mae
    (late,), notes = compare_trials(archive, recordings, {"biceps": "flexor"}, settings, dict.fromkeys(names, 0.8))
    assert [len(values) for values in late.emg] == [10, 10] and "0.100 of 0.300 s compared" in notes[0]
    with pytest.raises(InputError, match="share no time"):
        compare_trials(archive, recordings, {"biceps": "flexor"}, settings, dict.fromkeys(names, 2.0))


def test_errors_and_baselines_by_hand(played):
    """EMG 0, 2, 4, 2 of its own peak: 0, 0.5, 1, 0.5; excitation 0.5 throughout, and -1 counts as 0."""
    archive = with_excitations(played[1], np.full(4, 0.5), np.full(4, -1.0))
    names = [episode.name for episode in archive.episodes]
    time = archive.dt * (np.arange(4) + 0.5)
    emg = TimeSeries(time, np.array([[0.0], [2.0], [4.0], [2.0]]), ("flexor",))
    (pair,), _ = compare_trials(archive, dict.fromkeys(names, emg), {"flexor": "flexor"}, ENVELOPE, {})
    assert pair.excitation[1].tolist() == [0.0] * 4 and pair.emg[0].tolist() == [0.0, 0.5, 1.0, 0.5]
    assert pair.mae == pytest.approx((0.25 + 0.5) / 2) and pair.silence == pytest.approx(0.5)
    assert pair.constant == pytest.approx(0.25)  # 0.5, the median
    row = pair.row()
    assert row[7] == pytest.approx(1 - 0.375 / 0.25) and math.isnan(row[8])  # a constant does not correlate


def test_a_quiet_muscle_gains_in_error_and_not_in_correlation(played):
    """What the published score rewards: half the activity everywhere."""
    time = played[1].dt * (np.arange(100) + 0.5)
    burst = np.maximum(0.0, np.sin(2 * np.pi * 3 * time)) ** 8  # seldom active
    emg = TimeSeries(time, burst[:, None], ("flexor",))
    found = []
    for factor in (1.0, 0.3):
        archive = with_excitations(played[1], *[factor * np.roll(burst, 12)] * 2)
        names = [episode.name for episode in archive.episodes]
        (pair,), _ = compare_trials(archive, dict.fromkeys(names, emg), {"flexor": "flexor"}, ENVELOPE, {})
        found.append(pair)
    loud, quiet = found
    assert quiet.mae < loud.mae and quiet.r == pytest.approx(loud.r) and quiet.r < 0.2
    assert quiet.constant == loud.constant < quiet.mae  # and the baseline shows it


def test_recordings_and_starts_are_matched_by_name(tmp_path):
    for name in ("mouse_trial01_emg", "mouse_trial02_emg", "notes"):
        (tmp_path / f"{name}.csv").write_text("time,biceps\n0.0,1\n0.1,2\n0.2,1\n")
    read = read_recordings(tmp_path, ["trial01", "trial02", "trial03"])
    assert list(read) == ["trial01", "trial02"]
    with pytest.raises(InputError, match="both match"):
        read_recordings(tmp_path, ["trial"])
    with pytest.raises(InputError, match="named after a trial"):
        read_recordings(tmp_path, ["other"])
    with pytest.raises(InputError, match="one file"):
        read_recordings(tmp_path / "notes.csv", ["a", "b"])
    with pytest.raises(InputError, match="does not exist"):
        read_recordings(tmp_path / "nowhere", ["a"])
    (tmp_path / "starts.csv").write_text("trial,start\ntrial01,0.25\nzzz,1\n")
    assert read_starts(str(tmp_path / "starts.csv"), ["trial01", "trial02"], 0.1) == {"trial01": 0.25, "trial02": 0.1}
    for text in ("trial\nx\n", "trial,start\ntrial01,soon\n", "trial,start\nx,1\n"):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(InputError, match=r"starts="):
            read_starts(str(tmp_path / "bad.csv"), ["trial01"], 0.0)


def test_each_source_forecasts_what_it_determines(played):
    """The excitation is the latent of 5 steps ago, squared; joint angles are noise."""
    rng, episodes = np.random.default_rng(0), []
    for episode, start in zip(played[1].episodes, (0.2, 0.47), strict=True):
        x = logistic(305, start)
        excitation = np.stack((x[:300] ** 2, np.zeros(300)), axis=1)
        qpos, latent = rng.normal(size=(300, 1)), {"latent": x[5:, None], "latent_std": np.ones((300, 1))}
        episodes.append(dataclasses.replace(episode, qpos=qpos, excitation=excitation, network=latent))
    archive = dataclasses.replace(played[1], episodes=tuple(episodes))
    analysis = analyse_latents(archive, [], ["flexor"], ForecastSettings())
    assert list(analysis.variances) == ["latent"] and len(analysis.variances["latent"].fractions) == 1
    rows = {row.source: row.result for row in analysis.forecasts}
    assert list(rows) == ["joint angles", "latent", "joint angles and excitations"]
    assert rows["latent"].rho > 0.99 and abs(rows["joint angles"].rho) < 0.3 and rows["latent"].shuffled < 0.15
    with pytest.raises(InputError, match=r"no muscle 'flexr'.*flexor"):
        analyse_latents(archive, [], ["flexr"], ForecastSettings())


def test_the_command_writes_report_tables_and_figures(played, tmp_path, capsys):
    folder, archive = played
    (tmp_path / "emg").mkdir()
    for index, episode in enumerate(archive.episodes):
        raw = raw_emg(1.0, 0.0, 0.0, index)
        lines = [f"{t:.5f},{v:.6f}" for t, v in zip(raw.time, raw.values[:, 0], strict=True)]
        (tmp_path / "emg" / f"{episode.name}.csv").write_text("time,biceps\n" + "\n".join(lines) + "\n")
    tool, output = script("tools/latent.py"), tmp_path / "out"
    words = [f"rollout={folder / 'rollouts.npz'}", f"emg={tmp_path / 'emg'}", "pairs.biceps=flexor", f"output={output}"]
    assert tool.main(words) == 0
    printed = capsys.readouterr().out
    assert "constant" in printed and "EMG biceps" in printed and "effective number" in printed
    names = {path.name for path in output.iterdir()}
    assert {"report.html", "emg.csv", "variance.csv", "forecast.csv"} <= names
    assert {"emg.png", "latent.png", "variance.png", "forecast.png"} <= names
    for bad, message in (
        ([], "rollout=<archive> or checkpoint="),
        ([*words, "episode=7"], "episode=7"),
        ([*words, "pairs.biceps=biceps"], "no muscle 'biceps'"),
        ([words[0], words[1]], "pairs.<channel>"),
        ([*words, "percentile=0"], "percentile=0"),
    ):
        with pytest.raises(InputError, match=message) as error:
            tool.main(bad)
        assert "\n" not in str(error.value)


def test_rollouts_without_a_latent_are_refused(tmp_path):
    rollouts(tmp_path)
    with pytest.raises(InputError, match="contain no latent"):
        script("tools/latent.py").main([f"rollout={tmp_path / 'rollouts.npz'}", f"output={tmp_path}"])
