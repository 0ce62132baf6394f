"""Tables in the dialects of laboratories and spreadsheets: all read as the plain table, with the true clock."""

import numpy as np
import pytest
from commands import script

from muscle_torch.biomechanics.clocks import even_clock
from muscle_torch.biomechanics.emg import EmgSettings, envelopes
from muscle_torch.biomechanics.emg_map import load_map
from muscle_torch.biomechanics.experiments import compare_with_measured
from muscle_torch.biomechanics.gait_events import read_events
from muscle_torch.biomechanics.recordings import read_series, write_series
from muscle_torch.biomechanics.series import TimeSeries
from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError

TIME = np.arange(40) / 1000
SOLEUS, TIBIALIS = np.sin(50 * TIME), np.cos(50 * TIME)
ROWS = list(zip(TIME, SOLEUS, TIBIALIS, strict=True))


def lines(template="{0:.4f},{1:.5f},{2:.5f}", rows=ROWS):
    return [template.format(*row) for row in rows]


def table(*head, rows=None):
    return "\n".join((*head, *(rows if rows is not None else lines()))) + "\n"


def with_commas(rows):
    return [row.replace(",", ";").replace(".", ",") for row in rows]


NAMES = "time,Soleus_R,TibialisAnterior_R"
DIALECTS = {
    "plain": table(NAMES),
    "decimal commas": table(NAMES.replace(",", ";"), rows=with_commas(lines())),
    "decimal commas, tabs": table(NAMES.replace(",", "\t"), rows=[r.replace(";", "\t") for r in with_commas(lines())]),
    "decimal commas, blanks": table(
        NAMES.replace(",", " "), rows=[r.replace(";", "  ") for r in with_commas(lines())]
    ),
    "decimal commas, quoted": table(
        NAMES, rows=['"' + r.replace(";", '","') + '"' for r in with_commas(lines())]
    ),
    "excel's separator": table("sep=,", NAMES),
    "excel's separator, semicolons": table("sep=;", NAMES.replace(",", ";"), rows=with_commas(lines())),
    "a row of units": table(NAMES, "s,mV,mV"),
    "a row of units in brackets": table(NAMES, "[s],[mV],[mV]"),
    "units in ms": table("time [ms],Soleus_R,TibialisAnterior_R",
                         rows=lines("{0:.1f},{1:.5f},{2:.5f}", [(1000 * t, a, b) for t, a, b in ROWS])),
    "a row of units in ms": table(NAMES, "ms,mV,mV",
                                  rows=lines("{0:.1f},{1:.5f},{2:.5f}", [(1000 * t, a, b) for t, a, b in ROWS])),
    "ms in the name": table("time_ms,Soleus_R,TibialisAnterior_R",
                            rows=lines("{0:.1f},{1:.5f},{2:.5f}", [(1000 * t, a, b) for t, a, b in ROWS])),
    "microseconds": table("Time (µs),Soleus_R,TibialisAnterior_R",
                          rows=lines("{0:.0f},{1:.5f},{2:.5f}", [(1e6 * t, a, b) for t, a, b in ROWS])),
    "minutes": table("time (min),Soleus_R,TibialisAnterior_R",
                     rows=lines("{0:.9f},{1:.5f},{2:.5f}", [(t / 60, a, b) for t, a, b in ROWS])),
    "time second": table("Frame," + NAMES, rows=[f"{i},{line}" for i, line in enumerate(lines(), 1)]),
    "time last": table("Soleus_R,TibialisAnterior_R,Time", rows=lines("{1:.5f},{2:.5f},{0:.4f}")),
    "German": table("Zeit [s];Soleus_R;TibialisAnterior_R", rows=with_commas(lines())),
    "elapsed time": table("Elapsed time (s),Soleus_R,TibialisAnterior_R"),
    "time stamp": table("EMG time stamp [s],Soleus_R,TibialisAnterior_R"),
    "Delsys": table("X [s],Soleus_R,TibialisAnterior_R"),
    "lines above the names": table("Subject,12", "Recorded 3 May", NAMES),
    "numpy's names": table("# " + NAMES),
    "separators at the ends": table(NAMES + ",", rows=[line + "," for line in lines()]),
    "blanks around": table(NAMES.replace(",", " , "), rows=[line.replace(",", " , ") for line in lines()]),
    "Windows line ends": table(NAMES).replace("\n", "\r\n"),
    "minus signs of a typesetter": table(NAMES).replace("-", "\N{MINUS SIGN}"),
}  # fmt: skip


@pytest.mark.parametrize("text", DIALECTS.values(), ids=DIALECTS.keys())
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_dialect_reads_as_the_plain_table(tmp_path, text, encoding):
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    read = read_series(tmp_path / "x.csv")
    assert read.names == ("Soleus_R", "TibialisAnterior_R")
    np.testing.assert_allclose(read.time, TIME, atol=1e-7)
    np.testing.assert_allclose(read.values, np.stack([SOLEUS, TIBIALIS], axis=1), atol=1e-5)


def test_a_windows_code_page_and_units_in_brackets(tmp_path):
    (tmp_path / "x.csv").write_bytes(table("time [s],Soleus_R [µV],TA (mV)").encode("cp1252"))
    assert read_series(tmp_path / "x.csv").units == ("µV", "mV")
    (tmp_path / "x.csv").write_text(table("time,Soleus (right),Tibialis anterior [left]"))
    read = read_series(tmp_path / "x.csv")
    assert read.names == ("Soleus (right)", "Tibialis anterior [left]") and read.units == ("", "")
    (tmp_path / "x.csv").write_text(table('time,"Soleus, right","Tibialis anterior, left"'))
    names = read_series(tmp_path / "x.csv").names
    assert [load_map().find(name) for name in names] == [("soleus", "r"), ("tibialis_anterior", "l")]


@pytest.mark.parametrize("word", ["N/A", "NA", "NaN", "nan", "", "-", "null", "#N/A", "#DIV/0!"])
def test_spellings_of_missing_values(tmp_path, word):
    rows = lines()
    rows[3] = f"0.0030,{word},1.0"
    (tmp_path / "x.csv").write_text(table(NAMES, rows=rows))
    assert np.flatnonzero(np.isnan(read_series(tmp_path / "x.csv")["Soleus_R"])).tolist() == [3]


@pytest.mark.parametrize(
    ("hertz", "decimals"), [(2000, 3), (1024, 3), (600, 4), (60, 2), (119.88, 3), (1925.93, 4), (100, 2)]
)
def test_rounded_times_are_put_back_on_their_clock(hertz, decimals):
    exact = np.arange(5000) / hertz
    read, _ = even_clock(np.round(exact, decimals))
    np.testing.assert_allclose(read, exact, atol=1e-5)


def test_uneven_clocks_stay_uneven():
    uneven = np.round(np.cumsum(np.random.default_rng(0).uniform(0.001, 0.003, 500)), 3)
    assert even_clock(uneven)[0] is uneven
    gap = np.append(np.arange(100), np.arange(150, 250)) / 100
    assert even_clock(gap)[0] is gap


def test_repeated_times_of_a_rounded_clock_are_reported(tmp_path):
    rows = lines("{0:.3f},{1:.5f},{2:.5f}", [(t / 2, a, b) for t, a, b in ROWS])
    (tmp_path / "x.csv").write_text(table(NAMES, rows=rows))
    read = read_series(tmp_path / "x.csv")
    assert read.rate == pytest.approx(2000) and len(read.time) == 40 and "read as 2000 Hz" in read.notes[0]
    assert read_series(tmp_path / "x.csv", rate=1900).rate == pytest.approx(1900)


@pytest.mark.parametrize("suffix", [".csv", ".sto"])
def test_the_last_of_rows_with_the_same_time_is_kept(tmp_path, suffix):
    """As OpenSim does: its integrator writes a row again after an event."""
    head = "\n".join(("Results", "endheader", "time,a")) if suffix == ".sto" else "time,a"
    (tmp_path / f"x{suffix}").write_text(f"{head}\n0,1\n0.01,2\n0.01,3\n0.02,4\n")
    read = read_series(tmp_path / f"x{suffix}")
    assert read.time.tolist() == [0.0, 0.01, 0.02] and read["a"].tolist() == [1, 3, 4]
    assert "1 rows with the same time" in read.notes[0]


def test_rate_decides(tmp_path):
    """In every format `rate=` overrides the file's clock, with a note."""
    series = TimeSeries(np.arange(20) / 100, np.arange(20.0)[:, None], ("a",))
    for suffix in (".csv", ".sto", ".mot"):
        path = write_series(tmp_path / f"x{suffix}", series)
        assert read_series(path, rate=100).notes == ()
        read = read_series(path, rate=50)
        assert read.rate == pytest.approx(50) and "states 100 Hz; using rate=50" in read.notes[0]
    for head in ("a", "frame,a"):
        count = ["" if head == "a" else f"{i}," for i in range(20)]
        (tmp_path / "y.csv").write_text(table(head, rows=[f"{c}{i}.5" for i, c in enumerate(count)]))
        assert read_series(tmp_path / "y.csv", rate=50).names == ("a",)
    with pytest.raises(InputError, match="must be positive"):
        read_series(tmp_path / "y.csv", rate=-1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table("time (%),a", rows=["0,1", "50,2", "100,3"]), "in '%': a curve over a cycle"),
        (table("time (frames),a", rows=["0,1", "1,2", "2,3"]), "counts samples"),
        (table("time (parsec),a", rows=["0,1", "1,2", "2,3"]), "time"),
        (table("time,a", rows=[f"{10 * i},{i}" for i in range(100)]), "in milliseconds, name it `time"),
        (table("time,a", rows=["0,1", "1,2", "0.5,3"]), "does not increase in row 2"),
        (table("time,a", rows=["0,1", "NaN,2", "1,3"]), "time is missing in row 2"),
        (table("time,a,b", rows=["0,00,1,00,2,00", "0,01,1,00,2,00", "0,02,1,00,2,00"]), "decimal commas"),
        (table("time,a", rows=["0,x", "1,2", "2,3"]), "line 2: 'x' is not a number"),
        (table("time,a", rows=["0,1", "1,2 mV", "2,3"]), "line 3: '2 mV' is not a number"),
        ("time,a\nx,y\n", "is not a number"),
        ("PK\x03\x04\x00", "not a text file"),
    ],
)
def test_unreadable_tables_report_the_cause(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_series(tmp_path / "x.csv")


def test_a_clock_in_another_unit_is_rejected():
    values = np.random.default_rng(0).random((400, 1))
    with pytest.raises(InputError, match="the time is in milliseconds"):
        envelopes(TimeSeries(10.0 * np.arange(400), values, ("soleus",)), EmgSettings())
    with pytest.raises(InputError, match="the time is in seconds"):
        envelopes(TimeSeries(1e-6 * np.arange(400), values, ("soleus",)), EmgSettings())


@pytest.mark.parametrize(
    "text",
    [
        "touchdown_s,liftoff_s\n0.5,1.1\n1.5,2.1\n",
        "touchdown_ms,liftoff_ms\n500,1100\n1500,2100\n",
        "Heel strike (ms);Toe off (ms)\n500;1100\n1500;2100\n",
        "foot strike [s];foot off [s]\n0,5;1,1\n1,5;2,1\n",
        "touchdown,liftoff\nms,ms\n500,1100\n1500,2100\n",
    ],
)
def test_events_in_any_unit(tmp_path, text):
    (tmp_path / "steps.csv").write_text(text)
    events = read_events(tmp_path / "steps.csv")
    np.testing.assert_allclose(events.starts, [0.5, 1.5])
    np.testing.assert_allclose(events.ends, [1.1, 2.1])


def test_events_in_frames_are_rejected(tmp_path):
    (tmp_path / "steps.csv").write_text("touchdown_frame\n100\n200\n")
    with pytest.raises(InputError, match="is in frame: convert it to seconds"):
        read_events(tmp_path / "steps.csv")


def test_milliseconds_give_the_same_cycle(tmp_path, capsys):
    """Soleus peaks at 0.25 s of each second, tibialis at 0.75 s, for every unit of time."""
    time = np.arange(0, 4, 0.01)
    bursts = [0.02 + np.exp(-((((time % 1.0) - peak) / 0.08) ** 2)) for peak in (0.25, 0.75)]
    (tmp_path / "steps.csv").write_text("touchdown_s\n0\n1\n2\n3\n")
    for unit, factor in (("s", 1), ("ms", 1000)):
        rows = [f"{factor * t:.3f},{a:.5f},{b:.5f}" for t, a, b in zip(time, *bursts, strict=True)]
        (tmp_path / "emg.csv").write_text(table(f"time ({unit}),Soleus_R,TibialisAnterior_R", rows=rows))
        words = [f"emg={tmp_path / 'emg.csv'}", f"cycles={tmp_path / 'steps.csv'}", f"output={tmp_path / 'out'}"]
        assert script("tools/emg.py").main(words) == 0
        shown = {line.split()[0]: line.split()[1] for line in reversed(capsys.readouterr().out.splitlines())
                 if "_r " in line}  # fmt: skip
        assert (shown["soleus_r"], shown["tibialis_anterior_r"]) == ("25", "75"), unit


def test_maps_of_channels_need_no_titles(tmp_path):
    """The first line is a row unless it is a header."""
    for text in ("E1,soleus_r\nE2,tibant_r\n", "channel,actuators\nE1,soleus_r\nE2,tibant_r\n",
                 "E1;soleus_r\nE2;tibant_r\n", "EMG;Muscles\nE1;soleus_r\nE2;tibant_r\n"):  # fmt: skip
        (tmp_path / "map.csv").write_text(text)
        mapping = load_map(tmp_path / "map.csv")
        assert mapping.actuators["E1"] == ("soleus_r",) and mapping.actuators["E2"] == ("tibant_r",)
    (tmp_path / "map.csv").write_text("E1,soleus_r gasmed_r\n")
    assert load_map(tmp_path / "map.csv").actuators["E1"] == ("soleus_r", "gasmed_r")
    (tmp_path / "map.csv").write_text("E1,soleus_r\nE2,\n")
    with pytest.raises(InputError, match="line 2: write `channel,actuator"):
        load_map(tmp_path / "map.csv")


def test_measured_arms_with_decimal_commas(tmp_path):
    body = make_embodiment("fullbody")
    text = "study,curve,hip_flexion_deg,moment_arm_m\nArnold2000,specimen1,0.5,0.0245\nArnold2000,specimen1,10,0.0230\n"
    mapping = tmp_path / "map.yaml"
    mapping.write_text("Arnold2000.specimen1: {muscles: [psoas_r], along: hip_flexion_r, axis: hip_flexion_r, sign: 1, "
                       "source: test}\n")  # fmt: skip
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "b.csv").write_text(text.replace(",", ";").replace("0.", "0,"))
    first, second = (compare_with_measured(body, tmp_path / name, mapping)[0] for name in ("a.csv", "b.csv"))
    np.testing.assert_allclose(first.arm, [0.0245, 0.0230])
    np.testing.assert_allclose(second.arm, first.arm)
    np.testing.assert_allclose(second.degrees, [0.5, 10])


COORDINATES = ("pelvis_tilt", "pelvis_tx", "pelvis_ty", "hip_flexion_r", "knee_angle_r", "ankle_angle_r")


def motion(path, header, degrees):
    """Write a walk whose hip swings by 22 degrees and whose knee bends by 60."""
    time = np.arange(150) / 100
    phase = 2 * np.pi * time
    angles = [5 + 0 * time, 22 * np.sin(phase), 30 - 30 * np.cos(phase), 10 * np.sin(2 * phase)]
    tilt, hip, knee, ankle = (angle if degrees else np.radians(angle) for angle in angles)
    columns = np.stack([time, tilt, 1.1 * time, 0.94 + 0 * time, hip, knee, ankle], axis=1)
    rows = ["\t".join(f"{value:.6f}" for value in row) for row in columns]
    path.write_text("\n".join((header, "endheader", "\t".join(("time", *COORDINATES)), *rows)) + "\n")
    return path


MODERN, OLD = "Coordinates\nversion=1\nnRows=150\nnColumns=7\n{}", "name x\ndatacolumns 7\ndatarows 150\nrange 0 1.49"
STATED_DEGREES = ("inDegrees=yes", "inDegrees=true", "inDegrees = YES", "inDegrees=1", "Angles are in degrees.")
STATED_RADIANS = ("inDegrees=no", "inDegrees=false", "inDegrees = No")


@pytest.mark.parametrize("degrees", [True, False])
@pytest.mark.parametrize("header", [MODERN.format(""), OLD, *(MODERN.format(line) for line in STATED_DEGREES)])
def test_degrees_whatever_the_header(tmp_path, header, degrees):
    """Without a header, the size of the angles determines the unit; a contradicting header is rejected."""
    path = motion(tmp_path / "walk.mot", header, degrees)
    if not degrees and "egrees" in header:
        with pytest.raises(InputError, match=r"states degrees, but no joint bends by more than 1 \(knee_angle_r\)"):
            read_series(path)
        read = read_series(path, angle_unit="rad")
    else:
        read = read_series(path)
        assert bool(read.notes) == ("egrees" not in header)
    factor = 1.0 if read.units[3] == "rad" else np.pi / 180
    assert factor * read["hip_flexion_r"].max() == pytest.approx(np.radians(22), rel=1e-3)
    assert read.units[1] == "m"


@pytest.mark.parametrize("line", STATED_RADIANS)
def test_radians_whatever_the_header(tmp_path, line):
    header = MODERN.format(line)
    assert read_series(motion(tmp_path / "walk.mot", header, False)).units[3] == "rad"
    with pytest.raises(InputError, match="states radians, but knee_angle_r reaches 60"):
        read_series(motion(tmp_path / "walk.mot", header, True))
    assert read_series(tmp_path / "walk.mot", angle_unit="deg").units[3] == "deg"
    with pytest.raises(InputError, match="did you mean 'deg'"):
        read_series(tmp_path / "walk.mot", angle_unit="degr")


def test_a_motion_in_place_only_causes_a_note(tmp_path):
    """Quiet standing bends no joint by 3 degrees, so degrees are plausible."""
    path = motion(tmp_path / "walk.mot", MODERN.format("inDegrees=yes"), False)
    still = read_series(path, angle_unit="deg")
    column = still.index("pelvis_tx")
    values = still.values.copy()
    values[:, column] = 0.0
    write_series(tmp_path / "still.mot", still.with_values(values))
    text = (tmp_path / "still.mot").read_text().replace("inDegrees=no", "inDegrees=yes")
    (tmp_path / "still.mot").write_text(text)
    read = read_series(tmp_path / "still.mot")
    assert read.units[3] == "deg" and "if these are radians" in read.notes[0]


@pytest.mark.parametrize("title", ["Time", "TIME", "t"])
def test_time_of_any_spelling_and_place_in_a_storage_file(tmp_path, title):
    (tmp_path / "x.mot").write_text(f"x\nversion=1\nendheader\nknee_angle_r {title}\n60 0\n60 1\n")
    read = read_series(tmp_path / "x.mot")
    assert read.time.tolist() == [0, 1] and read.names == ("knee_angle_r",)
