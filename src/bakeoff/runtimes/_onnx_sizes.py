"""Whether an ONNX graph makes much more than its file holds, as far as it says so: without the onnx library, without loading a tensor.

Does: read sizes that stand in the graph as constants of operators that make much out of little, sparse tensors, tensors that declare
more than the file holds, and functions that call functions; subgraphs where they stand.
Does not know: sizes that a graph computes or hands to a function as an attribute, or how often a loop runs. What holds there are limits
of memory and time of the process.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections import ChainMap, deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from bakeoff.runtimes._onnx_files import FIXED32, FIXED64, LENGTH, VARINT, fields, mapped, varint

_ELEMENT = 4
"""Bytes an element is taken to have."""
_NODE = 1 << 10
"""Bytes a node, a constant or a graph is taken to need once loaded."""
_SPREAD = 8
"""Elements that one byte of a file may hold, at most: bits."""
_MOST = 64
"""Values of a shape, sizes of a tensor, graphs inside of each other: more of them is none of ours."""

_SHAPES = {
    b"ConstantOfShape": (0,), b"Expand": (1,), b"CenterCropPad": (1,), b"AffineGrid": (1,), b"MaxUnpool": (2,), b"Resize": (3,),
}  # fmt: skip
"""Operator → inputs whose values are the output's shape."""
_FACTORS = {
    b"Tile": (1,), b"Upsample": (1,), b"Resize": (1, 2), b"OneHot": (1,), b"DFT": (1,),
    b"HannWindow": (0,), b"HammingWindow": (0,), b"BlackmanWindow": (0,),
}  # fmt: skip
"""Operator → inputs by whose values the elements of the first one are multiplied."""
_ATTRIBUTES = {
    b"RandomNormal": b"shape", b"RandomUniform": b"shape", b"ConvTranspose": b"output_shape", b"Upsample": b"scales", b"Pad": b"pads",
}  # fmt: skip
"""Operator → attribute that says as much."""
_OPERATORS = frozenset({b"Range", *_SHAPES, *_FACTORS, *_ATTRIBUTES})
_SAME = frozenset({b"Identity", b"Cast", b"Reshape", b"Squeeze", b"Unsqueeze", b"Flatten"})
"""Operators whose output has the values of the first input."""
_INPUTS = 4
_NUMBERS = ((3, "q"), (8, "q"), (2, "f"), (7, "f"))
"""Fields of an attribute with one number, or several."""
_TYPED = {1: (4, "f"), 6: (5, "i"), 7: (7, "q"), 11: (10, "d")}
"""Type of a tensor → field of its values, and how they are packed in ``raw_data``."""
_PACKED = {"f": FIXED32, "d": FIXED64, "i": VARINT, "q": VARINT}

Number = int | float
Place = tuple[int, int]


class _LargeError(Exception):
    """The graph makes more than it may."""


class _Tensor(NamedTuple):
    """A constant; it has no values where they are too many, or of a type, to be a shape."""

    sizes: tuple[int, ...]
    values: tuple[Number, ...] = ()


_UNKNOWN = _Tensor(())
Constants = ChainMap[bytes, _Tensor]
"""Of a graph, and of those around it."""


def fits(path: Path, most: int) -> bool:
    """Return whether an ONNX model makes no more than ``most`` bytes, as far as it says.

    Raises:
        ValueError: the file is no well-formed protocol buffer, says twice what may be said once, or graphs are nested too deeply.

    """
    with mapped(path) as data:
        try:
            _Walk(_Message(data), most).model()
        except _LargeError:
            return False
    return True


class _Message:
    """Bytes of protocol buffers, read where they lie."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._data = data
        self.whole = (0, len(data))

    def messages(self, place: Place) -> Iterator[tuple[int, Place]]:
        """Yield number and place of each field that has a length."""
        found = fields(self._data, *place, numbers=False)
        return ((number, (low, high)) for number, wire, low, high in found if wire == LENGTH)

    def each(self, place: Place, number: int) -> Iterator[Place]:
        """Yield the places of one of them."""
        return (inside for found, inside in self.messages(place) if found == number)

    def last(self, place: Place, *numbers: int) -> list[Place]:
        """Return the place of the last of each field, which counts; an empty one where there is none."""
        found = {number: inside for number, inside in self.messages(place) if number in numbers}
        return [found.get(number, (0, 0)) for number in numbers]

    def texts(self, place: Place, *numbers: int) -> tuple[bytes, ...]:
        """Return the last of each field."""
        return tuple(map(self.content, self.last(place, *numbers)))

    def text(self, place: Place, number: int) -> bytes:
        """Return the last of a field."""
        return self.texts(place, number)[0]

    def content(self, place: Place) -> bytes:
        """Return what is there."""
        return self._data[slice(*place)]

    def numbers(self, place: Place, number: int, packing: str) -> Iterator[Number]:
        """Yield the numbers of a field, packed together or one to a field."""
        for found, wire, low, high in fields(self._data, *place):
            if found == number and wire in {LENGTH, _PACKED[packing]}:
                yield from self.unpacked((low, high), packing, raw=False)

    def unpacked(self, place: Place, packing: str, *, raw: bool) -> Iterator[Number]:
        """Yield numbers that follow each other; ``raw``: whole numbers too are of fixed size."""
        at, end = place
        size = struct.calcsize(f"<{packing}")
        while at < end:
            if raw or packing in "fd":
                yield from struct.unpack(f"<{packing}", self._data[at : min(at + size, end)])
                at += size
            else:
                value, at = varint(self._data, at, end)
                value &= (1 << 64) - 1
                yield value - (1 << 64) if value >> 63 else value


class _Walk:
    """Goes through a model and spends ``left`` bytes on what it makes."""

    def __init__(self, message: _Message, left: float) -> None:
        self._message, self._left = message, left
        self._functions: dict[tuple[bytes, ...], Place] = {}

    def model(self) -> None:
        """Go through all of it."""
        for place in self._message.each(self._message.whole, 25):
            self._spend(_NODE)
            self._functions[self._message.texts(place, 10, 1, 13)] = place
        graphs = list(islice(self._message.each(self._message.whole, 7), 2))
        _once(len(graphs) > 1)
        for graph in graphs:
            self._graph(graph, ChainMap(), 0)

    def _spend(self, amount: Number) -> None:
        self._left -= amount
        if self._left < 0:
            raise _LargeError

    def _bear(self, amount: Number) -> None:
        """Refuse what is made while rows are computed, and gone afterwards, only if it is too large alone."""
        if amount > self._left:
            raise _LargeError

    def _graph(self, graph: Place, outer: Constants, depth: int) -> None:
        self._spend(_NODE)
        constants = outer.new_child()
        for place in self._message.each(graph, 5):
            self._spend(_NODE)
            constants[self._message.text(place, 8)] = self._tensor(place)
        for place in self._message.each(graph, 15):
            self._sparse(place)
        self._nodes(graph, 1, constants, depth)

    def _nodes(self, graph: Place, number: int, constants: Constants, depth: int) -> None:
        """Go through the nodes, which are in field ``number``; constants first, for they need not come before their use."""
        if depth > _MOST:
            what = "graphs or functions are nested too deeply"
            raise ValueError(what)
        for node in self._message.each(graph, number):
            self._spend(_NODE)
            if self._message.text(node, 4) == b"Constant":
                constants[self._message.text(node, 2)] = self._constant(node)
        for node in self._message.each(graph, number):
            domain, operator, overload = self._message.texts(node, 7, 4, 8)
            inputs = [self._message.content(place) for place in self._message.each(node, 1)]
            at_load = all(name in constants for name in inputs if name)
            if operator in _OPERATORS:
                made = _ELEMENT * max(0, self._made(node, operator, inputs, constants))
                (self._spend if at_load else self._bear)(made)
            function = self._functions.get((domain, operator, overload))
            if function is not None:
                self._call(function, inputs, constants, depth)
            for attribute in self._message.each(node, 5):
                self._attribute(attribute, constants, depth)
            if at_load and operator != b"Constant":
                given = [constants.get(name, _UNKNOWN) for name in inputs]
                for place in self._message.each(node, 2):
                    constants[self._message.content(place)] = _passed_on(operator, given)

    def _call(self, function: Place, inputs: Sequence[bytes], constants: Constants, depth: int) -> None:
        """Go through a function where it is called: what is constant here is constant there, by the names it has there."""
        formal = (self._message.content(place) for place in self._message.each(function, 4))
        given = {name: constants[actual] for name, actual in zip(formal, inputs, strict=False) if actual in constants}
        self._nodes(function, 7, ChainMap(given), depth + 1)

    def _attribute(self, attribute: Place, constants: Constants, depth: int) -> None:
        seen = set()
        for number, place in self._message.messages(attribute):
            if number in {5, 6, 22}:
                _once(number in seen)
                seen.add(number)
            if number in {6, 11}:
                self._graph(place, constants, depth + 1)
            elif number in {5, 10}:
                self._tensor(place)
            elif number in {22, 23}:
                self._sparse(place)

    def _tensor(self, place: Place) -> _Tensor:
        """Return a tensor; spend what it declares and the file does not hold. What lies in another file, a runtime compares."""
        sizes, elsewhere = self._sizes(place, 1), _last(self._message.numbers(place, 14, "q"), 0)
        missing = math.prod(sizes) - _SPREAD * (place[1] - place[0])
        self._spend(0 if elsewhere else max(0, missing) * _ELEMENT)
        kind = _last(self._message.numbers(place, 2, "q"), 0)
        if kind not in _TYPED or math.prod(sizes) > _MOST:
            return _Tensor(sizes)
        number, packing = _TYPED[int(kind)]
        raw = self._message.unpacked(self._message.last(place, 9)[0], packing, raw=True)
        values = tuple(islice(raw, _MOST)) or tuple(islice(self._message.numbers(place, number, packing), _MOST))
        return _Tensor(sizes, values)

    def _sizes(self, place: Place, number: int) -> tuple[int, ...]:
        sizes = tuple(max(0, int(size)) for size in islice(self._message.numbers(place, number, "q"), _MOST + 1))
        if len(sizes) > _MOST:
            what = "a tensor has too many dimensions"
            raise ValueError(what)
        return sizes

    def _sparse(self, place: Place) -> None:
        """Spend what a sparse tensor takes once it is filled, as runtimes do when they load it."""
        self._spend(_NODE + math.prod(self._sizes(place, 3)) * _ELEMENT)

    def _constant(self, node: Place) -> _Tensor:
        for attribute in self._message.each(node, 5):
            name = self._message.text(attribute, 1)
            if name == b"value":
                return next((self._tensor(place) for place in self._message.each(attribute, 5)), _UNKNOWN)
            if name.startswith(b"value_"):
                values = self._said(attribute)
                return _Tensor((len(values),), values)
        return _UNKNOWN

    def _said(self, attribute: Place) -> tuple[Number, ...]:
        """Return the first numbers of an attribute."""
        found = (value for number, packing in _NUMBERS for value in self._message.numbers(attribute, number, packing))
        return tuple(islice(found, _MOST))

    def _made(self, node: Place, operator: bytes, inputs: Sequence[bytes], constants: Constants) -> Number:
        """Return the elements of a node's output as far as constants tell, at least."""
        given = [constants.get(name, _UNKNOWN) for name in inputs[:_INPUTS]] + [_UNKNOWN] * (_INPUTS - len(inputs))
        said = next((
            self._said(attribute) for attribute in self._message.each(node, 5)
            if self._message.text(attribute, 1) == _ATTRIBUTES.get(operator)
        ), ())  # fmt: skip
        return max(_elements(operator, given, said), default=0)


def _passed_on(operator: bytes, given: Sequence[_Tensor]) -> _Tensor:
    """Return what is known of a constant that a runtime computes from constants when it loads the model."""
    if operator in _SAME and given:
        return given[0]
    if operator == b"Concat" and all(tensor.values for tensor in given):
        values = tuple(islice((value for tensor in given for value in tensor.values), _MOST))
        return _Tensor((len(values),), values)
    return _UNKNOWN


def _elements(operator: bytes, given: Sequence[_Tensor], said: Sequence[Number]) -> Iterator[Number]:
    """Yield what the inputs, and the attribute that says as much, make of an operator's output."""
    first = given[0].sizes
    for at in _SHAPES.get(operator, ()):
        yield _product(given[at].values)
    for at in _FACTORS.get(operator, ()):
        yield _product((*first, *given[at].values)) if given[at].values else 0
    if operator == b"Range" and all(tensor.values for tensor in given[:3]):
        start, limit, delta = (tensor.values[0] for tensor in given[:3])
        yield (limit - start) / delta if delta else 0
    elif operator == b"Pad":
        pads = given[1].values or said
        half = len(pads) // 2
        sizes = first if len(first) == half else (1,) * half
        yield _product([sum(each) for each in zip(sizes, pads[:half], pads[half:], strict=False)])
    else:
        yield _product(said)


def _product(values: Sequence[Number]) -> Number:
    return math.prod(max(0, value) for value in values) if values else 0


def _last(values: Iterator[Any], absent: Any) -> Any:  # noqa: ANN401 - of whatever they are
    return next(iter(deque(values, maxlen=1)), absent)


def _once(again: bool) -> None:  # noqa: FBT001 - the one question
    if again:
        what = "the file says twice what may be said once"
        raise ValueError(what)
