"""Clips and cameras are decoded upright, at their own times, and what is wrong with a file is said."""

import sys
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.serving import video
from distracted_pipeline.serving.video import Clip, camera_address, clips_in, open_camera, open_clip, upright

SIZE = (48, 64)


def picture(number: int) -> np.ndarray:
    """Grey that tells the number, red in the upper left corner, blue in the upper right one."""
    pixels = np.full((*SIZE, 3), 40 + 6 * number, np.uint8)
    pixels[:16, :16], pixels[:16, -16:] = (250, 0, 0), (0, 0, 250)
    return pixels


def write(
    path: Path, times: list[float], prepare: Callable[[av.VideoStream], None] = lambda stream: None, **options: str
) -> Path:
    """Encode a frame at each of these times."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "1", "bf": "0", "tune": "zerolatency"})
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        prepare(stream)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read(path: Path, fps: float | None = None, seconds: float | None = None) -> tuple[list[video.Frame], Clip]:
    with open_clip(path, path.name) as clip:
        return list(clip.frames(fps, seconds)), clip


EVEN = [number / 10 for number in range(20)]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.mov"])
def test_every_frame_comes_in_order_with_its_time(tmp_path: Path, name: str) -> None:
    frames, clip = read(write(tmp_path / name, EVEN))
    assert [frame.number for frame in frames] == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx(EVEN, abs=0.002)
    assert [int(frame.image[30, 30, 0]) for frame in frames] == pytest.approx([40 + 6 * k for k in range(20)], abs=4)
    assert clip.end == pytest.approx(2.0, abs=0.01)
    assert clip.notes == []


def test_times_of_a_variable_rate_are_those_of_the_file(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 1.0, 1.5, 1.52, 4.0]
    frames, _ = read(write(tmp_path / "variable.mp4", times))
    assert [frame.time for frame in frames] == pytest.approx(times, abs=0.002)


def test_fewer_frames_a_second_are_chosen_by_their_times(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", EVEN)
    assert [frame.time for frame in read(path, fps=2)[0]] == pytest.approx([0, 0.5, 1.0, 1.5], abs=0.002)
    assert len(read(path, fps=100)[0]) == 20, "no frame twice"
    assert [frame.number for frame in read(path, seconds=0.5)[0]] == [0, 1, 2, 3, 4]
    uneven = write(tmp_path / "uneven.mp4", [0.0, 0.1, 0.2, 2.7, 2.8, 3.1])
    assert [frame.time for frame in read(uneven, fps=1)[0]] == pytest.approx([0, 2.7, 3.1], abs=0.002)


@pytest.mark.parametrize(
    ("degrees", "red", "blue"),
    [(0, (8, 8), (8, 56)), (90, (56, 8), (8, 8)), (180, (40, 56), (40, 8)), (-90, (8, 40), (56, 40))],
)
def test_a_turned_clip_is_shown_as_players_show_it(
    tmp_path: Path, degrees: int, red: tuple[int, int], blue: tuple[int, int]
) -> None:
    """A display rotation of 90 is counterclockwise, so the upper left corner comes to the lower left."""
    path = write(tmp_path / "turned.mp4", EVEN[:2], lambda stream: stream.set_display_rotation(degrees))
    image = read(path)[0][0].image
    assert image.shape[:2] == (SIZE if degrees in (0, 180) else SIZE[::-1])
    assert image[red][0] > 180 > image[red][2]
    assert image[blue][2] > 180 > image[blue][0]


def test_a_mirrored_matrix_is_followed_too_and_an_odd_angle_is_said() -> None:
    pixels, one = picture(0), 1 << 16
    mirrored, exact = upright(pixels, np.array([-one, 0, 0, 0, one, 0, 0, 0, 1 << 30], np.int32))
    assert exact
    np.testing.assert_array_equal(mirrored, pixels[:, ::-1])
    tilted = np.array([50000, 42000, 0, -42000, 50000, 0, 0, 0, 1 << 30], np.int32)
    same, exact = upright(pixels, tilted)
    assert not exact
    assert same is pixels


def test_of_a_cut_file_all_that_can_be_decoded_is_used_and_the_rest_is_said(tmp_path: Path) -> None:
    for name, options in (("cut.mkv", {}), ("cut.mp4", {"movflags": "faststart"})):
        path = write(tmp_path / name, EVEN, **options)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
        frames, clip = read(path)
        assert 3 < len(frames) < 18
        assert any(f"ends at {clip.end:.2f} s of 2.0" in note for note in clip.notes)


def test_damage_within_a_file_costs_only_the_damaged_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", EVEN)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)
    frames, clip = read(path)
    assert 15 <= len(frames) < 20
    assert clip.notes


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the file is empty"), (b"not a video" * 50, "cannot be opened as a video"), (None, "it is not there")],
)
def test_what_is_no_video_is_said(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DistractedError, match=message):
        read(path)


def test_an_mp4_without_its_end_cannot_be_opened_and_the_reason_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", EVEN)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DistractedError, match="often unreadable without its end"):
        read(path)


def test_sound_alone_and_a_file_without_frames_are_no_clips(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "sound.mp4"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    with pytest.raises(DistractedError, match="no video in it, only audio"):
        read(tmp_path / "sound.mp4")
    whole = write(tmp_path / "clip.mkv", EVEN[:3])
    (tmp_path / "none.mkv").write_bytes(whole.read_bytes()[: whole.read_bytes().index(b"\x1f\x43\xb6\x75")])
    with pytest.raises(DistractedError, match="not a single frame|cannot be opened"):
        read(tmp_path / "none.mkv")
    whole = write(tmp_path / "clip.mp4", EVEN[:3], movflags="faststart")
    (tmp_path / "none.mp4").write_bytes(whole.read_bytes()[: whole.read_bytes().index(b"mdat") + 4])
    with pytest.raises(DistractedError, match="not a single frame"):
        read(tmp_path / "none.mp4")


def test_a_file_without_timestamps_is_counted_and_that_is_said(tmp_path: Path) -> None:
    frames, clip = read(write(tmp_path / "raw.h264", EVEN))
    assert [frame.time for frame in frames] == pytest.approx([number / clip.rate for number in range(20)])
    assert any("no timestamps" in note for note in clip.notes)


def test_files_that_were_joined_end_to_end_are_one_clip_whose_times_go_on(tmp_path: Path) -> None:
    part = write(tmp_path / "part.ts", EVEN)
    wider = write(tmp_path / "wider.ts", EVEN, lambda stream: setattr(stream, "width", 2 * SIZE[1]))
    (tmp_path / "joined.ts").write_bytes(part.read_bytes() + wider.read_bytes() + part.read_bytes())
    frames, clip = read(tmp_path / "joined.ts")
    assert [frame.time for frame in frames] == pytest.approx([number / 10 for number in range(60)], abs=0.002)
    assert [frame.image.shape[1] for frame in frames] == [64] * 20 + [128] * 20 + [64] * 20
    assert clip.notes == ["has timestamps that begin anew 2 times: times go on from the frame before"]


def test_a_frame_that_is_too_large_all_at_once_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MAX_PIXELS", SIZE[0] * SIZE[1])
    part = write(tmp_path / "part.ts", EVEN)
    wider = write(tmp_path / "wider.ts", EVEN[:3], lambda stream: setattr(stream, "width", 4 * SIZE[1]))
    (tmp_path / "joined.ts").write_bytes(part.read_bytes() + wider.read_bytes())
    frames, clip = read(tmp_path / "joined.ts")
    assert len(frames) == 20
    assert [note.rstrip("123") for note in clip.notes] == ["frames left out, damaged or of more than 50 megapixels: "]


def test_which_files_are_clips(tmp_path: Path) -> None:
    for name in ("b.MP4", "a.mkv", "notes.txt", ".hidden.mp4"):
        (tmp_path / name).touch()
    assert {path.name for path in clips_in(tmp_path)} == {"a.mkv", "b.MP4"}
    assert clips_in(tmp_path / "a.mkv") == [tmp_path / "a.mkv"]
    assert clips_in(tmp_path / "notes.txt") == []
    (tmp_path / "frame.jpg").touch()
    assert clips_in(tmp_path) == [], "a folder with photographs is about these"


def test_a_camera_is_opened_by_number_or_name_and_its_frames_begin_at_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no camera here: a file stands in for the device, at the address that FFmpeg would be given."""
    path = write(tmp_path / "camera.mkv", [100.0, 100.1, 100.2])
    asked = []

    def opened(file: str, **options: object) -> object:
        asked.append((file, options["format"]))
        return real(str(path))

    real = av.open
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(av, "open", opened)
    with open_camera("1") as clip:
        assert [frame.time for frame in clip.frames()] == pytest.approx([0, 0.1, 0.2], abs=0.002)
        assert clip.live
        assert clip.name == "camera 1"
    assert asked == [("/dev/video1", "v4l2")]
    assert camera_address("/dev/v4l/by-id/cabin")[1] == "/dev/v4l/by-id/cabin"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert camera_address("0")[:2] == ("avfoundation", "0")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(video, "cameras", lambda: ["Cabin", "Road"])
    assert camera_address("1")[:2] == ("dshow", "video=Road")


def test_a_camera_that_is_not_there_is_said_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for there, said in (([], "No camera is to be seen here"), (["/dev/video3"], "Cameras here: /dev/video3. Close")):
        monkeypatch.setattr(video, "cameras", lambda there=there: there)
        with pytest.raises(DistractedError, match=rf"it cannot be opened as /dev/video97 \(.*{said}"):
            open_camera("97").__enter__()


def test_without_pyav_it_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DistractedError, match=r"pip install -c constraints.txt -e \"\.\[video\]\""):
        open_clip(tmp_path / "clip.mp4", "clip.mp4").__enter__()
