"""Sends the message on standard input with STARTTLS, and accepts any certificate of the
server: send_by_tls.py HOST PORT SENDER RECIPIENT..."""

import smtplib
import ssl
import sys

host, port, sender, *recipients = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
with smtplib.SMTP(host, int(port), timeout=40) as server:
    server.starttls(context=context)
    server.sendmail(sender, recipients, sys.stdin.buffer.read())
