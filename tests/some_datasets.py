"""Datasets for the tests of workers, in a module that fresh processes can import."""

import os
import random
import time

import numpy as np

from fastseq.utils import PyDataset


class Numbered(PyDataset):
    """Batch k holds the rows 4 k to 4 k + 3, (4, 1); ``order`` is turned round after every epoch."""

    def __init__(self, count=5, size=1, **options):
        super().__init__(**options)
        self.order = list(range(count))
        self.size = size

    def __len__(self):
        return len(self.order)

    def __getitem__(self, index):
        first = 4.0 * self.order[index]
        x = np.repeat(np.arange(first, first + 4, dtype=np.float32)[:, None], self.size, 1)
        return x, x[:, :1]


class Batches(PyDataset):
    """(x, y), or (x, y, sample_weight), of some arrays."""

    def __init__(self, size, *columns, **options):
        super().__init__(**options)
        self.size, self.columns = size, columns
        self.called = []

    def __len__(self):
        return -(-len(self.columns[0]) // self.size)

    def __getitem__(self, k):
        return tuple(column[k * self.size : (k + 1) * self.size] for column in self.columns)

    def on_epoch_begin(self):
        self.called.append("begin")

    def on_epoch_end(self):
        self.called.append("end")


class Turning(Numbered):
    def on_epoch_end(self):
        self.order.reverse()


class Random(Numbered):
    """Rows drawn from the global generators of numpy and Python."""

    def __getitem__(self, index):
        x = np.random.rand(4, 1) + random.random()  # noqa: NPY002
        return x, x


class Failing(Numbered):
    """Batch 3 cannot be made."""

    def __getitem__(self, index):
        if index == 3:
            return self.fail()
        return super().__getitem__(index)

    def fail(self):
        raise KeyError("no picture 3")


class Odd(Exception):
    """An error that cannot be sent to another process as it is."""

    def __init__(self, first, second):
        super().__init__(first)


class FailingOddly(Failing):
    def fail(self):
        raise Odd("one", "two")


class Unsendable(Failing):
    def fail(self):
        return lambda: None, np.zeros(3)


class Dying(Failing):
    def fail(self):
        os.kill(os.getpid(), 9)


class Leaving(Failing):
    def fail(self):
        os._exit(7)


class Sleeping(Failing):
    """Batch 3 takes a minute."""

    def fail(self):
        time.sleep(60)


class Reporting(Numbered):
    """The process that made a batch is its content."""

    def __getitem__(self, index):
        x = np.full((4, 1), os.getpid(), np.float64)
        return x, x
