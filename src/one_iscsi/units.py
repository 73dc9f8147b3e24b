"""Sizes. Inside the program a size is always an ``int`` of bytes."""

from __future__ import annotations

import re
from decimal import Decimal

from one_iscsi.errors import BadInput

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

_FACTORS = {"": MIB, "K": KIB, "M": MIB, "G": GIB, "T": TIB}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]?)(?:iB|B)?", re.ASCII | re.IGNORECASE)
#: Kernels count sectors in 64 bits; nobody has an exbibyte on one target.
_LARGEST = 1 << 60


def parse_size(text: str) -> int:
    """Bytes of ``10G``, ``10240M``, ``1.5T``; a plain number is MiB as everywhere in OpenNebula.

    Units are powers of 1024. Raises BadInput for zero, negative, fractions of a 512-byte sector and nonsense.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise BadInput(f"{text!r} is not a size", "give a number of MiB, or a number with K, M, G or T, such as 10G")
    size = Decimal(match["number"]) * _FACTORS[match["unit"].upper()]
    if size <= 0:
        raise BadInput(f"size {text!r} is zero", "give a size of at least 1M")
    if size > _LARGEST:
        raise BadInput(f"size {text!r} is larger than any volume can be", "give a smaller size")
    if size % 512:
        raise BadInput(f"size {text!r} is not a whole number of 512-byte sectors", "give a whole number of K or M")
    return int(size)


def format_size(size_bytes: int) -> str:
    """A short text for people: ``10G``, ``1.5T``, ``512M``; ``0`` for nothing.

    At most one decimal, rounded to nearest; exact sizes print without one.
    """
    for unit, factor in (("T", TIB), ("G", GIB), ("M", MIB), ("K", KIB)):
        if size_bytes >= factor:
            number = f"{size_bytes / factor:.1f}"
            return number[:-2] + unit if number.endswith(".0") else number + unit
    return f"{size_bytes}B" if size_bytes else "0"
