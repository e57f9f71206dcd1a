#!/usr/bin/python3
"""An external key management system for the tests of the KMS e-mail gateway.

It speaks the other side of docs/kms-protocol.md, and was written from that page and from the
description of the records. It takes its cryptography from independent_module.py, so it shares
no code with the gateway. For tests only: the state file has every key in clear.

  reference_kms.py init kms.json --name K0001
  reference_kms.py add-vending-key kms.json --sgc 000439 --krn 1 --dkga 02
  reference_kms.py add-module kms.json registration.json --sgc 000439
  reference_kms.py revoke kms.json SMID
  reference_kms.py trust kms.json 04…
  reference_kms.py show kms.json public-key|vending-keys|history|answer [REQUEST-ID]
  reference_kms.py serve kms.json /run/kms/kms.sock

`serve` reads the state anew for each question and writes it before the answer is sent. So
the other commands may be used beside it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import secrets
import socketserver
import sys
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Iterator

sys.dont_write_bytecode = True  # independent_module is beside the tests' sources.

import independent_module as sts  # noqa: E402
from reference_kms_answers import Malformed, Trouble, answer  # noqa: E402

LONGEST_QUESTION = 2 * 1024 * 1024
VERSION = 1


# The state


@contextmanager
def state_of(path: Path, new: bool = False) -> Iterator[dict[str, Any]]:
    """Gives the state to one caller at a time. Changes are on the disk afterwards."""
    with open(path.with_name(path.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = "{}" if new else path.read_text("utf-8")
        state = json.loads(before)
        yield state
        after = json.dumps(state, indent=1)
        if after == before:
            return
        written = path.with_name(path.name + ".new")
        with open(written, "w", encoding="utf-8") as file:
            file.write(after)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)


def init(arguments: argparse.Namespace) -> None:
    key = sts.ec.generate_private_key(sts.CURVES[arguments.curve])
    with state_of(arguments.state, new=True) as state:
        state["kmc"] = {
            "kmcid": sts.identifier("KMCID.1", "Example", arguments.name),
            "curve": arguments.curve,
            "private": f"{key.private_numbers().private_value:X}",
            "expiry": "20990101T000000Z",
        }
        state.update(modules={}, vending_keys=[], stsa_keys={}, replayed=[], history=[])
        state["answers"] = {}


def add_vending_key(arguments: argparse.Namespace) -> None:
    key = secrets.token_bytes(sts.KEY_LENGTHS[arguments.dkga])
    if len(key) == 8:
        key = bytes(byte & 0xFE | (byte >> 1).bit_count() & 1 ^ 1 for byte in key)
    with state_of(arguments.state) as state:
        state["vending_keys"].append(
            {
                "sgc": arguments.sgc,
                "krn": arguments.krn,
                "kt": 2,
                "ken": 255,
                "bdt": 2014,
                "dkga": arguments.dkga,
                "act": sts.utc_now(),
                "iut": "",
                "ulm": "FFFFFFFF",
                "clm": "FFFFFFFF",
                "key": sts.upper_hex(key),
            }
        )


def add_module(arguments: argparse.Namespace) -> None:
    registration = sts.read_json(arguments.registration)
    with state_of(arguments.state) as state:
        state["modules"][registration["smid"]] = {
            "dak": registration["dak"],
            "hardware": registration["hardware"],
            "state": "active",
            "sgcs": arguments.sgc.split(","),
        }


def revoke(arguments: argparse.Namespace) -> None:
    with state_of(arguments.state) as state:
        state["modules"][arguments.smid]["state"] = "revoked"


def trust(arguments: argparse.Namespace) -> None:
    with state_of(arguments.state) as state:
        state["stsa_keys"][arguments.public_key] = {
            "valid_from": "20200101T000000Z",
            "valid_until": "20990101T000000Z",
            "serial": 0,
            "digest": "",
        }


def show(arguments: argparse.Namespace) -> None:
    with state_of(arguments.state) as state:
        if arguments.what == "public-key":
            question = {"question": "public-key", "now": sts.utc_now()}
            print(sts.write_in_mail(answer(state, question)["record"]))
        elif arguments.what == "vending-keys":
            for key in state["vending_keys"]:
                names = [str(key[name]) for name in ("sgc", "krn", "kt", "dkga")]
                kcv = sts.key_check_value(*names, bytes.fromhex(key["key"]))
                print(key["sgc"], key["krn"], kcv)
        elif arguments.what == "history":
            for issue in state["history"]:
                print(issue["request_id"], issue["smid"], issue["keys"])
        else:
            kept = state["answers"][arguments.request_id]["answer"]
            print("".join(record + "\r\n" for record in kept["key_load_file"]), end="")


# The protocol


def answer_to(path: Path, line: bytes) -> dict[str, Any]:
    """Returns the answer to a line, with the fields of every answer."""
    try:
        question = json.loads(line)
        version, request_id = question["version"], question.get("request_id")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return protocol_error("malformed", f"no question: {error!r}")
    if version != VERSION:
        return protocol_error("version", f"version {VERSION} is spoken here")
    try:
        with state_of(path) as state:
            found = kept_or_new(state, question, request_id)
    except Malformed as error:
        found = protocol_error("malformed", str(error))
    except (Trouble, OSError) as error:
        found = {"answer": "trouble", "reason": str(error)}
    print(question.get("question"), request_id or "-", found["answer"], flush=True)
    return {"version": VERSION, "request_id": request_id, **found}


def kept_or_new(state: dict[str, Any], question: dict[str, Any], request_id: Any) -> dict[str, Any]:
    """Computes an answer with effects once, and then repeats it."""
    if question.get("question") not in ("issue", "update"):
        return answer(state, question)
    if not isinstance(request_id, str):
        raise Malformed("no request_id")
    # The time may have gone on. The question must be the same.
    asked = json.dumps([question["question"], question.get("record"), question.get("file")])
    digest = sha256(asked.encode()).hexdigest()
    kept = state["answers"].get(request_id)
    if kept is None:
        kept = {"digest": digest, "answer": answer(state, question)}
        state["answers"][request_id] = kept
    if kept["digest"] != digest:
        raise Malformed("this request_id asked something else before")
    given: dict[str, Any] = kept["answer"]
    return given


def protocol_error(error: str, reason: str) -> dict[str, Any]:
    return {"version": VERSION, "answer": "protocol-error", "error": error, "reason": reason}


class Connection(socketserver.StreamRequestHandler):
    timeout = 10

    def handle(self) -> None:
        try:
            line = self.rfile.readline(LONGEST_QUESTION)
            if not line.endswith(b"\n"):
                return  # Nobody asks, or the line is longer than a question may be.
            given = answer_to(self.server.state, line)  # type: ignore[attr-defined]
            self.wfile.write(json.dumps(given).encode() + b"\n")
        except OSError:
            pass  # The client has gone away, and will ask again.


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def serve(arguments: argparse.Namespace) -> None:
    arguments.socket.unlink(missing_ok=True)
    with Server(str(arguments.socket), Connection) as server:
        server.state = arguments.state  # type: ignore[attr-defined]
        arguments.socket.chmod(0o660)
        server.serve_forever()


# The command line


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any) -> argparse.ArgumentParser:
        added = commands.add_parser(name)
        added.set_defaults(run=run)
        added.add_argument("state", type=Path, help="the state file")
        return added

    making = command("init", init)
    making.add_argument("--name", default="K0001")
    making.add_argument("--curve", choices=sts.CURVES, default="P-384")
    key = command("add-vending-key", add_vending_key)
    key.add_argument("--sgc", required=True)
    key.add_argument("--krn", type=int, required=True)
    key.add_argument("--dkga", choices=sts.KEY_LENGTHS, required=True)
    module = command("add-module", add_module)
    module.add_argument("registration")
    module.add_argument("--sgc", required=True, help="supply groups, by comma")
    command("revoke", revoke).add_argument("smid")
    command("trust", trust).add_argument("public_key", help="of the STSA")
    showing = command("show", show)
    showing.add_argument("what", choices=["public-key", "vending-keys", "history", "answer"])
    showing.add_argument("request_id", nargs="?")
    command("serve", serve).add_argument("socket", type=Path)
    return parser


if __name__ == "__main__":
    chosen = argument_parser().parse_args()
    chosen.run(chosen)
