#!/usr/bin/env python3
"""Sends one request to a KMS e-mail gateway and waits for its answer.

    request.py --gateway ADDRESS --from ADDRESS --smtp HOST[:PORT] --imap HOST[:PORT]
               [--body FILE] [--attachment FILE] [--wait SECONDS] [--pause SECONDS] SERVICE

SERVICE is a code such as GetPublicKey. The text of the answer goes to standard
output, a key load file to the file that --attachment names. The mailbox's
password is taken from KMS_MAIL_PASSWORD. Ends with 0 after Success, 1 after
Error, 3 if no answer came in time. Needs nothing but Python 3.8.
"""

import argparse
import imaplib
import os
import secrets
import smtplib
import ssl
import sys
import time
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gateway", required=True, help="the gateway's address")
    parser.add_argument("--from", dest="sender", required=True, help="your address, and login")
    parser.add_argument("--smtp", required=True, help="host of your mail server, port 587 if none")
    parser.add_argument("--imap", required=True, help="host of your mailbox, port 993 if none")
    parser.add_argument("--body", type=Path, help="file with the record of the request")
    parser.add_argument("--attachment", type=Path, help="where the key load file goes")
    parser.add_argument("--wait", type=float, default=3600, help="seconds, an hour if not given")
    parser.add_argument("--pause", type=float, default=10, help="seconds between two looks")
    parser.add_argument("service", help="such as GetPublicKey")
    return parser.parse_args()


def host_and_port(text: str, port: int) -> "tuple[str, int]":
    """Takes HOST or HOST:PORT apart."""
    host, _, own = text.partition(":")
    return host, int(own or port)


def request(options: argparse.Namespace) -> EmailMessage:
    """The request: plain text, the gateway in To, and a reference behind the code."""
    message = EmailMessage(policy=SMTP)
    message["From"] = options.sender
    message["To"] = options.gateway
    message["Subject"] = f"{{KMS:{options.service}}} {secrets.token_hex(8)}"
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=options.sender.rpartition("@")[2])
    message.set_content(options.body.read_text("ascii") if options.body else "")
    return message


def send(message: EmailMessage, options: argparse.Namespace, password: str) -> None:
    """Hands it to your mail server: once, whatever happens later."""
    host, port = host_and_port(options.smtp, 587)
    with smtplib.SMTP(host, port, timeout=60) as server:
        server.starttls(context=ssl.create_default_context())
        server.login(options.sender, password)
        server.send_message(message)


def mails_about(reference: str, options: argparse.Namespace, password: str) -> "list[EmailMessage]":
    """What lies in the inbox and has the reference, the oldest first; all stays unread."""
    host, port = host_and_port(options.imap, 993)
    context = ssl.create_default_context()
    with imaplib.IMAP4_SSL(host, port, ssl_context=context) as mailbox:
        mailbox.login(options.sender, password)
        mailbox.select("INBOX", readonly=True)
        _, found = mailbox.uid("SEARCH", "TEXT", reference)
        mails = []
        for uid in found[0].split():
            _, parts = mailbox.uid("FETCH", uid.decode(), "(BODY.PEEK[])")
            raw = next(part[1] for part in parts if isinstance(part, tuple))
            mails.append(message_from_bytes(raw, policy=SMTP))
        return mails


def result_of(mail: EmailMessage) -> "list[str]":
    """The elements of X-Gateway-Result; parsing has unfolded it, and kept its tabs."""
    return str(mail["X-Gateway-Result"] or "").strip(" ").split("\t")


def final_answer(mails: "list[EmailMessage]", subject: str, told: "set[str]") -> "EmailMessage | None":
    """The mail that says Success or Error. Says what else there is, each once."""
    for mail in mails:
        if mail.get_content_type() == "multipart/report":
            sys.exit("request.py: the request was not delivered; see your inbox")
        # Not by In-Reply-To: servers may put in a Message-ID of their own.
        if mail["Subject"] != f"Auto: {subject}":
            continue
        kind, *elements = result_of(mail)
        if kind in ("Success", "Error"):
            return mail
        identifier = str(mail["Message-ID"])
        if kind == "Notice" and identifier not in told:
            told.add(identifier)
            print("request.py:", ": ".join(elements), file=sys.stderr)
    return None


def show(answer: EmailMessage, options: argparse.Namespace) -> int:
    """Prints the answer, and writes the file that it brings."""
    kind, *elements = result_of(answer)
    if kind == "Error":
        code, description, *parameters = elements
        print(f"request.py: {code}: {description}", *parameters, sep="\n  ", file=sys.stderr)
        return 1
    print(answer.get_body(("plain",)).get_content(), end="")
    for part in answer.iter_attachments():
        if options.attachment:
            options.attachment.write_bytes(part.get_payload(decode=True))
    return 0


def main() -> int:
    """Asks once, and looks into the mailbox until the answer is there."""
    options = arguments()
    password = os.environ["KMS_MAIL_PASSWORD"]
    message = request(options)
    send(message, options, password)
    subject = message["Subject"]
    end = time.monotonic() + options.wait
    told: "set[str]" = set()
    while time.monotonic() < end:
        mails = mails_about(subject.split()[-1], options, password)
        answer = final_answer(mails, subject, told)
        if answer is not None:
            return show(answer, options)
        time.sleep(options.pause)
    print(f"request.py: no answer yet to {subject}: it may still come", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main())
