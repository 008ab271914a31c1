"""The table of what `channel_sim` refuses, and of unusual parameters that are sound: a row each.

tests/test_refusals.py runs it in a fresh process, where nothing checks types before channel_sim does:

    python tests/refusal_cases.py

prints what every row came to, as JSON.
"""

import json
import sys
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np

import channel_sim as cs
from channel_sim import bounds
from channel_sim.entropy import ProbabilityTable, quantize_probabilities
from channel_sim.index_code import class_of, gaussian_tail, kl_of
from channel_sim.quantile import normal_ticks
from channel_sim.refinement import TableReference, send_refinement, whole_line
from channel_sim.rejection import search_path
from channel_sim.rotation import rotate

N = 8
X, ZERO, ONE = np.linspace(-1, 2, N), np.zeros(N), np.ones(N)
TABLE = np.full((N, 4), 0.25)
NAN, INF = float("nan"), float("inf")


class Problem(NamedTuple):
    """A channel, and a target and a reference that it sends."""

    channel: cs.Channel
    target: cs.Gaussian | cs.Logistic | cs.Uniform | cs.Categorical
    reference: cs.Gaussian | cs.Logistic | cs.Uniform | cs.Categorical


GAUSSIANS = cs.Gaussian(X, 0.5 * ONE), cs.Gaussian(ZERO, 2 * ONE)
VECTORS = cs.Gaussian(X[:, None], 0.5 * ONE[:, None]), cs.Gaussian(ZERO[:, None], 2 * ONE[:, None])
UNIFORMS = cs.Uniform(X, 0.5 * ONE), cs.Uniform(ZERO, 8 * ONE)
TABLES = cs.Categorical(TABLE), cs.Categorical(TABLE)
PROBLEMS = {
    "dithered, logistic": Problem(cs.DitheredQuantization(width=0.75), cs.Uniform(X, 0.75), cs.Logistic(ZERO, ONE)),
    "dithered, Gaussian": Problem(cs.DitheredQuantization(width=0.75), cs.Uniform(X, 0.75), cs.Gaussian(ZERO, ONE)),
    "nested": Problem(cs.NestedDitheredQuantization(width=0.75, levels=3), cs.Uniform(X, 0.75), cs.Gaussian(ZERO, ONE)),
    "layered Gaussian": Problem(
        cs.LayeredQuantization(noise=cs.Gaussian(0.0, 0.5)), cs.Gaussian(X, 0.5), cs.Gaussian(ZERO, ONE)
    ),
    "layered logistic": Problem(
        cs.LayeredQuantization(noise=cs.Logistic(0.0, 0.5)), cs.Logistic(X, 0.5), cs.Logistic(ZERO, ONE)
    ),
    "PFR Gaussian": Problem(cs.PoissonFunctionalRepresentation(), *GAUSSIANS),
    "PFR vectors": Problem(cs.PoissonFunctionalRepresentation(), *VECTORS),
    "PFR uniform": Problem(cs.PoissonFunctionalRepresentation(), *UNIFORMS),
    "PFR categorical": Problem(cs.PoissonFunctionalRepresentation(), *TABLES),
    "PFR with a budget": Problem(cs.PoissonFunctionalRepresentation(budget=64), *GAUSSIANS),
    "PFR uniform with a budget": Problem(cs.PoissonFunctionalRepresentation(budget=64), *UNIFORMS),
    "ordered Gaussian": Problem(cs.OrderedRandomCoding(candidates_log2=6), *GAUSSIANS),
    "ordered uniform": Problem(cs.OrderedRandomCoding(candidates_log2=6), *UNIFORMS),
    "ordered categorical": Problem(cs.OrderedRandomCoding(candidates_log2=6), *TABLES),
    "rejection Gaussian": Problem(cs.GreedyRejection(), *GAUSSIANS),
    "rejection categorical": Problem(cs.GreedyRejection(), *TABLES),
    "Gaussian in chunks": Problem(
        cs.GaussianChannel(chunk_bits=6.0, candidates_log2=9, method="poisson"),
        cs.Gaussian(0.1 * X, 0.5),
        cs.Gaussian(ZERO, 0.5),
    ),
    "Gaussian in layers": Problem(
        cs.GaussianChannel(method="layered"), cs.Gaussian(0.1 * X, 0.5), cs.Gaussian(ZERO, 0.5)
    ),
}
POSITIVE = ("scale", "std", "width")


class Bad(NamedTuple):
    """A way to spoil a parameter.

    Attributes:
      spoil: the parameter to another one.
      error: what it must lead to.
      words: what the message must say besides the name of the argument; if empty, it tells of shapes.
      positive: whether only parameters that must be positive are spoilt by it.
    """

    spoil: Callable
    error: type[Exception]
    words: str
    positive: bool = False


def with_entry(value: float, dtype: type = np.float64) -> Callable:
    def spoil(parameter):
        if np.ndim(parameter) == 0:
            return dtype(value)
        spoilt = np.array(parameter, dtype)
        spoilt.flat[-1] = value
        return spoilt

    return spoil


def every(value) -> Callable:
    return lambda parameter: value


def shorter(parameter):
    return np.ones((N - 1, *np.shape(parameter)[1:]))


NUMBERS = {
    "NaN": Bad(with_entry(NAN), ValueError, "finite"),
    "NaN for all": Bad(every(NAN), ValueError, "finite"),
    "NaN in single precision": Bad(with_entry(NAN, np.float32), ValueError, "finite"),
    "infinite": Bad(with_entry(INF), ValueError, "finite"),
    "minus infinite": Bad(with_entry(-INF), ValueError, "finite"),
    "too large": Bad(with_entry(1e31), ValueError, "2^100"),
    "too large in single precision": Bad(with_entry(1e30, np.float32), ValueError, "2^60"),
    "an integer beyond doubles": Bad(every(10**400), ValueError, "2^100"),
    "long double beyond doubles": Bad(with_entry("1e4000", np.longdouble), ValueError, "finite"),
    "zero": Bad(with_entry(0.0), ValueError, "positive", positive=True),
    "zero for all": Bad(every(0), ValueError, "positive", positive=True),
    "negative": Bad(with_entry(-0.5), ValueError, "positive", positive=True),
    "subnormal": Bad(with_entry(1e-320), ValueError, "positive", positive=True),
    "complex": Bad(lambda parameter: np.asarray(parameter) + 0j, TypeError, "real"),
    "complex for all": Bad(every(1j), TypeError, "real"),
    "bool": Bad(lambda parameter: np.asarray(parameter) > 0, TypeError, "real"),
    "true": Bad(every(True), TypeError, "real"),
    "objects": Bad(lambda parameter: np.asarray(parameter).astype(object), TypeError, "real"),
    "nothing": Bad(every(None), TypeError, "real"),
    "text": Bad(every("0.5"), TypeError, "real"),
    "texts": Bad(lambda parameter: np.asarray(parameter).astype(str), TypeError, "real"),
    "a fraction": Bad(every(Fraction(1, 2)), TypeError, "real"),
    "dates": Bad(lambda parameter: np.full(N, "2020-01-01", "M8[D]"), TypeError, "real"),
    "rows of other lengths": Bad(every([[1.0], [1.0, 2.0]]), ValueError, "length"),
    "another length than the other parameter": Bad(shorter, ValueError, ""),
    "three axes": Bad(every(np.ones((2, 2, 2))), ValueError, ""),
}


def rows_like(row: list) -> Callable:
    return every(np.tile(row, (N, 1)))


ENTRIES = {
    "NaN": Bad(with_entry(NAN), ValueError, "finite"),
    "infinite": Bad(with_entry(INF), ValueError, "sum to 1"),
    "minus infinite": Bad(with_entry(-INF), ValueError, "negative"),
    "negative": Bad(rows_like([-0.25, 0.5, 0.5, 0.25]), ValueError, "negative"),
    "rows that sum to 2": Bad(lambda table: 2 * table, ValueError, "sum to 1"),
    "a row that sums to a little more": Bad(with_entry(0.2501), ValueError, "sum to 1"),
    "rows of zeros": Bad(lambda table: 0 * table, ValueError, "sum to 1"),
    "counts": Bad(lambda table: np.ones(table.shape, int), ValueError, "sum to 1"),
    "no symbols": Bad(lambda table: table[:, :0], ValueError, "one symbol"),
    "one axis": Bad(lambda table: table[0], ValueError, ""),
    "three axes": Bad(lambda table: table[None], ValueError, ""),
    "a number": Bad(every(1.0), ValueError, "rows"),
    "complex": Bad(lambda table: table + 0j, TypeError, "real"),
    "bool": Bad(lambda table: np.eye(4, dtype=bool)[np.arange(N) % 4], TypeError, "real"),
    "objects": Bad(lambda table: table.astype(object), TypeError, "real"),
    "nothing": Bad(every(None), TypeError, "real"),
    "rows of other lengths": Bad(every([[1.0], [0.5, 0.5]]), ValueError, "length"),
}
OF_TARGETS = {
    "fewer symbols": Bad(lambda table: np.full((N, 3), 1 / 3), ValueError, "shape"),
    "more symbols": Bad(lambda table: np.full((N, 5), 0.2), ValueError, "shape"),
    "fewer rows": Bad(lambda table: table[1:], ValueError, "shape"),
    "one row": Bad(lambda table: table[:1], ValueError, "shape"),
}
KINDS = {
    "nothing": None,
    "a number": 1.0,
    "an array": X,
    "a tuple": (ZERO, ONE),
    "a kind of distribution": cs.Gaussian,
}


class Row(NamedTuple):
    """A call, and what it must come to.

    Attributes:
      call: what is tried. The number of bits that it wrote before it was refused, if it tells, is at its Writer.
      error: TypeError or ValueError, or None if it must give finite numbers.
      words: parts of the message.
      writer: what the call writes to; nothing may have been written.
    """

    call: Callable
    error: type[Exception] | None
    words: tuple[str, ...] = ()
    writer: cs.Writer | None = None


def sending(channel, target, reference, error, *words, shared=None) -> Row:
    writer, shared = cs.Writer(), cs.SharedRandomness(1) if shared is None else shared
    return Row(lambda: channel.encode(writer, target, reference, shared), error, words, writer)


def receiving(channel, reference, error, *words, shared=None) -> Row:
    shared = cs.SharedRandomness(1) if shared is None else shared
    return Row(lambda: channel.decode(cs.Reader(bytes(200)), reference, shared), error, words)


def spoilt(distribution, field: str, bad: Bad):
    return distribution._replace(**{field: bad.spoil(getattr(distribution, field))})


def parameters() -> dict[str, Row]:
    """Every parameter of every channel, spoilt in every way, on both sides."""
    rows = {}
    for name, (channel, target, reference) in PROBLEMS.items():
        for field in target._fields:
            for way, bad in ((ENTRIES | OF_TARGETS) if field == "probabilities" else NUMBERS).items():
                if bad.positive <= (field in POSITIVE):
                    words = (f"target.{field}", bad.words) if bad.words else ("target", "(")
                    rows[f"{name}: encode, target.{field}, {way}"] = sending(
                        channel, spoilt(target, field, bad), reference, bad.error, *words
                    )
        for field in reference._fields:
            for way, bad in (ENTRIES if field == "probabilities" else NUMBERS).items():
                if bad.positive <= (field in POSITIVE):
                    # Other lengths of one of two parameters that may be scalars are told by the other one.
                    words = (f"reference.{field}", bad.words) if bad.words else ("reference", "(")
                    wrong = spoilt(reference, field, bad)
                    rows[f"{name}: encode, reference.{field}, {way}"] = sending(
                        channel, target, wrong, bad.error, *words
                    )
                    if not (way == "another length than the other parameter" and name.startswith("Gaussian in")):
                        rows[f"{name}: decode, reference.{field}, {way}"] = receiving(channel, wrong, bad.error, *words)
    return rows


def kinds() -> dict[str, Row]:
    """Targets, references and common randomness of other kinds."""
    rows = {}
    for name, (channel, target, reference) in PROBLEMS.items():
        for kind, value in KINDS.items():
            rows[f"{name}: encode, target is {kind}"] = sending(channel, value, reference, TypeError)
            rows[f"{name}: encode, reference is {kind}"] = sending(channel, target, value, TypeError)
            rows[f"{name}: decode, reference is {kind}"] = receiving(channel, value, TypeError)
        for stream, (shared, error, word) in {
            "a fraction as seed": (cs.SharedRandomness(1.5), TypeError, "seed"),
            "a whole float as seed": (cs.SharedRandomness(1.0), TypeError, "seed"),
            "true as seed": (cs.SharedRandomness(True), TypeError, "seed"),
            "text as seed": (cs.SharedRandomness("1"), TypeError, "seed"),
            "a seed below 0": (cs.SharedRandomness(-1), ValueError, "seed"),
            "a seed of 2^32": (cs.SharedRandomness(2**32), ValueError, "seed"),
            "a stream of 2^32": (cs.SharedRandomness(0, 2**32), ValueError, "stream"),
            "NaN as stream": (cs.SharedRandomness(0, NAN), TypeError, "stream"),
            "a seed alone": (7, TypeError, "shared"),
        }.items():
            rows[f"{name}: encode, {stream}"] = sending(channel, target, reference, error, word, shared=shared)
            rows[f"{name}: decode, {stream}"] = receiving(channel, reference, error, word, shared=shared)
    return rows


def together() -> dict[str, Row]:
    """Parameters that are sound by themselves and not together."""
    rows = {}
    seven = {name: [part[1:] if np.ndim(part) else part for part in p.target] for name, p in PROBLEMS.items()}
    one = {name: [part[:1] if np.ndim(part) else part for part in p.target] for name, p in PROBLEMS.items()}
    for name, (channel, target, reference) in PROBLEMS.items():
        for way, parts in (("fewer", seven[name]), ("one for many", one[name])):
            rows[f"{name}: encode, {way} in the target"] = sending(
                channel, type(target)(*parts), reference, ValueError, "target", "shape"
            )
        if len(reference) == 2:
            scalars = type(reference)(0.0, float(np.max(reference[1])))
            rows[f"{name}: decode, reference of scalars"] = receiving(channel, scalars, ValueError, "reference")
    for name in ("PFR categorical", "ordered categorical", "rejection categorical"):
        sure = np.tile([0.0, 1.0, 0.0, 0.0], (N, 1))
        rows[f"{name}: mass outside"] = sending(
            PROBLEMS[name].channel, cs.Categorical(TABLE), cs.Categorical(sure), ValueError, "no mass"
        )
    for name in ("PFR uniform", "PFR uniform with a budget", "ordered uniform"):
        channel, _, reference = PROBLEMS[name]
        for way, wrong in {
            "outside": cs.Uniform(X + 10, 0.5),
            "partly outside": cs.Uniform(X + 3, 0.5),
            "wider": cs.Uniform(ZERO, 9.0),
        }.items():
            rows[f"{name}: {way}"] = sending(channel, wrong, reference, ValueError, "no mass")
        narrow = cs.Uniform(X, 1e-9)
        rows[f"{name}: too narrow for candidates"] = sending(channel, narrow, reference, ValueError, "target.width")
    for name in ("PFR Gaussian", "PFR with a budget", "ordered Gaussian", "rejection Gaussian"):
        channel, _, reference = PROBLEMS[name]
        narrow = cs.Gaussian(X, 1e-9)
        rows[f"{name}: too narrow for candidates"] = sending(channel, narrow, reference, ValueError, "2^-18")
    channel, target, reference = PROBLEMS["PFR Gaussian"]
    rows |= {
        "PFR: no bound and no budget": sending(channel, cs.Gaussian(X, 2.0), reference, ValueError, "budget"),
        "PFR: a target too far for candidates": sending(channel, cs.Gaussian(10.5, 1.0), reference, ValueError, "2^24"),
        "PFR: a target whose tail has no candidates": sending(
            channel, cs.Gaussian(np.full(N, 4.8), 0.5), cs.Gaussian(ZERO, 1.0), ValueError, "6.2 deviations"
        ),
        "rejection: wider": sending(cs.GreedyRejection(), cs.Gaussian(X, 3.0), reference, ValueError, "widen"),
        "rejection: far": sending(cs.GreedyRejection(), cs.Gaussian(30.0, 1.0), reference, ValueError, "at most 9"),
        "rejection: two axes": receiving(cs.GreedyRejection(), VECTORS[1], ValueError, "blocks"),
        "rejection: a search of millions of steps": sending(
            cs.GreedyRejection(),
            cs.Categorical(np.array([[1.0, 0.0]])),
            cs.Categorical(np.array([[1e-9, 1 - 1e-9]])),
            ValueError,
            "2^20",
        ),
        "kinds that differ": sending(channel, UNIFORMS[0], reference, TypeError, "kind"),
    }
    for name in ("dithered, logistic", "dithered, Gaussian", "nested"):
        channel, target, reference = PROBLEMS[name]
        place = reference._fields[0]
        rows |= {
            f"{name}: another width": sending(channel, cs.Uniform(X, 0.5), reference, ValueError, "width"),
            f"{name}: other widths": sending(channel, cs.Uniform(X, 0.5 * ONE), reference, ValueError, "width"),
            f"{name}: encode, far": sending(
                channel, cs.Uniform(X + 1e14, 0.75), reference, ValueError, "target.center"
            ),
            f"{name}: decode, a far reference": receiving(
                channel, reference._replace(**{place: X + 1e14}), ValueError, f"reference.{place}", "2^40"
            ),
            f"{name}: two axes": receiving(channel, reference._replace(**{place: np.ones((2, 2))}), ValueError, "("),
        }
    flat = cs.Gaussian(ZERO, 1e15)
    rows["dithered: a flat Gaussian reference"] = receiving(
        PROBLEMS["nested"].channel, flat, ValueError, "reference.std"
    )
    for name in ("layered Gaussian", "layered logistic"):
        channel, target, reference = PROBLEMS[name]
        place, scale = reference._fields
        rows |= {
            f"{name}: another scale": sending(channel, target._replace(**{scale: 1.0}), reference, ValueError, scale),
            f"{name}: encode, far": sending(
                channel, target._replace(**{place: X + 1e20}), reference, ValueError, place
            ),
            f"{name}: decode, a far reference": receiving(
                channel, reference._replace(**{place: X + 1e20}), ValueError, f"reference.{place}", "2^40"
            ),
        }
    for name in ("Gaussian in chunks", "Gaussian in layers"):
        channel, target, reference = PROBLEMS[name]
        rows |= {
            f"{name}: another std": sending(channel, cs.Gaussian(X, 1.0), reference, ValueError, "std"),
            f"{name}: a std for each": receiving(channel, cs.Gaussian(ZERO, ONE), ValueError, "one positive std"),
            f"{name}: two axes": receiving(channel, cs.Gaussian(np.ones((2, 2)), 0.5), ValueError, "(d,)"),
        }
    chunks = PROBLEMS["Gaussian in chunks"].channel
    rows["Gaussian in chunks: beyond the classes"] = sending(
        chunks, cs.Gaussian(X * 1e4, 0.5), cs.Gaussian(ZERO, 0.5), ValueError, "target.mean", "layered"
    )
    return rows


def fields_and_functions() -> dict[str, Row]:
    """Fields of channels, and arguments of the other public functions."""
    nested, gauss = cs.NestedDitheredQuantization, cs.GaussianChannel
    no_number = {"NaN": NAN, "infinite": INF, "negative": -1.0, "zero": 0.0, "an array": ONE, "tiny": 1e-320}
    no_kind = {"complex": 1j, "true": True, "nothing": None, "text": "1"}
    no_integer = {"a fraction": 1.5, "a whole float": 2.0, "NaN": NAN, "true": True, "text": "1", "an array": ONE}
    calls = {
        "DitheredQuantization.width": lambda value: cs.DitheredQuantization(width=value),
        "NestedDitheredQuantization.width": lambda value: nested(width=value),
        "LayeredQuantization.noise.std": lambda value: cs.LayeredQuantization(noise=cs.Gaussian(0.0, value)),
        "LayeredQuantization.noise.scale": lambda value: cs.LayeredQuantization(noise=cs.Logistic(0.0, value)),
        "GaussianChannel.chunk_bits": lambda value: gauss(chunk_bits=value),
        "bounds.layered_bits.signal_std": lambda value: bounds.layered_bits(value),
        "bounds.layered_bits.noise_std": lambda value: bounds.layered_bits(1.0, value),
        "bounds.mutual_information_bits.noise_std": lambda value: bounds.mutual_information_bits(1.0, value),
        "bounds.dithered_bits.signal_std": lambda value: bounds.dithered_bits(value, np.ones(2)),
    }
    not_negative = {
        "GaussianChannel.cost.kl_bits": lambda value: gauss().cost(value, 10),
        "class_of.kl_bits": class_of,
        "gaussian_tail.kl_bits": lambda value: gaussian_tail(value, ONE),
        "bounds.poisson_bound_bits.kl_bits": bounds.poisson_bound_bits,
        "bounds.poisson_index_bits.kl_bits": bounds.poisson_index_bits,
        "bounds.gaussian_floor_bits.kl_bits": bounds.gaussian_floor_bits,
        "bounds.truncation_error.kl_bits": lambda value: bounds.truncation_error(value, 8.0),
        "bounds.truncation_error.candidates": lambda value: bounds.truncation_error(1.0, value),
        "bounds.mutual_information_bits.signal_std": bounds.mutual_information_bits,
    }
    integers = {
        "NestedDitheredQuantization.levels": (lambda value: nested(width=1.0, levels=value), (0, 43)),
        "PoissonFunctionalRepresentation.budget": (
            lambda value: cs.PoissonFunctionalRepresentation(budget=value),
            (0, -1, 2**62),
        ),
        "OrderedRandomCoding.candidates_log2": (lambda value: cs.OrderedRandomCoding(candidates_log2=value), (-1, 33)),
        "GaussianChannel.candidates_log2": (lambda value: gauss(candidates_log2=value), (8, 49)),
        "GaussianChannel.cost.dimension": (lambda value: gauss().cost(1.0, value), (-1,)),
        "SharedRandomness.words.count": (lambda value: cs.SharedRandomness(0).words(value), (-1,)),
        "SharedRandomness.words.start": (lambda value: cs.SharedRandomness(0).words(2, value), (-1,)),
        "SharedRandomness.bytes.count": (lambda value: cs.SharedRandomness(0).bytes(value), (-1,)),
        "kl_of.kl_class": (kl_of, (-1, 256)),
        "whole_line.count": (whole_line, (-1,)),
        "quantize_probabilities.bits": (lambda value: quantize_probabilities(TABLE, value), (0, 53)),
        "encode.seed": (lambda value: cs.encode(*PROBLEMS["nested"], seed=value), (-1, 2**32)),
        "decode.seed": (
            lambda value: cs.decode(PROBLEMS["nested"].channel, b"", PROBLEMS["nested"].reference, seed=value),
            (-1, 2**32),
        ),
    }
    rows = {}

    def add(name, call, value, way, error):
        rows[f"{name}, {way}"] = Row(lambda: call(value), error, (name.rpartition(".")[2],))

    for name, call in (calls | not_negative).items():
        for way, value in no_number.items():
            if name in calls or way in ("NaN", "infinite", "negative", "an array"):
                add(name, call, value, way, ValueError)
        for way, value in no_kind.items():
            add(name, call, value, way, TypeError)
    for name, (call, values) in integers.items():
        for way, value in no_integer.items():
            add(name, call, value, way, TypeError)
        for value in values:
            add(name, call, value, value, ValueError)

    def symbol(value):
        table = ProbabilityTable(quantize_probabilities(TABLE))
        cs.Writer().encode(table, np.zeros(1, int), np.array([value]))

    def y_in_ticks(y, unit=4, first=None):
        nothing = TableReference(cs.SplitTables.logistic(), np.zeros(1, np.int32), np.zeros(1, np.int64))
        send_refinement(cs.Writer(), nothing, whole_line(1), unit, y, first=first)

    for name, call, error, word in (
        ("amplitude above 1", lambda: nested(width=1.0, shift_amplitude=1.5), ValueError, "shift_amplitude"),
        ("amplitude NaN", lambda: nested(width=1.0, shift_amplitude=NAN), ValueError, "shift_amplitude"),
        ("last_split by text", lambda: nested(width=1.0, last_split="no"), TypeError, "last_split"),
        ("regular by number", lambda: nested(width=1.0, regular=1), TypeError, "regular"),
        ("noise of another kind", lambda: cs.LayeredQuantization(noise=UNIFORMS[0]), TypeError, "noise"),
        ("noise around 1", lambda: cs.LayeredQuantization(noise=cs.Gaussian(1.0, 1.0)), ValueError, "noise.mean"),
        ("no such method", lambda: gauss(method="chunks"), ValueError, "method"),
        ("a class of channels", lambda: cs.encode(cs.GreedyRejection, *GAUSSIANS, seed=1), TypeError, "channel"),
        ("no channel", lambda: cs.decode(None, b"", GAUSSIANS[1], seed=1), TypeError, "channel"),
        ("text as data", lambda: cs.decode(cs.GreedyRejection(), "a", GAUSSIANS[1], seed=1), TypeError, "data"),
        ("a number as data", lambda: cs.Reader(7), TypeError, "data"),
        ("divergence of kinds", lambda: cs.kl_bits(*(GAUSSIANS[0], UNIFORMS[0])), TypeError, "Gaussian and Uniform"),
        ("divergence of arrays", lambda: cs.kl_bits(X, X), TypeError, "ndarray"),
        ("divergence of NaN", lambda: cs.kl_bits(cs.Gaussian(NAN, 1.0), GAUSSIANS[1]), ValueError, "target.mean"),
        ("divergence from std 0", lambda: cs.kl_bits(GAUSSIANS[0], cs.Gaussian(0, 0)), ValueError, "reference.std"),
        ("divergence of other lengths", lambda: cs.kl_bits(cs.Gaussian(X[1:], 1.0), GAUSSIANS[1]), ValueError, "shape"),
        (
            "divergence of other symbols",
            lambda: cs.kl_bits(cs.Categorical(np.ones((N, 1))), TABLES[1]),
            ValueError,
            "shape",
        ),
        ("floor of other symbols", lambda: bounds.categorical_floor_bits(TABLE[0], [1.0]), ValueError, "(4,)"),
        (
            "floor of mass outside",
            lambda: bounds.categorical_floor_bits(TABLE[0], np.array([1.0, 0, 0, 0])),
            ValueError,
            "target",
        ),
        ("floor of NaN", lambda: bounds.categorical_floor_bits(TABLE[0] * NAN, TABLE[0]), ValueError, "target"),
        ("widths of 0", lambda: bounds.dithered_bits(1.0, 0 * ONE), ValueError, "width"),
        ("fewer than 0 candidates", lambda: gaussian_tail(1.0, -ONE), ValueError, "n must"),
        ("NaN candidates", lambda: gaussian_tail(1.0, NAN * ONE), ValueError, "n must"),
        ("a symbol below 0", lambda: symbol(-1), ValueError, "symbols"),
        ("a symbol beyond the table", lambda: symbol(4), ValueError, "symbols"),
        ("frequencies in floats", lambda: ProbabilityTable(TABLE * 2**24), TypeError, "integers"),
        ("frequencies of 0", lambda: ProbabilityTable(np.zeros((1, 2), int)), ValueError, ">= 1"),
        ("frequencies of another sum", lambda: ProbabilityTable(np.ones((1, 2), int)), ValueError, "sum"),
        ("shares of NaN", lambda: quantize_probabilities(NAN * TABLE), ValueError, "finite"),
        ("shares below 0", lambda: quantize_probabilities(np.array([-1.0, 2.0])), ValueError, "non-negative"),
        ("shares that overflow", lambda: quantize_probabilities(np.full(2, 1e308)), ValueError, "finite"),
        ("shares of nothing", lambda: quantize_probabilities(TABLE[:, :0]), ValueError, "row"),
        ("shares in bool", lambda: quantize_probabilities(TABLE > 0), TypeError, "real"),
        ("more symbols than shares", lambda: quantize_probabilities(TABLE, 1), ValueError, "2^1"),
        ("places below 0", lambda: cs.SharedRandomness(0).words_at(np.array([-1])), ValueError, "indices"),
        ("places in floats", lambda: cs.SharedRandomness(0).words_at(ONE), TypeError, "indices"),
        ("words in floats", lambda: normal_ticks(ONE), TypeError, "uint32"),
        ("a rotation of NaN", lambda: rotate(NAN * ONE, cs.SharedRandomness(0), 0), ValueError, "x must"),
        ("a rotation of nothing", lambda: rotate(X[:0], cs.SharedRandomness(0), 0), ValueError, "x must"),
        ("a path of NaN", lambda: search_path(NAN * ONE, ONE, cs.SharedRandomness(0)), ValueError, "shifts"),
        ("a path to NaN", lambda: search_path(ONE, NAN * ONE, cs.SharedRandomness(0)), ValueError, "ratio"),
        ("a path of other lengths", lambda: search_path(ONE, ONE[1:], cs.SharedRandomness(0)), ValueError, "shape"),
        ("a source in floats", lambda: y_in_ticks(ONE[:1]), TypeError, "y must"),
        ("a source of 2^60 ticks", lambda: y_in_ticks(np.array([2**60])), ValueError, "y must"),
        ("cells of three ticks", lambda: y_in_ticks(np.zeros(1, int), 3), ValueError, "unit"),
        ("cells of half a tick", lambda: y_in_ticks(np.zeros(1, int), 0.5), TypeError, "unit"),
        ("twelve ticks first", lambda: y_in_ticks(np.zeros(1, int), first=12), ValueError, "first"),
        ("less than a cell first", lambda: y_in_ticks(np.zeros(1, int), first=2), ValueError, "first"),
        ("no split tables", lambda: cs.SplitTables.from_arrays(), ValueError, "first, zero, outer and half"),
    ):
        rows[name] = Row(call, error, (word,))
    return rows


def sound() -> dict[str, Row]:
    """What is unusual and sound: it must give the message of float64 arrays."""
    rows = {}

    def again(problem, target, reference):
        """As `problem`, with other target and reference that mean the same."""

        def call():
            data, sample = cs.encode(problem.channel, target, reference, seed=3)
            assert np.array_equal(sample, cs.decode(problem.channel, data, reference, seed=3))
            assert (data, sample.tobytes()) == told(problem)
            return sample

        return Row(call, None)

    def told(problem):
        data, sample = cs.encode(*problem, seed=3)
        return data, sample.tobytes()

    def map_parts(convert, distribution):
        return type(distribution)(*(convert(part) for part in distribution))

    for name, problem in PROBLEMS.items():
        channel, target, reference = problem
        converted = {
            "lists": lambda part: np.asarray(part).tolist(),
            "big endian": lambda part: np.asarray(part, ">f8"),
            "long double": lambda part: np.asarray(part, np.longdouble),
            "every other of an array": lambda part: np.repeat(part, 2, 0)[::2] if np.ndim(part) else part,
            "arrays of no axis": lambda part: part if np.ndim(part) else np.array(part),
        }
        for way, convert in converted.items():
            rows[f"{name}: {way}"] = again(problem, *(map_parts(convert, each) for each in (target, reference)))
        if len(reference) == 2:
            whole = problem._replace(
                target=target._replace(**{target._fields[0]: np.rint(target[0])}),
                reference=reference._replace(**{reference._fields[0]: np.rint(reference[0])}),
            )
            for dtype in (np.int8, np.int64):
                parts = [
                    each._replace(**{each._fields[0]: each[0].astype(dtype)})
                    for each in (whole.target, whole.reference)
                ]
                rows[f"{name}: {np.dtype(dtype)}"] = again(whole, *parts)
            single = [type(each)(*(np.asarray(part, np.float32)[()] for part in each)) for each in (target, reference)]
            if name.startswith("layered"):
                single[0] = target._replace(**{target._fields[0]: single[0][0]})
            rows[f"{name}: float32"] = again(problem._replace(target=single[0], reference=single[1]), *single)
        for count in (0, 1):
            few = [
                type(each)(*(part[:count] if np.ndim(part) else part for part in each)) for each in (target, reference)
            ]
            rows[f"{name}: {count} at a time"] = again(problem._replace(target=few[0], reference=few[1]), *few)
        if "categorical" not in name:
            same = map_parts(lambda part: part if np.ndim(part) == 0 else part[:1].item(), target)
            wide = map_parts(lambda part: part if np.ndim(part) == 0 else np.repeat(part[:1], N, 0), target)
            rows[f"{name}: one target for all"] = again(problem._replace(target=wide), same, reference)
    symbols = cs.Categorical(np.eye(4, dtype=int)[np.arange(N) % 4])
    as_floats = cs.Categorical(symbols.probabilities.astype(float))
    for name in ("PFR categorical", "ordered categorical", "rejection categorical"):
        problem = PROBLEMS[name]._replace(target=as_floats)
        rows[f"{name}: sure symbols in integers"] = again(problem, symbols, problem.reference)
        alone = cs.Categorical(np.ones((N, 1)))
        rows[f"{name}: one symbol"] = again(problem._replace(target=alone, reference=alone), alone, alone)
        inexact = cs.Categorical((np.arange(1, 8, dtype=np.float32) / 28)[None].repeat(N, 0))
        rows[f"{name}: rows that sum to 1 in single precision"] = again(
            problem._replace(target=inexact, reference=inexact), inexact, inexact
        )
    width = cs.Uniform(X, np.float64(0.75)), cs.Uniform(X, 0.75 * ONE)
    for index, target in enumerate(width):
        problem = PROBLEMS["nested"]
        rows[f"nested: widths of another type {index}"] = again(problem, target, problem.reference)

    def of_width(width):
        def call():
            problem = cs.Uniform(X, 3.0), cs.Gaussian(ZERO, ONE)
            data, sample = cs.encode(cs.DitheredQuantization(width=width), *problem, seed=1)
            assert data == cs.encode(cs.DitheredQuantization(width=3.0), *problem, seed=1)[0]
            return sample

        return Row(call, None)

    for width in (3, np.int8(3), np.float32(3), np.array(3.0)):
        rows[f"dithered: width by {type(width).__name__}"] = of_width(width)
    for seed in (0, 2**32 - 1, np.int64(5), np.uint8(5), np.array(5)):
        rows[f"seed by {type(seed).__name__} {seed}"] = Row(
            lambda seed=seed: cs.encode(*PROBLEMS["nested"], seed=seed)[1], None
        )
    for kind in (bytes, bytearray, memoryview):
        rows[f"data by {kind.__name__}"] = Row(
            lambda kind=kind: cs.decode(
                PROBLEMS["nested"].channel,
                kind(cs.encode(*PROBLEMS["nested"], seed=3)[0]),
                PROBLEMS["nested"].reference,
                seed=3,
            ),
            None,
        )
    return rows


def table() -> dict[str, Row]:
    return parameters() | kinds() | together() | fields_and_functions() | sound()


def outcome(row: Row) -> dict:
    """What a row comes to, to be compared by tests."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result, error, message = row.call(), "", ""
        except Exception as raised:
            result, error, message = None, type(raised).__name__, str(raised)
    return {
        "error": error,
        "message": message,
        "warnings": [str(warning.message) for warning in caught],
        "written": row.writer.ideal_bits if row.writer else 0.0,
        "finite": row.error is not None or bool(np.isfinite(np.asarray(result, float)).all()),
    }


if __name__ == "__main__":
    json.dump({name: outcome(row) for name, row in table().items()}, sys.stdout)
