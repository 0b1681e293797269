"""float64 twins of the optimizers after Adam, written to be read: ``rule(w, g, *slots, step, **more)``."""

import math

import numpy as np


def amsgrad(w, g, m, v, largest, *, step, learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g * g
    largest = np.maximum(largest, v)
    alpha = learning_rate * math.sqrt(1 - beta_2**step) / (1 - beta_1**step)
    return w - alpha * m / (np.sqrt(largest) + epsilon), m, v, largest


def nadam(w, g, m, v, *, step, learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    def momentum(t):
        return beta_1 * (1 - 0.5 * 0.96**t)

    product = math.prod(momentum(t) for t in range(1, step + 1))
    m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g * g
    mean = momentum(step + 1) * m / (1 - product * momentum(step + 1))
    mean = mean + (1 - momentum(step)) * g / (1 - product)
    return w - learning_rate * mean / (np.sqrt(v / (1 - beta_2**step)) + epsilon), m, v


def adamax(w, g, m, u, *, step, learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m, u = beta_1 * m + (1 - beta_1) * g, np.maximum(beta_2 * u, np.abs(g))
    return w - learning_rate / (1 - beta_1**step) * m / (u + epsilon), m, u


def adagrad(w, g, squares, *, step, learning_rate, epsilon=1e-7):
    squares = squares + g * g
    return w - learning_rate * g / np.sqrt(squares + epsilon), squares


def lion(w, g, m, *, step, learning_rate, beta_1=0.9, beta_2=0.99):
    return w - learning_rate * np.sign(beta_1 * m + (1 - beta_1) * g), beta_2 * m + (1 - beta_2) * g
