"""A GPU belongs to one process at a time, and comes free however that process ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distracted_pipeline.assets import lease
from distracted_pipeline.assets.compute import DeviceConfig
from distracted_pipeline.errors import DistractedError

HOLD = """
import sys, time, os
from distracted_pipeline.assets.lease import claim_gpu
device = claim_gpu("auto", lambda line: print("waits", flush=True))
print("holds", os.environ["CUDA_VISIBLE_DEVICES"], device, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(lease.FOLDER_VARIABLE, str(tmp_path / "leases"))
    monkeypatch.setenv(lease.VISIBLE, "0,1")
    monkeypatch.setattr(lease, "_held", {})
    return tmp_path / "leases"


def start() -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def say(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_four_processes_share_two_gpus_one_each_and_a_killed_one_frees_its_own() -> None:
    first, second = start(), start()
    held = {say(first): first, say(second): second}
    assert set(held) == {"holds 0 cuda", "holds 1 cuda"}
    waiting = [start(), start()]
    assert [say(process) for process in waiting] == ["waits", "waits"]
    for process in held.values():
        process.send_signal(signal.SIGKILL)
    assert {say(process) for process in waiting} == {"holds 0 cuda", "holds 1 cuda"}
    for process in [first, second, *waiting]:
        process.kill()
        process.wait()


def test_a_process_keeps_its_gpu_from_step_to_step() -> None:
    assert lease.claim_gpu("auto", print) == "cuda"
    assert os.environ[lease.VISIBLE] == "0"
    assert lease.claim_gpu("cuda", print) == "cuda"


def test_a_gpu_that_is_named_by_its_number_is_the_same_in_the_next_step() -> None:
    assert lease.claim_gpu("cuda:1", print) == "cuda"
    assert os.environ[lease.VISIBLE] == "1"
    assert lease.claim_gpu("cuda:1", print) == "cuda"
    with pytest.raises(DistractedError, match="uses GPU 1 already"):
        lease.claim_gpu("cuda:2", print)


def test_a_named_gpu_is_the_one_leased() -> None:
    assert lease.claim_gpu("cuda:1", print) == "cuda"
    assert os.environ[lease.VISIBLE] == "1"


def test_a_process_that_holds_one_gpu_refuses_another() -> None:
    lease.claim_gpu("cuda:0", print)
    with pytest.raises(DistractedError, match="uses GPU 0 already"):
        lease.claim_gpu("cuda:1", print)


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(DistractedError, match="visible are 0, 1"):
        lease.claim_gpu("cuda:7", print)


def test_without_a_gpu_auto_stays_and_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lease.VISIBLE, "")
    assert lease.claim_gpu("auto", print) == "auto"
    with pytest.raises(DistractedError, match="no GPU that CUDA can see.*distracted doctor"):
        lease.claim_gpu("cuda", print)


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_other_devices_need_no_lease(device: str, own_leases: Path) -> None:
    assert DeviceConfig(device=device).options(print).device_name() == device
    assert not own_leases.exists()


def test_a_folder_that_cannot_be_written_is_named_with_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv(lease.FOLDER_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(DistractedError, match=f"file.*{lease.FOLDER_VARIABLE}"):
        lease.claim_gpu("cuda", print)
