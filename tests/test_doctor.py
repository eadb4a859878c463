"""What `attnent doctor` says of a machine."""

import os
from pathlib import Path

import pytest

from attnent.study.command import main
from attnent.study.doctor import LLAMA, Found, _printed, _writable, gigabytes, placed


def test_a_model_takes_what_its_numbers_take():
    small = LLAMA[0]
    weights, cache = 2 * 1.24e9, 2 * 2_048 * (2 * 16 * 8 * 64)
    assert gigabytes(small, 2) == pytest.approx(1.1 * (weights + cache) / 1e9 + 1.0)


@pytest.mark.parametrize(
    ("devices", "memory", "said"),
    [
        ({"cuda:0": 24.0}, 64.0, 'fits on cuda:0 (dtype="bfloat16", device_map="cuda:0"'),
        ({"cuda:0": 2.0, "cuda:1": 80.0}, 64.0, "fits on cuda:1"),
        ({"cuda:0": 5.0, "cuda:1": 5.0}, 64.0, 'fits on all GPUs together (dtype="bfloat16", device_map="auto"'),
        ({}, 64.0, 'fits in memory, slowly (dtype="float32", device_map="cpu"'),
        ({}, 10.0, 'fits in memory, slowly (dtype="bfloat16", device_map="cpu"'),
        ({"cuda:0": 5.0}, 5.0, "fits in GPU and memory together"),
        ({}, 4.0, "does not fit: bfloat16 takes 8 GB"),
    ],
)
def test_a_model_goes_where_it_fits_the_quickest_way_first(devices, memory, said):
    assert placed(LLAMA[1], devices, memory).startswith(said)


def test_the_sizes_are_those_of_the_study():
    assert [one.name for one in LLAMA] == [f"Llama-3.2-{of}" for of in ("1B", "3B", "11B-Vision", "90B-Vision")]


def test_keys_are_told_to_be_there_and_never_shown(monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-mine")
    monkeypatch.setenv("HF_TOKEN", "hf_secretofmine")
    main(["doctor"])
    said = capsys.readouterr().out
    assert "secret" not in said
    assert "OpenAI key            there" in said
    assert "Hub token             there" in said
    assert all(one.name in said for one in LLAMA)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    assert not _writable("Hub cache", tmp_path).is_enough


def test_a_cache_that_is_not_there_yet_is_judged_by_the_folder_above(tmp_path):
    assert _writable("Hub cache", tmp_path / "not" / "yet") == Found("Hub cache", str(tmp_path / "not" / "yet"))
    assert not (tmp_path / "not").exists()


def test_what_is_not_enough_is_marked_and_counted(capsys):
    assert _printed([Found("disk", "0 GB", False), Found("Python", "3.11")]) == 1
    assert capsys.readouterr().out.splitlines() == ["! disk                  0 GB", "  Python                3.11"]


def test_the_folder_for_results_need_not_be_there(tmp_path, capsys):
    assert main(["doctor", "--out-dir", str(Path(tmp_path) / "runs")]) in (0, 1)
    assert f"GB free for {tmp_path}/runs" in capsys.readouterr().out
