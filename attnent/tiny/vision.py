"""A small Llama 3.2 Vision made on the spot from a seed: its weights are random and mean nothing.

It has the parts and the shapes of the real one: tiles of an image, self-attention layers, and cross-attention layers
with open gates, which read the image. What it writes is noise; it is there to try things out, offline and quickly.
"""

from typing import Any

from attnent.tiny import MODEL_DIR

NAME = "tiny-vision (random weights)"
N_LAYERS, N_HEADS, CROSS = 8, 6, [1, 4, 7]
TILE, PATCH, MOST_TILES = 56, 14, 4
_SEED = 32
_CONTENT = (
    "{% set content %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{{ '<|image|>' if part['type'] == 'image' else part['text'] }}{% endfor %}"
    "{% endif %}{% endset %}"
)


def built() -> tuple[Any, Any]:
    """The model, in float32 and ready to read, and its MllamaProcessor."""
    import torch
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    processor = _processor()
    tokenizer = processor.tokenizer
    text = {
        "vocab_size": processor.image_token_id,  # the token of an image is the first that is never written
        "hidden_size": 96,
        "intermediate_size": 128,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "num_key_value_heads": 2,
        "cross_attention_layers": CROSS,
        "max_position_embeddings": tokenizer.model_max_length,
        "initializer_range": 0.2,  # large, so that attention is far from uniform
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 2,
        "intermediate_size": 48,
        "vision_output_dim": 64,
        "image_size": TILE,
        "patch_size": PATCH,
        "max_num_tiles": MOST_TILES,
        "intermediate_layers_indices": [0],
        "initializer_range": 0.2,
    }
    config = MllamaConfig(text_config=text, vision_config=vision, image_token_index=processor.image_token_id)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = MllamaForConditionalGeneration(config).eval()
    for name, values in model.named_parameters():
        if "gate" in name:  # closed ones hide the image
            torch.nn.init.constant_(values, 0.7)
        elif name.endswith("cross_attn.q_norm.weight"):  # which else keeps all scores small
            torch.nn.init.constant_(values, 4.0)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model, processor


def _processor() -> Any:
    from transformers import AutoTokenizer, MllamaProcessor
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_DIR, padding_side="left")
    tokenizer.add_tokens(["<|image|>"], special_tokens=True)
    template = tokenizer.chat_template.replace("message['content']", "content").replace(
        "{% for message in messages %}", "{% for message in messages %}" + _CONTENT
    )
    tokenizer.chat_template = template
    size = {"height": TILE, "width": TILE}
    images = MllamaImageProcessorPil(size=size, max_image_tiles=MOST_TILES)
    return MllamaProcessor(image_processor=images, tokenizer=tokenizer, chat_template=template)
