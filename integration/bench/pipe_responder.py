#!/usr/bin/env python3
"""Answers one request for help, which pipe(8) hands to it. A mail admin could
write it in an afternoon.

    pipe_responder.py REPLIES:PORT SENDER
"""

import sys
from email import message_from_binary_file
from email.message import EmailMessage
from email.policy import default
from email.utils import formatdate, make_msgid, parseaddr
from smtplib import SMTP

RESPONDER = "pipe@kms.example.org"
HELP = "Send a mail in plain text; its Subject must begin with a service code.\n" * 40
EX_TEMPFAIL = 75


def is_request(sender, request):
    """Returns whether a person sent the request, and asks for help."""
    return (
        sender not in ("", "MAILER-DAEMON")
        and str(request["Subject"] or "").startswith("{KMS:Help}")
        and request["Auto-Submitted"] in (None, "no")
        and request["Precedence"] is None
        and request["List-Id"] is None
    )


def reply_to(request):
    reply = EmailMessage()
    reply["From"] = RESPONDER
    reply["To"] = parseaddr(str(request["Reply-To"] or request["From"]))[1]
    reply["Subject"] = "Auto: " + str(request["Subject"])
    reply["Date"] = formatdate()
    reply["Message-ID"] = make_msgid(domain="kms.example.org")
    reply["In-Reply-To"] = str(request["Message-ID"] or "")
    reply["Auto-Submitted"] = "auto-replied"
    reply.set_content(HELP)
    return reply


def main():
    (host, port), sender = sys.argv[1].split(":"), sys.argv[2]
    request = message_from_binary_file(sys.stdin.buffer, policy=default)
    if not is_request(sender, request):
        return 0
    reply = reply_to(request)
    try:
        with SMTP(host, int(port)) as session:
            session.send_message(reply, from_addr="", to_addrs=[reply["To"]])
    except OSError:
        return EX_TEMPFAIL
    return 0


sys.exit(main())
