"""`rate=` and `unit=` override every format; implausible speeds are rejected."""

import numpy as np
import pytest
from test_amass_files import Z_UP_SMPL, smpl
from test_asf_files import INCH, asf_amc
from test_opensim_files import mot
from test_retargeting_readers import error_message
from walker import bvh, markers, trc, walk

from muscle_torch.embodiments import make_embodiment
from muscle_torch.motion import generate
from muscle_torch.retargeting import READERS, ReadOptions, read_motion

WALK = walk(60, rate=60.0)


def test_motions_faster_than_a_sprinter_are_rejected(tmp_path):
    """A rate of 1200 instead of 60 Hz: 22 m/s."""
    path = tmp_path / "walk.bvh"
    path.write_text(bvh(walk(400, rate=60.0)))
    message = error_message(path, ReadOptions(rate=1200.0))
    assert "no person runs faster than 12.5" in message and "set rate= or unit=" in message


RATED = [suffix for suffix in READERS if suffix != ".npy"]  # arrays store no rate: test_text_motion.py


def written(folder, suffix: str):
    """Write one walk in each format; return whether unit= scales its lengths."""
    path = folder / f"walk{suffix}"
    if suffix == ".bvh":
        path.write_text(bvh(WALK, scale=1.0))
    elif suffix == ".amc":
        asf_amc(folder)
    elif suffix in (".mot", ".sto"):
        mot(path)
    elif suffix == ".trc":
        path.write_text(trc(markers(WALK), 60.0, unit="m", scale=1.0))
    elif suffix == ".c3d":
        pytest.importorskip("ezc3d", reason="pip install 'muscle_torch[biomech]'")
        from c3d_writer import write_c3d

        write_c3d(path, markers(WALK), 60.0, units="m")
    else:
        smpl(folder, WALK, Z_UP_SMPL)
    return path


@pytest.mark.parametrize("suffix", RATED)
def test_rate_overrides_the_file_in_every_format(tmp_path, suffix):
    path = written(tmp_path, suffix)
    options = ReadOptions(smpl=str(tmp_path / "model.npz"))
    plain = read_motion(path, options)
    raw = read_motion(path, ReadOptions(smpl=options.smpl, rate=45.0))
    assert raw.rate == pytest.approx(45.0) != plain.rate and raw.num_frames == plain.num_frames
    np.testing.assert_allclose(raw.positions["left_knee"], plain.positions["left_knee"], atol=1e-9)


@pytest.mark.parametrize("suffix", RATED)
def test_unit_overrides_the_file_in_every_format(tmp_path, suffix):
    """1.1 of a metre: of everything, or of the root's translation in formats whose body has a size of its own."""
    path = written(tmp_path, suffix)
    unit = 1.1 * INCH if suffix == ".amc" else 1.1
    smpl_file = str(tmp_path / "model.npz")
    plain, raw = (read_motion(path, ReadOptions(smpl=smpl_file, unit=u)).positions["pelvis"] for u in (0.0, unit))
    way, longer = (np.linalg.norm((at[-1] - at[0])[:2]) for at in (plain, raw))
    assert longer == pytest.approx(1.1 * way, rel=0.03)


def test_rate_and_unit_decide_for_our_own_clips(tmp_path):
    clip = generate("walk", make_embodiment("fullbody"))[0]
    path = clip.save(tmp_path / "walk.npz")
    plain = read_motion(path)
    raw = read_motion(path, ReadOptions(rate=50.0, unit=1.1))
    assert raw.rate == 50 and raw.num_frames == plain.num_frames
    way, longer = (np.linalg.norm((at[-1] - at[0])[:2]) for at in (plain.positions["pelvis"], raw.positions["pelvis"]))
    assert longer == pytest.approx(1.1 * way, rel=0.02)


@pytest.mark.parametrize("suffix", [".bvh", ".amc", ".npz", ".mot"])
@pytest.mark.parametrize("word", ["nan", "inf"])
def test_channels_that_are_no_numbers_are_reported(tmp_path, suffix, word):
    """Rotations add up along a chain, so a gap in one joint is none that markers have."""
    path, options = written(tmp_path, suffix), ReadOptions(smpl=str(tmp_path / "model.npz"))
    if suffix == ".npz":
        with np.load(path) as stored:
            arrays = dict(stored)
        arrays["poses"] = arrays["poses"].astype(float)
        arrays["poses"][5, 4] = float(word)
        np.savez(path, **arrays)
    else:
        lines = path.read_text().splitlines()
        lines[-3] = lines[-3].removesuffix(lines[-3].split()[-1]) + word
        path.write_text("\n".join(lines) + "\n")
    message = error_message(path, options)
    assert "not numbers (NaN or infinite)" in message or "has no value" in message
