"""Images beside prompts: opened, named by their pixels, and made into tokens by the model's own processor."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from attnent.model.loading import PROCESSOR, ModelError, name_of
from attnent.model.messages import PromptError
from attnent.model.placing import device_of

Picture = str | Path | Image.Image
Tokenizer = PreTrainedTokenizerBase | ProcessorMixin


def tokenizer_of(model: PreTrainedModel, given: Tokenizer) -> PreTrainedTokenizerBase:
    """The tokenizer, or that of a processor, which the model then remembers as `load_model` would have it."""
    if not isinstance(given, ProcessorMixin):
        return given
    vars(model)[PROCESSOR] = given
    tokenizer: Any = vars(given)["tokenizer"]
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def processor_of(model: PreTrainedModel) -> Any:
    """What makes tokens of text and images for this model; None where nothing does."""
    known = vars(model).get(PROCESSOR)
    return known if isinstance(known, ProcessorMixin) else None


def asker_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Whose chat template prompts are put into."""
    processor = processor_of(model)
    return processor if processor is not None and processor.chat_template else tokenizer


def of_each(images: Any, n_prompts: int) -> list[tuple[Any, ...]]:
    """The images of each prompt, none for all where there are none. Raises PromptError for a list of another length."""
    if images is None:
        return [()] * n_prompts
    if not isinstance(images, list | tuple) or len(images) != n_prompts:
        given = f"{len(images)} entries" if isinstance(images, list | tuple) else f"a {type(images).__name__}"
        raise PromptError(f"images is {given} for {n_prompts} prompts; give a list of one each, None for no image")
    return [pictures(one) for one in images]


def pictures(given: Any) -> tuple[Any, ...]:
    """The images of one prompt: none for None, "" or NaN, as tables have them; one, or a list of them."""
    if given is None or (isinstance(given, str | float) and (given == "" or given != given)):
        return ()
    return tuple(given) if isinstance(given, list | tuple) else (given,)


def opened(picture: Any, name: str) -> Image.Image:
    """The image in RGB, upright. Raises PromptError."""
    if not isinstance(picture, Picture):
        raise PromptError(f"an image of {name} is a {type(picture).__name__}; give a PIL image or the path of one")
    try:
        image = picture if isinstance(picture, Image.Image) else Image.open(picture)
        return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PromptError(f"{picture} of {name} cannot be read as an image; give a PNG, JPEG or the like") from error


def digest_of(image: Image.Image) -> str:
    """The SHA-256 of its pixels, three bytes each, row by row, after a line with width and height."""
    return hashlib.sha256(f"{image.width} {image.height}\n".encode() + image.tobytes()).hexdigest()


def digests_of(images: Sequence[Any]) -> list[list[str]]:
    """Those of the images of each prompt. Raises PromptError."""
    beside = enumerate(of_each(images, len(images)))
    return [[digest_of(opened(one, f"prompt {number}")) for one in some] for number, some in beside]


def reader_of(model: PreTrainedModel, name: str) -> Any:
    """The processor of a model that is given images. Raises PromptError of a text model, ModelError without one."""
    if (processor := processor_of(model)) is not None:
        return processor
    if not hasattr(model.config, "vision_config"):
        raise PromptError(
            f"{name} has an image, but {name_of(model)} is a text model; load one that reads images, such as Llama 3.2 "
            "Vision, or leave the image out"
        )
    why = vars(model).get(PROCESSOR) or "it was loaded without one"
    raise ModelError(
        f"{name_of(model)} has no processor to read images with ({why}); load it with ae.load_model from a folder with "
        "its preprocessor_config.json, or give the processor in place of the tokenizer"
    )


def needs_bos(tokenizer: Any, text: str) -> bool:
    """Whether special tokens are still to be put around a rendered text, as transformers asks it for processors."""
    return tokenizer.bos_token is None or not text.startswith(tokenizer.bos_token)


def processed(
    model: PreTrainedModel, texts: Sequence[str], images: Sequence[Sequence[Image.Image]], name: str = "the prompt"
) -> dict[str, Tensor]:
    """What the model's processor makes of texts and the images of each, padded on the left, on the model's device."""
    processor = reader_of(model, name)
    inputs = processor(
        text=list(texts),
        images=[list(some) for some in images],
        padding=True,
        padding_side="left",
        return_tensors="pt",
        add_special_tokens=needs_bos(processor.tokenizer, texts[0]),
    )
    return dict(inputs.to(device_of(model), dtype=model.dtype))
