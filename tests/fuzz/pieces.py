"""What cases of several rooms are made of."""

import numpy as np


def random_bytes(*shape: int, below: int = 256) -> np.ndarray:
    """Numbers from 0 up to `below`, always the same ones, as uint8 of this shape."""
    return np.random.default_rng(0).integers(0, below, shape).astype(np.uint8)


class Attack:
    """What a pickle runs when it is really unpickled."""

    def __reduce__(self) -> tuple:
        return (exec, ("import pathlib; pathlib.Path('canary').touch(); raise SystemExit('attacked')",))


# Instructions of pickle, in which a made-up program may reach for whatever it likes.
PICKLE_PIECES = [
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"(S'touch canary'\ntR",
    b"c__main__\nx\n",
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
]
PICKLE_PIECES += [
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"(",
    b")",
    b"t",
    b"R",
    b"b",
    b"}",
    b"]",
    b"a",
    b"s",
    b"u",
    b"0",
    b"2",
    b"K\x01",
    b"N",
]
PICKLE_PIECES += [
    b"U\x03abc",
    b"J\xff\xff\xff\x7f",
    b"q\x00",
    b"h\x00",
    b"r\xff\xff\xff\x7f",
    b"\x81",
    b"\x93",
    b"P1\n",
    b"i__main__\nx\n",
    b".",
]
PICKLE_PIECES += [b"B\xff\xff\xff\x7f", b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f"]
