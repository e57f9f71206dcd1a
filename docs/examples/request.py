#!/usr/bin/env python3
"""Sends one request to a KMS e-mail gateway and waits for its answer.

    request.py --gateway ADDRESS --from ADDRESS --smtp HOST[:PORT] --imap HOST[:PORT]
               [--body FILE] [--attachment FILE] [--wait SECONDS] [--pause SECONDS] SERVICE

SERVICE is a code such as GetPublicKey. The text of the answer goes to standard
output. A key load file goes to the file that --attachment names. The password
of the mailbox comes from KMS_MAIL_PASSWORD. The exit code is 0 after Success,
1 after Error, and 3 if no answer came in time. Needs only Python 3.8.
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
    parser.add_argument("--attachment", type=Path, help="file to write the key load file to")
    parser.add_argument("--wait", type=float, default=3600, help="seconds, an hour if not given")
    parser.add_argument("--pause", type=float, default=10, help="seconds between two looks")
    parser.add_argument("service", help="such as GetPublicKey")
    return parser.parse_args()


def host_and_port(text: str, port: int) -> "tuple[str, int]":
    """Splits HOST or HOST:PORT."""
    host, _, own = text.partition(":")
    return host, int(own or port)


def request(options: argparse.Namespace) -> EmailMessage:
    """Writes the request: plain text, the gateway in To, a reference after the code."""
    message = EmailMessage(policy=SMTP)
    message["From"] = options.sender
    message["To"] = options.gateway
    message["Subject"] = f"{{KMS:{options.service}}} {secrets.token_hex(8)}"
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=options.sender.rpartition("@")[2])
    message.set_content(options.body.read_text("ascii") if options.body else "")
    return message


def send(message: EmailMessage, options: argparse.Namespace, password: str) -> None:
    """Gives the request to your mail server, once."""
    host, port = host_and_port(options.smtp, 587)
    with smtplib.SMTP(host, port, timeout=60) as server:
        server.starttls(context=ssl.create_default_context())
        server.login(options.sender, password)
        server.send_message(message)


def mails_about(reference: str, options: argparse.Namespace, password: str) -> "list[EmailMessage]":
    """Fetches the mails in the inbox with the reference, oldest first. All stay unread."""
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
    """Splits X-Gateway-Result. The parser unfolds the field and keeps its tabs."""
    return str(mail["X-Gateway-Result"] or "").strip(" ").split("\t")


def final_answer(mails: "list[EmailMessage]", subject: str, shown: "set[str]") -> "EmailMessage | None":
    """Returns the mail with Success or Error. Prints each notice once."""
    for mail in mails:
        if mail.get_content_type() == "multipart/report":
            sys.exit("request.py: the request was not delivered; see your inbox")
        # In-Reply-To does not serve: servers may replace the Message-ID.
        if mail["Subject"] != f"Auto: {subject}":
            continue
        kind, *elements = result_of(mail)
        if kind in ("Success", "Error"):
            return mail
        identifier = str(mail["Message-ID"])
        if kind == "Notice" and identifier not in shown:
            shown.add(identifier)
            print("request.py:", ": ".join(elements), file=sys.stderr)
    return None


def show(answer: EmailMessage, options: argparse.Namespace) -> int:
    """Prints the answer and writes its attachment."""
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
    """Asks once, then reads the mailbox until the answer is there."""
    options = arguments()
    password = os.environ["KMS_MAIL_PASSWORD"]
    message = request(options)
    send(message, options, password)
    subject = message["Subject"]
    end = time.monotonic() + options.wait
    shown: "set[str]" = set()
    while time.monotonic() < end:
        mails = mails_about(subject.split()[-1], options, password)
        answer = final_answer(mails, subject, shown)
        if answer is not None:
            return show(answer, options)
        time.sleep(options.pause)
    print(f"request.py: no answer yet to {subject}: it may still come", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main())
