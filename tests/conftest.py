"""Offline, one thread, shapes checked: what every test stands on."""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
if not os.path.exists("/dev/nvidia0"):
    os.environ["TRITON_INTERPRET"] = "1"  # kernels of a GPU run on the CPU, by numpy

import contextlib
import importlib

import jaxtyping

with contextlib.suppress(ImportError):  # unchecked: Triton reads the source of a kernel, not what the check makes of it
    importlib.import_module("attnent.attention.kernels")

jaxtyping.install_import_hook("attnent", "beartype.beartype")  # before attnent is imported

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from fake_openai import KEY, FakeServer  # noqa: E402
from pytest_httpserver import HTTPServer  # noqa: E402
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402

torch.set_num_threads(1)
hypothesis.settings.register_profile("attnent", deadline=None)
hypothesis.settings.load_profile("attnent")

N_LAYERS, N_HEADS, N_GROUPS, WIDTH, CONTEXT = 3, 6, 2, 10, 97
MERGES = [("a", "n"), ("Ġ", "t"), ("Ġt", "h"), ("i", "n"), ("Ã", "©")]  # the last one is the two bytes of é
END = "<|end|>"


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """263 tokens: the 256 bytes, 5 merges, padding and end-of-text."""
    vocabulary = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]
    tokenizer = Tokenizer(models.BPE({token: id_ for id_, token in enumerate(vocabulary)}, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|pad|>", special=True), AddedToken(END, special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token=END, padding_side="left")


def random_llama(**settings) -> LlamaForCausalLM:
    """A Llama with weights large enough that its attention is far from uniform."""
    torch.manual_seed(0)
    settings = {
        "vocab_size": 263,
        "hidden_size": 42,
        "intermediate_size": 29,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "num_key_value_heads": N_GROUPS,
        "head_dim": WIDTH,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": 262,
        "pad_token_id": 261,
    } | settings
    return LlamaForCausalLM(LlamaConfig(**settings)).eval()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_level_tokenizer()


@pytest.fixture
def llama() -> LlamaForCausalLM:
    return random_llama()


@pytest.fixture(scope="session")
def stories():
    """The small story teller of the shared folder, where ATTNENT_SHARED names that folder."""
    from attnent.model.loading import load_model

    shared = os.environ.get("ATTNENT_SHARED")
    if not shared:
        pytest.skip("ATTNENT_SHARED does not name a folder that holds models/stories260k")
    return load_model(os.path.join(shared, "models", "stories260k"), dtype="float32")


@pytest.fixture(scope="session")
def http_server():
    with HTTPServer(threaded=True) as server:
        yield server


@pytest.fixture
def server(http_server, monkeypatch) -> FakeServer:
    """A fake of OpenAI's server, with a key for it in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return FakeServer(http_server)


def left_padded(n_tokens: list[int], *, n_vocabulary: int = 261, seed: int = 0) -> dict[str, torch.Tensor]:
    """A batch of random ids, as long as the longest, padded on the left."""
    longest = max(n_tokens)
    ids = torch.randint(n_vocabulary, (len(n_tokens), longest), generator=torch.Generator().manual_seed(seed))
    mask = torch.stack([(torch.arange(longest) >= longest - n).long() for n in n_tokens])
    return {"input_ids": ids, "attention_mask": mask}
