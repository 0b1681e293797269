"""The recurrent kernels against their float64 twins and central differences, on every instruction set."""

import itertools
import threading
import time

import numpy as np
import pytest
from rnn_ops import CELLS, Op, assert_close, check, problem, random_mask, run_both

import fastseq
from fastseq import _core
from fastseq.ops import rnn

# One lane short of a register, one over, whole panels, several panels; nothing but one unit.
UNITS = (1, 7, 9, 15, 17, 33, 64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_forward_matches_twin(cell, dtype, isa):
    op = Op(cell)
    for units, (batch, steps, features) in itertools.product(
        UNITS, [(1, 1, 1), (3, 4, 2), (7, 5, 12), (20, 3, 9)]
    ):
        run_both(op, problem(cell, batch, steps, features, units, dtype), dtype)
        run_both(op, problem(cell, batch, steps, features, units, dtype, state=False), dtype)


# (batch, features, units): every tile of rows, products of one pass over the weights and of several, with x W
# in the same product (features few for the rows) and apart, steps of one block of rows and of several.
LONG = [
    (1, 40, 150), (2, 40, 150), (3, 5, 300), (8, 50, 300), (16, 60, 100), (25, 90, 96), (40, 50, 140),
    (21, 7, 270), (49, 7, 33), (100, 60, 20),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_long_products_match_twin(cell, dtype, isa):
    for batch, features, units in LONG:
        run_both(Op(cell), problem(cell, batch, 2, features, units, dtype), dtype)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_long_products(cell, isa):
    for batch, features, units in LONG:
        check(Op(cell), problem(cell, batch, 2, features, units, scale=0.2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_options_match_twin(cell, dtype, isa):
    op = Op(cell)
    batch, steps, units = 6, 7, 19
    for state, backwards, zero in itertools.product((True, False), (True, False), (True, False)):
        inputs = problem(cell, batch, steps, 5, units, dtype, state=state)
        mask = random_mask(batch, steps)
        lengths = np.array([7, 0, 3, 7, 1, 4])
        run_both(op, inputs, dtype, go_backwards=backwards, mask=mask, zero_output_for_mask=zero)
        run_both(op, inputs, dtype, go_backwards=backwards, lengths=lengths)
        sequence, _, _ = op.forward(**inputs, go_backwards=backwards, lengths=lengths, mask=mask)
        both = mask & (np.arange(steps) < lengths[:, None])
        want, _ = op.twin(**inputs, go_backwards=backwards, mask=both, zero_output_for_mask=True)
        assert_close(sequence, want, dtype)
        run_both(op, inputs, dtype, mask=np.zeros((batch, steps), bool), zero_output_for_mask=zero)


@pytest.mark.parametrize("cell", CELLS)
def test_repeat_is_the_same_x_at_every_step(cell, isa):
    op = Op(cell)
    inputs = problem(cell, 5, 6, 4, 11)
    inputs["x"] = inputs["x"][:, 0]
    run_both(op, inputs, np.float64, repeat=6)
    mask = random_mask(5, 6)
    run_both(op, inputs, np.float64, repeat=6, mask=mask)
    check(op, inputs, repeat=6, mask=mask)
    inputs.pop("initial_state")
    check(op, inputs, repeat=6)
    rows = problem(cell, 70, 1, 4, 9)  # of two bands
    rows["x"] = rows["x"][:, 0]
    run_both(op, rows, np.float64, repeat=8)
    check(op, rows, repeat=8, mask=random_mask(70, 8))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients(cell, isa):
    op = Op(cell)
    for units, (batch, steps, features) in itertools.product(
        (1, 7, 9, 17, 33), [(1, 1, 1), (3, 4, 2), (13, 5, 9)]
    ):
        check(op, problem(cell, batch, steps, features, units))
        check(op, problem(cell, batch, steps, features, units, state=False))


@pytest.mark.parametrize("options", range(6))
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_with_options(cell, options, isa):
    op = Op(cell)
    batch, steps = 6, 5
    inputs = problem(cell, batch, steps, 3, 10)
    mask, lengths = random_mask(batch, steps), np.array([5, 0, 3, 5, 1, 4])
    option = [
        {"go_backwards": True},
        {"mask": mask},
        {"mask": mask, "go_backwards": True, "zero_output_for_mask": True},
        {"lengths": lengths, "recurrent_dropout": 0.4, "seed": 5},
        {"dropout": 0.3, "recurrent_dropout": 0.3, "seed": 3},
        {"dropout": 0.3, "seed": 4, "mask": mask},
    ][options]
    check(op, inputs, **option)
    inputs.pop("initial_state")
    check(op, inputs, **option)
    inputs.pop("bias")
    check(op, inputs, **option)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_by_every_activation(cell, isa):
    op = Op(cell)
    inputs = problem(cell, 4, 3, 3, 9, scale=0.3)
    for name in rnn.CELL_ACTIVATIONS:
        options = [{"activation": name}]
        if cell != "simple_rnn":
            options = [
                {"activation": name, "recurrent_activation": "hard_sigmoid"},
                {"recurrent_activation": name},
            ]
        for option in options:
            run_both(op, inputs, np.float64, **option)
            check(op, inputs, **option)


def dropout_factors(rate, seed, stream, batch, width):
    """The kernel's own factors, read off a linear cell that shows them."""
    eye, zero = np.eye(width), np.zeros((width, width))
    ones = np.ones((batch, width))
    rates = {"dropout": rate} if stream == "input" else {"recurrent_dropout": rate}
    x, state = (ones[:, None], None) if stream == "input" else (np.zeros((batch, 1, width)), (ones,))
    kernels = (eye, zero) if stream == "input" else (zero, eye)
    _, (h,), _ = rnn.simple_rnn_forward(
        x, *kernels, initial_state=state, activation="linear", seed=seed, **rates
    )
    return h


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_is_one_pattern_for_all_steps(cell, isa):
    op = Op(cell)
    inputs = problem(cell, 6, 5, 12, 17)
    drop, recur = (
        dropout_factors(r, 11, s, 6, w) for r, s, w in [(0.3, "input", 12), (0.5, "recurrent", 17)]
    )
    assert set(np.unique(drop)) == {0.0, 1 / 0.7}
    assert set(np.unique(recur)) == {0.0, 2.0}
    sequence, state, _ = op.forward(**inputs, dropout=0.3, recurrent_dropout=0.5, seed=11)
    want, want_state = op.twin(**inputs, dropout_mask=drop, recurrent_dropout_mask=recur)
    assert_close(sequence, want, np.float64)
    assert_close(state[-1], want_state[-1], np.float64)
    plain, _, _ = op.forward(**inputs)
    off, _, _ = op.forward(**inputs, dropout=0.3, recurrent_dropout=0.5, seed=11, training=False)
    assert np.array_equal(plain, off)


def test_dropout_rates_are_kept_and_seeds_differ():
    factors = dropout_factors(0.25, 1, "input", 200, 100)
    assert abs((factors == 0).mean() - 0.25) < 0.01
    assert not np.array_equal(factors, dropout_factors(0.25, 2, "input", 200, 100))
    assert not np.array_equal(factors, dropout_factors(0.25, 1, "recurrent", 200, 100))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_same_bits_on_any_number_of_threads(cell, dtype, isa):
    op = Op(cell)
    before = fastseq.get_num_threads()
    # Three members own rows only from 72 on; fewer rows, and large weights, make them share units. Of two
    # bands of rows, two members own one each, three own parts, or units of both (the first).
    shapes = [
        (64, 9, 12, 128), (90, 4, 40, 96), (150, 6, 9, 40), (2, 20, 64, 128), (1, 30, 16, 200),
        (16, 12, 33, 256), (130, 5, 20, 216),
    ]  # fmt: skip
    try:
        for batch, steps, features, units in shapes:
            inputs = problem(cell, batch, steps, features, units, dtype)
            lengths = np.random.default_rng(3).integers(0, steps + 1, batch)
            for options in (
                {},
                {"lengths": lengths, "recurrent_dropout": 0.2, "dropout": 0.1, "seed": 1},
                {"activation": "softsign"},
            ):
                results = []
                for threads in (1, 2, 3):
                    fastseq.set_num_threads(threads)
                    sequence, state, saved = op.forward(**inputs, **options)
                    grads = op.backward(saved, sequence, state)
                    results.append([sequence, *state, *grads[:4], *grads.initial_state])
                    fast, _, _ = op.forward(
                        **inputs, **options | {"dropout": 0, "recurrent_dropout": 0}, training=False
                    )
                    results[-1].append(fast)
                for other in results[1:]:
                    for a, b in zip(results[0], other, strict=True):
                        assert np.array_equal(a, b)
    finally:
        fastseq.set_num_threads(before)


@pytest.mark.parametrize("shape", [(150, 6, 9, 40), (130, 5, 20, 216)], ids=["rows", "units"])
@pytest.mark.parametrize("cell", CELLS)
def test_same_bits_while_the_team_works_for_another_thread(cell, shape):
    """What was shared out for three is then done by one."""
    op = Op(cell)
    inputs = problem(cell, *shape, np.float32)
    lengths = np.random.default_rng(3).integers(0, shape[1] + 1, shape[0])

    def results():
        sequence, state, saved = op.forward(**inputs, lengths=lengths)
        grads = op.backward(saved, sequence, state)
        fast, _, _ = op.forward(**inputs, lengths=lengths, training=False)
        return [sequence, *state, *grads[:4], *grads.initial_state, fast]

    before = fastseq.get_num_threads()
    fastseq.set_num_threads(3)
    try:
        expected = results()
        other = threading.Thread(target=lambda: _core.time_team(3, 1, work=0.3))
        other.start()
        time.sleep(0.05)
        found = results()
        alone = len(_core.probe_team(3)) == 1  # the team was busy all along
        other.join()
    finally:
        fastseq.set_num_threads(before)
    assert alone
    for a, b in zip(expected, found, strict=True):
        assert np.array_equal(a, b)


WEIGHTS = ("kernel", "recurrent_kernel", "bias")

# (batch, steps, features, units): chunks of several steps, of parts of one, without a state before them, and
# no state before any.
BANDS = [(64, 8, 5, 17), (151, 11, 9, 33), (300, 5, 3, 16), (700, 3, 4, 9), (600, 1, 3, 8)]


@pytest.mark.parametrize(
    "options",
    [{}, {"lengths": True}, {"mask": True, "go_backwards": True}, {"one_hot": True}, {"repeat": True}],
    ids=lambda options: " ".join(options) or "plain",
)
@pytest.mark.parametrize("cell", CELLS)
def test_weight_gradients_of_many_rows_are_those_of_few_added_up(cell, options, isa):
    """From 64 rows on they are summed in two bands."""
    op, rng = Op(cell), np.random.default_rng(2)
    for (batch, steps, features, units), state in itertools.product(BANDS, (True, False)):
        inputs = problem(cell, batch, steps, features, units, state=state)
        given = {"go_backwards": "go_backwards" in options}
        by_row = {"d": rng.standard_normal((batch, steps, units))}
        if "lengths" in options:  # of the longest half is more than half of the frames
            by_row["lengths"] = np.sort(rng.integers(0, steps + 1, batch))
        if "mask" in options:
            by_row["mask"] = random_mask(batch, steps)
        if "one_hot" in options:
            inputs["x"] = np.eye(features)[rng.integers(0, features, (batch, steps))]
        if "repeat" in options:
            inputs["x"], given["repeat"] = inputs["x"][:, 0], steps

        def gradients(rows, inputs=inputs, by_row=by_row, given=given):
            part = {name: value[rows] for name, value in by_row.items()}
            d, x = part.pop("d"), inputs["x"][rows]
            start = {k: tuple(s[rows] for s in v) for k, v in inputs.items() if k == "initial_state"}
            _, _, saved = op.forward(**{**inputs, "x": x, **start}, **part, **given)
            found = op.backward(saved, d)
            return [getattr(found, name) for name in WEIGHTS]

        few = [gradients(slice(at, at + 50)) for at in range(0, batch, 50)]
        for name, got, *parts in zip(WEIGHTS, gradients(slice(None)), *few, strict=True):
            assert_close(got, sum(parts), np.float64, f"{name} {batch} {state}")


@pytest.mark.parametrize("cell", CELLS)
def test_many_threads_match_twin(cell):
    """Shapes large enough that members share rows, and units."""
    op = Op(cell)
    before = fastseq.get_num_threads()
    fastseq.set_num_threads(3)
    try:
        for sizes in [(80, 5, 30, 100), (80, 5, 12, 64), (3, 12, 70, 200), (20, 3, 150, 140)]:
            batch, steps = sizes[:2]
            inputs = problem(cell, *sizes, scale=0.2)
            run_both(op, inputs, np.float64)
            run_both(op, inputs, np.float64, mask=random_mask(batch, steps))
            check(op, inputs, mask=random_mask(batch, steps))
            check(op, inputs, recurrent_dropout=0.2, seed=1)
    finally:
        fastseq.set_num_threads(before)


@pytest.mark.parametrize(
    "options",
    [{}, {"dropout": 0.3, "recurrent_dropout": 0.2, "seed": 4}, {"masked": True, "go_backwards": True}],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_one_feature_a_frame_has_the_bits_of_a_product(cell, dtype, options, isa):
    """A row of other features beside them, whose gradient is 0, makes all of them a product."""
    batch, steps, features, units = 40, 9, 11, 37
    inputs = problem(cell, batch, steps, features, units, dtype)
    x, rng = inputs["x"], np.random.default_rng(5)
    only = rng.integers(-1, features, (batch, steps, 1)) == np.arange(features)  # -1: a frame of zeros
    x[:-1] = np.where(only, x, 0)[:-1]
    options = dict(options)
    if options.pop("masked", False):
        options["mask"] = random_mask(batch, steps)
    d = rng.standard_normal((batch, steps, units)).astype(dtype)
    d[-1] = 0
    results = []
    for rows in (batch, batch - 1):
        given = {**inputs, "x": x[:rows], "initial_state": tuple(s[:rows] for s in inputs["initial_state"])}
        kept = {k: v[:rows] if k == "mask" else v for k, v in options.items()}
        op = Op(cell)
        sequence, state, saved = op.forward(**given, **kept)
        grads = op.backward(saved, d[:rows])
        inferred = op.forward(**given, **{k: v for k, v in kept.items() if "drop" not in k}, training=False)[
            0
        ]
        by_row = [sequence, *state, grads.x, *grads.initial_state, inferred]
        results.append([a[: batch - 1] for a in by_row] + [grads.kernel, grads.recurrent_kernel, grads.bias])
    for product, placed in zip(*results, strict=True):
        assert np.array_equal(product, placed)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_one_feature_a_frame(cell, isa):
    inputs = problem(cell, 3, 4, 9, 5)
    inputs["x"] *= np.eye(9)[np.random.default_rng(1).integers(0, 9, (3, 4))]
    inputs["x"][1, 2] = 0
    run_both(Op(cell), inputs, np.float64)
    # dx by central differences would make every frame one of two features, which is what x looks like then.
    check(Op(cell), inputs)


@pytest.mark.parametrize("cell", CELLS)
def test_many_rows_and_chunks_match_twin(cell, isa):
    """Enough frames for several chunks of steps; features of which x W goes with h U, and apart from it."""
    op = Op(cell)
    for features in (3, 1100):
        inputs = problem(cell, 40, 22, features, 9, scale=0.1)
        run_both(op, inputs, np.float64)
        inputs.pop("initial_state")
        run_both(op, inputs, np.float64)
        lengths = np.random.default_rng(4).integers(0, 23, 40)
        run_both(op, inputs, np.float64, lengths=lengths, go_backwards=True)


@pytest.mark.parametrize("sizes", [(60, 40, 5, 64), (16, 60, 9, 128)], ids=["rows", "units"])
@pytest.mark.parametrize("cell", CELLS)
def test_chunks_of_few_steps_on_any_number_of_threads(cell, sizes, isa):
    """Without training each chunk uses the buffers of the one before it, wherever its frames lay."""
    op, inputs = Op(cell), problem(cell, *sizes, scale=0.2)
    lengths = np.random.default_rng(4).integers(0, sizes[1] + 1, sizes[0])
    before = fastseq.get_num_threads()
    try:
        for options in ({}, {"lengths": lengths}):
            expected, _, _ = op.forward(**inputs, **options)
            for threads in (1, 2, 3):
                fastseq.set_num_threads(threads)
                found, _, _ = op.forward(**inputs, **options, training=False)
                assert np.array_equal(found, expected)
    finally:
        fastseq.set_num_threads(before)


# Also with sums of several chunks that begin and end in the gradient itself, and of two bands.
@pytest.mark.parametrize("sizes", [(3, 4, 2, 5), (60, 5, 6, 64), (150, 6, 9, 40)])
@pytest.mark.parametrize("cell", CELLS)
def test_only_wanted_gradients_and_adding(cell, sizes, isa):
    op = Op(cell)
    inputs = problem(cell, *sizes)
    sequence, _, saved = op.forward(**inputs)
    everything = op.backward(saved, sequence, keep=True)
    for name in ("x", "kernel", "recurrent_kernel", "bias", "initial_state"):
        grads = op.backward(saved, sequence, wanted=(name,), keep=True)
        for field in grads._fields:
            got, want = getattr(grads, field), getattr(everything, field)
            if field != name:
                assert got is None
            elif name == "initial_state":
                assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
            else:
                assert np.array_equal(got, want)
    for start in (0, 1):  # a plan clears its gradients and has them added to: the same bits
        weights = ("kernel", "recurrent_kernel", "bias")
        into = {name: np.full_like(inputs[name], start) for name in weights}
        added = op.backward(saved, sequence, into=into, keep=True)
        for name, array in into.items():
            assert getattr(added, name) is array
            expected = start + getattr(everything, name)
            np.testing.assert_allclose(array, expected, rtol=1e-12 * start, atol=1e-13 * start)


def test_state_gradients_alone_and_nothing_given():
    op = Op("lstm")
    inputs = problem("lstm", 3, 4, 2, 5)
    _, _, saved = op.forward(**inputs, return_sequence=False)
    grads = op.backward(saved)
    assert all(not np.any(g) for g in grads[:4])
    _, _, saved = op.forward(**inputs, return_sequence=False)
    dc = np.ones((3, 5))
    assert np.any(op.backward(saved, dstate=(None, dc)).x)


def test_lanes_beyond_the_units_never_reach_a_gradient(isa):
    """Without weights an exponential cell grows without bound: so do the lanes that pad a register."""
    inputs = problem("lstm", 2, 120, 1, 1, np.float32)
    inputs["bias"] = np.full(4, -5.0, np.float32)
    names = {"activation": "exponential", "recurrent_activation": "exponential"}
    sequence, _, saved = rnn.lstm_forward(**inputs, **names)
    grads = rnn.lstm_backward(saved, np.ones_like(sequence))
    assert all(np.isfinite(g).all() for g in (sequence, *grads[:4], *grads.initial_state))
