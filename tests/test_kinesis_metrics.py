"""The metrics of KINESIS by hand: a clip that fails, then one that is followed perfectly."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from muscle_torch.envs.goals.goal import Headline
from muscle_torch.evaluation import with_accumulated_mpjpe
from muscle_torch.evaluation.summary import summarize
from muscle_torch.evaluation.tally import Tally

HEADLINE = Headline("err/mpjpe", "MPJPE", "mm", 1e3)
ERRORS = torch.tensor([[0.1, 0.0], [0.3, 0.0], [0.7, 0.0], [0.9, 0.0]])  # [m] at four steps of both clips


@pytest.fixture
def metrics():
    trials: Any = SimpleNamespace(names=["fails", "perfect"], lengths=torch.tensor([5, 5]), unit="clip")
    tally = Tally.empty(2, torch.device("cpu"))
    nothing, everywhere = torch.zeros(2, dtype=torch.bool), torch.ones(2, dtype=torch.bool)
    for error in ERRORS:
        step = SimpleNamespace(terminated=error > 0.5, broken=nothing, reward=torch.ones(2), terms={"err/mpjpe": error})
        tally.add(step, everywhere, everywhere, {})
    return summarize([tally.row(trials, clip, clip) for clip in range(2)], "clip", HEADLINE)


def test_metrics_of_a_failing_clip_do_not_leak_into_the_next(metrics):
    fails, perfect = metrics["per_clip"]
    assert (fails["success_rate"], perfect["success_rate"]) == (0, 1) and metrics["success_rate"] == 0.5
    assert (fails["frame_coverage"], perfect["frame_coverage"]) == (0.75, 1.0)
    assert fails["mpjpe"] == pytest.approx((0.1 + 0.3 + 0.7) / 3) and perfect["mpjpe"] == 0.0
    assert metrics["mpjpe"] == pytest.approx(1.1 / 6)
    assert fails["err_mpjpe"] == pytest.approx(0.5)  # of the whole clip, as every error
    assert "mpjpe_accumulated" not in metrics


def test_the_published_accumulation_on_request(metrics):
    leaking = with_accumulated_mpjpe(metrics)
    values = [row["mpjpe_accumulated"] for row in leaking["per_clip"]]
    assert values == pytest.approx([1.1 / 3, 1.1 / 7])
    assert leaking["mpjpe_accumulated"] == pytest.approx((1.1 / 3 + 1.1 / 7) / 2)
    assert leaking["mpjpe"] == metrics["mpjpe"]
