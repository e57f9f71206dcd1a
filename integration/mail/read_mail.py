#!/usr/bin/python3
"""Reads a mail with Python's own email package, which shares no code with the gateway.

Takes a message from standard input. Prints as JSON the parts that a requester's program
reads: the decoded Subject, the elements of X-Gateway-Result, the text body and the attachments.
"""

import json
import sys
from email import message_from_binary_file
from email.policy import default

message = message_from_binary_file(sys.stdin.buffer, policy=default)
text = message.get_body(("plain",))
print(
    json.dumps(
        {
            "subject": message["Subject"],
            "result": message["X-Gateway-Result"].split("\t"),
            "defects": [str(defect) for defect in message.defects],
            "text": text.get_content() if text else None,
            "attachments": [
                {
                    "name": part.get_filename(),
                    "type": part.get_content_type(),
                    "disposition": part.get_content_disposition(),
                    "content": part.get_content(),
                }
                for part in message.iter_attachments()
            ],
        }
    )
)
