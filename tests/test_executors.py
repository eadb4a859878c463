"""Sweeps on clusters: what is the same as on one machine, and how each way to end a run is told."""

import signal
import subprocess
import sys

import psutil
import pytest
from test_sweep import CHECKOUT, ENDS, PARAMETERS, TOLD, executed, wait_for, words, write

from attnent.study.command import main
from attnent.study.sweep import slurm

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the Jupyter kernel's client


LOST = """
import psutil
if x == 5:
    for process in psutil.Process().parents()[:2]:  # the run, and the job of the cluster that it is
        process.kill()
    time.sleep(600)"""


@pytest.fixture
def notebooks(tmp_path):
    return [write(tmp_path / "notebooks" / "07_ends.ipynb", PARAMETERS, TOLD, ENDS + LOST)]


@pytest.fixture
def submitit_here(monkeypatch):
    """submitit with jobs of this machine, by the way that jobs of a cluster take."""
    monkeypatch.setattr(slurm, "CLUSTER", "local")


def file(tmp_path, text: str) -> str:
    (tmp_path / "sweep.yaml").write_text(f"notebooks: [7]\n{text}")
    return str(tmp_path / "sweep.yaml")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("executor: slurm\nslurm: {time: 5, partion: gpu}", "Unknown argument 'partion' for executor 'slurm'"),
        ("executor: slurm\nslurm: {partition: gpu}", "give `slurm: {time: MINUTES}`, or --timeout"),
        ("executor: slumr", "Input should be 'local', 'slurm' or 'ray'"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_before_anything_starts(
    notebooks, submitit_here, tmp_path, capsys, text, complaint
):
    assert main(words(tmp_path, file(tmp_path, text))) == 2
    assert complaint in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*"))


def test_a_machine_without_slurm_says_so(notebooks, tmp_path, capsys):
    assert main(words(tmp_path, file(tmp_path, "slurm: {time: 5}"), "--executor", "slurm")) == 2
    assert "are you indeed on a slurm cluster?" in capsys.readouterr().err


@pytest.mark.slow
def test_jobs_of_submitit_end_as_processes_do_and_only_the_log_of_a_lost_one_is_kept(
    notebooks, submitit_here, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)  # no other machine is late with an answer
    given = words(tmp_path, file(tmp_path, "slurm: {time: 5, partition: gpu}\ngrid: {x: [0, 1, 5]}"))
    assert main([*given, "--executor", "slurm"]) == 1
    said = capsys.readouterr().out
    assert "[1/3] 07_ends tiny is submitted" in said
    assert "): x is 0." in said
    assert "x=1 failed" in said
    assert "): and that is too much\n" in said
    assert "x=5 killed: by SLURM" in said
    assert sorted(executed(tmp_path)) == ["0", "1", "5"]
    assert list(tmp_path.glob("runs/.submitit/*/*_log.err"))


INTERRUPTED = """
import sys
from attnent.study.command import main
from attnent.study.sweep import slurm
slurm.CLUSTER = "local"
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_an_interrupted_sweep_ends_its_jobs_and_leaves_no_pickles(notebooks, tmp_path):
    given = words(tmp_path, file(tmp_path, "slurm: {time: 5}\ngrid: {x: [3, 13]}"), "--executor", "slurm")
    sweep = subprocess.Popen([sys.executable, "-c", INTERRUPTED, *given], stderr=subprocess.PIPE, cwd=CHECKOUT)
    wait_for(lambda: (tmp_path / "runs" / "ran").exists())
    family = psutil.Process(sweep.pid).children(recursive=True)
    sweep.send_signal(signal.SIGINT)
    _, said = sweep.communicate(timeout=30)
    assert sweep.returncode == 130, said
    wait_for(lambda: not any(process.is_running() for process in family), seconds=10)
    assert not list((tmp_path / "runs").rglob("*.pkl"))
    assert not [path for path in tmp_path.glob("runs/study/**/outcome.json") if "failed" in path.read_text()]
