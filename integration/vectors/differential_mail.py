#!/usr/bin/env python3
"""Reads header fields with Python's `email` package.

    differential_mail.py make SEED COUNT    random fields, the same for one seed
    differential_mail.py read               the fields of standard input

Prints one JSON object a line. `name` and `value` are the field as it travels, folds
included. `python` is the decoded Subject, or the addresses as [local part, domain],
or null if Python fails. Input has lines with `name` and `value`.
"""

from __future__ import annotations

import json
import random
import sys
from base64 import b64encode
from email import message_from_bytes, policy
from typing import Any, Iterator

# Parts of Subjects.
TEXTS = ["order-17", "x", "{KMS:Help}", "{KMS:GetPublicKey}", "a/b", "100%", "it's", "é", "a漢", "=?", "?=", "=?a?="]
WORDS = [
    "=?utf-8?q?a b?=",
    "=?utf-8*en?q?a?=",
    "=?iso-8859-1*fr?Q?=E9?=",
    "=?UTF-8?Q?=7BKMS:Help=7D?=",
    "=?utf-8?q?=C3?= =?utf-8?q?=A9?=",
    "=?utf-8?q?=C3?==?UTF-8?b?qQ==?=",
    "=?utf-8?q?=C3?==?unknown-8bit?q?=A9?=",
    "=?utf-8?q?a=C3?=",
    "=?unknown-8bit?Q?=7BKMS:Help=7D_caf=E9?=",
    "=?x-none?q?=C3=A9_b?=",
    "=?x-none?B?6Q==?=",
    "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=",
    "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?= =?iso-2022-jp?B?GyRCOGwbKEI=?=",
    "=?iso-2022-kr?B?GyQpQw5HUTFbDw==?=",
    "=?hz-gb-2312?Q?=7E=7BVPND=7E=7D?=",
    "=?utf-7?q?a+AOk-?=",
    "=?utf-8?q??=",
    "=?utf-8?B??=",
    "=?utf-8?q?a=4?=",
    "=?utf-8?q?a=zz=?=",
    "=?utf-8?b?YWJj!ZA==?=",
    "=?utf-8?b?YWJjZA?=",
    "=?utf-8?b?YWJjZ?=",
    "=?utf-8?b?YWJj ZGVm?=",
    "=?utf-8?b?YWJjZA===?=",
    "=?utf-8?x?a?=",
    "=?utf-8?q?a?b?=",
    "=?x?=",
]
LETTERS = "aé ü€ñ漢字ß?=_ж"
CHARSETS = ["utf-8", "UTF-8", "iso-8859-1", "koi8-r", "shift_jis", "us-ascii", "latin-1", "gb2312", "euc-kr"]
# Separators of the parts of a Subject. Words may be glued to words and to text.
BETWEEN = [" ", " ", "  ", "\t", "\r\n ", "\r\n\t", " \r\n ", "", ""]

# Parts of address lists.
LOCALS = ["jane", "J.Doe", "a+b", "o'neil", "x_y", '"two words"', '"a@b"', '"q\\"q"', '"jane"', '"j\\ane"']
DOMAINS = ["x.example", "Vendor.Example", "a-b.example.org", "xn--bcher-kva.example", "[192.0.2.1]"]
NAMES = ["Jane", "Jane Dlamini", '"Doe, Jane"', '"a \\"b\\" <c@d.example>,"', "=?utf-8?q?J=C3=B6rg?=", ""]
COMMENTS = ["(work)", "(a (b) c)", "(x@y.example, z)", "(\\))"]
OBSOLETE = ["<@r.example,@s.example:jane@x.example>", "jane . d @ x . example", "", " ", "\r\n "]


class Fields:
    """Makes one field after another."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.choice = self.source.choice

    def one(self) -> dict[str, Any]:
        name = self.choice(["Subject", "Subject", "To", "From", "Reply-To"])
        return {"name": name, "value": self.subject() if name == "Subject" else self.addresses()}

    def subject(self) -> str:
        value = self.choice([" ", "  "]) + self.subject_part()
        for _ in range(self.source.randint(0, 5)):
            value += self.choice(BETWEEN) + self.subject_part()
        return value

    def subject_part(self) -> str:
        kind = self.source.random()
        if kind < 0.5:
            return self.choice(TEXTS)
        return self.choice(WORDS) if kind < 0.75 else self.encoded_word(self.choice(CHARSETS))

    def encoded_word(self, charset: str) -> str:
        text = "".join(self.choice(LETTERS) for _ in range(self.source.randint(1, 12)))
        octets = text.encode(charset, "replace")
        if self.source.random() < 0.5:
            return f"=?{charset}?B?{b64encode(octets).decode()}?="
        return f"=?{charset}?q?{quoted(octets)}?="

    def addresses(self) -> str:
        value = " " + self.member()
        for _ in range(self.source.randint(0, 3)):
            value += self.choice([",", ", ", " , ", ",\r\n ", ",\r\n\t"]) + self.member()
        return value

    def member(self) -> str:
        kind = self.source.random()
        if kind < 0.1:
            inside = ", ".join(self.mailbox() for _ in range(self.source.randint(0, 2)))
            return f"Group {self.source.randint(1, 9)}: {inside};"
        return self.choice(OBSOLETE) if kind < 0.2 else self.mailbox()

    def mailbox(self) -> str:
        address = f"{self.choice(LOCALS)}@{self.choice(DOMAINS)}"
        blank = self.choice(["", " ", "\r\n ", f" {self.choice(COMMENTS)} "])
        if self.source.random() < 0.5:
            return address + blank.rstrip()
        name = self.choice(NAMES)
        return f"{name}{blank or ' '}<{address}>" if name else f"<{address}>"


def quoted(octets: bytes) -> str:
    """Returns the octets in the Q encoding."""
    safe = b"abcdefghijklmnopqrstuvwxyz"
    return "".join(chr(octet) if octet in safe else f"={octet:02X}" for octet in octets)


def read(name: str, value: str) -> Any:
    message = f"{name}:{value}\r\n\r\n".encode()
    try:
        field = message_from_bytes(message, policy=policy.default)[name]
    except (AttributeError, IndexError, TypeError):
        return None  # Python fails on some lists.
    if name == "Subject":
        return readable(str(field))
    return [[readable(one.username), readable(one.domain)] for one in field.addresses]


def readable(text: str) -> str:
    """Replaces surrogates. Python has them for octets in no charset, and JSON cannot carry them."""
    return text.encode("utf-8", "replace").decode()


def fields(arguments: list[str]) -> Iterator[dict[str, Any]]:
    if arguments[0] == "read":
        yield from map(json.loads, sys.stdin)
        return
    seed, count = map(int, arguments[1:])
    made = Fields(seed)
    for _ in range(count):
        yield made.one()


def main() -> None:
    for field in fields(sys.argv[1:]):
        print(json.dumps({**field, "python": read(field["name"], field["value"])}))


if __name__ == "__main__":
    main()
