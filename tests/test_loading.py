"""Loading models, and each way it can fail in one sentence."""

import http.server
import json
import os
import subprocess
import sys
import threading

import pytest
import torch
from conftest import byte_level_tokenizer, random_llama
from test_mllama import mllama

from attnent.model.loading import ModelError, load_model, revision_of


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A checkpoint on disk, in bfloat16."""
    path = tmp_path_factory.mktemp("models") / "small"
    random_llama().to(torch.bfloat16).save_pretrained(path)
    byte_level_tokenizer().save_pretrained(path)
    return path


def refused(*arguments, **settings) -> str:
    with pytest.raises(ModelError) as raised:
        load_model(*arguments, **settings)
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


def test_a_local_folder_is_loaded_ready_to_watch(folder):
    model, tokenizer = load_model(str(folder))
    assert not model.training
    assert model.config._attn_implementation == "sdpa"
    assert model.name_or_path == str(folder)
    assert tokenizer.padding_side == "left"


@pytest.mark.parametrize(
    ("dtype", "loaded"),
    [("auto", torch.bfloat16), ("float32", torch.float32), (torch.float16, torch.float16)],
)
def test_the_dtype_is_the_checkpoints_own_or_as_asked(folder, dtype, loaded):
    assert load_model(str(folder), dtype=dtype)[0].dtype == loaded


def test_a_tokenizer_without_padding_pads_with_its_end_of_text(tmp_path):
    random_llama().save_pretrained(tmp_path)
    tokenizer = byte_level_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert load_model(str(tmp_path))[1].pad_token == "<|end|>"


def test_a_model_that_reads_images_is_loaded_whole(tmp_path):
    mllama().save_pretrained(tmp_path)
    byte_level_tokenizer().save_pretrained(tmp_path)
    model, _ = load_model(str(tmp_path))
    assert type(model).__name__ == "MllamaForConditionalGeneration"


def test_the_revision_of_a_local_folder_follows_its_weights(folder):
    model, other = (load_model(str(folder))[0] for _ in range(2))
    other.get_input_embeddings().weight.data[0, 0] += 1
    assert len(revision_of(model)) == 12
    assert revision_of(model) != revision_of(other)


# ---- failures


def test_a_folder_without_a_model_is_named(tmp_path):
    assert "does not hold a model" in refused(str(tmp_path))
    assert str(tmp_path) in refused(str(tmp_path))


def test_a_folder_with_a_model_but_no_weights_is_named(tmp_path):
    random_llama().config.save_pretrained(tmp_path)
    byte_level_tokenizer().save_pretrained(tmp_path)
    assert "does not hold a model" in refused(str(tmp_path))


def test_a_folder_with_damaged_weights_is_named(tmp_path):
    random_llama().save_pretrained(tmp_path)
    byte_level_tokenizer().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:999])
    assert str(tmp_path) in refused(str(tmp_path))


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    random_llama().save_pretrained(tmp_path)
    assert str(tmp_path) in refused(str(tmp_path))


def test_a_family_that_transformers_does_not_know_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "warp_drive"}')
    assert "warp_drive" in refused(str(tmp_path))


@pytest.mark.parametrize("dtype", ["float31", "int64", "nn", ""])
def test_a_dtype_that_makes_no_sense_is_refused(folder, dtype):
    assert f"dtype is {dtype!r}" in refused(str(folder), dtype=dtype)


@pytest.mark.parametrize("name", ["", "no/such/model/at/all", "spaces in name"])
def test_a_name_that_cannot_be_a_model_is_refused(name):
    assert repr(name) in refused(name)


def test_an_unknown_name_without_a_network_says_what_to_give():
    assert "'no-such-model-anywhere'" in refused("no-such-model-anywhere")


# ---- the Hub, as it answers


class Hub(http.server.BaseHTTPRequestHandler):
    """What huggingface.co says of a gated repository, and of one that does not exist."""

    def do_HEAD(self):
        gated = "gated" in self.path
        code, status = ("GatedRepo", 401) if gated else ("RepoNotFound", 404)
        said = "Access to model owner/gated is restricted." if gated else "Repository not found"
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", said)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, *message):
        pass


@pytest.fixture(scope="module")
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def said_of(names: list[str], endpoint: str, home) -> list[str]:
    """What `load_model` says of each in a fresh process that believes the Hub to be at `endpoint`."""
    program = (
        "from attnent.model.loading import ModelError, load_model\n"
        f"for name in {names!r}:\n"
        "    try: load_model(name)\n"
        "    except ModelError as error: print(error)"
    )
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    environment.pop("HF_TOKEN", None)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.splitlines()
    assert len(said) == len(names), "one sentence each"
    return said


@pytest.fixture(scope="module")
def answers(hub, tmp_path_factory):
    return said_of(["owner/gated", "owner/nothing"], hub, tmp_path_factory.mktemp("home"))


def test_a_gated_model_says_how_to_get_in(answers):
    assert "'owner/gated' is gated" in answers[0]
    assert "hf auth login" in answers[0]


def test_a_model_that_is_not_on_the_hub_says_so(answers):
    assert "there is no model 'owner/nothing'" in answers[1]


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_not_called_a_missing_model(tmp_path):
    (said,) = said_of(["owner/model"], "http://127.0.0.1:9", tmp_path)
    assert "there is no model" not in said
    assert "'owner/model'" in said


def test_code_that_comes_with_a_model_is_never_run(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ModelError, match="does not hold a model that transformers can load"):
        load_model(str(tmp_path))
    assert not ran.exists()


def test_a_damaged_bundled_model_is_not_loaded(monkeypatch):
    def changed():
        raise ValueError("model.safetensors has another sha256")

    monkeypatch.setattr("attnent.model.loading.verify_checksums", changed)
    with pytest.raises(ModelError, match="the bundled model is damaged"):
        load_model("tiny")
