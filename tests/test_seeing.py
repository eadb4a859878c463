"""Layers that read an image beside those that read the text; pictures that are drawn, and what is shown of them."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

import attnent as ae
from attnent import plots
from attnent.analysis import seeing
from attnent.analysis.intervals import StatsError
from attnent.show.alt import alt_text
from attnent.tiny import pictures
from attnent.tiny.vision import CROSS

MEASURES = ["normalized_entropy", "max_weight"]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return pictures.written(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def run(paths, tmp_path_factory):
    """Responses to three pictures and to a prompt without one."""
    images = [*paths[:3], None]
    examples = pd.DataFrame({"id": list("abcd"), "prompt": pictures.PROMPT, "images": images})
    settings = {"task": "vision", "out_dir": tmp_path_factory.mktemp("runs"), "max_new_tokens": 7, "progress": False}
    return ae.record(*ae.load_model("tiny-vision"), examples, **settings)


@pytest.fixture(scope="module")
def table(run):
    return seeing.by_kind(run, MEASURES)


def test_means_of_each_kind_are_those_over_its_layers_and_heads(run, table):
    for name, trace in run.traces():
        for kind, is_image in ((seeing.IMAGE, True), (seeing.TEXT, False)):
            rows = table[(table["response"] == name) & (table["kind"] == kind)].sort_values("step")
            layers = trace.sel(layer=[layer for layer in trace["layer"].values if (layer in CROSS) == is_image])
            wanted = layers["max_weight"].mean(["layer", "head"]) if layers.sizes["layer"] else []
            np.testing.assert_allclose(rows["max_weight"], wanted, rtol=1e-6)
            wanted = ae.normalized_entropy(layers).mean(["layer", "head"]) if layers.sizes["layer"] else []
            np.testing.assert_allclose(rows["normalized_entropy"], wanted, rtol=1e-6)


def test_each_response_has_one_group_a_kind(table):
    assert seeing.kinds(table).value_counts().to_dict() == {seeing.IMAGE: 3, seeing.TEXT: 4}
    assert seeing.means(table, "max_weight").isna().sum().to_dict() == {seeing.IMAGE: 1, seeing.TEXT: 0}


def test_a_run_without_images_is_refused_in_one_sentence(run, tmp_path):
    examples = pd.DataFrame({"id": ["a"], "prompt": ["thing"]})
    text = ae.record(*ae.load_model("tiny"), examples, task="t", out_dir=tmp_path, max_new_tokens=2, progress=False)
    with pytest.raises(StatsError, match="no layer here reads images apart from the text; give a model"):
        seeing.by_kind(text, MEASURES)


def test_turning_is_the_last_third_less_the_first():
    values = [1.0, 3.0, 9.0, 9.0, 9.0, 4.0, 6.0]
    table = pd.DataFrame({"response": "a", "kind": seeing.IMAGE, "step": range(7), "m": values})
    other = table.assign(kind=seeing.TEXT, m=0.0)
    short = pd.DataFrame({"response": "b", "kind": seeing.IMAGE, "step": range(2), "m": [1.0, 2.0]})
    assert seeing.turning(pd.concat([table, other, short]), "m").to_dict() == {"a": 5.0 - 2.0}


def test_a_mean_has_the_interval_of_student():
    found = seeing.mean_with_interval(pd.Series([1.0, 2.0, 3.0, np.nan]))
    half = 4.302653 * 1.0 / np.sqrt(3)  # t with two degrees of freedom
    assert found == pytest.approx((2.0, 2.0 - half, 2.0 + half), rel=1e-6)
    assert np.isnan(seeing.mean_with_interval(pd.Series([1.0])).estimate)


def test_layers_that_read_the_image_are_mapped_over_the_steps(run):
    mapped = seeing.layer_steps(run, "max_weight")
    assert mapped["layer"].values.tolist() == CROSS
    wanted = np.mean([trace["max_weight"].sel(layer=CROSS[1]).mean("head") for _, trace in [*run.traces()][:3]], axis=0)
    np.testing.assert_allclose(mapped.sel(layer=CROSS[1]), wanted, rtol=1e-5)


# ---- pictures


def test_pictures_are_drawn_once_and_alike(paths, tmp_path):
    again = pictures.written(tmp_path)
    for path, other in zip(paths, again, strict=True):
        with Image.open(path) as one, Image.open(other) as two:
            assert one.tobytes() == two.tobytes()
    digests = {hashlib.sha256(Image.open(path).tobytes()).hexdigest() for path in paths}
    assert len(digests) == len(paths) == 8
    (tmp_path / "red-circle.png").write_bytes(b"mine")
    pictures.written(tmp_path)
    assert (tmp_path / "red-circle.png").read_bytes() == b"mine"


def test_a_gallery_has_each_picture_with_its_text(paths):
    figure = plots.gallery(paths, ["<b>bold</b>", *[""] * 7], title="Seen")
    assert [trace.name for trace in figure.data][:2] == ["red-circle", "blue-square"]
    assert figure.layout.annotations[0].text == "&lt;b&gt;bold&lt;/b&gt;"
    assert all(trace.source.startswith("data:image/png;base64,") for trace in figure.data)


def test_a_gallery_is_told_by_the_names_of_its_pictures(paths):
    figure = plots.gallery(paths[:2], ["", ""], title="Seen")
    assert alt_text(figure.to_dict()) == "Seen. Pictures: red-circle; blue-square."


def test_a_map_over_steps_has_a_row_a_layer_and_says_where_there_is_nothing():
    values = xr.DataArray([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], {"layer": [3, 8], "step": range(3)}, ["layer", "step"])
    figure = plots.step_map(values.T, "max_weight", title="Map")
    assert list(figure.data[0].y) == ["3", "8"]
    np.testing.assert_array_equal(figure.data[0].z, values)
    assert "nothing to show" in plots.step_map(values * np.nan, "max_weight", title="Map").layout.annotations[0].text


def test_where_attention_lies_stands_on_the_picture_in_its_own_pixels(paths):
    values = xr.DataArray([[0.1, 0.9]], {"y": [56.0], "x": [56.0, 168.0]}, ["y", "x"])
    figure = plots.looks(paths[3], {"layer 1, head <b>": values}, title="Where")
    with Image.open(paths[3]) as image:
        assert (figure.layout.images[0].sizex, figure.layout.images[0].sizey) == image.size
    assert figure.data[0].name == "layer 1, head &lt;b&gt;"
    assert list(figure.layout.yaxis.range) == [112, 0], "y runs downwards, as in a picture"
    np.testing.assert_array_equal(figure.data[0].z, values)
