#!/usr/bin/python3
"""A security module for the tests of the KMS e-mail gateway that shares no code with it.

It was written only from the description of the records, on top of Python's `cryptography`
package. So a program without common code checks the gateway's own security module. For
tests only: the state file has the module's secrets in clear.

  independent_module.py init sm.json --name 90000001
  independent_module.py request sm.json public-key.txt > request.txt
  independent_module.py open sm.json klf.txt
  independent_module.py update sm.json public-key.txt --serial 1 --sgc 000439 \
      --stsa-key stsa.pem --passphrase-file passphrase > update.txt
  independent_module.py read-update update.txt --stsa-public 04… \
      --kmc-key kmc.pem --passphrase-file passphrase
  independent_module.py vectors integration/vectors/vectors.json

Exit codes: 0 done, 1 a problem was found, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import sha256, sha384
from hmac import compare_digest
from hmac import digest as hmac_digest
from pathlib import Path
from typing import Any, Callable, Iterator

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

CURVES: dict[str, ec.EllipticCurve] = {"P-384": ec.SECP384R1(), "P-256": ec.SECP256R1()}
KEY_LENGTHS = {"01": 8, "02": 8, "04": 20}
WRAPPED_LENGTHS = {"01": 24, "02": 24, "04": 40}


class Problem(Exception):
    """The input or the command line is wrong."""


# Records


def crc(text: str) -> str:
    """Computes CRC-16/MODBUS over `text`, bit by bit."""
    register = 0xFFFF
    for byte in text.encode("ascii"):
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return f"{register:04X}"


def with_crc(covered: str) -> str:
    return covered + crc(covered)


def build(*fields: str) -> str:
    """Returns the record of `fields`. The first field is the type."""
    return with_crc("|".join(fields) + "|")


def identifier(kind: str, issuer: str, name: str) -> str:
    unique = secrets.token_hex(8).upper()
    return with_crc(":".join([kind, issuer, name, utc_now(), unique]) + ":")


def parse(record: str, kind: str, field_count: int) -> list[str]:
    """Returns the fields of `record` between its type and its CRC."""
    if not record.isascii():
        raise Problem(f"{kind}: the record isn't ASCII")
    covered, bar, stated = record.rpartition("|")
    if crc(covered + bar) != stated:
        raise Problem(f"{kind}: the CRC stated is {stated!r}, the text gives {crc(covered + bar)}")
    found, *fields = covered.split("|")
    if found != kind or len(fields) != field_count:
        raise Problem(
            f"expected {kind} with {field_count} fields, found {found} with {len(fields)}"
        )
    return fields


def check_identifier(text: str, kind: str) -> None:
    if not text.startswith(f"{kind}:") or with_crc(text[:-4]) != text:
        raise Problem(f"not a {kind}: {text!r}")


def write_in_mail(record: str) -> str:
    kind = record.split("|")[0]
    lines = [record[start : start + 64] for start in range(0, len(record), 64)]
    markers = [f"-----STS:{kind} {word}-----" for word in ("BEGINS", "ENDS")]
    return "".join(line + "\r\n" for line in [markers[0], *lines, markers[1]])


def read_in_mail(text: str, kind: str) -> str:
    """Finds the one record of `kind` in `text`, between its markers or as its own line."""
    name = re.escape(kind)
    marked = rf"^\s*-*\s*STS:{name} BEGINS[\s-]*(.*?)[\s-]*STS:{name} ENDS"
    bare = rf"^({name}\|.*)$"
    found = re.findall(marked, text, re.DOTALL | re.MULTILINE) or re.findall(
        bare, text, re.MULTILINE
    )
    if len(found) != 1:
        raise Problem(f"expected one {kind}, found {len(found)}")
    return "".join(found[0].split())


def read_file_of_records(content: bytes) -> list[str]:
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode("ascii")
    except UnicodeDecodeError as error:
        raise Problem(f"the file of records isn't ASCII: {error}") from error
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def covered_by_mac(records: list[str]) -> bytes:
    return "".join(record + "\r\n" for record in records).encode("ascii")


def utc_now() -> str:
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


# Cryptography


def upper_hex(content: bytes) -> str:
    return content.hex().upper()


def from_hex(text: str, length: int) -> bytes:
    if not re.fullmatch(f"[0-9A-F]{{{2 * length}}}", text):
        raise Problem(f"expected {2 * length} upper-case hex digits, found {text[:40]!r}")
    return bytes.fromhex(text)


def hkdf(secret: bytes, salt: bytes, info: str, length: int) -> bytes:
    derived: bytes = HKDF(SHA384(), length, salt, info.encode("ascii")).derive(secret)
    return derived


def request_key(dak: bytes) -> bytes:
    return hkdf(dak, b"", "STSGW-REQ-MAC-1", 48)


def dak_key(dak: bytes) -> bytes:
    return hkdf(dak, b"", "STSGW-KLF-DAK-1", 32)


def mac(key: bytes, content: bytes) -> bytes:
    return hmac_digest(key, content, "sha384")[:24]


def key_check_value(sgc: str, krn: str, kt: str, dkga: str, key: bytes) -> str:
    return upper_hex(sha256(f"KCV.1|{sgc}|{krn}|{kt}|{dkga}|".encode("ascii") + key).digest()[:3])


def private_key(curve: str, scalar: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int(scalar, 16), CURVES[curve])


def point_of(key: ec.EllipticCurvePublicKey) -> str:
    return upper_hex(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def read_point(text: str) -> tuple[str, ec.EllipticCurvePublicKey]:
    """Reads a SEC1 uncompressed point. Its length gives the curve."""
    for name, curve in CURVES.items():
        length = 1 + 2 * (curve.key_size // 8)
        if len(text) == 2 * length and text.startswith("04"):
            try:
                return name, ec.EllipticCurvePublicKey.from_encoded_point(
                    curve, from_hex(text, length)
                )
            except ValueError as error:
                raise Problem(f"the public key isn't a point of {name}") from error
    raise Problem("the public key isn't an uncompressed point of P-384 or P-256")


@dataclass(frozen=True)
class FileKeys:
    """The input of the key derivation for a key load file, and the two derived keys."""

    info: str
    kek: bytes
    mac_key: bytes


def derive_file_keys(
    curve: str, z: bytes, dak: bytes, request: str, kmc_point: str, response: str
) -> FileKeys:
    """Derives the keys of the file that begins with `response`, an X.VKLOAD.RSP.1."""
    before_nonce, nonce, _ = response.rsplit("|", 2)
    request_hash = upper_hex(sha384(request.encode("ascii")).digest())
    kmc_hash = upper_hex(sha384(bytes.fromhex(kmc_point)).digest())
    info = f"STSGW-KLF-1|{curve}|{request_hash}|{kmc_hash}|{before_nonce}|"
    keys = hkdf(z + dak_key(dak), from_hex(nonce, 16), info, 80)
    return FileKeys(info, keys[:32], keys[32:])


def unwrap_vending_key(record: str, kek: bytes) -> tuple[str, str, str]:
    """Returns SGC, KRN and KCV of an X.VK.1, and compares them with the wrapped values."""
    sgc, krn, kt, _, _, dkga, *_, wrapped = parse(record, "X.VK.1", 11)
    if not re.fullmatch("[0-9]{6}", sgc) or krn not in "123456789" or kt not in "0123":
        raise Problem(f"X.VK.1: wrong SGC, KRN or KT: {sgc} {krn} {kt}")
    if dkga not in KEY_LENGTHS:
        raise Problem(f"X.VK.1: unknown DKGA {dkga}")
    bound = bytes([int(krn), int(kt)]) + sgc.encode("ascii")
    try:
        content = aes_key_unwrap_with_padding(kek, from_hex(wrapped, WRAPPED_LENGTHS[dkga]))
    except InvalidUnwrap as error:
        raise Problem(f"X.VK.1 {sgc} {krn}: the wrapped key can't be unwrapped") from error
    key = content[len(bound) :]
    if content[: len(bound)] != bound or len(key) != KEY_LENGTHS[dkga]:
        raise Problem(f"X.VK.1 {sgc} {krn}: another key is wrapped than the record says")
    return sgc, krn, key_check_value(sgc, krn, kt, dkga, key)


# The module


def read_json(name: str) -> Any:
    try:
        return json.loads(read_input(name))
    except ValueError as error:
        raise Problem(f"{name} isn't JSON: {error}") from error


def write_state(path: Path, state: dict[str, Any], new: bool = False) -> None:
    """Replaces the state file as a whole. A new state file must not exist yet."""
    if new and path.exists():
        raise Problem(f"{path} exists; remove it or choose another name")
    written = path.with_name(path.name + ".new")
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(state, file, indent=1)
    written.replace(path)


def read_input(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Problem(f"can't read {name}: {error.strerror}") from error


def initialise(arguments: argparse.Namespace) -> None:
    state = {
        "smid": identifier("SMID.1", arguments.issuer, arguments.name),
        "hardware": arguments.hardware,
        "firmware": arguments.firmware,
        "dak": secrets.token_bytes(32).hex().upper(),
        "pending": [],
    }
    write_state(arguments.state, state, new=True)
    print("SMID", state["smid"])
    print("HARDWARE", state["hardware"])
    print("DAK", state["dak"])


def request(arguments: argparse.Namespace) -> None:
    state = read_json(str(arguments.state))
    text = read_input(arguments.public_key).decode("utf-8", "replace")
    kmcid, kmc_point, *_ = parse(read_in_mail(text, "PK.ECDH.1"), "PK.ECDH.1", 5)
    check_identifier(kmcid, "KMCID.1")
    curve, _ = read_point(kmc_point)
    ephemeral = ec.generate_private_key(CURVES[curve])
    fields = ["VKLOAD.REQ.1", state["smid"], kmcid, arguments.time or utc_now()]
    fields += [state["hardware"], state["firmware"], point_of(ephemeral.public_key())]
    authenticated = "|".join(fields) + "|"
    request_mac = mac(request_key(bytes.fromhex(state["dak"])), authenticated.encode("ascii"))
    record = build(*fields, upper_hex(request_mac))
    scalar = f"{ephemeral.private_numbers().private_value:X}"
    state["pending"].append({"request": record, "kmc_point": kmc_point, "private": scalar})
    write_state(arguments.state, state)
    print(write_in_mail(record), end="")


def open_file(arguments: argparse.Namespace) -> None:
    state = read_json(str(arguments.state))
    records = read_file_of_records(read_input(arguments.file))
    pending = find_pending(state["pending"], records[0])
    for sgc, krn, kcv in open_records(pending, bytes.fromhex(state["dak"]), records):
        print(sgc, krn, kcv)
    state["pending"].remove(pending)
    write_state(arguments.state, state)


def find_pending(all_pending: list[dict[str, str]], response: str) -> dict[str, str]:
    """Returns the request that `response` names."""
    kmcid, smid, request_time, *_ = parse(response, "X.VKLOAD.RSP.1", 6)
    for pending in all_pending:
        if pending["request"].split("|")[1:4] == [smid, kmcid, request_time]:
            return pending
    raise Problem(f"no request of {smid} to {kmcid} at {request_time} is open")


def open_records(
    pending: dict[str, str], dak: bytes, records: list[str]
) -> list[tuple[str, str, str]]:
    """Checks a key load file as a whole, then returns SGC, KRN and KCV of its keys."""
    if len(records) < 2:
        raise Problem("the key load file is cut off: it has one record only")
    response, *vending_keys, last = records
    curve, kmc_key = read_point(pending["kmc_point"])
    z = private_key(curve, pending["private"]).exchange(ec.ECDH(), kmc_key)
    keys = derive_file_keys(curve, z, dak, pending["request"], pending["kmc_point"], response)
    (stated,) = parse(last, "X.VKLOAD.MAC.1", 1)
    computed = mac(keys.mac_key, covered_by_mac(records[:-1]))
    if not compare_digest(from_hex(stated, 24), computed):
        raise Problem("the key load file's MAC is wrong: it wasn't made for this module's request")
    if parse(response, "X.VKLOAD.RSP.1", 6)[4] != str(len(vending_keys)):
        raise Problem("the key load file's count isn't the number of its vending keys")
    opened = [unwrap_vending_key(record, keys.kek) for record in vending_keys]
    names = [(sgc, krn) for sgc, krn, _ in opened]
    if names != sorted(set(names)):
        raise Problem("the vending keys aren't in the order of SGC and KRN, each once")
    return opened


# Update files: the STSA's side, and the KMC's


def load_key(arguments: argparse.Namespace, name: str) -> ec.EllipticCurvePrivateKey:
    """Reads the key of an encrypted PEM. The first line of a file is its passphrase."""
    passphrase = read_input(arguments.passphrase_file).split(b"\n")[0]
    try:
        key = load_pem_private_key(read_input(name), passphrase)
    except ValueError as error:
        raise Problem(f"{name}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Problem(f"{name}: no key on a curve")
    return key


def update_kek(curve: str, z: bytes, kmc_point: str, first: str) -> bytes:
    kmc_hash = upper_hex(sha384(bytes.fromhex(kmc_point)).digest())
    return hkdf(z, b"", f"STSGW-UPD-1|{curve}|{kmc_hash}|{first}", 32)


def make_update(arguments: argparse.Namespace) -> None:
    """Signs a file that adds the module and revokes the named ones."""
    state = read_json(str(arguments.state))
    text = read_input(arguments.public_key).decode("utf-8", "replace")
    kmcid, kmc_point, *_ = parse(read_in_mail(text, "PK.ECDH.1"), "PK.ECDH.1", 5)
    curve, kmc_key = read_point(kmc_point)
    ephemeral = ec.generate_private_key(CURVES[curve])
    serial, count = str(arguments.serial), str(1 + len(arguments.revoke))
    point = point_of(ephemeral.public_key())
    first = build("X.SMUPDATE.1", kmcid, serial, utc_now(), point, count)
    kek = update_kek(curve, ephemeral.exchange(ec.ECDH(), kmc_key), kmc_point, first)
    tag = sha256(state["smid"].encode("ascii")).digest()[:8]
    wrapped = aes_key_wrap_with_padding(kek, tag + bytes.fromhex(state["dak"]))
    groups = ",".join(sorted(arguments.sgc.split(",")))
    added = build(
        "X.SM.1", state["smid"], "ADD", state["hardware"], upper_hex(wrapped), groups
    )
    revoked = [build("X.SM.1", smid, "REVOKE", "Any", "", "") for smid in arguments.revoke]
    records = [first, added, *revoked]
    signer = load_key(arguments, arguments.stsa_key)
    signature = signer.sign(covered_by_mac(records), ec.ECDSA(SHA384()))
    r, s = decode_dss_signature(signature)
    both = r.to_bytes(48, "big") + s.to_bytes(48, "big")
    records.append(build("X.SMUPDATE.SIG.1", upper_hex(both)))
    print("".join(record + "\r\n" for record in records), end="")


def read_update(arguments: argparse.Namespace) -> None:
    """Verifies the signature of a file, then prints its changes."""
    first, *entries, last = read_file_of_records(read_input(arguments.file))
    (signature,) = parse(last, "X.SMUPDATE.SIG.1", 1)
    _, signer = read_point(arguments.stsa_public)
    if not verifies(signer, from_hex(signature, 96), covered_by_mac([first, *entries])):
        raise Problem("the signature is wrong")
    _, serial, _, stated_point, count = parse(first, "X.SMUPDATE.1", 5)
    if int(count) != len(entries):
        raise Problem(f"{count} modules are stated, {len(entries)} are there")
    curve, ephemeral = read_point(stated_point)
    kmc_key = load_key(arguments, arguments.kmc_key)
    z = kmc_key.exchange(ec.ECDH(), ephemeral)
    kek = update_kek(curve, z, point_of(kmc_key.public_key()), first)
    print("SERIAL", serial)
    for entry in entries:
        smid, action, hardware, wrapped, groups = parse(entry, "X.SM.1", 5)
        check_identifier(smid, "SMID.1")
        dak = "-"
        if action == "ADD":
            plain = aes_key_unwrap_with_padding(kek, from_hex(wrapped, 48))
            if plain[:8] != sha256(smid.encode("ascii")).digest()[:8]:
                raise Problem(f"{smid}: another module's key is wrapped")
            dak = upper_hex(plain[8:])
        print(action, smid, hardware, dak, groups or "-")


# The vectors


def check_vectors(arguments: argparse.Namespace) -> None:
    """Computes every value of the vectors from the private keys, and compares."""
    vectors = read_json(arguments.file)
    wrong = 0
    for vector in vectors:
        for name, stated, computed in compute_vector(vector):
            wrong += stated != computed
            print(vector["curve"], name, "ok" if stated == computed else f"WRONG: {computed}")
    if wrong or not vectors:
        raise Problem(f"{wrong} values of {len(vectors)} vectors are wrong")


def compute_vector(vector: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    yield from compute_request(vector)
    yield from compute_key_load_file(vector)
    yield from compute_update(vector)


def compute_request(vector: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Sections 1 to 3, 5 and 6: the public key, and a request made for it."""
    curve, dak = vector["curve"], bytes.fromhex(vector["dak"])
    kmc_point = point_of(private_key(curve, vector["kmc_private"]).public_key())
    yield "kmc_public", vector["kmc_public"], kmc_point
    fingerprint = upper_hex(sha256(bytes.fromhex(kmc_point)).digest()[:8])
    yield "fingerprint", vector["fingerprint"], fingerprint
    kmcid, _, expiry, *empty = parse(vector["pk_record"], "PK.ECDH.1", 5)
    yield "pk_record", vector["pk_record"], build("PK.ECDH.1", kmcid, kmc_point, expiry, *empty)
    yield "k_req", vector["k_req"], upper_hex(request_key(dak))
    yield "k_dak", vector["k_dak"], upper_hex(dak_key(dak))
    fields = ["VKLOAD.REQ.1", *parse(vector["request"], "VKLOAD.REQ.1", 7)[:5]]
    fields.append(point_of(private_key(curve, vector["module_private"]).public_key()))
    authenticated = "|".join(fields) + "|"
    request_mac = mac(request_key(dak), authenticated.encode("ascii"))
    yield "request", vector["request"], build(*fields, upper_hex(request_mac))
    yield "request_in_mail", vector["request_in_mail"], write_in_mail(vector["request"])
    read = read_in_mail(vector["request_in_mail"], "VKLOAD.REQ.1")
    yield "request_in_mail, read", vector["request"], read


def compute_key_load_file(vector: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Section 7: the KMC makes the file, and the module opens it."""
    curve, dak, kmc_point = vector["curve"], bytes.fromhex(vector["dak"]), vector["kmc_public"]
    _, module_key = read_point(parse(vector["request"], "VKLOAD.REQ.1", 7)[5])
    z = private_key(curve, vector["kmc_private"]).exchange(ec.ECDH(), module_key)
    yield "z", vector["z"], upper_hex(z)
    kmcid, smid, request_time, response_time, *_ = parse(vector["klf"][0], "X.VKLOAD.RSP.1", 6)
    ends = [request_time, response_time, str(len(vector["vending_keys"])), vector["nonce"]]
    records = [build("X.VKLOAD.RSP.1", kmcid, smid, *ends)]
    keys = derive_file_keys(curve, z, dak, vector["request"], kmc_point, records[0])
    yield "info", vector["info"], keys.info
    yield "kek", vector["kek"], upper_hex(keys.kek)
    yield "mac_key", vector["mac_key"], upper_hex(keys.mac_key)
    records += [wrap_vending_key(key, keys.kek) for key in vector["vending_keys"]]
    file_mac = upper_hex(mac(keys.mac_key, covered_by_mac(records)))
    yield "klf", vector["klf"], [*records, build("X.VKLOAD.MAC.1", file_mac)]
    stated = [(key["sgc"], str(key["krn"]), key["kcv"]) for key in vector["vending_keys"]]
    pending = {"request": vector["request"], "kmc_point": kmc_point}
    pending["private"] = vector["module_private"]
    yield "klf, opened", stated, open_records(pending, dak, vector["klf"])


def wrap_vending_key(key: dict[str, Any], kek: bytes) -> str:
    names = ["sgc", "krn", "kt", "ken", "bdt", "dkga", "act", "iut", "ulm", "clm"]
    bound = bytes([key["krn"], key["kt"]]) + key["sgc"].encode("ascii")
    wrapped = aes_key_wrap_with_padding(kek, bound + bytes.fromhex(key["key"]))
    return build("X.VK.1", *(str(key[name]) for name in names), upper_hex(wrapped))


def compute_update(vector: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Section 8: the update file. Its signature is random, so it is only verified."""
    *records, last = vector["update"]
    kmcid, serial, time, stated_point, _ = parse(records[0], "X.SMUPDATE.1", 5)
    ephemeral = private_key(vector["curve"], vector["stsa_ephemeral_private"])
    fields = [kmcid, serial, time, point_of(ephemeral.public_key()), str(len(records) - 1)]
    yield "update, first record", records[0], build("X.SMUPDATE.1", *fields)
    _, kmc_key = read_point(vector["kmc_public"])
    z = ephemeral.exchange(ec.ECDH(), kmc_key)
    kek = update_kek(vector["curve"], z, vector["kmc_public"], records[0])
    yield "update_kek", vector["update_kek"], upper_hex(kek)
    smid, action, hardware, wrapped, groups = parse(records[1], "X.SM.1", 5)
    bound = sha256(smid.encode("ascii")).digest()[:8]
    wrapped = aes_key_wrap_with_padding(kek, bound + bytes.fromhex(vector["dak"]))
    added = build("X.SM.1", smid, action, hardware, upper_hex(wrapped), groups)
    yield "update, added module", records[1], added
    yield "update, revoked module", records[2], build("X.SM.1", *parse(records[2], "X.SM.1", 5))
    signer = private_key("P-384", vector["stsa_sign_private"]).public_key()
    yield "stsa_sign_public", vector["stsa_sign_public"], point_of(signer)
    (signature,) = parse(last, "X.SMUPDATE.SIG.1", 1)
    yield "update, signature", True, verifies(
        signer, from_hex(signature, 96), covered_by_mac(records)
    )


def verifies(signer: ec.EllipticCurvePublicKey, signature: bytes, content: bytes) -> bool:
    r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
    try:
        signer.verify(encode_dss_signature(r, s), content, ec.ECDSA(SHA384()))
    except InvalidSignature:
        return False
    return True


# The command line


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def ident(text: str) -> str:
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.,-]{0,39}", text):
            raise argparse.ArgumentTypeError(f"{text!r} isn't 1 to 40 of A-Z a-z 0-9 _ . , -")
        return text

    def command(name: str, run: Callable[[argparse.Namespace], None], help: str) -> Any:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        return added

    init = command("init", initialise, "make a module and print what the KMC registers of it")
    init.add_argument("state", type=Path, help="the state file to make")
    init.add_argument(
        "--issuer", type=ident, default="Example", help="issuer in the SMID (%(default)s)"
    )
    init.add_argument(
        "--name", type=ident, default="90000001", help="name in the SMID (%(default)s)"
    )
    init.add_argument(
        "--hardware", type=ident, default="Example-SM1", help="hardware id (%(default)s)"
    )
    init.add_argument("--firmware", type=ident, default="FW1.0", help="firmware id (%(default)s)")

    ask = command("request", request, "print a fresh VKLOAD.REQ.1 for an e-mail")
    ask.add_argument("state", type=Path, help="the module's state file")
    ask.add_argument("public_key", help="text that holds the PK.ECDH.1, or - for standard input")
    ask.add_argument("--time", help="time of the request, yyyymmddThhmmssZ (now)")

    opening = command(
        "open", open_file, "open a key load file and print SGC, KRN and KCV of its keys"
    )
    opening.add_argument("state", type=Path, help="the module's state file")
    opening.add_argument("file", help="the key load file, or - for standard input")

    updating = command("update", make_update, "print a signed file that adds the module to a KMC")
    updating.add_argument("state", type=Path, help="the module's state file")
    updating.add_argument("public_key", help="text that holds the PK.ECDH.1, or -")
    updating.add_argument("--serial", type=int, required=True, help="the file's serial")
    updating.add_argument("--sgc", required=True, help="supply groups, by comma")
    updating.add_argument("--revoke", action="append", default=[], help="an SMID to revoke")
    updating.add_argument("--stsa-key", required=True, help="the STSA's key, an encrypted PEM")
    updating.add_argument("--passphrase-file", required=True, help="its first line opens it")

    reading = command("read-update", read_update, "verify an update file and print what it does")
    reading.add_argument("file", help="the update file, or -")
    reading.add_argument("--stsa-public", required=True, help="the STSA's public key")
    reading.add_argument("--kmc-key", required=True, help="the KMC's key, an encrypted PEM")
    reading.add_argument("--passphrase-file", required=True, help="its first line opens it")

    vectors = command("vectors", check_vectors, "compute every value of the vectors and compare")
    vectors.add_argument("file", help="vectors.json, or - for standard input")
    return parser


def main() -> int:
    arguments = argument_parser().parse_args()
    try:
        arguments.run(arguments)
    except Problem as problem:
        print(f"independent_module.py: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
