"""The client against a real server that takes no notice of schemas: `transformers serve` with the bundled model."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from pydantic import BaseModel

from attnent.llm import LLM, Request

MODEL = str(files("attnent.tiny").joinpath("model"))


class City(BaseModel):
    city: str


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [str(Path(sys.executable).with_name("transformers")), "serve", MODEL]
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
            env=offline,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def _wait(health: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(180):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"transformers serve did not start: {log.read_text()}")


@pytest.mark.slow
def test_a_server_that_ignores_schemas_gives_outcomes_that_are_kept(address, tmp_path):
    asked = [
        Request([{"role": "user", "content": "Tell me about Sybil Dorn."}], City, max_tokens=60),
        Request([{"role": "user", "content": "Write a poem about a merry river."}], City, max_tokens=2),
    ]
    llm = LLM(MODEL, cache=tmp_path / "cache.sqlite", base_url=address)
    answers = llm.ask(asked, progress=False)
    assert [answer.outcome for answer in answers] == ["malformed", "cut off"]
    assert all(answer.text and answer.n_input and answer.n_output and not answer.cached for answer in answers)
    again = LLM(MODEL, cache=tmp_path / "cache.sqlite", base_url=address).ask(asked, progress=False)
    assert all(answer.cached for answer in again)
    assert [answer.text for answer in again] == [answer.text for answer in answers]
