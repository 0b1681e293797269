"""One recurrent layer in each library, behind the same few calls; run as a worker of timing.py.

Weights travel in Keras's layout and gate order. Every library gets its best setting: time-major where
it prefers that, and of several ways to compile the one that turns out fastest.
"""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from jobs import LABELS
from turns import Call, Peaks, Reads, Turns, fastest

NAMES = {
    "fastseq": "fastseq",
    "torch": "PyTorch",
    "keras-tf": "Keras on TensorFlow",
    "keras-jax": "Keras on JAX",
    "jax": "jax.lax.scan",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
FORWARD_ONLY = ("onnxruntime", "openvino")
WORKS = ("training", "forward", "inference")
LONGEST_UNROLL = 50  # steps; beyond, compiling takes minutes


class LayerPeer(Turns):
    """What a worker answers. A library fills in `version` and `prepare`.

    Attributes:
        x: (batch, time, input) and `d`, the gradient of the outputs (batch, time, hidden).
        weights: kernel, recurrent kernel, bias.
        calls: "training" is forward and backward with the gradients of
            x and of all weights, "forward" keeps what backward needs, "inference" does not.
        results: (outputs, gradients of x, kernel, recurrent kernel, bias or None), from calls that have run.
    """

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def prepare(self) -> None:
        """Sets `calls`."""

    @abstractmethod
    def results(self) -> tuple[np.ndarray, list[np.ndarray] | None]: ...

    def open(self, job: str, cell: str) -> str:
        """Reads the arrays and answers with the library's version."""
        with np.load(job) as arrays:
            self.x, self.d = arrays["x"], arrays["d"]
            self.weights = [arrays[f"weight{i}"] for i in range(3)]
        self.cell = cell
        self.units = self.weights[1].shape[0]
        self.threads = len(os.environ["FASTSEQ_BENCH_CPUS"].split(","))
        self.calls: dict[str, Call] = {}
        return self.version()

    def agree(self, path: str) -> None:
        """Writes the outputs, and the gradients where the library has them."""
        self.prepare()
        outputs, gradients = self.results()
        kept = dict(zip(("dx", "dkernel", "drecurrent", "dbias"), gradients or [], strict=False))
        np.savez(path, outputs=outputs, **kept)


class Fastseq(Peaks, Reads, LayerPeer):
    def __init__(self) -> None:
        import fastseq

        self.fastseq = fastseq

    def version(self) -> str:
        return f"{self.fastseq.__version__}, {self.fastseq._core.isa()}"

    def prepare(self) -> None:
        ops = self.fastseq.ops
        forward, backward = (getattr(ops, f"{self.cell}_{way}") for way in ("forward", "backward"))
        packed = getattr(ops, f"{self.cell}_stepper")(*self.weights)  # as a model that predicts has them
        self.calls = {
            "training": lambda: backward(forward(self.x, *self.weights)[2], self.d),
            "forward": lambda: forward(self.x, *self.weights),
            "inference": lambda: packed.run(self.x),
        }

    def results(self) -> tuple[np.ndarray, list[np.ndarray] | None]:
        g = self.calls["training"]()
        return self.calls["inference"]()[0], [g.x, g.kernel, g.recurrent_kernel, g.bias]


class Torch(LayerPeer):
    def __init__(self) -> None:
        import peers_torch

        self.torch, self.convert = peers_torch.torch, peers_torch

    def version(self) -> str:
        return str(self.torch.__version__)

    def prepare(self) -> None:
        torch, convert = self.torch, self.convert
        self.layer = convert.CELLS[self.cell](self.x.shape[2], self.units)
        self.layer.load_state_dict(convert.to_torch(self.cell, self.weights))
        if self.cell != "gru":  # Keras has one bias; the second stays at zero
            self.layer.bias_hh_l0.requires_grad_(False)
        x = torch.tensor(self.x).transpose(0, 1).contiguous()
        self.wanted = torch.tensor(self.d).transpose(0, 1).contiguous()
        self.input = x.clone().requires_grad_(True)

        def inference() -> Any:
            with torch.inference_mode():
                return self.layer(x)[0]

        def training() -> None:
            self.layer.zero_grad(set_to_none=True)
            self.input.grad = None
            self.layer(self.input)[0].backward(self.wanted)

        self.calls = {
            "training": training,
            "forward": lambda: self.layer(self.input)[0],
            "inference": inference,
        }

    def results(self) -> tuple[np.ndarray, list[np.ndarray] | None]:
        self.calls["training"]()
        gradients = self.convert.from_torch(self.cell, self.layer, gradients=True)
        outputs = self.calls["inference"]().transpose(0, 1).numpy()
        return outputs, [self.input.grad.transpose(0, 1).numpy(), *gradients]


class Jax(LayerPeer):
    def __init__(self) -> None:
        import peers_jax

        self.jax, self.cells = peers_jax.jax, peers_jax.CELLS

    def version(self) -> str:
        return str(self.jax.__version__)

    def prepare(self) -> None:
        jax = self.jax
        x, d = (jax.numpy.asarray(np.swapaxes(a, 0, 1).copy()) for a in (self.x, self.d))
        weights = [jax.numpy.asarray(w) for w in self.weights]

        def forward(weights: Any, x: Any, unroll: int) -> Any:
            bias = weights[2][0] if self.cell == "gru" else weights[2]
            return self.cells[self.cell](weights, x @ weights[0] + bias, unroll)[0]

        def training(weights: Any, x: Any, d: Any, unroll: int) -> Any:
            outputs, back = jax.vjp(lambda w, v: forward(w, v, unroll), weights, x)
            return outputs, back(d)

        steps = x.shape[0]
        unrolls = [1, 4] + [steps] * (steps <= LONGEST_UNROLL)
        ready = jax.block_until_ready
        infer, train = (jax.jit(f, static_argnames="unroll") for f in (forward, training))
        self.calls = {
            "training": fastest([lambda u=u: ready(train(weights, x, d, unroll=u)) for u in unrolls]),
            "inference": fastest([lambda u=u: ready(infer(weights, x, unroll=u)) for u in unrolls]),
        }

    def results(self) -> tuple[np.ndarray, list[np.ndarray] | None]:
        _, (dweights, dx) = self.calls["training"]()
        outputs = self.calls["inference"]()
        return np.swapaxes(outputs, 0, 1), [np.swapaxes(dx, 0, 1), *map(np.asarray, dweights)]


class Keras(LayerPeer):
    def __init__(self, backend: str) -> None:
        module = {"tf": "tensorflow", "jax": "jax"}[backend]
        os.environ["KERAS_BACKEND"] = module
        self.backend = __import__(module)
        import keras

        self.keras = keras

    def version(self) -> str:
        return f"{self.keras.__version__}, {self.backend.__name__} {self.backend.__version__}"

    def prepare(self) -> None:
        layer = LABELS[self.cell]
        ways = [False] + [True] * (self.x.shape[1] <= LONGEST_UNROLL)
        candidates = []
        for unroll in ways:
            made = getattr(self.keras.layers, layer)(self.units, return_sequences=True, unroll=unroll)
            made.build(self.x.shape)
            made.set_weights(self.weights)
            on = self.on_jax if self.backend.__name__ == "jax" else self.on_tensorflow
            candidates += on(made)
        self.calls = {
            "training": fastest([training for training, _ in candidates]),
            "inference": fastest([inference for _, inference in candidates]),
        }

    def on_tensorflow(self, layer: Any) -> list[tuple[Call, Call]]:
        tf = self.backend
        x, d = tf.constant(self.x), tf.constant(self.d)

        def train(x: Any, d: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = layer(x)
            return tape.gradient(outputs, [x, *layer.trainable_variables], output_gradients=d)

        found = []
        for compiled in (False, True):
            training, inference = (tf.function(f, jit_compile=compiled) for f in (train, layer))
            found.append(
                (
                    lambda t=training: [np.asarray(g) for g in t(x, d)],
                    lambda i=inference: np.asarray(i(x)),
                )
            )
        return found

    def on_jax(self, layer: Any) -> list[tuple[Call, Call]]:
        jax = self.backend
        x, d = jax.numpy.asarray(self.x), jax.numpy.asarray(self.d)
        trainable, others = ([v.value for v in vs] for vs in (
            layer.trainable_variables, layer.non_trainable_variables,
        ))  # fmt: skip

        def forward(x: Any, weights: Any) -> Any:
            return layer.stateless_call(weights, others, x)[0]

        def train(x: Any, weights: Any, d: Any) -> Any:
            dx, dweights = jax.vjp(forward, x, weights)[1](d)
            return [dx, *dweights]

        training, inference = jax.jit(train), jax.jit(forward)
        ready = jax.block_until_ready
        return [
            (lambda: ready(training(x, trainable, d)), lambda: ready(inference(x, trainable))),
        ]

    def results(self) -> tuple[np.ndarray, list[np.ndarray] | None]:
        return np.asarray(self.calls["inference"]()), [np.asarray(g) for g in self.calls["training"]()]


def onnx_layer(
    cell: str, weights: list[np.ndarray]
) -> tuple[str, dict[str, np.ndarray], dict[str, int], int]:
    """(operator, its constants W, R, B, its options, units) of an ONNX recurrent node with these weights."""
    operator, order = {
        "lstm": ("LSTM", [0, 3, 1, 2]),  # i f g o -> i o f c
        "gru": ("GRU", [0, 1, 2]),
        "simple_rnn": ("RNN", [0]),
    }[cell]
    units = weights[1].shape[0]

    def ordered(w: np.ndarray) -> np.ndarray:
        parts = w.reshape(-1, len(order), units)[:, order]
        return np.ascontiguousarray(parts.reshape(-1, len(order) * units).T)

    kernel, recurrent, bias = weights
    first, second = (bias[0], bias[1]) if cell == "gru" else (bias, np.zeros_like(bias))
    both = np.concatenate([ordered(b[None])[:, 0] for b in (first, second)])
    constants = {"W": ordered(kernel)[None], "R": ordered(recurrent)[None], "B": both[None]}
    return operator, constants, {"linear_before_reset": 1} if cell == "gru" else {}, units


def onnx_model(cell: str, x: np.ndarray, weights: list[np.ndarray]) -> bytes:
    """One ONNX recurrent node with these weights, (time, batch, input) -> (time, 1, batch, hidden)."""
    from onnx import TensorProto, helper, numpy_helper

    operator, constants, options, units = onnx_layer(cell, weights)
    node = helper.make_node(operator, ["X", "W", "R", "B"], ["Y"], hidden_size=units, **options)
    batch, steps, features = x.shape
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [steps, batch, features])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [steps, 1, batch, units])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


class OnnxRuntime(LayerPeer):
    def __init__(self) -> None:
        import onnxruntime

        __import__("onnx")
        self.library = onnxruntime

    def version(self) -> str:
        return str(self.library.__version__)

    def prepare(self) -> None:
        options = self.library.SessionOptions()
        options.intra_op_num_threads = self.threads
        session = self.library.InferenceSession(
            onnx_model(self.cell, self.x, self.weights), options, providers=["CPUExecutionProvider"]
        )
        x = np.swapaxes(self.x, 0, 1).copy()
        self.calls = {"inference": lambda: session.run(None, {"X": x})[0]}

    def results(self) -> tuple[np.ndarray, list[np.ndarray] | None]:
        return np.swapaxes(self.calls["inference"]()[:, 0], 0, 1), None


class OpenVino(LayerPeer):
    def __init__(self) -> None:
        import openvino

        __import__("onnx")
        self.library = openvino

    def version(self) -> str:
        return str(self.library.__version__).split("-")[0]

    def prepare(self) -> None:
        core = self.library.Core()
        model = core.read_model(onnx_model(self.cell, self.x, self.weights))
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        x = np.swapaxes(self.x, 0, 1).copy()
        self.calls = {"inference": lambda: request.infer([x], share_inputs=True, share_outputs=True)[0]}

    def results(self) -> tuple[np.ndarray, list[np.ndarray] | None]:
        return np.swapaxes(self.calls["inference"]()[:, 0], 0, 1).copy(), None


def make(name: str) -> LayerPeer:
    """The peer of that name; ImportError where its library is not installed."""
    if name.startswith("keras-"):
        return Keras(name.removeprefix("keras-"))
    return {"fastseq": Fastseq, "torch": Torch, "jax": Jax, "onnxruntime": OnnxRuntime, "openvino": OpenVino}[
        name
    ]()


if __name__ == "__main__":
    from timing import serve

    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    serve(make)
