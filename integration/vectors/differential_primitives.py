#!/usr/bin/env python3
"""Computes the profile's primitives with Python's `cryptography`, on random inputs.

    differential_primitives.py SEED COUNT

Prints COUNT JSON objects of each kind, one a line: `crc` with `text` and `sum`;
`hkdf` with `key_material`, `salt`, `info` and `output`; `wrap` with `key`,
`plain` and `wrapped`. Octets are in hex. The same seed gives the same inputs.
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding


def crc(source: random.Random) -> dict[str, Any]:
    """Computes CRC-16/MODBUS bit by bit."""
    text = "".join(chr(source.randint(0x20, 0x7E)) for _ in range(source.randint(0, 998)))
    register = 0xFFFF
    for octet in text.encode():
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return {"crc": {"text": text, "sum": f"{register:04X}"}}


def hkdf(source: random.Random) -> dict[str, Any]:
    key_material, salt, info = (source.randbytes(source.randint(0, 300)) for _ in range(3))
    length = source.randint(1, 600)
    output = HKDF(SHA384(), length, salt, info).derive(key_material)
    fields = {"key_material": key_material, "salt": salt, "info": info, "output": output}
    return {"hkdf": {name: octets.hex() for name, octets in fields.items()}}


def wrap(source: random.Random) -> dict[str, Any]:
    key, plain = source.randbytes(32), source.randbytes(source.randint(1, 128))
    fields = {"key": key, "plain": plain, "wrapped": aes_key_wrap_with_padding(key, plain)}
    return {"wrap": {name: octets.hex() for name, octets in fields.items()}}


def main() -> None:
    seed, count = map(int, sys.argv[1:])
    source = random.Random(seed)
    for _ in range(count):
        for make in (crc, hkdf, wrap):
            print(json.dumps(make(source)))


if __name__ == "__main__":
    main()
