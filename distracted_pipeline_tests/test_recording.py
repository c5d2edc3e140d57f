"""Recorded work: the same results, few passes launched, and on without a recording where that fails.

Where there is no GPU, a stand-in records. Masks are recorded in `masks/test_families`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.recording import WARM_UPS, Recorder
from distracted_pipeline.training.inputs import PIXELS, Rows
from distracted_pipeline.training.loop import predict_team, train_epoch
from distracted_pipeline.training.steps import Session, open_session
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.networks import build_network
from distracted_pipeline_tests.stand_in import StandIn
from distracted_pipeline_tests.variants.tiny import SIDE, efficientnet, settings_for, variant

__all__ = ["efficientnet"]

Work = Callable[[], Tensor]
ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def failing(work: Work, place: Any) -> tuple[Callable[[], object], Tensor]:
    raise RuntimeError("operation not permitted when stream is capturing\nmore")


def quiet(line: str) -> None:
    pytest.fail(line)


def doubled(given: Mapping[str, Tensor]) -> Tensor:
    return given["x"] * 2


def test_work_is_recorded_once_for_each_shape_and_gives_the_same() -> None:
    stand_in = StandIn()
    recorder: Recorder[Tensor] = Recorder(True, quiet, stand_in)
    for rows in (3, 3, 5, 3):
        x = torch.rand(rows, 2)
        assert torch.equal(recorder.run({"x": x}, doubled), x * 2)
    assert (stand_in.recorded, stand_in.replayed) == (2, 4)


def test_nothing_is_recorded_unless_wanted() -> None:
    recorder: Recorder[Tensor] = Recorder(False, quiet, failing)
    assert not recorder
    assert torch.equal(recorder.run({"x": torch.ones(2)}, doubled), torch.full((2,), 2.0))
    assert recorder.step({"x": torch.ones(2)}, doubled) is None


def test_what_cannot_be_recorded_is_done_as_it_is_after_one_line() -> None:
    said: list[str] = []
    recorder: Recorder[Tensor] = Recorder(True, said.append, failing)
    for _ in range(2):
        assert torch.equal(recorder.run({"x": torch.ones(2)}, doubled), torch.full((2,), 2.0))
    assert said == [
        "not recorded as a CUDA graph (RuntimeError: operation not permitted when stream is capturing): "
        "going on without it"
    ]
    assert not recorder


def test_memory_that_runs_out_while_warming_up_is_the_caller_s_matter_and_ends_recording() -> None:
    def full(given: Mapping[str, Tensor]) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    recorder: Recorder[Tensor] = Recorder(True, quiet, StandIn())
    with pytest.raises(torch.OutOfMemoryError):
        recorder.run({"x": torch.ones(2)}, full)
    assert not recorder


def test_numbers_that_a_model_writes_to_the_device_in_every_pass_are_written_once() -> None:
    """A recording cannot copy from the CPU's memory; `torch.tensor` and `torch.as_tensor` do."""
    made: list[Any] = []
    real = torch.tensor

    def scaled(given: Mapping[str, Tensor]) -> Tensor:
        factor = torch.tensor([2.0, 3.0])
        made.append(factor)
        return given["x"] * factor

    recorder: Recorder[Tensor] = Recorder(True, quiet, StandIn())
    for _ in range(2):
        assert torch.equal(recorder.run({"x": torch.ones(2)}, scaled), real([2.0, 3.0]))
    assert len(made) == WARM_UPS + 2
    assert len({id(factor) for factor in made}) == 1


def session_of(
    efficientnet: Path, kind: str, replicates: int, recorder: Recorder[Tensor] | None, device: str = "cpu"
) -> tuple[Session, Rows]:
    """Return a training on 30 rows, in batches of four, whose steps and scoring are recorded, if they are."""
    config = variant(kind, batch_size=4, dropout=0.2, epochs=2)
    random = torch.Generator().manual_seed(0)
    backbone = load_backbone(settings_for(efficientnet)) if config.taps else None
    raw = {
        "pixels": {PIXELS: torch.randint(0, 256, (30, 3, SIDE, SIDE), dtype=torch.uint8, generator=random)},
        "fractions": {"fractions": torch.rand(30, 7, 60, 80, generator=random).half()},
    }[config.inputs[0]]
    rows = Rows(raw, torch.arange(30) % 10, backbone.preprocessing if backbone else None).to(torch.device(device))
    nets = [build_network(config, backbone, STATE_FARM, seed=seed).to(device) for seed in range(replicates)]
    for net in nets:
        net.streamline()
    options = RunOptions(device, precision="fp32", log=quiet, compile="off")
    session = open_session(nets, rows, config, list(range(replicates)), options)
    if recorder is not None:
        session.recorder, session.scorer = recorder, Recorder(True, quiet, recorder._capture)
    return session, rows


def trained(session: Session, rows: Rows) -> tuple[list[list[float]], Tensor, list[dict[str, Tensor]]]:
    """Return losses of two epochs, scores after them, and the weights."""
    losses = [train_epoch(session, rows, epoch) for epoch in (1, 2)]
    scores = predict_team(session.team, rows, Pieces(4, quiet), None, session.steady, session.scorer)
    return losses, scores.cpu(), [session.team.state(r) for r in range(len(session.team))]


@pytest.mark.parametrize(("kind", "replicates"), [("fine_tune", 1), ("lora", 1), ("masks_only", 2)])
def test_a_training_with_recorded_steps_ends_with_the_same_weights(
    efficientnet: Path, kind: str, replicates: int
) -> None:
    if kind == "lora":
        pytest.importorskip("peft")
    expected = trained(*session_of(efficientnet, kind, replicates, None))
    stand_in = StandIn()
    session, rows = session_of(efficientnet, kind, replicates, Recorder(True, quiet, stand_in))
    losses, scores, weights = trained(session, rows)
    assert losses == expected[0]
    assert torch.equal(scores, expected[1])
    for ours, theirs in zip(weights, expected[2], strict=True):
        for name, value in theirs.items():
            assert torch.equal(ours[name], value), name
    # Of two epochs of seven batches of four and one of two, two steps warm up; scoring has seven whole pieces.
    assert (stand_in.recorded, stand_in.replayed) == (2, 2 * 7 - WARM_UPS + 7)


def test_where_recordings_fill_the_memory_they_go_before_a_batch_is_halved(
    efficientnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, rows = session_of(efficientnet, "fine_tune", 1, Recorder(True, quiet, StandIn()))
    real, calls = type(session.team).logits, 0

    def once_full(self: Any, *args: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 8:  # the last batch of the epoch, which is not replayed
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, *args)

    monkeypatch.setattr(type(session.team), "logits", once_full)
    train_epoch(session, rows, 1)
    assert not session.recorder
    assert session.pieces.size == 4


@ON_A_GPU
@pytest.mark.parametrize("kind", ["fine_tune", "lora", "masks_only"])
def test_on_a_gpu_a_replayed_step_learns_what_a_launched_one_does(efficientnet: Path, kind: str) -> None:
    count = 2 if kind == "masks_only" else 1
    losses, scores, _ = trained(*session_of(efficientnet, kind, count, None, "cuda"))
    session, rows = session_of(efficientnet, kind, count, Recorder(True, quiet), "cuda")
    ours, our_scores, _ = trained(session, rows)
    assert session.recorder._recordings
    assert torch.allclose(torch.tensor(ours), torch.tensor(losses), rtol=1e-3)
    assert torch.allclose(our_scores, scores, atol=1e-2)


@ON_A_GPU
def test_on_a_gpu_what_waits_for_the_device_is_not_recorded_and_goes_on() -> None:
    said: list[str] = []
    layer = nn.Linear(2, 2).cuda()

    def waits(given: Mapping[str, Tensor]) -> Tensor:
        values: Tensor = layer(given["x"])
        return values * values.sum().item()

    x, recorder = torch.ones(3, 2, device="cuda"), Recorder[Tensor](True, said.append)
    assert torch.equal(recorder.run({"x": x}, waits), waits({"x": x}))
    (line,) = said
    assert line.startswith("not recorded as a CUDA graph (")
    assert torch.equal(recorder.run({"x": x}, waits), waits({"x": x}))
