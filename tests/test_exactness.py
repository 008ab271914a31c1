"""Nothing between the bytes of a stream and what they mean may depend on the machine (docs/format.md)."""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uqdm.exact import convolution as convolutions
from uqdm.exact import programs
from uqdm.exact.grids import CAPACITIES, Capacity, pieces
from uqdm.nested import integer_network as integer
from uqdm.nested import network as networks
from uqdm.nested.evaluation import Evaluation
from uqdm.nested.model import NestedModel
from uqdm.nested.process import LevelTables
from uqdm.nested.schedule import block_classes

STRUCTURE = {
    "broadcast_in_dim", "concatenate", "dynamic_slice", "dynamic_update_slice", "gather", "iota", "jit", "pad", "pjit",
    "reshape", "rev", "select_n", "slice", "split", "squeeze", "stack", "transpose", "while",
}  # fmt: skip
"""They move numbers, or say what is done when."""
ARITHMETIC = {
    "abs", "add", "and", "clamp", "eq", "ge", "gt", "le", "lt", "max", "min", "mul", "ne", "neg", "or", "reduce_max",
    "shift_right_arithmetic", "sign", "sub",
}  # fmt: skip
"""Exact for integers."""
SUMS_OF_PRODUCTS = {"dot_general"}
"""Exact for integers of 8 bits while sums stay below 2^24, which `network_integers.check` proves."""
KINDS = [("trunk", 0), *(("references", band) for band in range(4))]
"""Programmes of a model of four bands."""


def inexact(jaxpr) -> set[str]:
    """Primitives of a program that need not give the same everywhere, as name(dtypes)."""
    found = set()
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        dtypes = [v.aval.dtype for v in (*equation.invars, *equation.outvars)]
        floats = {np.dtype(dtype) for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)}
        good = name in STRUCTURE | SUMS_OF_PRODUCTS | {"bitcast_convert_type"} or (name in ARITHMETIC and not floats)
        if name == "convert_element_type":
            # Integers below 2^24 and sums of products in float32; of 8 bits in bfloat16, too.
            of_8_bits = all(dtype.itemsize == 1 for dtype in dtypes if dtype not in floats)
            good = not floats or floats == {np.dtype(np.float32)} or (len(dtypes) > len(floats) and of_8_bits)
        if not good:
            found.add(f"{name}({', '.join(map(str, dtypes))})")
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            if hasattr(value, "jaxpr"):
                value = value.jaxpr
            if hasattr(value, "eqns"):
                found |= inexact(value)
    return found


def programme(model, kind, band, convolution, after=lambda outputs: outputs):
    """What a model asks its network, and something that is done with the answer."""
    evaluation = Evaluation(model.network, model.integers | model.networks[-1].estimate_integers, convolution)
    program = evaluation.program(kind, band, CAPACITIES[0])

    def run(*arguments):
        return after(program.function(*program.statics, *arguments))

    return jax.make_jaxpr(run)(*program.arguments).jaxpr


@pytest.mark.parametrize("convolution", convolutions.CONVOLUTIONS)
@pytest.mark.parametrize(("kind", "band"), KINDS)
def test_the_coding_path_is_made_of_exact_primitives(tiny_model, kind, band, convolution):
    assert inexact(programme(tiny_model, kind, band, convolution)) == set()


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (lambda x: x * 0.3, "mul"),
        (lambda x: x + 0.3, "add"),
        (lambda x: x / 3.0, "div"),
        (jnp.exp, "exp"),
        (jnp.tanh, "tanh"),
        (jnp.log, "log"),
        (jnp.round, "round"),
        (jax.lax.rsqrt, "rsqrt"),
        (lambda x: x.astype(jnp.bfloat16), "convert_element_type"),
        (lambda x: jnp.sum(x, axis=-1), "reduce_sum"),
    ],
)
def test_a_float_operation_put_back_is_found(tiny_model, operation, name):
    def put_back(outputs):
        return operation(outputs[0].astype(jnp.float32)), *outputs[1:]

    found = inexact(programme(tiny_model, "references", 2, "float32", put_back))
    assert {entry.split("(")[0] for entry in found} == {name}


def test_the_float_twin_is_found(tiny_model):
    units, classes = jnp.zeros((2, 3, 4, tiny_model.network.channels)), jnp.asarray(block_classes(3, 4))

    def run(parameters, units):
        state = networks.Inputs(units, classes, jnp.zeros((2,), jnp.int32))
        outputs = networks.apply(tiny_model.network, parameters, state, quantized=False)
        return jnp.round(64 * outputs.location).astype(jnp.int16)

    jaxpr = jax.make_jaxpr(run)(jax.device_put(tiny_model.parameters), units).jaxpr
    assert {entry.split("(")[0] for entry in inexact(jaxpr)} >= {"mul", "add", "div", "round"}


@pytest.fixture(scope="module")
def states(tiny_model):
    rng = np.random.default_rng(0)
    shape = (8, 5, 4, tiny_model.network.channels)
    return (rng.integers(-127, 128, shape) * (rng.random(shape) < 0.4)).astype(np.int8)


def test_every_way_to_convolve_gives_the_same(tiny_model, states):
    states = states[:2]  # of one capacity with the single one that is estimated
    for step in (0, 5, 9):
        expected = *tiny_model.reference(states, step), estimated(tiny_model, states[0], step)
        for name in convolutions.CONVOLUTIONS:
            other = NestedModel(arrays=tiny_model.arrays, convolution=name)
            for a, b in zip((*other.reference(states, step), estimated(other, states[0], step)), expected, strict=True):
                np.testing.assert_array_equal(a, b)


def estimated(model, units, step):
    """What a model shows of cells that are made up."""
    midpoint = 512 * np.sign(units).astype(np.int32)
    return model.estimate(units, midpoint, np.zeros(units.shape, np.int16), step)


def test_batches_pieces_and_compilation_change_nothing(tiny_model, states, monkeypatch):
    step = 9
    expected = tiny_model.reference(states, step)[:2]
    one_by_one = [tiny_model.reference(state[None], step)[:2] for state in states]
    with jax.disable_jit():
        eager = tiny_model.reference(states[:2], step)[:2]
    for i in range(2):
        np.testing.assert_array_equal(np.concatenate([one[i] for one in one_by_one]), expected[i])
        np.testing.assert_array_equal(eager[i], expected[i][:2])
    tall = np.concatenate(list(states), axis=0)[None]
    whole = tiny_model.reference(tall, step)[:2]
    # In tiles of a grid that is too large, whose halos overlap; as many pieces as it takes.
    monkeypatch.setattr("uqdm.exact.grids.CAPACITIES", (Capacity(120, 8, 64),))
    assert len(list(pieces(*tall.shape[:3], 4))) > 2
    again = NestedModel(arrays=tiny_model.arrays)
    for a, b in zip(again.reference(tall, step)[:2], whole, strict=True):
        np.testing.assert_array_equal(a, b)


def test_pieces_take_no_more_cells_than_they_may():
    small = [piece.capacity.cells for piece in pieces(1, 100, 90, 4, 2048)]
    assert len(small) > 1
    assert max(small) <= 2048
    (whole,) = pieces(1, 100, 90, 4)
    assert whole.capacity.cells > 2048


def test_sizes_share_programmes(tiny_model, states, monkeypatch):
    """A second picture of another size compiles nothing."""
    tiny_model.reference(states[:1], 9)
    monkeypatch.setattr("uqdm.exact.programs._compiled", lambda program: pytest.fail(f"{program.function} compiled"))
    for height, width in ((1, 1), (3, 4), (5, 2), (4, 7)):
        tiny_model.reference(np.zeros((1, height, width, 192), np.int8), 9)


def test_estimates_share_programmes_with_references(tiny_model, states, monkeypatch):
    tiny_model.reference(states[:1], 9)
    network = tiny_model.networks[-1]
    network.references(states[:1], 9, every_band=True)
    monkeypatch.setattr("uqdm.exact.programs._compiled", lambda program: pytest.fail(f"{program.function} compiled"))
    assert network.estimates(states[:1], 9).any()


def test_what_is_made_ready_ahead_can_be_given_up(tiny_model, monkeypatch):
    begun, going_on = threading.Event(), threading.Event()

    def keep(future, program):
        begun.set()
        going_on.wait()
        future.set_result(lambda: (program.name,))

    with ThreadPoolExecutor(1) as worker:
        for name, value in {"_promises": {}, "_begun": [], "_keep": keep, "_workers": lambda: worker}.items():
            monkeypatch.setattr(programs, name, value)
        first, second, *rest = tiny_model.networks[-1].evaluation.programs_of(512, 768)
        programs.prepare([first, second, *rest], compiled=True)
        begun.wait()
        programs.abandon()
        going_on.set()
        assert programs.ready(first)() == (first.name,)
        # Whoever asks for one that was given up makes it.
        assert programs.ready(second)() == (second.name,)


def test_the_integer_network_is_near_the_one_that_was_trained(tiny_model, states):
    """Within the rounding of outputs and multipliers: a 64th, and a percent of large ones."""
    state = networks.Inputs(
        jnp.asarray(states, jnp.float32), jnp.asarray(block_classes(5, 4)), jnp.full((len(states),), 5)
    )
    trained = networks.apply(tiny_model.network, jax.device_put(tiny_model.parameters), state, quantized=True)
    a, b, first = tiny_model.reference(states, 5)
    for got, exact in ((a, trained.location), (b, trained.log2_scale)):
        exact = np.asarray(exact)[..., first : first + got.shape[-1]] * 64
        assert np.abs(got - exact).mean() < 0.6
        np.testing.assert_allclose(got, exact, rtol=0.03, atol=4)


def test_references_are_the_integers_of_the_documentation(tiny_model):
    """Eqs. 3 to 5 of uqdm.nested.process in Python's integers, for large and small numbers of both signs."""
    tables, rng = tiny_model.levels, np.random.default_rng(0)
    level, channel = rng.integers(0, 4, 200), rng.integers(0, 192, 200)
    a, b = rng.integers(-1024, 1025, 200).astype(np.int16), rng.integers(-448, 449, 200).astype(np.int16)
    origin = rng.integers(-(2**20), 2**20, 200).astype(np.int32)
    location, scale_class = tables.reference(level, channel, origin, a, b)
    doubled, sign = 2 * origin, np.sign(origin)
    units = tables.input(2, channel, sign, doubled)
    for i in range(200):
        std, gain = int(tables.std[level[i], channel[i]]), int(tables.input_gain[2, channel[i]])
        assert location[i] == int(origin[i]) + (int(a[i]) * std + 2**15) // 2**16
        assert scale_class[i] == (int(b[i]) + int(tables.log2_scale[level[i], channel[i]]) + 4) // 8
        magnitude = (abs(int(doubled[i])) * gain + 2**31) // 2**32
        assert units[i] == sign[i] * min(127, max(1, magnitude))


def test_level_tables_follow_their_definition(tiny_model):
    """Up to the rounding of prior deviations to float32, which the file holds."""
    again = LevelTables.of_schedule(tiny_model.schedule)
    for name, table in again.to_arrays().items():
        np.testing.assert_allclose(table, tiny_model.levels.to_arrays()[name], rtol=1e-6, atol=1)


def test_logarithms_are_those_of_straight_lines():
    sums = np.array([0, 1, 3276, 3277, 65536, 65537, 2**20 + 5, 2**24 - 1, 2**30], np.int32)
    raised = np.clip(sums, 0, 2**24 - 1 - 3277).astype(np.int64) + 3277
    exponent = np.array([int(v).bit_length() - 1 for v in raised])
    expected = ((exponent - 16) << 10) + (((raised - (1 << exponent)) << 10) >> exponent)
    np.testing.assert_array_equal(np.asarray(integer.log2_of_sum(jnp.asarray(sums))), expected)
    np.testing.assert_allclose(expected / 1024, np.log2(raised / 65536), atol=0.09)


class Rounds(convolutions.Convolution):
    """Right but for rounding, as Winograd's or Fourier's convolutions are."""

    def product(self, x, kernel):
        scaled = (x.astype(jnp.float32) * 1.1) @ (kernel.astype(jnp.float32) / 1.1)
        return jnp.floor(scaled).astype(jnp.int32)


def test_probes_find_inexact_sums(monkeypatch):
    monkeypatch.setenv("UQDM_CACHE", "off")
    monkeypatch.setattr("uqdm.exact.programs._promises", {})
    monkeypatch.setattr(convolutions, "_bfloat16_is_faster", lambda: True)
    left = list(convolutions.CONVOLUTIONS)
    while left:
        assert convolutions._fastest_exact() == left[0]
        dtype, group = convolutions.CONVOLUTIONS[left[0]]
        monkeypatch.setitem(convolutions.CONVOLUTIONS, left.pop(0), Rounds(dtype, group))
        monkeypatch.setattr("uqdm.exact.programs._promises", {})
    with pytest.raises(RuntimeError, match="sums of integers are wrong on this backend"):
        convolutions._fastest_exact()


def test_a_full_cache_loses_its_own_files_and_no_others(monkeypatch, tmp_path):
    """The folder may be any that the user names."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("UQDM_CACHE", str(tmp_path))
    monkeypatch.setattr(programs, "LIMIT_BYTES", 150)
    others = [tmp_path / ".ssh" / "id", tmp_path / "letters" / f"love-{'0' * 32}", tmp_path / f"{'0' * 31}g" / "a"]
    for path in others:
        path.parent.mkdir()
        path.write_bytes(bytes(1000))
    for name in ("first", "second", "third"):
        programs._write(f"{name}-{'0' * 32}", bytes(40))
    assert all(path.exists() for path in others)
    mine = [programs._read(f"{name}-{'0' * 32}") for name in ("first", "second", "third")]
    assert mine == [None, bytes(40), bytes(40)]
    assert [path.name for path in programs._folder().iterdir() if path.name.startswith(".")] == []


def test_a_compilation_that_was_interrupted_is_begun_again(monkeypatch):
    monkeypatch.setattr(programs, "_promises", {})
    monkeypatch.setattr(programs, "_loaded", lambda program: None)
    program = programs.Program(jnp.add, (), (np.zeros(2), np.zeros(2)))

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(programs, "_compiled", interrupted)
    with pytest.raises(KeyboardInterrupt):
        programs.ready(program)
    monkeypatch.setattr(programs, "_compiled", lambda program: max)
    assert programs.ready(program) is max
