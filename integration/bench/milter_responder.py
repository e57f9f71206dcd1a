#!/usr/bin/env python3
"""Answers requests for help from within the milter, with pymilter. A mail admin
could write it in an afternoon. It stores nothing: if it dies, it loses the requests
that it took.

    milter_responder.py ADDRESS:PORT REPLIES:PORT
"""

import smtplib
import sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr

import Milter

RESPONDER = "responder@kms.example.org"
HELP = "Send a mail in plain text; its Subject must begin with a service code.\n" * 40


class Responder(Milter.Base):
    smtp = ("127.0.0.1", 25)

    @Milter.noreply
    def connect(self, name, family, address):
        return Milter.CONTINUE

    def envfrom(self, reverse_path, *parameters):
        self.is_ours = False
        self.fields = {}
        return Milter.CONTINUE

    def envrcpt(self, recipient, *parameters):
        self.is_ours |= recipient.strip("<>").lower() == RESPONDER
        return Milter.CONTINUE

    def data(self):
        return Milter.CONTINUE if self.is_ours else Milter.ACCEPT

    @Milter.noreply
    def header(self, name, value):
        self.fields.setdefault(name.lower(), value)
        return Milter.CONTINUE

    @Milter.nocallback
    def body(self, piece):
        return Milter.CONTINUE

    def eom(self):
        subject = self.fields.get("subject", "")
        if not subject.startswith("{KMS:Help}") or "auto-submitted" in self.fields:
            return Milter.DISCARD
        reply = EmailMessage()
        reply["From"] = RESPONDER
        reply["To"] = parseaddr(self.fields.get("reply-to", self.fields.get("from")))[1]
        reply["Subject"] = "Auto: " + subject
        reply["Date"] = formatdate()
        reply["Message-ID"] = make_msgid(domain="kms.example.org")
        reply["In-Reply-To"] = self.fields.get("message-id", "")
        reply["Auto-Submitted"] = "auto-replied"
        reply.set_content(HELP)
        with smtplib.SMTP(*self.smtp) as session:
            session.send_message(reply, from_addr="", to_addrs=[reply["To"]])
        return Milter.DISCARD


def main():
    (host, port), (smtp_host, smtp_port) = (text.split(":") for text in sys.argv[1:])
    Responder.smtp = (smtp_host, int(smtp_port))
    Milter.factory = Responder
    Milter.runmilter("responder", f"inet:{port}@{host}", 60)


main()
