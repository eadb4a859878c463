"""One attention row as the model's own softmax gives it: what the measures are measured on, to look at and to check."""

import numpy as np
import torch
from jaxtyping import Float
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from attnent.model.prompts import Prompt, encode_prompt


def attention_row(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, *, layer: int, head: int
) -> Float[np.ndarray, " key"]:
    """The weights of the query whose logits choose the first token of a response, by transformers' eager attention.

    `layer` and `head` count from 0. Raises PromptError for an empty prompt.
    """
    ids = torch.tensor([encode_prompt(tokenizer, prompt)], device=model.device)
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            weights = model(ids, attention_mask=torch.ones_like(ids), output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    return weights[layer][0, head, -1].double().cpu().numpy()
