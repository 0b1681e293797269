"""Pictures of histories and models: what is in them, and what is said without matplotlib."""

import builtins

import numpy as np
import pytest
from small_models import X, Y, model
from test_models_config import nested, shared

import fastseq
from fastseq import layers, plots, utils

matplotlib = pytest.importorskip("matplotlib")


def size(path):
    from matplotlib.image import imread

    return imread(path).shape[:2]


def test_a_history(tmp_path):
    history = model().fit(X, Y, epochs=3, validation_split=0.2, verbose=0)
    figure = fastseq.plot_history(history, title="small", to_file=tmp_path / "h.png")
    assert size(tmp_path / "h.png")[0] > 300
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "loss"]
    for axes, name in zip(figure.axes, ("accuracy", "loss"), strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        np.testing.assert_array_equal(lines["training"].get_ydata(), history.history[name])
        np.testing.assert_array_equal(lines["validation"].get_ydata(), history.history[f"val_{name}"])
        assert lines["training"].get_xdata()[0] == 1
    assert [a.get_ylabel() for a in utils.plot_history(history.history, ["loss"]).axes] == ["loss"]
    assert [a.get_ylabel() for a in utils.plot_history(history.history, "loss").axes] == ["loss"]
    with pytest.raises(ValueError) as error:
        fastseq.plot_history(history, ["los"])
    assert str(error.value) == "plot_history: quantities must be among accuracy, loss, got 'los'"
    with pytest.raises(ValueError):
        fastseq.plot_history({})


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def arrows(figure):
    return [text for text in figure.axes[0].texts if not text.get_text()]


def test_a_chain(tmp_path):
    made = fastseq.Sequential(
        [layers.LSTM(4, input_shape=(4, 3), name="a"), layers.Dense(2, "tanh", name="b")]
    )
    figure = utils.plot_model(made, tmp_path / "m.png", dpi=50)
    assert size(tmp_path / "m.png")[0] > 50
    assert texts(figure) == ["InputLayer", "LSTM", "Dense"]
    assert len(arrows(figure)) == 2
    made.layers[0].trainable = False
    figure = utils.plot_model(
        made, None, show_shapes=True, show_dtype=True, show_layer_names=True, show_trainable=True,
        show_layer_activations=True, rankdir="LR",
    )  # fmt: skip
    assert texts(figure)[1:] == [
        "a (LSTM)\nactivation: tanh\n(None, 4)\nfloat32\nnot trainable",
        "b (Dense)\nactivation: tanh\n(None, 2)\nfloat32\ntrainable",
    ]
    boxes = figure.axes[0].patches
    assert len({round(box.get_y() + box.get_height() / 2, 3) for box in boxes}) == 1  # side by side
    assert sorted(box.get_x() for box in boxes) == [box.get_x() for box in boxes]


def test_graphs_with_shared_and_nested_layers():
    figure = utils.plot_model(shared()[0], None, show_layer_names=True)
    assert sum(text.endswith("(LSTM)") for text in texts(figure)) == 5  # one of them three times
    assert len(arrows(figure)) == 10
    figure = utils.plot_model(nested()[0], None, expand_nested=True)
    assert sum("(Dense)" in text for text in texts(figure)) == 4
    boxes = figure.axes[0].patches
    for k, a in enumerate(boxes):  # none lies over another
        for b in boxes[k + 1 :]:
            apart = (
                a.get_x() + a.get_width() <= b.get_x() or b.get_x() + b.get_width() <= a.get_x()
                or a.get_y() + a.get_height() <= b.get_y() or b.get_y() + b.get_height() <= a.get_y()
            )  # fmt: skip
            assert apart


def test_errors(monkeypatch):
    with pytest.raises(ValueError) as error:
        utils.plot_model(model(), None, rankdir="up")
    assert str(error.value) == "plot_model: rankdir must be TB or LR, got 'up'"
    with pytest.raises(RuntimeError) as error:
        utils.plot_model(fastseq.Sequential([layers.Dense(1)], name="n"), None)
    assert str(error.value) == "plot_model: n must be built, got one without a graph yet"
    real = builtins.__import__

    def missing(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    for call, name in ((lambda: plots.plot_history({"loss": [1]}), "plot_history"),
                       (lambda: plots.plot_model(model(), None), "plot_model")):  # fmt: skip
        with pytest.raises(RuntimeError) as error:
            call()
        assert str(error.value) == (
            f"{name}: matplotlib must be installed (pip install 'fastseq[plot]'), got no such module"
        )
