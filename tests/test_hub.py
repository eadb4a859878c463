"""Runs to a stand-in of the Hub and back over HTTP: equal, whole or refused, and only what is missing travels."""

import io
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import test_full_disk
from fake_hub import READER, TOKEN, FakeHub, served
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from test_runs import EXAMPLES, IDENTITY, trace_of

import attnent as ae
from attnent.hub.index import INDEX, Content
from attnent.store.files import DiskFullError, read_sealed, write_sealed
from attnent.store.folders import digest

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own upload

TASK, NAME = "simpleqa", "me/runs"
IDENTITY = IDENTITY | {"task": TASK, "model": "tiny"}
PLACE = f"{TASK}/tiny/{digest(IDENTITY)}"
small_disk = test_full_disk.small_disk
SHARD = 8_000  # bytes, in which two of the traces below go


@pytest.fixture(scope="module")
def server():
    hub, server = served()
    close_session()  # of huggingface_hub, which may know of a proxy
    yield hub
    close_session()
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(server, monkeypatch, tmp_path) -> FakeHub:
    """An empty Hub, where huggingface_hub finds it, with a token that may write."""
    for name, value in vars(FakeHub()).items():
        if name not in ("url", "storage"):
            setattr(server, name, value)
    for name, value in {"HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "ENDPOINT": server.url}.items():
        monkeypatch.setattr(constants, name, value)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
    return server


def made(folder: Path, names: str, identity=IDENTITY) -> ae.Run:
    """A Run of such responses, at its place below a folder."""
    examples = pd.DataFrame({"id": list("abcdefg"), "prompt": list("ABCDEFG")})
    place = f"{identity['task']}/tiny/{digest(identity)}"
    run = ae.Run.start(folder / place, identity=identity, examples=examples)
    for name in names:
        run.save(name, trace_of(f"text {name}", 5, seed=ord(name)))
    return run


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """Five of seven responses, with labels."""
    run = made(tmp_path_factory.mktemp("recorded"), "abcde")
    run.add_labels("grades", [{"response_id": name, "judge": "j", "grade": "right"} for name in "abc"])
    return run.folder


@pytest.fixture
def run(recorded, tmp_path) -> ae.Run:
    return ae.Run(shutil.copytree(recorded, tmp_path / "runs" / PLACE))


def content_of(folder: Path) -> dict[str, bytes]:
    """All that a Run folder holds, but for locks and for what tells when files were changed here."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.name != "tables.json"}


def push(run: ae.Run, **settings) -> list:
    return ae.push(run.folder.parents[2], NAME, shard_size=SHARD, **settings)


def test_a_pulled_run_equals_the_pushed_one(hub, run, tmp_path):
    assert len(run.responses) == 5  # makes the tables
    push(run)
    ae.pull(NAME, tmp_path / "back")
    assert content_of(tmp_path / "back" / PLACE) == content_of(run.folder)
    assert ae.Run(tmp_path / "back" / PLACE).verify() == run.verify()


def test_tables_that_came_are_not_made_again(hub, run, tmp_path, monkeypatch):
    responses = run.responses
    push(run)
    ae.pull(NAME, tmp_path / "back")
    monkeypatch.setattr(ae.Run, "trace", lambda *_: pytest.fail("a trace is read"))
    pd.testing.assert_frame_equal(ae.Run(tmp_path / "back").responses, responses)


def test_shards_hold_as_much_as_they_may_and_no_more(hub, run):
    push(run)
    shards = [content for path, content in hub.files(NAME).items() if path.endswith(".tar")]
    assert [one.count(b".safetensors") for one in shards] == [2, 2, 1]


def test_the_same_traces_give_the_same_shards(hub, run, tmp_path):
    push(run)
    shutil.copytree(run.folder, tmp_path / "copy" / PLACE)
    ae.push(tmp_path / "copy", "me/other", shard_size=SHARD)
    shards = [{path for path in hub.files(name) if path.endswith(".tar")} for name in (NAME, "me/other")]
    assert shards[0] == shards[1]


def test_a_name_longer_than_a_plain_tar_holds_travels(hub, tmp_path):
    name = "a" * 150
    examples = pd.DataFrame({"id": [name], "prompt": ["A"]})
    run = ae.Run.start(tmp_path / "runs" / PLACE, identity=IDENTITY, examples=examples)
    run.save(name, trace_of("text", 5))
    push(run)
    ae.pull(NAME, tmp_path / "back")
    assert content_of(tmp_path / "back" / PLACE) == content_of(run.folder)


def test_what_is_there_is_not_pushed_again(hub, run):
    push(run)
    hub.asked.clear()
    [moved] = push(run)
    assert (moved.n_new, moved.n_responses, moved.n_bytes) == (0, 5, 0)
    assert not hub.count("^POST .*(preupload|commit|batch)|^PUT")


def test_more_responses_travel_as_a_new_shard_alone(hub, run, tmp_path):
    push(run)
    ae.pull(NAME, tmp_path / "back")
    before = {path for path in hub.files(NAME) if path.endswith(".tar")}
    hub.received.clear()
    run.save("f", trace_of("text f", 5))
    [moved] = push(run)
    assert (moved.n_new, moved.n_responses) == (1, 6)
    assert before < {path for path in hub.files(NAME) if path.endswith(".tar")}
    assert hub.received == [10_240]  # the least that a tar takes
    hub.asked.clear()
    [moved] = ae.pull(NAME, tmp_path / "back")
    assert (moved.n_new, moved.n_responses) == (1, 6)
    assert hub.count("GET .*/lfs/") == 1
    assert (
        content_of(tmp_path / "back" / PLACE)["traces/f.safetensors"] == content_of(run.folder)["traces/f.safetensors"]
    )


def test_a_push_that_broke_off_goes_on_and_what_arrived_can_be_pulled(hub, run, tmp_path):
    hub.fail, hub.spare = {"POST .*/commit/": 500}, 1
    with pytest.raises(
        ae.HubError, match=r"the Hub answered 500 for me/runs; wait a little, then run the same command again"
    ):
        push(run)
    hub.fail = {}
    ae.pull(NAME, tmp_path / "part")
    assert ae.Run(tmp_path / "part").recorded == ["a", "b"]
    n_before = len(hub.received)
    push(run)
    assert sum(size > 1_000 for size in hub.received[n_before:]) == 1  # the second had arrived, and was to be committed
    ae.pull(NAME, tmp_path / "back")
    assert content_of(tmp_path / "back" / PLACE) == content_of(run.folder)


@pytest.mark.parametrize("how", [500, "cut"])
def test_a_pull_that_broke_off_goes_on_with_the_shards_that_are_missing(hub, run, tmp_path, how):
    push(run)
    hub.fail, hub.spare = {"GET /lfs/": how}, 2
    with pytest.raises(ae.HubError, match=r"run the same command again: what has arrived is kept$"):
        ae.pull(NAME, tmp_path / "back")
    with pytest.raises(ae.RunError, match=r"has no run\.json"):
        ae.Run(tmp_path / "back")
    hub.fail = {}
    hub.asked.clear()
    ae.pull(NAME, tmp_path / "back")
    assert hub.count("GET /lfs/") == 1
    assert content_of(tmp_path / "back" / PLACE) == content_of(run.folder)


def test_a_damaged_shard_is_refused_and_nothing_of_it_kept(hub, run, tmp_path):
    push(run)
    [path, *_] = [path for path in hub.files(NAME) if path.endswith(".tar")]
    content = bytearray(hub.files(NAME)[path])
    content[6_000] ^= 1  # in the second trace
    hub.replace(NAME, path, bytes(content))
    with pytest.raises(ae.HubError, match=r"the shard traces/[0-9a-f]{64}.tar is not what was pushed"):
        ae.pull(NAME, tmp_path / "back")
    assert not list((tmp_path / "back").rglob("*.safetensors"))
    assert not list((tmp_path / "back").rglob("*.tmp"))


def lying(hub: FakeHub, tmp_path: Path, members: list[tarfile.TarInfo], byte: bytes = b"x", **changes) -> None:
    """Put a shard of such members there, with an index that says it to be right."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(byte * member.size))
    shard = buffer.getvalue()
    (tmp_path / "index").write_bytes(hub.files(NAME)[f"{PLACE}/{INDEX}"])
    index = read_sealed(tmp_path / "index")
    x = Content.of(b"x").model_dump()
    index["shards"] = [Content.of(shard).model_dump() | {"traces": {"a": x}}]
    write_sealed(tmp_path / "index", index | changes)
    hub.replace(NAME, f"{PLACE}/{INDEX}", (tmp_path / "index").read_bytes())
    hub.replace(NAME, f"{PLACE}/traces/{index['shards'][0]['sha256']}.tar", shard)


def member(name: str, size: int = 1, **about) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in about.items():
        setattr(info, key, value)
    return info


BAD_MEMBERS = {
    "above": member("../../a.safetensors"),
    "absolute": member("/a.safetensors"),
    "unknown": member("b.safetensors"),
    "larger": member("a.safetensors", 2),
    "symlink": member("a.safetensors", 0, type=tarfile.SYMTYPE, linkname="../../../../secret"),
    "hardlink": member("a.safetensors", 0, type=tarfile.LNKTYPE, linkname="../run.json"),
    "folder": member("a.safetensors", 0, type=tarfile.DIRTYPE),
}


def test_a_shard_that_holds_what_the_index_does_not_name_is_refused(hub, run, tmp_path):
    push(run)
    for what, bad in BAD_MEMBERS.items():
        lying(hub, tmp_path, [bad])
        before = set(tmp_path.iterdir())
        with pytest.raises(ae.HubError, match="is not what was pushed"):
            ae.pull(NAME, tmp_path / what)
        assert list(content_of(tmp_path / what)) == []
        assert set(tmp_path.iterdir()) - before == {tmp_path / what}


CONTENT = {"sha256": "0" * 64, "size": 1}
BAD_INDEXES = (
    {"shards": [CONTENT | {"traces": {"../a": CONTENT}}]},
    {"shards": [{"sha256": "../" + "0" * 61, "size": 1, "traces": {}}]},
    {"files": {"../../run.json": CONTENT}},
    {"files": {"labels/../../grades.jsonl": CONTENT}},
    {"index_version": 2},
    {"manifest": {"schema_version": 2, "identity": {}}},
)


def test_a_trace_that_is_not_what_the_index_says_is_refused(hub, run, tmp_path):
    push(run)
    lying(hub, tmp_path, [member("a.safetensors")], byte=b"y")
    with pytest.raises(ae.HubError, match="is not what was pushed"):
        ae.pull(NAME, tmp_path / "back")
    assert list(content_of(tmp_path / "back")) == []


def test_an_index_with_a_bad_name_is_refused(hub, run, tmp_path):
    push(run)
    for changes in BAD_INDEXES:
        lying(hub, tmp_path, [], **changes)
        with pytest.raises(ae.HubError, match=f"{INDEX} of {PLACE} in me/runs is damaged"):
            ae.pull(NAME, tmp_path / "back")


def test_a_place_that_leads_out_of_the_folder_is_refused(hub, run, tmp_path):
    push(run)
    files = hub.repos[NAME].commits[hub.repos[NAME].branches["main"]]
    for place in ("../out", "a/../../out", "/out", "a//b", ".ssh", "a\\b"):
        hub.replace(NAME, f"{place}/{INDEX}", b"{}")
        with pytest.raises(ae.HubError, match="cannot be the place of a Run"):
            ae.pull(NAME, tmp_path / "back")
        del files[f"{place}/{INDEX}"]
    assert not (tmp_path / "back").exists()


def test_a_shard_that_is_not_there_is_said(hub, run, tmp_path):
    push(run)
    commit = hub.repos[NAME].commits[hub.repos[NAME].branches["main"]]
    del commit[next(path for path in commit if path.endswith(".tar"))]
    with pytest.raises(ae.HubError, match="me/runs lacks a file that its index names"):
        ae.pull(NAME, tmp_path / "back")


def test_a_link_that_leads_out_of_the_folder_is_refused(hub, run, tmp_path):
    push(run)
    (tmp_path / "back").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "back" / TASK).symlink_to(tmp_path / "out")
    with pytest.raises(ae.HubError, match="leads out of"):
        ae.pull(NAME, tmp_path / "back")
    assert not list((tmp_path / "out").iterdir())


def test_another_run_at_the_place_is_refused_by_pull_and_push(hub, run, tmp_path):
    push(run)
    other = ae.Run.start(tmp_path / "back" / PLACE, identity=IDENTITY | {"seed": 1}, examples=EXAMPLES)
    with pytest.raises(ae.HubError, match=r"recorded with other parameters than .* \(seed, the examples differ\)"):
        ae.pull(NAME, tmp_path / "back")
    ae.push(other.folder, "me/other")
    hub.repos[NAME] = hub.repos["me/other"]
    shutil.move(run.folder, tmp_path / "plain" / other.folder.name)
    with pytest.raises(ae.HubError, match=r"recorded with other parameters \(seed, the examples differ\)"):
        ae.push(tmp_path / "plain", NAME)


def test_a_whole_trace_that_differs_is_overwritten_neither_here_nor_there(hub, run, tmp_path):
    push(run)
    mine = made(tmp_path / "back", "b")
    mine.save("a", trace_of("another text", 4))
    before = content_of(mine.folder), hub.files(NAME)
    with pytest.raises(ae.HubError, match=r"the trace a in .* both are whole; nothing here is overwritten"):
        ae.pull(NAME, tmp_path / "back")
    with pytest.raises(ae.HubError, match=r"2 traces of .* \(a first\) are not those of .*nothing there is over"):
        push(mine)
    assert (content_of(mine.folder), hub.files(NAME)) == before


def test_a_damaged_trace_is_left_out_of_a_push(hub, run, tmp_path):
    path = run.folder / "traces" / "c.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    [moved] = push(run)
    assert moved.damaged == ["c"]
    ae.pull(NAME, tmp_path / "back")
    assert ae.Run(tmp_path / "back").verify().whole == ["a", "b", "d", "e"]


def test_a_damaged_trace_is_set_aside_and_pulled_anew(hub, run, tmp_path):
    push(run)
    whole = content_of(run.folder)
    path = run.folder / "traces" / "c.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    [moved] = ae.pull(NAME, run.folder.parents[2])
    assert (moved.n_new, moved.damaged) == (1, ["c"])
    assert content_of(run.folder) == whole | {"traces/c.damaged": whole["traces/c.safetensors"][:-9]}


def grade(run: ae.Run, *given: str) -> None:
    run.add_labels("grades", [{"response_id": "a", "judge": "k", "grade": one} for one in given])


def grades(run: ae.Run) -> list[str]:
    lines = (run.folder / "labels" / "grades.jsonl").read_text().splitlines()
    return [json.loads(line)["grade"] for line in lines if '"k"' in line]


def test_labels_added_on_both_sides_are_joined_and_what_was_said_here_counts(hub, run, tmp_path):
    push(run)
    ae.pull(NAME, tmp_path / "back")
    mine = ae.Run(tmp_path / "back")
    grade(run, "right", "wrong")
    push(run)
    grade(mine, "unsure")
    with pytest.raises(ae.HubError, match="holds responses or labels that are not here; pull them first"):
        push(mine)
    ae.pull(NAME, tmp_path / "back")
    ae.pull(NAME, tmp_path / "back")
    assert grades(mine) == ["right", "wrong", "unsure"]
    assert mine.grades("k")["a"] == "unsure"
    push(mine)
    ae.pull(NAME, run.folder.parents[2])
    assert grades(run) == ["right", "wrong", "unsure"]


def test_responses_recorded_on_both_sides_are_joined_by_pulling_first(hub, run, tmp_path):
    push(run)
    ae.pull(NAME, tmp_path / "back")
    mine = ae.Run(tmp_path / "back")
    run.save("f", trace_of("text f", 5))
    run.update_manifest(status="complete", sessions=[{"responses": 6}])
    push(run)
    mine.save("g", trace_of("text g", 5))
    mine.update_manifest(sessions=[{"responses": 1}])
    with pytest.raises(ae.HubError, match="pull them first, then push again"):
        push(mine)
    ae.pull(NAME, tmp_path / "back")
    mine = ae.Run(tmp_path / "back")
    assert mine.recorded == list("abcdefg")
    assert mine.manifest["sessions"] == [{"responses": 6}, {"responses": 1}]
    push(mine)
    ae.pull(NAME, run.folder.parents[2])
    assert content_of(run.folder) == content_of(mine.folder)


def test_a_half_written_label_is_not_pushed(hub, run):
    path = run.folder / "labels" / "grades.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"response_id": "d", "ju')
    push(run)
    assert hub.files(NAME)[f"{PLACE}/labels/grades.jsonl"] == whole


def test_recording_goes_on_in_a_pulled_run(hub, run, tmp_path):
    push(run)
    ae.pull(NAME, tmp_path / "back")
    again = made(tmp_path / "back", "fg")
    assert again.verify().is_complete


def test_a_run_that_is_being_recorded_is_pushed_but_not_pulled_into(hub, run):
    with run.locked():
        [moved] = push(run)
        assert moved.n_new == 5
        with pytest.raises(ae.RunError, match="another process is recording"):
            ae.pull(NAME, run.folder.parents[2])


def test_only_runs_below_a_path_are_pulled(hub, run, tmp_path):
    made(tmp_path / "runs", "a", IDENTITY | {"task": "gsm8k"})
    ae.push(tmp_path / "runs", NAME)
    moved = ae.pull(NAME, tmp_path / "back", only=f"{TASK}/tiny/")
    assert [one.place for one in moved] == [PLACE]
    with pytest.raises(ae.HubError, match="there is no Run in me/runs below simple; "):
        ae.pull(NAME, tmp_path / "back", only="simple")


def test_one_run_goes_to_the_same_place_as_with_all(hub, run):
    ae.push(run.folder, NAME)
    assert f"{PLACE}/{INDEX}" in hub.files(NAME)


def test_a_run_elsewhere_goes_to_where_it_lies_below_the_folder(hub, run, tmp_path):
    shutil.move(run.folder, tmp_path / "kept" / "some" / "first")
    assert ae.push(tmp_path / "kept", NAME)[0].place == "some/first"
    assert ae.push(tmp_path / "kept" / "some" / "first", NAME)[0].place == "first"


def test_a_revision_is_a_branch_of_its_own(hub, run, tmp_path):
    push(run, revision="second")
    assert hub.files(NAME) == {}
    ae.pull(NAME, tmp_path / "back", revision="second")
    assert content_of(tmp_path / "back" / PLACE) == content_of(run.folder)
    with pytest.raises(ae.HubError, match="me/runs has no revision 'third'"):
        ae.pull(NAME, tmp_path / "back", revision="third")


def test_a_private_push_is_never_made_to_a_public_repository(hub, run):
    push(run, private=True)
    assert hub.repos[NAME].private
    ae.push(run.folder, "me/open")
    with pytest.raises(ae.HubError, match="me/open is there already and is public"):
        ae.push(run.folder, "me/open", private=True)


@pytest.fixture
def overtaken(hub, run, monkeypatch):
    """Let another push come between reading and writing: f(files that it brings)."""
    from attnent.hub import pushing

    packed = pushing.pack

    def by(**files: bytes):
        def pack(*about):
            repo = hub.repos[NAME]
            commit = repo.commits[repo.branches["main"]]
            repo.branches["main"] = "f" * 40
            repo.commits["f" * 40] = dict(commit)
            for path, content in files.items():
                hub.replace(NAME, path, content)
            return packed(*about)

        monkeypatch.setattr(pushing, "pack", pack)

    push(run)
    run.save("f", trace_of("text f", 5))
    return by


def test_a_push_goes_on_where_another_overtook_it_with_another_run(hub, run, overtaken):
    overtaken(**{"other/run.json": b"{}"})
    push(run)
    assert hub.files(NAME)["other/run.json"] == b"{}"
    assert sum(path.endswith(".tar") for path in hub.files(NAME)) == 4


def test_a_push_that_another_overtook_with_the_same_run_is_refused(hub, run, overtaken):
    index = json.loads(hub.files(NAME)[f"{PLACE}/{INDEX}"])
    write_sealed(run.folder / "other", index | {"files": {}})
    overtaken(**{f"{PLACE}/{INDEX}": (run.folder / "other").read_bytes()})
    with pytest.raises(ae.HubError, match=f"{PLACE} of me/runs was changed by somebody else in the meantime; run the"):
        push(run)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (None, "the Hub wants to know who asks for me/runs, and no token was found: log in with hf auth login, or set"),
        ("hf_wrong", "the Hub wants to know who asks for me/runs, and the token that was found does not do: log in"),
        (READER, "the token that was found does not do for me/runs (no); take one with write access"),
    ],
)
def test_who_may_not_write_is_told_what_to_do(hub, run, monkeypatch, token, said):
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ae.HubError) as found:
        push(run)
    assert str(found.value).startswith(said)
    assert token is None or token not in str(found.value)


def test_an_unknown_repository_and_a_private_one_are_said(hub, run, tmp_path, monkeypatch):
    with pytest.raises(ae.HubError, match="the Hub has no data set me/none"):
        ae.pull("me/none", tmp_path / "back")
    push(run, private=True)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ae.HubError, match=r"shows it to those who may see it alone.* no token was found: log in"):
        ae.pull(NAME, tmp_path / "back")


def test_a_name_that_is_none_is_said(hub, run, tmp_path):
    for name in ("runs", "a/b/c", "me/a b"):
        with pytest.raises(ae.HubError, match="cannot name a repository; give it as user/name"):
            ae.pull(name, tmp_path / "back")


def test_a_hub_that_cannot_be_reached_is_said(hub, run, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ae.HubError, match=r"the connection to http://127.0.0.1:9 failed \(ConnectError\); check"):
        ae.pull(NAME, tmp_path / "back")


def test_offline_mode_is_said(run, tmp_path):
    for move in (lambda: ae.pull(NAME, tmp_path / "back"), lambda: push(run)):
        with pytest.raises(ae.HubError, match=r"^HF_HUB_OFFLINE is set, so that the Hub is not asked; set HF_HUB_OFF"):
            move()


def test_a_folder_without_runs_is_said(hub, tmp_path):
    with pytest.raises(ae.RunError, match="there is no Run at or below"):
        ae.push(tmp_path, NAME)
    assert not hub.asked


def test_a_full_disk_is_said_by_pull_and_push_and_both_go_on(hub, run, small_disk, monkeypatch, tmp_path):
    place, fill = small_disk
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    fill(1)
    with pytest.raises(DiskFullError, match=r"no space left in .*disk; free some, then run again"):
        push(run)
    fill(20)
    push(run)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for n_free in (1, 4, 6):
        fill(n_free)
        with pytest.raises(DiskFullError, match="no space left in "):
            ae.pull(NAME, place / "back")
        assert not list(place.rglob("*.tmp"))
    fill(40)
    ae.pull(NAME, place / "back")
    assert content_of(place / "back" / PLACE) == content_of(run.folder)


def is_killed_at(n_requests: int, hub: FakeHub, move: Callable[[], object]) -> bool:
    """Do something in a process of its own and kill that at, or right after, such a request; False where it ended."""
    close_session()
    asked, pids = itertools.count(1), []

    def watch() -> None:
        if next(asked) == n_requests:
            threading.Timer(0.01 * random.Random(n_requests).random(), os.kill, (pids[0], signal.SIGKILL)).start()

    hub.watch = watch
    pids.append(os.fork())
    if pids[0] == 0:
        try:
            move()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pids[0], 0)[1])


@pytest.mark.slow
def test_a_push_and_a_pull_killed_at_any_request_go_on(hub, run, tmp_path):
    n_requests = 0
    while is_killed_at(n_requests := n_requests + 1, hub, lambda: push(run, progress=False)):
        pass
    assert n_requests > 4
    index = json.loads(hub.files(NAME)[f"{PLACE}/{INDEX}"])
    assert {path for path in hub.files(NAME) if path.endswith(".tar")} == {
        f"{PLACE}/traces/{shard['sha256']}.tar" for shard in index["shards"]
    }
    n_requests = 0
    while is_killed_at(n_requests := n_requests + 1, hub, lambda: ae.pull(NAME, tmp_path / "back", progress=False)):
        pass
    assert n_requests > 4
    assert content_of(tmp_path / "back" / PLACE) == content_of(run.folder)


@pytest.mark.slow
def test_the_command_pushes_and_pulls_and_says_what_is_wrong_in_one_sentence(hub, run, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}

    def attnent(*words, **settings):
        command = [sys.executable, "-m", "attnent.study.command", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, **settings)

    done = attnent("push", run.folder, NAME)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{PLACE}: 5 new of 5 responses, " in done.stdout
    done = attnent("pull", NAME, tmp_path / "back", "--only", TASK)
    assert (done.returncode, done.stderr) == (0, "")
    assert content_of(tmp_path / "back" / PLACE) == content_of(run.folder)
    environment["HF_TOKEN"] = "hf_wrong"
    done = attnent("push", run.folder, "me/other")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith("attnent: the Hub wants to know who asks for me/other")
