"""A disk that is full at any moment, and a process killed at any moment: nothing is lost and nothing is poisoned."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_runs import EXAMPLES, IDENTITY, trace_of

import attnent as ae
from attnent.runs import Run
from attnent.store.files import DiskFullError, sweep, write_whole

PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 pages; `fill(n)` leaves n of them free."""
    if os.geteuid() != 0:
        pytest.skip("a small file system is mounted by root alone")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={64 * PAGE}", "tmpfs", place], check=True)

    def fill(n_free: int) -> None:
        (place / "filler").unlink(missing_ok=True)
        about = os.statvfs(place)
        (place / "filler").write_bytes(bytes((about.f_bavail - n_free) * about.f_frsize))

    yield place, fill
    subprocess.run(["umount", place], check=True)


@pytest.mark.filterwarnings("ignore:skipped line")
def test_a_disk_that_is_full_at_the_first_labels_leaves_a_folder_that_works(small_disk):
    place, fill = small_disk
    for n_free in range(8):
        run = Run.start(place / "run", identity=IDENTITY, examples=EXAMPLES)
        for name in EXAMPLES["id"]:
            run.save(name, trace_of(f"text {name}", 5))
        rows = [{"response_id": name, "judge": "j", "grade": "right " * 2_000} for name in EXAMPLES["id"]]
        fill(n_free)
        with contextlib.suppress(DiskFullError):
            run.add_labels("grades", rows)
        (place / "filler").unlink()
        assert len(run.grade(lambda row: "right", judge="k")) == 3
        assert run.grades("k").to_dict() == {"a": "right", "b": "right", "c": "right"}
        assert ae.Scrubber(run) is not None
        shutil.rmtree(run.folder)


def test_a_full_disk_is_said_in_one_sentence_and_what_was_there_stays(small_disk):
    place, fill = small_disk
    run = Run.start(place / "run", identity=IDENTITY, examples=EXAMPLES)
    run.save("a", trace_of("text a", 5))
    before = run.trace("a")
    fill(0)
    for write in (lambda: run.save("a", trace_of("text a", 300)), lambda: write_whole(place / "new", "x" * 9_999)):
        with pytest.raises(DiskFullError, match=r"^no space left in \S+; free some, then run again$"):
            write()
    assert run.trace("a").identical(before)
    assert not list(place.rglob("*.tmp"))
    with pytest.raises(ae.RunError, match="no space left"):
        Run.start(place / "other", identity=IDENTITY, examples=EXAMPLES)
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert run.responses["response_id"].tolist() == ["a"]


def test_files_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        run = Run.start(tmp_path / "run", identity=IDENTITY, examples=EXAMPLES)
        run.save("a", trace_of("text a", 5))
    finally:
        os.umask(before)
    for path in (run.folder / "traces" / "a.safetensors", run.folder / "run.json"):
        assert path.stat().st_mode & 0o777 == 0o640, path


def test_what_a_dead_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from attnent.store import files\n"
        "os.replace = Path.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "files.write_whole(Path(sys.argv[1]) / 'run.json', 'new')\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    [left] = tmp_path.iterdir()
    mine = left.with_name(left.name.replace(left.name.split("-")[-2].split(".")[-1], str(os.getpid())))
    mine.touch()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]


GRADING = """
import sys
from pathlib import Path
from attnent.runs import Run
run = Run(sys.argv[1])
Path(sys.argv[2]).touch()
for number in range(10_000):
    run.add_labels("grades", [{"response_id": name, "judge": f"j{number}", "grade": "right" * 500} for name in "abc"])
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:skipped line")
def test_a_process_killed_while_it_writes_labels_leaves_a_folder_that_works(tmp_path):
    run = Run.start(tmp_path / "run", identity=IDENTITY, examples=EXAMPLES)
    for name in EXAMPLES["id"]:
        run.save(name, trace_of(f"text {name}", 5))
    for attempt in range(20):
        shutil.rmtree(run.folder / "labels", ignore_errors=True)
        ready = tmp_path / f"ready {attempt}"
        child = subprocess.Popen([sys.executable, "-c", GRADING, run.folder, ready])
        while not ready.exists():
            time.sleep(0.001)
        time.sleep(random.Random(attempt).random() * 0.05)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert set(run.grade(lambda row: "right", judge="k")) == {"right"}
        assert run.grades("k").to_dict() == {"a": "right", "b": "right", "c": "right"}
        assert Path(run.folder / "labels" / "grades.jsonl").read_bytes().endswith(b"\n")


WITHOUT_FLOCK = """
import errno, fcntl, subprocess, sys, time, warnings
def missing(*_): raise OSError(errno.ENOSYS, "no flock on this file system")
fcntl.flock = missing
from attnent.runs import Run, RunError
warnings.simplefilter("ignore")
run = Run(sys.argv[1])
if len(sys.argv) > 3:
    with run.locked():
        print("held", flush=True)
        time.sleep(60)
child = subprocess.Popen([sys.executable, "-c", sys.argv[2], *sys.argv[1:3], "hold"], stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip())
try:
    with run.locked(): print("locked twice")
except RunError as error: print(str(error).partition(" into ")[0])
child.kill()
child.wait()
with run.locked(): print("taken over")
"""


def test_without_flock_a_lock_holds_and_one_that_a_dead_process_left_is_taken_over(tmp_path):
    run = Run.start(tmp_path / "run", identity=IDENTITY, examples=EXAMPLES)
    command = [sys.executable, "-c", WITHOUT_FLOCK, run.folder, WITHOUT_FLOCK]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["held", "another process is recording", "taken over"]
