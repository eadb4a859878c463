"""Where on a picture a head looks: weights of patches, by their place in the picture. Of Llama 3.2 Vision."""

from typing import Any

import numpy as np
import xarray as xr
from transformers import PreTrainedModel

from attnent.attention.layers import is_cross, layered
from attnent.model.batches import inputs_of
from attnent.model.generation import attention_row
from attnent.model.images import Picture, Tokenizer, opened, tokenizer_of
from attnent.model.messages import Prompt
from attnent.model.prompts import encoded_prompt


def attention_on_image(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: Prompt, image: Picture, *, layer: int, head: int
) -> xr.DataArray:
    """The weights, (y, x), that the query whose logits choose the first token puts on the patches of a picture.

    `y` and `x` are the middles of the patches in pixels of the picture, from its upper left; those beyond its edges
    fill up a tile. The attribute `elsewhere` is the weight on the class tokens of the tiles, so all sum to 1. Raises
    ValueError for a layer that reads no image, and what `attention_row` raises.
    """
    readers = sorted({one.layer_idx for one in layered(model) if is_cross(one)})
    if layer not in readers:
        raise ValueError(f"layer {layer} reads no image; give one of {readers or 'a model that has such layers'}")
    weights = attention_row(model, tokenizer, prompt, layer=layer, head=head, images=image)
    tokenizer, config = tokenizer_of(model, tokenizer), model.config.vision_config
    item = encoded_prompt(model, tokenizer, prompt, [image])
    shape = inputs_of(model, tokenizer, [item])["aspect_ratio_ids"]
    n_rows, n_columns = config.supported_aspect_ratios[int(shape[0, 0]) - 1]
    side = config.image_size // config.patch_size
    tiles = weights.reshape(config.max_num_tiles, side**2 + 1)[: n_rows * n_columns]
    grid = tiles[:, 1:].reshape(n_rows, n_columns, side, side).swapaxes(1, 2)
    seen = opened(image, "the prompt")
    width = np.clip(seen.width, config.image_size, n_columns * config.image_size)
    height = np.clip(seen.height, config.image_size, n_rows * config.image_size)
    patch = config.patch_size / min(width / seen.width, height / seen.height)  # in pixels of the picture
    places: dict[str, Any] = {
        name: (np.arange(n * side) + 0.5) * patch for name, n in (("y", n_rows), ("x", n_columns))
    }
    return xr.DataArray(
        grid.reshape(n_rows * side, n_columns * side), places, ["y", "x"], attrs={"elsewhere": float(tiles[:, 0].sum())}
    )
