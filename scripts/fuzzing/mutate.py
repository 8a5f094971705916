"""Mutation of inputs: bits and bytes, tokens and lines, binary numbers, and splices of two inputs."""
from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from random import Random

MOST_BYTES = 1 << 20        # of a mutated input
MOST_CHANGES = 8
WINDOW = 4096               # bytes that are cut into tokens for one change
TOKEN = re.compile(rb"[A-Za-z_]+|[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\s+|.", re.S)
NUMBER = re.compile(rb"[-+]?[0-9]")

NUMBERS = (b"0", b"-1", b"1", b"2", b"-0", b"0.5", b"-0.5", b".", b"-", b"255", b"256", b"65536", b"1000000000",
           b"2147483647", b"2147483648", b"-2147483648", b"4294967296", b"9223372036854775808",
           b"18446744073709551616", b"1e400", b"-1e400", b"1e-400", b"1e38", b"1e39", b"nan", b"-nan", b"inf", b"-inf",
           b"Infinity", b"NaN", b"0x10", b"1_000", b"1,5", "\u0663".encode(), b"9" * 400, b"9" * 5000)
WORDS = (b"", b" ", b"\0", b"\n", b"\r\n", b"\r", b"\t", b"\v", b"=", b",", b":", b";", b"#", b"'", b'"', b"\\",
         b"%s%n", b"{0}", b"[", b"]", b"{", b"}", b"(", b"<", b">", b"&", b"*", b"?", b"null", b"true", b"false",
         b"None", b"-", b"\xff", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1b[2J",
         *map(str.encode, ("\u00e9", "\u2028", "\u202e", "\U0001f600")),
         b"x" * 300, b"x" * 5000, b"\xe9" * 300, b"/" * 300, b"x/" * 2500)
BINARY = tuple(struct.pack(f"{order}{kind}", value) for order in "<>" for kind, values in (
    ("B", (0, 1, 127, 128, 255)), ("H", (0, 1, 0x7fff, 0x8000, 0xffff)),
    ("I", (0, 1, 1 << 20, 0x7fffffff, 0x80000000, 0xffffffff)), ("Q", (0, 1, 1 << 33, (1 << 63) - 1, (1 << 64) - 1)),
    ("f", (0, -1, 1e38, float("nan"), float("inf"), -float("inf"))), ("d", (1e300, float("nan"), float("inf"))))
    for value in values)

Change = Callable[[bytes, Random], bytes]


class Mutator:
    """Makes inputs from those of a corpus.

    Args:
        corpus: inputs to begin with, one at least.
        binary: whether changes of bytes and binary numbers come first, or those of tokens and lines.
    """

    def __init__(self, corpus: Sequence[bytes], binary: bool):
        self.corpus = list(corpus)
        bytewise: list[Change] = [flip, overwrite, insert, cut, repeat, shorten, self._splice]
        textual: list[Change] = [swap_tokens, self._replace_token, replace_number, replace_number, drop_token,
                                 drop_line, repeat_line, swap_lines, nest, self._splice]
        first, second = (bytewise, textual) if binary else (textual, bytewise)
        self.changes = first * 4 + second

    def __call__(self, random: Random) -> bytes:
        """An input: one of the corpus, with one change or several."""
        return self.change(random.choice(self.corpus), random)

    def change(self, data: bytes, random: Random) -> bytes:
        """One change or several to an input."""
        for number in range(MOST_CHANGES):
            data = random.choice(self.changes)(data, random)[:MOST_BYTES]
            if random.random() < .5 and number:
                break
        return data

    def _splice(self, data: bytes, random: Random) -> bytes:
        """The beginning of an input, and the end of another."""
        other = random.choice(self.corpus)
        return data[:_at(data, random)] + other[_at(other, random):]

    def _replace_token(self, data: bytes, random: Random) -> bytes:
        """Another word for a token: one that is often a mistake, or a token of another input."""
        found = _tokens(data, random)
        if not found:
            return random.choice(WORDS)
        start, end = random.choice(found)
        word = random.choice(WORDS)
        if random.random() < .5:
            other = random.choice(self.corpus)
            if tokens := _tokens(other, random):
                word = other[slice(*random.choice(tokens))]
        return data[:start] + word + data[end:]


def flip(data: bytes, random: Random) -> bytes:
    """Another value for a bit."""
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1:]


def overwrite(data: bytes, random: Random) -> bytes:
    """A binary number at the ends of its range, in place of what is there."""
    at, value = _at(data, random), random.choice(BINARY)
    return data[:at] + value + data[at + len(value):]


def insert(data: bytes, random: Random) -> bytes:
    """A few bytes more."""
    at = _at(data, random)
    return data[:at] + bytes(random.randrange(256) for _ in range(random.randint(1, 8))) + data[at:]


def cut(data: bytes, random: Random) -> bytes:
    """A part less."""
    at = _at(data, random)
    return data[:at] + data[at + random.choice((1, 2, 4, 16, 64, 256)):]


def repeat(data: bytes, random: Random) -> bytes:
    """A part twice, or many times."""
    at, size = _at(data, random), random.choice((1, 4, 16, 64))
    return data[:at] + data[at:at + size] * random.choice((2, 2, 2, 3, 100)) + data[at + size:]


def shorten(data: bytes, random: Random) -> bytes:
    """No more than a beginning."""
    return data[:_at(data, random)]


def swap_tokens(data: bytes, random: Random) -> bytes:
    found = _tokens(data, random)
    if len(found) < 2:
        return data
    (a, b), (c, d) = sorted((random.choice(found), random.choice(found)))
    return data if a == c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def replace_number(data: bytes, random: Random) -> bytes:
    """A number at the ends of a range, for one of the text."""
    found = [pair for pair in _tokens(data, random) if NUMBER.match(data, pair[0])]
    if not found:
        return data + random.choice(NUMBERS)
    start, end = random.choice(found)
    return data[:start] + random.choice(NUMBERS) + data[end:]


def drop_token(data: bytes, random: Random) -> bytes:
    if not (found := _tokens(data, random)):
        return data
    start, end = random.choice(found)
    return data[:start] + data[end:]


def drop_line(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    del lines[random.randrange(len(lines))]
    return b"\n".join(lines)


def repeat_line(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    lines[at:at] = [lines[at]] * random.choice((1, 1, 1, 2, 300))
    return b"\n".join(lines)


def swap_lines(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    a, b = random.randrange(len(lines)), random.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


def nest(data: bytes, random: Random) -> bytes:
    """Brackets within brackets."""
    at, depth = _at(data, random), random.choice((1, 1, 1, 2, 2, 2, 20, 20, 100, 100, 2000, 100_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"<a>", b"</a>"), (b"(", b")")))
    return data[:at] + opening * depth + closing * random.choice((0, depth)) + data[at:]


def _at(data: bytes, random: Random) -> int:
    return random.randint(0, len(data))


def _tokens(data: bytes, random: Random) -> list[tuple[int, int]]:
    """Where the tokens of a part of an input begin and end."""
    start = random.randint(0, max(0, len(data) - WINDOW)) if len(data) > WINDOW else 0
    return [match.span() for match in TOKEN.finditer(data, start, start + WINDOW)]
