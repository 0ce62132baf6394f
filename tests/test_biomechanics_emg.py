"""EMG: synthetic signals with a known answer, bad channels, names, and real recordings."""

import numpy as np
import pytest
from commands import script
from conftest import data_file

from muscle_torch.biomechanics.agreement import best_lag, circular_distance
from muscle_torch.biomechanics.cycles import cut_cycles
from muscle_torch.biomechanics.emg import EmgSettings, envelopes, looks_smooth
from muscle_torch.biomechanics.emg_map import load_map, model_activity, muscle_columns
from muscle_torch.biomechanics.gait_events import read_events
from muscle_torch.biomechanics.recordings import read_series, write_series
from muscle_torch.biomechanics.report import Curve, Panel, grid
from muscle_torch.biomechanics.series import TimeSeries, common_clock
from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError

RATE = 1000.0


def bursts(shift=0.0, seconds=10.0):
    """Return activity in [0, 1] with one burst per second, delayed by `shift` [s]."""
    time = np.arange(0, seconds, 1 / RATE)
    return time, np.exp(-((((time - shift) % 1.0) - 0.5) ** 2) / (2 * 0.08**2))


def raw_emg(activity, seed, gain=1.0, noise=0.0):
    """Return noise in the band of surface EMG with the activity as amplitude, plus an offset and hum."""
    rng = np.random.default_rng(seed)
    # Averaged over many sources, so that the envelope shows the activity and not the draw.
    spectrum = rng.standard_normal(len(activity))
    time = np.arange(len(activity)) / RATE
    carrier = np.sign(np.sin(2 * np.pi * 110 * time)) + 0.05 * spectrum
    return gain * activity * carrier + noise * rng.standard_normal(len(activity)) + 0.3


def recording(**columns):
    values = np.stack(list(columns.values()), axis=1)
    return TimeSeries(np.arange(len(values)) / RATE, values, tuple(columns))


def test_known_lag_gain_and_noise_come_back():
    _, first = bursts()
    _, second = bursts(shift=0.037)
    done = envelopes(recording(soleus=raw_emg(first, 0), vl=raw_emg(second, 1, gain=17.0, noise=0.2)), EmgSettings())
    lag = best_lag(done.series["soleus"], done.series["vl"], RATE, 0.1)
    assert abs(lag.seconds - 0.037) <= 1 / RATE and lag.r > 0.99
    same = best_lag(done.series["soleus"], done.series["soleus"], RATE)
    assert same == (0.0, 1.0)
    assert done.series.values.max(axis=0) == pytest.approx([1.0, 1.0])
    # The envelope of a full square carrier is the activity itself.
    assert best_lag(done.series["soleus"], first, RATE).r > 0.995


def test_mvc_scales_and_missing_mvc_is_reported():
    _, activity = bursts()
    emg = recording(soleus=raw_emg(0.25 * activity, 0), ta=raw_emg(activity, 1))
    mvc = recording(soleus=raw_emg(activity, 2))
    done = envelopes(emg, EmgSettings(normalise="mvc"), mvc)
    assert done.series.names == ("soleus",) and done.series["soleus"].max() == pytest.approx(0.25, abs=0.01)
    assert "'ta' has no usable maximal contraction" in done.left_out[0]
    with pytest.raises(InputError, match="needs mvc="):
        envelopes(emg, EmgSettings(normalise="mvc"))


def test_bad_channels_are_excluded():
    _, activity = bursts()
    good = raw_emg(activity, 0)
    holed, gone, short = good.copy(), good.copy(), good + 0.1
    gone[2000:4000] = np.nan
    short[2000:2020] = np.nan
    stuck = good.copy()
    stuck[3000:3500] = stuck[3000]
    done = envelopes(
        recording(
            good=good,
            clipped=np.clip(raw_emg(activity, 1, gain=4.0), -1, 1),
            flat=np.full_like(good, 0.3),
            gone=gone,
            stuck=stuck,
            none=np.full_like(good, np.nan),
            short=short,
            twin=holed,
        ),
        EmgSettings(),
    )
    assert done.series.names == ("good", "short") and np.isfinite(done.series.values).all()
    expected = "; ".join(done.left_out)
    for text in (
        "'clipped' is saturated",
        "'flat' is flat at 0.3",
        "'gone' is missing for 2.00 s",
        "'stuck' is flat for 0.50 s",
        "'none' contains no numbers",
        "'twin' is identical to channel 'good'",
    ):
        assert text in expected
    with pytest.raises(InputError, match="no usable channel"):
        envelopes(recording(flat=np.zeros(2000), flat_too=np.ones(2000)), EmgSettings())


def test_a_slow_table_is_rejected_as_raw_emg():
    slow = TimeSeries(np.arange(300) / 30.0, np.random.default_rng(0).random((300, 1)), ("soleus",))
    with pytest.raises(InputError, match="signal=envelope"):
        envelopes(slow, EmgSettings(signal="raw"))
    for signal in ("envelope", "auto"):
        assert envelopes(slow, EmgSettings(signal=signal)).series["soleus"].max() == 1.0


def test_envelopes_and_raw_emg_are_distinguished():
    _, activity = bursts()
    raw = recording(soleus=raw_emg(activity, 0), ta=raw_emg(1 - activity, 1, gain=4.0))
    assert not looks_smooth(raw)
    # An amplifier that counts from 0 to 1023 has no negative values either.
    assert not looks_smooth(raw.with_values(500 + 100 * raw.values))
    smooth = envelopes(raw, EmgSettings(envelope=20)).series
    assert looks_smooth(smooth)
    done = envelopes(smooth, EmgSettings())
    np.testing.assert_allclose(done.series.values, smooth.values)
    assert "assumed to be envelopes" in done.left_out[0]


def test_bad_settings_are_reported():
    slow = recording(soleus=np.random.default_rng(0).random(300))
    with pytest.raises(InputError, match="did you mean 'mvc'"):
        envelopes(slow, EmgSettings(normalise="mvcs"))


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("SO", ("soleus", "r")),
        ("soleusr", ("soleus", "r")),
        ("soleus_l", ("soleus", "l")),
        ("Tibialis anterior (left)", ("tibialis_anterior", "l")),
        ("Hamstrings-lateralis", ("biceps_femoris", "r")),
        ("R", None),
        ("vastus_medius", ("vastus_medialis", "r")),
        ("Delt_ant.EMG1", ("deltoid_anterior", "r")),
        ("soelus", None),
        ("BicepsBrachiiR", ("biceps_brachii", "r")),
        ("BicepsBrachiiL", ("biceps_brachii", "l")),
        ("VastusLatR", ("vastus_lateralis", "r")),
        ("TibAnt_L", ("tibialis_anterior", "l")),
        ("glmax2r", ("gluteus_maximus", "r")),
        ("R_Soleus", ("soleus", "r")),
        ("Left soleus", ("soleus", "l")),
        ("LT TA", ("tibialis_anterior", "l")),
        ("L.TA", ("tibialis_anterior", "l")),
        ("rSoleus", ("soleus", "r")),
        ("Soleus, left", ("soleus", "l")),
        ("Soleus [R]", ("soleus", "r")),
        ("TricepsR.EMG3", ("triceps_brachii", "r")),
        ("RTA", ("tibialis_anterior", "r")),
        ("TAR", ("tibialis_anterior", "r")),
        ("SOL", ("soleus", "r")),
        ("VL", ("vastus_lateralis", "r")),
        ("RA", ("rectus_abdominis", "r")),
        ("BFL", None),
        ("LTA", None),
    ],
)
def test_channels_are_read(channel, expected):
    table = load_map()
    if expected is None:
        with pytest.raises(InputError, match="unknown muscle"):
            table.find(channel)
    else:
        assert table.find(channel) == expected


def test_an_l_of_an_abbreviation_is_left_if_its_right_partner_is_there():
    """Without the partner it may mean lateral or long."""
    table = load_map()
    assert table.find("BFL", channels=("BFL", "BFR")) == ("biceps_femoris", "l")
    assert table.find("LTA", channels=("LTA", "RTA")) == ("tibialis_anterior", "l")
    both = recording(BFR=np.ones(9), BFL=np.ones(9), LTA=np.ones(9))
    columns, left_out = muscle_columns(both, table)
    assert columns.names == ("biceps_femoris_r", "biceps_femoris_l") and "LTA" in left_out[0]


def test_every_actuator_of_the_table_exists():
    table = load_map()
    known = {name for body in ("fullbody", "bimanual") for name in make_embodiment(body).actuator_names}
    for muscle in table.actuators:
        for side in "rl":
            assert set(table.patterns(muscle, side)) <= known, muscle


def test_combinations_are_weighted_by_force_and_unknown_names_reported(tmp_path):
    body = make_embodiment("fullbody")
    names = body.actuator_names
    values = np.zeros((3, len(names)))
    values[:, names.index("semiten_r")] = 1.0
    activations = TimeSeries(np.arange(3.0), values, names)
    force = {n: body.model.actuator_biasprm[names.index(n), 2] for n in ("semiten_r", "semimem_r")}
    muscles = ("medial_hamstrings_r", "soleus_r")
    curves, _ = model_activity(activations, muscles, load_map(), body)
    assert curves["medial_hamstrings_r"][0] == pytest.approx(force["semiten_r"] / sum(force.values()))
    map_file = tmp_path / "own.csv"
    map_file.write_text("channel,actuators\nSO,tibant{side}\n")
    renamed, left_out = muscle_columns(
        TimeSeries(np.arange(2.0), np.ones((2, 2)), ("SO", "soelus")), load_map(map_file)
    )
    assert renamed.names == ("SO_r",) and "soelus (did you mean soleus?)" in left_out[0]
    assert model_activity(activations, ("SO_r",), load_map(map_file), body)[0].names == ("SO_r",)


PEAKS = {
    "soleus": 48,
    "gastrocnemius_medialis": 41,
    "tibialis_anterior": 3,
    "vastus_lateralis": 9,
    "biceps_femoris": 94,
}


def test_recorded_walking_peaks_where_it_should():
    raw = read_series(data_file("data/musclesyneRgies_emg/raw_emg_1000Hz.csv"))
    done = envelopes(raw, EmgSettings(high_pass=50, envelope=20))
    muscles, left_out = muscle_columns(done.series, load_map())
    cycles = cut_cycles(muscles, read_events(data_file("data/musclesyneRgies_emg/cycles.csv")).starts)
    assert not left_out and len(cycles.values) == 5
    for muscle, expected in PEAKS.items():
        peak = cycles.percent[cycles.mean[:, cycles.names.index(f"{muscle}_r")].argmax()]
        assert circular_distance(peak, expected) <= 5, muscle


def test_soleus_follows_the_ground_in_running():
    raw = read_series(data_file("data/opensim_models_rajagopal_run/emg_run_raw.csv"))
    force = read_series(data_file("data/opensim_models_rajagopal_run/grf_run.mot"))
    soleus, ground = common_clock(envelopes(raw, EmgSettings()).series.select(["soleusr"]), force)
    lag = best_lag(soleus["soleusr"], ground["R_ground_force_vy"], soleus.rate, 0.1)
    assert lag.r >= 0.95 and 0.0 < lag.seconds < 0.06


def test_the_command_writes_a_report_that_needs_no_network(tmp_path, capsys):
    _, activity = bursts()
    write_series(
        tmp_path / "emg.csv", recording(soleus=raw_emg(activity, 0), TA=raw_emg(1 - activity, 1), xyz=activity)
    )
    (tmp_path / "steps.csv").write_text("touchdown_s\n" + "\n".join(str(t) for t in range(1, 9)))
    words = [f"emg={tmp_path / 'emg.csv'}", f"cycles={tmp_path / 'steps.csv'}", f"output={tmp_path / 'out'}"]
    words.append(f"against={tmp_path / 'emg.csv'}")
    assert script("tools/emg.py").main([*words, "against_signal=raw"]) == 0
    shown, page = capsys.readouterr().out, (tmp_path / "out" / "report.html").read_text()
    row = next(line for line in shown.splitlines() if line.startswith("soleus_r")).split()
    assert float(row[4]) == pytest.approx(1.0) and float(row[5]) == 0.0 and float(row[6]) == 0.0
    assert "unknown muscle names: xyz" in shown and "unknown muscle names: xyz" in page
    assert page.count("<img") == 1 and "http" not in page and "src='data:image/png" in page
    assert read_series(tmp_path / "out" / "envelopes.csv").names == ("soleus_r", "tibialis_anterior_r")


def test_bands_of_envelopes_end_at_zero():
    """A standard deviation larger than the mean does not make an envelope negative."""
    mean, sd = np.array([0.1, 0.5, 0.1]), np.array([0.3, 0.1, 0.05])
    for floor, lowest in ((0.0, 0.0), (-np.inf, -0.2)):
        figure = grid([Panel("soleus", [Curve("emg", mean, sd)], "of peak", floor)], np.arange(3.0), "x")
        (band,) = figure.axes[0].collections
        assert band.get_paths()[0].vertices[:, 1].min() == pytest.approx(lowest)


def test_activations_of_the_model_are_compared(tmp_path, capsys):
    activity, other = bursts()[1], bursts(shift=0.4)[1]
    write_series(tmp_path / "emg.csv", recording(soleus=raw_emg(activity, 0), TA=raw_emg(other, 1)))
    body = make_embodiment("fullbody")
    values = np.zeros((1000, len(body.actuator_names)))
    values[:, body.actuator_names.index("soleus_r")] = activity[::10]
    values[:, body.actuator_names.index("tibant_r")] = other[::10]
    write_series(tmp_path / "act.sto", TimeSeries(np.arange(1000) / 100.0, values, body.actuator_names))
    words = [f"emg={tmp_path / 'emg.csv'}", f"against={tmp_path / 'act.sto'}", f"output={tmp_path / 'out'}"]
    assert script("tools/emg.py").main(words) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "_r " in line][:2]
    assert len(rows) == 2 and all(float(row[-1]) > 0.99 and abs(float(row[-2])) <= 0.01 for row in rows)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "no EMG: set emg="),
        (["emg=none.csv"], "does not exist"),
        (["emg={emg}", "cycles={emg}"], "no column of cycle starts"),
        (["emg={emg}", "against=none.npz", "cycles={steps}"], "does not exist"),
        (["emg={emg}", "side=x"], "r or l"),
        (["emg={emg}", "cycles={late}"], "no complete cycle"),
    ],
)
def test_bad_options_are_reported(tmp_path, words, expected):
    _, activity = bursts(seconds=3.0)
    files = {"emg": write_series(tmp_path / "emg.csv", recording(soleus=raw_emg(activity, 0)))}
    files["steps"] = tmp_path / "steps.csv"
    files["steps"].write_text("touchdown_s\n0.5\n1.5\n")
    files["late"] = tmp_path / "late.csv"
    files["late"].write_text("touchdown_s\n50.5\n51.5\n")
    with pytest.raises(InputError, match=expected):
        script("tools/emg.py").main([word.format(**files) for word in words] + [f"output={tmp_path}"])
