"""Sweeps that are killed at any moment, that meet a full disk, and the same notebook run by papermill alone."""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
from test_sweep import CHECKOUT, PARAMETERS, RECORDS, TOLD, started, wait_for, words, write

from attnent.runs import Run
from attnent.study.command import find_notebooks, main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets of the Jupyter kernel's client
]


def after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def killed_when(given: list[str], happened: Callable[[], object]) -> None:
    """Start a sweep and kill it and all that it started."""
    sweep = started(given)
    wait_for(happened)
    assert sweep.poll() is None
    for process in (psutil.Process(sweep.pid), *psutil.Process(sweep.pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    sweep.communicate(timeout=30)


def test_a_sweep_killed_at_ten_random_moments_goes_on_and_gives_equal_tables(tmp_path):
    write(tmp_path / "notebooks" / "07_records.ipynb", PARAMETERS, RECORDS, TOLD)
    whole, killed = tmp_path / "whole", tmp_path / "runs"
    given = words(tmp_path, "07", "-p", "x=1")
    assert main([*given[:4], str(whole), *given[5:]]) == 0
    chance = random.Random(0)
    for n_traces in sorted(chance.sample(range(25), 5)):
        killed_when(given, after(chance.uniform(0, 4)))
        killed_when(given, lambda n=n_traces: len(list(killed.glob("simpleqa/**/*.safetensors"))) > n)
    assert 0 < len(Run(killed / "simpleqa").recorded) < 30
    assert main(given) == 0
    one, other = Run(whole / "simpleqa"), Run(killed / "simpleqa")
    pd.testing.assert_frame_equal(one.tokens, other.tokens)
    pd.testing.assert_frame_equal(one.responses, other.responses)


def test_plain_papermill_gives_the_run_folder_that_a_study_gives_from_wherever_it_is_run(tmp_path, monkeypatch):
    given = ["-p", "n", "12", "-p", "max_new_tokens", "24"]
    [notebook] = find_notebooks(CHECKOUT / "notebooks", ["2"])
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    ran = [Path(sys.executable).with_name("papermill"), notebook, "executed.ipynb", *given]
    subprocess.run(ran, cwd=tmp_path / "here", check=True, capture_output=True)
    monkeypatch.chdir(tmp_path / "there")
    assert main(["study", "02", "--notebooks-dir", str(notebook.parent), *given]) == 0
    found = [
        sorted(
            path.parent.relative_to(tmp_path / place) for path in (tmp_path / place).glob("runs/simpleqa/**/run.json")
        )
        for place in ("here", "there")
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 1


def test_a_disk_that_is_full_is_said_and_with_more_room_the_sweep_goes_on(tmp_path, capsys):
    if os.geteuid() != 0:
        pytest.skip("a small file system is mounted by root alone")
    write(tmp_path / "notebooks" / "07_records.ipynb", PARAMETERS, RECORDS, TOLD)
    given = words(tmp_path, "07", "-p", "x=1")
    disk = tmp_path / "runs"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=True)
    try:
        assert main(given) == 1
        assert "no space left" in capsys.readouterr().out
        n_kept = len(Run(disk / "simpleqa").recorded)
        assert 0 < n_kept < 30
        subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
        assert main([*given, "--retry-failed"]) == 0
        run = Run(disk / "simpleqa")
        assert (len(run.recorded), run.manifest["sessions"][-1]["responses"]) == (30, 30 - n_kept)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
