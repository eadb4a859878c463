"""A few pictures of coloured shapes, drawn here: squares, wide and tall ones."""

from pathlib import Path

PROMPT = "What shapes are in this picture, and of what colour?"
_SIDE = 112
_DRAWN = {  # name: width and height in sides, and shapes: kind, colour, place of the middle and radius in sides
    "red-circle": ((1, 1), [("circle", "#D55E00", (0.5, 0.5), 0.35)]),
    "blue-square": ((1, 1), [("square", "#0072B2", (0.4, 0.6), 0.25)]),
    "green-triangle": ((1, 1), [("triangle", "#07A580", (0.6, 0.5), 0.35)]),
    "two-circles": ((2, 1), [("circle", "#0072B2", (0.5, 0.5), 0.3), ("circle", "#07A580", (1.5, 0.6), 0.2)]),
    "circle-and-square": ((2, 1), [("circle", "#D55E00", (0.5, 0.6), 0.25), ("square", "#A878F8", (1.4, 0.5), 0.3)]),
    "tower": ((1, 2), [("square", "#885870", (0.5, 1.5), 0.35), ("triangle", "#AE452C", (0.5, 0.7), 0.4)]),
    "row": (
        (3, 1),
        [(kind, "#0072B2", (0.5 + n, 0.5), 0.3) for n, kind in enumerate(("circle", "square", "triangle"))],
    ),
    "nested": ((2, 2), [("square", "#07A580", (1, 1), 0.8), ("circle", "#D55E00", (1, 1), 0.4)]),
}


def written(folder: Path) -> list[str]:
    """The paths of the pictures, drawn into a folder where they are not there yet."""
    from PIL import Image, ImageDraw

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png" for name in _DRAWN]
    for path, ((width, height), shapes) in zip(paths, _DRAWN.values(), strict=True):
        if path.is_file():
            continue
        image = Image.new("RGB", (width * _SIDE, height * _SIDE), "white")
        draw = ImageDraw.Draw(image)
        for kind, colour, (x, y), radius in shapes:
            left, top, right, bottom = (_SIDE * end for end in (x - radius, y - radius, x + radius, y + radius))
            if kind == "triangle":
                draw.polygon([(left, bottom), (right, bottom), (_SIDE * x, top)], fill=colour)
            else:
                (draw.ellipse if kind == "circle" else draw.rectangle)((left, top, right, bottom), fill=colour)
        whole = path.with_suffix(".part")
        image.save(whole, format="PNG")
        whole.replace(path)
    return [str(path) for path in paths]
