"""One recurrent layer in each library, one step at a time at batch 1; run as a worker of timing.py.

Every library gets its best setting: of several ways to call it, the one that turns out fastest. The
state of a step is what the step before made.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from jobs import LABELS
from rnn_peers import onnx_layer
from turns import Call, Reads, Turns

NAMES = {
    "fastseq": "fastseq, layer.step",
    "fastseq-model": "fastseq, model.stepper()",
    "onnxruntime": "ONNX Runtime, bound buffers",
    "torch": "PyTorch",
    "keras-tf": "Keras on TensorFlow",
}
WORK = "step"


class StepPeer(Turns):
    """What a worker answers. A library fills in `version` and `prepare`.

    Attributes:
        x: (steps, 1, features).
        weights: kernel, recurrent kernel, bias.
    """

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def prepare(self) -> list[tuple[Call, Any]]:
        """(start, take) of each way there is.

        start() goes back to a state of zeros, take(x) is one step and gives the output (1, units).
        """

    def open(self, job: str, cell: str) -> str:
        """Reads the arrays and answers with the library's version."""
        with np.load(job) as arrays:
            self.x = arrays["x"]
            self.weights = [arrays[f"weight{i}"] for i in range(3)]
        self.cell = cell
        self.features, self.units = self.x.shape[2], self.weights[1].shape[0]
        self.threads = len(os.environ["FASTSEQ_BENCH_CPUS"].split(","))
        return self.version()

    def agree(self, path: str) -> None:
        """Writes the outputs of all steps, by every way there is; keeps the fastest."""
        found, seconds, ways = {}, [], self.prepare()
        for k, (start, take) in enumerate(ways):
            start()
            found[f"outputs{k}"] = np.stack([np.array(take(x)) for x in self.x])
            rounds = []
            for _ in range(300):
                began = time.perf_counter()
                take(self.x[0])
                rounds.append(time.perf_counter() - began)
            seconds.append(statistics.median(rounds))
        # every library has outputs0 ... outputs2, so that each way is compared with each
        np.savez(path, **{f"outputs{k}": found[f"outputs{min(k, len(ways) - 1)}"] for k in range(3)})
        start, take = ways[seconds.index(min(seconds))]
        start()
        one = self.x[0]
        self.calls = {WORK: lambda: take(one)}


class Fastseq(Reads, StepPeer):
    def __init__(self, by_model: bool) -> None:
        import fastseq

        self.fastseq, self.by_model = fastseq, by_model

    def version(self) -> str:
        return f"{self.fastseq.__version__}, {self.fastseq._core.isa()}"

    def prepare(self) -> list[tuple[Call, Any]]:
        layer = getattr(self.fastseq.layers, LABELS[self.cell])(self.units)
        model = self.fastseq.Sequential([self.fastseq.Input((None, self.features)), layer])
        layer.set_weights(self.weights)
        if self.by_model:
            stepper = model.stepper()
            return [(stepper.reset, stepper.step)]

        def start() -> None:
            self.state = None

        def take(x: np.ndarray) -> np.ndarray:
            output, self.state = layer.step(x, self.state)
            return output

        return [(start, take)]


class OnnxRuntime(StepPeer):
    def __init__(self) -> None:
        import onnxruntime

        __import__("onnx")
        self.library = onnxruntime

    def version(self) -> str:
        return str(self.library.__version__)

    def prepare(self) -> list[tuple[Call, Any]]:
        options = self.library.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.execution_mode = self.library.ExecutionMode.ORT_SEQUENTIAL
        names = ["h", "c"] if self.cell == "lstm" else ["h"]
        model = onnx_step(self.cell, self.features, self.weights, names)
        session = self.library.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        shape = (1, 1, self.units)
        value = self.library.OrtValue.ortvalue_from_numpy
        self.buffers = [{name: value(np.zeros(shape, np.float32)) for name in names} for _ in range(2)]
        inputs = np.zeros((1, 1, self.features), np.float32)
        bound_x = value(inputs)
        # two bindings that turn by turn read what the other wrote
        bindings = []
        for k in range(2):
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", bound_x)
            for name in names:
                binding.bind_ortvalue_input(name, self.buffers[k][name])
                binding.bind_ortvalue_output(f"{name}_out", self.buffers[1 - k][name])
            bindings.append(binding)
        views = [buffers["h"] for buffers in self.buffers]
        run, turn = session.run_with_iobinding, [0]

        def start() -> None:
            turn[0] = 0
            for buffers in self.buffers:
                for buffer in buffers.values():
                    buffer.update_inplace(np.zeros(shape, np.float32))

        def take(x: np.ndarray) -> np.ndarray:
            k = turn[0]
            bound_x.update_inplace(x[None])
            run(bindings[k])
            turn[0] = k = 1 - k
            return views[k].numpy()[0]

        def step() -> None:
            k = turn[0]
            run(bindings[k])
            turn[0] = 1 - k

        self.step = step
        return [(start, take)]

    def warm(self) -> list[str]:
        # with the input in its buffer already, and the output left in its own: the least one can ask for
        self.calls = {WORK: self.step}
        return super().warm()


def onnx_step(cell: str, features: int, weights: list[np.ndarray], states: list[str]) -> bytes:
    """One step of an ONNX recurrent node: x, h (and c), each (1, 1, ...), to h_out (and c_out)."""
    from onnx import TensorProto, helper, numpy_helper

    operator, constants, options, units = onnx_layer(cell, weights)
    names = ["x", *constants, "", *states]
    outputs = ["", *(f"{name}_out" for name in states)]
    node = helper.make_node(operator, names, outputs, hidden_size=units, **options)
    info = lambda name, size: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, size])  # noqa: E731
    graph = helper.make_graph(
        [node],
        "step",
        [info("x", features), *(info(name, units) for name in states)],
        [info(f"{name}_out", units) for name in states],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


class Torch(StepPeer):
    def __init__(self) -> None:
        import peers_torch

        self.torch, self.convert = peers_torch.torch, peers_torch

    def version(self) -> str:
        return str(self.torch.__version__)

    def prepare(self) -> list[tuple[Call, Any]]:
        torch = self.torch
        torch.set_num_threads(self.threads)
        layer = self.convert.CELLS[self.cell](self.features, self.units)
        layer.load_state_dict(self.convert.to_torch(self.cell, self.weights))
        kind = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "simple_rnn": torch.nn.RNNCell}[self.cell]
        one = kind(self.features, self.units)
        one.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
        zeros = torch.zeros(1, self.units)
        first = (zeros, zeros) if self.cell == "lstm" else zeros
        example = torch.zeros(1, self.features)
        traced = torch.jit.freeze(torch.jit.trace(one.eval(), (example, first)))
        state: list[Any] = [None]

        def start() -> None:
            state[0] = first

        def take_with(module: Any) -> Any:
            def take(x: np.ndarray) -> Any:
                with torch.inference_mode():
                    state[0] = after = module(torch.from_numpy(x), state[0])
                return (after[0] if isinstance(after, tuple) else after).numpy()

            return take

        ways = []
        for module in (one, traced):
            start()
            ways.append((start, take_with(module)))

        def start_layer() -> None:
            state[0] = (zeros[None], zeros[None]) if self.cell == "lstm" else zeros[None]

        def take_layer(x: np.ndarray) -> Any:
            with torch.inference_mode():
                output, state[0] = layer(torch.from_numpy(x)[None], state[0])
            return output[0].numpy()

        return [*ways, (start_layer, take_layer)]


class Keras(StepPeer):
    def __init__(self) -> None:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras
        import tensorflow

        self.keras, self.tf = keras, tensorflow

    def version(self) -> str:
        return f"{self.keras.__version__}, tensorflow {self.tf.__version__}"

    def prepare(self) -> list[tuple[Call, Any]]:
        tf = self.tf
        tf.config.threading.set_intra_op_parallelism_threads(self.threads)
        cell = getattr(self.keras.layers, f"{LABELS[self.cell]}Cell")(self.units)
        cell.build((1, self.features))
        cell.set_weights(self.weights)
        zeros = tf.zeros((1, self.units))
        first = [zeros, zeros] if self.cell == "lstm" else [zeros]
        state: list[Any] = [first]
        signature = [tf.TensorSpec((1, self.features)), [tf.TensorSpec((1, self.units)) for _ in first]]

        def start() -> None:
            state[0] = first

        def take_with(function: Any) -> Any:
            def take(x: np.ndarray) -> Any:
                output, state[0] = function(tf.constant(x), state[0])
                return output.numpy()

            return take

        ways = []
        for compiled in (False, True):
            function = tf.function(
                lambda x, states: cell(x, states), jit_compile=compiled, input_signature=signature
            )
            ways.append((start, take_with(function)))
        return ways


def make(name: str) -> StepPeer:
    """The peer of that name; ImportError where its library is not installed."""
    if name.startswith("fastseq"):
        return Fastseq(by_model=name == "fastseq-model")
    return {"onnxruntime": OnnxRuntime, "torch": Torch, "keras-tf": Keras}[name]()


if __name__ == "__main__":
    from timing import serve

    serve(make)
