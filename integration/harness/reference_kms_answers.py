"""Makes the answers of the reference key management system: the checks of records.md, sections
6 and 8, in their order, and the key load file of section 7. Knows no socket and no file."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from hashlib import sha256, sha384
from typing import Any

import independent_module as sts

State = dict[str, Any]
Question = dict[str, Any]

MAXIMUM_AGE = timedelta(hours=24)
MAXIMUM_AHEAD = timedelta(minutes=5)
# The key for the MAC of an unknown module, so that the time reveals nothing.
DECOY = secrets.token_bytes(32)


class Malformed(Exception):
    """The line is no question of the protocol."""


class Trouble(Exception):
    """A fault that the requester cannot mend."""


class Refused(Exception):
    """A fault that the requester can mend, with the refusal for the socket."""

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(code)
        self.refusal = {"code": code, **more}


def answer(state: State, question: Question) -> dict[str, Any]:
    answers = {
        "public-key": public_key,
        "issue": issue,
        "foretell": foretell,
        "is-from-module": is_from_module,
        "update": update,
    }
    try:
        return answers[question["question"]](state, question)
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from error
    except sts.Problem as error:
        raise Malformed(str(error)) from error


def public_key(state: State, question: Question) -> dict[str, Any]:
    kmc = state["kmc"]
    if question["now"] >= kmc["expiry"]:
        raise Trouble("the KMC key has expired")
    point = sts.point_of(kmc_key(kmc).public_key())
    record = sts.build("PK.ECDH.1", kmc["kmcid"], point, kmc["expiry"], "", "")
    return {"answer": "public-key", "record": record}


def kmc_key(kmc: dict[str, str]) -> sts.ec.EllipticCurvePrivateKey:
    return sts.private_key(kmc["curve"], kmc["private"])


# Key load files


def issue(state: State, question: Question) -> dict[str, Any]:
    try:
        module, vending_keys = admit(state, question)
    except Refused as refused:
        return {"answer": "refused", "refusal": refused.refusal}
    fields = read_request(question)
    smid, replay = fields[0], replay_key(fields)
    names = " ".join(f"{key['sgc']}/{key['krn']}" for key in vending_keys)
    state["replayed"].append(replay)
    state["history"].append({"request_id": question["request_id"], "smid": smid, "keys": names})
    file = key_load_file(state["kmc"], question, module, vending_keys)
    return {"answer": "granted", "key_load_file": file}


def foretell(state: State, question: Question) -> dict[str, Any]:
    try:
        admit(state, question)
    except Refused as refused:
        return {"answer": "refused", "refusal": refused.refusal}
    return {"answer": "would-grant"}


def is_from_module(state: State, question: Question) -> dict[str, Any]:
    fields = read_request(question)
    failure = authentication_failure(state, question["record"], fields)
    try:
        check_freshness(fields, question["now"])
        by_module = failure is None and replay_key(fields) not in state["replayed"]
    except Refused:
        by_module = False
    return {"answer": "from-module", "from_module": by_module}


def read_request(question: Question) -> list[str]:
    fields = sts.parse(question["record"], "VKLOAD.REQ.1", 7)
    sts.check_identifier(fields[0], "SMID.1")
    sts.check_identifier(fields[1], "KMCID.1")
    return fields


def replay_key(fields: list[str]) -> str:
    return sha256(f"{fields[0]}|{fields[5]}".encode("ascii")).hexdigest()


def admit(state: State, question: Question) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Makes the checks of section 6. Returns the module, and the keys that it may have."""
    fields = read_request(question)
    check_freshness(fields, question["accepted_at"])
    kmc = state["kmc"]
    if fields[1] != kmc["kmcid"]:
        raise Refused("kmc", current=kmc["kmcid"])
    if failure := authentication_failure(state, question["record"], fields):
        raise Refused("authentication", failure=failure)
    if problem := point_problem(kmc["curve"], fields[5]):
        raise Refused("public-key", problem=problem, curve=kmc["curve"])
    if replay_key(fields) in state["replayed"]:
        raise Refused("replayed")
    module = state["modules"][fields[0]]
    keys = [key for key in state["vending_keys"] if key["sgc"] in module["sgcs"]]
    keys = [key for key in keys if not key["iut"] or key["iut"] >= question["now"]]
    if not keys:
        raise Refused("no-vending-keys")
    return module, sorted(keys, key=lambda key: (key["sgc"], key["krn"]))


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ")


def check_freshness(fields: list[str], at: str) -> None:
    age = moment(at) - moment(fields[2])
    if age > MAXIMUM_AGE:
        raise Refused("expired")
    if -age > MAXIMUM_AHEAD:
        raise Refused("future")


def authentication_failure(state: State, record: str, fields: list[str]) -> str | None:
    module = state["modules"].get(fields[0])
    dak = bytes.fromhex(module["dak"]) if module else DECOY
    covered = record.rsplit("|", 2)[0] + "|"
    computed = sts.mac(sts.request_key(dak), covered.encode("ascii"))
    authentic = sts.compare_digest(sts.from_hex(fields[6], 24), computed)
    if module is None:
        return "unknown-module"
    if module["state"] != "active":
        return "revoked"
    if module["hardware"] != fields[3]:
        return "hardware-id"
    return None if authentic else "mac"


def point_problem(curve: str, text: str) -> str | None:
    if len(text) != 2 * (1 + 2 * (sts.CURVES[curve].key_size // 8)):
        return "length"
    if not text.startswith("04"):
        return "form"
    if not set(text) <= set("0123456789ABCDEF"):
        return "digits"
    try:
        sts.read_point(text)
    except sts.Problem:
        return "off-curve"
    return None


def key_load_file(
    kmc: dict[str, str], question: Question, module: dict[str, Any], keys: list[dict[str, Any]]
) -> list[str]:
    smid, kmcid, request_time, *_, point, _ = read_request(question)
    key = kmc_key(kmc)
    curve, module_key = sts.read_point(point)
    z = key.exchange(sts.ec.ECDH(), module_key)
    nonce = sts.upper_hex(secrets.token_bytes(16))
    ends = [request_time, question["now"], str(len(keys)), nonce]
    first = sts.build("X.VKLOAD.RSP.1", kmcid, smid, *ends)
    dak, own_point = bytes.fromhex(module["dak"]), sts.point_of(key.public_key())
    file_keys = sts.derive_file_keys(curve, z, dak, question["record"], own_point, first)
    records = [first, *(sts.wrap_vending_key(key, file_keys.kek) for key in keys)]
    mac = sts.mac(file_keys.mac_key, sts.covered_by_mac(records))
    return [*records, sts.build("X.VKLOAD.MAC.1", sts.upper_hex(mac))]


# Update files


def update(state: State, question: Question) -> dict[str, Any]:
    try:
        return apply_update(state, question)
    except Refused as refused:
        refusal = refused.refusal
    except sts.Problem as problem:
        refusal = {"code": "format", "reason": str(problem)[:200]}
    return {"answer": "update-refused", "refusal": refusal}


def apply_update(state: State, question: Question) -> dict[str, Any]:
    *covered, last = question["file"]
    (signature,) = sts.parse(last, "X.SMUPDATE.SIG.1", 1)
    text = sts.covered_by_mac(covered)
    point = signer_of(state, sts.from_hex(signature, 96), text, question["accepted_at"])
    first, *entries = covered
    kmcid, serial, _, stated_point, count = sts.parse(first, "X.SMUPDATE.1", 5)
    changes = [sts.parse(entry, "X.SM.1", 5) for entry in entries]
    if int(count) != len(changes) or len({change[0] for change in changes}) != len(changes):
        raise sts.Problem("the count is wrong, or a module stands there twice")
    stsa, digest = state["stsa_keys"][point], sha384(text).hexdigest()
    if (stsa["serial"], stsa["digest"]) == (int(serial), digest):
        return {"answer": "already-applied", "serial": int(serial)}
    if int(serial) != stsa["serial"] + 1:
        raise Refused("serial", expected=stsa["serial"] + 1)
    if kmcid != state["kmc"]["kmcid"]:
        raise Refused("kmc", current=state["kmc"]["kmcid"])
    kek = update_kek(state["kmc"], stated_point, first)
    # A file is applied whole or not at all. A refused file has changed nothing yet.
    modules = dict(state["modules"])
    for change in changes:
        modules[change[0]] = changed(modules.get(change[0]), change, kek)
    state["modules"] = modules
    stsa.update(serial=int(serial), digest=digest)
    signer = sts.upper_hex(sha256(bytes.fromhex(point)).digest()[:8])
    return {"answer": "applied", "serial": int(serial), "signer": signer}


def signer_of(state: State, signature: bytes, text: bytes, at: str) -> str:
    if not state["stsa_keys"]:
        raise Refused("signature", failure="no-keys")
    for point, stsa in state["stsa_keys"].items():
        if sts.verifies(sts.read_point(point)[1], signature, text):
            if not stsa["valid_from"] <= at < stsa["valid_until"]:
                raise Refused("signature", failure="not-valid-now")
            return str(point)
    raise Refused("signature", failure="nobody-known")


def update_kek(kmc: dict[str, str], stated_point: str, first: str) -> bytes:
    key = kmc_key(kmc)
    if problem := point_problem(kmc["curve"], stated_point):
        raise sts.Problem(f"the STSA's ephemeral key: {problem}")
    curve, ephemeral = sts.read_point(stated_point)
    z = key.exchange(sts.ec.ECDH(), ephemeral)
    return sts.update_kek(curve, z, sts.point_of(key.public_key()), first)


def changed(module: dict[str, Any] | None, change: list[str], kek: bytes) -> dict[str, Any]:
    smid, action, hardware, wrapped, groups = change
    sts.check_identifier(smid, "SMID.1")
    if action == "REVOKE":
        if module is None:
            raise sts.Problem(f"{smid} is to be revoked and is not known")
        return {**module, "state": "revoked"}
    try:
        plain = sts.aes_key_unwrap_with_padding(kek, sts.from_hex(wrapped, 48))
    except sts.InvalidUnwrap as error:
        raise sts.Problem(f"the wrapped DAK of {smid} does not unwrap") from error
    if plain[:8] != sha256(smid.encode("ascii")).digest()[:8]:
        raise sts.Problem(f"the wrapped DAK of {smid} does not unwrap")
    sgcs = groups.split(",") if groups else []
    dak = sts.upper_hex(plain[8:])
    return {"dak": dak, "hardware": hardware, "state": "active", "sgcs": sgcs}
