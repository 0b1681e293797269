"""The addition model in PyTorch."""

from __future__ import annotations

import os

import numpy as np
import torch
from peers import RATE, Peer
from torch import nn
from torch.nn import functional

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "simple_rnn": nn.RNN}


def to_torch(cell: str, weights: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """Keras's kernel, recurrent kernel and bias under torch's names (GRU: z, r, h becomes r, z, n)."""
    kernel, recurrent, bias = (np.asarray(w) for w in weights)
    if cell == "gru":
        swap = np.r_[1, 0, 2]
        kernel, recurrent, bias = (
            w.reshape(*w.shape[:-1], 3, -1)[..., swap, :].reshape(w.shape) for w in (kernel, recurrent, bias)
        )
        biases = bias[0], bias[1]
    else:
        biases = bias, np.zeros_like(bias)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return {n: torch.tensor(w.copy()) for n, w in zip(names, (kernel.T, recurrent.T, *biases), strict=True)}


def from_torch(cell: str, layer: nn.RNNBase, gradients: bool = False) -> list[np.ndarray]:
    """The layer's weights, or their gradients, in Keras's layout."""

    def value(w: torch.Tensor) -> np.ndarray:
        if not gradients:
            return w.detach().numpy()
        return np.zeros(w.shape, np.float32) if w.grad is None else w.grad.numpy()

    kernel, recurrent = (value(w).T for w in (layer.weight_ih_l0, layer.weight_hh_l0))
    b, c = value(layer.bias_ih_l0), value(layer.bias_hh_l0)
    if cell != "gru":
        return [kernel.copy(), recurrent.copy(), b + c]
    swap = np.r_[1, 0, 2]
    return [
        w.reshape(*w.shape[:-1], 3, -1)[..., swap, :].reshape(w.shape)
        for w in (kernel, recurrent, np.stack([b, c]))
    ]


class Net(nn.Module):
    def __init__(self, cell: str, chars: int, units: int, repeat: int, batch_first: bool) -> None:
        super().__init__()
        self.repeat, self.batch_first = repeat, batch_first
        self.encoder = CELLS[cell](chars, units, batch_first=batch_first)
        self.decoder = CELLS[cell](units, units, batch_first=batch_first)
        self.dense = nn.Linear(units, chars)
        if cell != "gru":  # Keras has one bias; the second stays at zero
            self.encoder.bias_hh_l0.requires_grad_(False)
            self.decoder.bias_hh_l0.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, state = self.encoder(x)
        last = (state[0] if isinstance(state, tuple) else state)[-1]
        if self.batch_first:
            repeated = last[:, None].repeat(1, self.repeat, 1)
        else:
            repeated = last[None].expand(self.repeat, -1, -1)
        return self.dense(self.decoder(repeated)[0])


class TorchPeer(Peer):
    def __init__(self, tuned: bool) -> None:
        self.tuned = tuned
        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)

    def version(self) -> str:
        return torch.__version__

    def open(self, job: str) -> str:
        version = super().open(job)
        tensors = {k: torch.tensor(self.arrays[k]).float() for k in ("x_train", "x_val")}
        targets = {k: torch.tensor(self.arrays[k].argmax(-1)) for k in ("y_train", "y_val")}
        self.tensors = {**tensors, **targets}
        self.batch = self.oriented(torch.tensor(self.x), torch.tensor(self.y.argmax(-1)))
        return version

    def oriented(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.tuned:
            return x, y
        return x.transpose(0, 1).contiguous(), y.T.contiguous()

    def build(self, optimizer: str, fresh: bool = False) -> None:
        job = self.job
        self.net = Net(job["cell"], self.x.shape[2], job["units"], self.y.shape[1], not self.tuned)
        if not fresh:
            self.net.encoder.load_state_dict(to_torch(job["cell"], self.start[:3]))
            self.net.decoder.load_state_dict(to_torch(job["cell"], self.start[3:6]))
            kernel, bias = self.start[6:]
            self.net.dense.load_state_dict(
                {"weight": torch.tensor(kernel.T.copy()), "bias": torch.tensor(bias)}
            )
        weights = [w for w in self.net.parameters() if w.requires_grad]
        options = {"fused": True} if self.tuned else {}
        if optimizer == "adam":
            self.optimizer = torch.optim.Adam(weights, lr=0.001, eps=1e-7, **options)
        else:
            self.optimizer = torch.optim.SGD(weights, lr=RATE)

    def train(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(self.net(x).flatten(0, 1), y.flatten())
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def step(self) -> float:
        return float(self.train(*self.batch))

    def run_steps(self, count: int) -> None:
        for _ in range(count):
            self.train(*self.batch)

    def run_epoch(self) -> float:
        t, size = self.tensors, self.job["batch_size"]
        order = torch.randperm(len(t["x_train"]))
        total = torch.zeros(())
        for rows in order.split(size):
            total += self.train(*self.oriented(t["x_train"][rows], t["y_train"][rows]))
        right = 0
        with torch.no_grad():
            for x, y in zip(t["x_val"].split(size), t["y_val"].split(size), strict=True):
                x, y = self.oriented(x, y)
                logits = self.net(x)
                total += functional.cross_entropy(logits.flatten(0, 1), y.flatten())
                right += int((logits.argmax(-1) == y).sum())
        return right / t["y_val"].numel()

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        parts = []
        with torch.no_grad():
            for part in torch.tensor(x).float().split(self.job["batch_size"]):
                if self.tuned:
                    parts.append(self.net(part.transpose(0, 1).contiguous()).softmax(-1).transpose(0, 1))
                else:
                    parts.append(self.net(part).softmax(-1))
        return torch.cat(parts).numpy()

    def weights(self) -> list[np.ndarray]:
        cell, dense = self.job["cell"], self.net.dense
        return [
            *from_torch(cell, self.net.encoder),
            *from_torch(cell, self.net.decoder),
            dense.weight.detach().numpy().T.copy(),
            dense.bias.detach().numpy().copy(),
        ]
