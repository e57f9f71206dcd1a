#!/bin/sh
# Sends one request to a KMS e-mail gateway and waits for its answer.
#
#   request.sh GATEWAY FROM SMTP-URL IMAP-URL SERVICE [BODY [ATTACHMENT]]
#
#   request.sh gateway@kms.example.org me@vendor.example \
#       smtp://mail.vendor.example:587 imaps://mail.vendor.example \
#       GetKlfStsEd2 request.txt klf.txt
#
# The text of the answer goes to standard output, the key load file to the file
# ATTACHMENT. Login and password come from the file in KMS_MAIL_NETRC, or else
# from ~/.netrc, so that no list of processes shows them. The exit code is 0
# after Success, 1 after Error, and 3 if no answer came in an hour. KMS_MAIL_WAIT
# sets another time, and KMS_MAIL_PAUSE the time between two looks, in seconds.
# Needs curl, awk, od, mktemp and base64.
set -eu

gateway=$1 from=$2 smtp=$3 imap=$4 service=$5 body=${6-} attachment=${7-}
netrc=${KMS_MAIL_NETRC:-$HOME/.netrc}
patience=${KMS_MAIL_WAIT:-3600}
pause=${KMS_MAIL_PAUSE:-10}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 2' INT TERM

# The Subject of the answer repeats it.
reference=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
subject="{KMS:$service} $reference"

mail() {
    curl --silent --show-error --ssl-reqd --netrc-file "$netrc" "$@"
}

send() {
    {
        printf 'From: %s\nTo: %s\nSubject: %s\n' "$from" "$gateway" "$subject"
        printf 'Date: %s\n' "$(LC_ALL=C date '+%a, %d %b %Y %H:%M:%S %z')"
        printf 'Message-ID: <%s@%s>\n\n' "$reference" "${from#*@}"
        [ -z "$body" ] || cat "$body"
    } | awk '{ sub(/\r$/, ""); printf "%s\r\n", $0 }' >"$work/request"
    mail --mail-from "$from" --mail-rcpt "$gateway" --upload-file "$work/request" "$smtp"
}

# Prints the numbers of the mails in the inbox with the reference in the Subject.
uids() {
    mail --request "UID SEARCH HEADER SUBJECT $reference" "$imap/INBOX" |
        tr -d '\r' | sed -n 's/^\* SEARCH//p'
}

# Prints the mail's header, one field a line. A fold is a line end before a blank or tab.
header() {
    awk '
        { sub(/\r$/, "") }
        /^$/ { exit }
        /^[ \t]/ { field = field $0; next }
        { if (NR > 1) print field; field = $0 }
        END { print field }
    ' "$1"
}

# Prints the elements of X-Gateway-Result, one a line.
result() {
    header "$1" | sed -n 's/^X-Gateway-Result: *//p' | tr '\t' '\n'
}

# Prints the text of an answer, or with "file" its attachment, still encoded.
part() {
    awk -v wanted="$2" '
        { sub(/\r$/, "") }
        in_header && tolower($0) ~ /^content-type: multipart\// { is_multipart = 1 }
        in_header && /boundary="/ { boundary = $0; sub(/.*boundary="/, "", boundary); sub(/".*/, "", boundary) }
        in_header && /^$/ { in_header = 0; in_part = !is_multipart; next }
        is_multipart && index($0, "--" boundary) == 1 { in_part_header = 1; kind = "text"; in_part = 0; next }
        in_part_header && tolower($0) ~ /^content-disposition: *attachment/ { kind = "file" }
        in_part_header && /^$/ { in_part_header = 0; in_part = 1; next }
        in_part && kind == wanted { print }
    ' in_header=1 kind=text "$1"
}

# Reads one mail. Ends the script if it is the answer.
look_at() {
    header "$1" | grep -qxF "Subject: Auto: $subject" || return 0
    case $(result "$1" | sed -n 1p) in
    Success)
        part "$1" text
        [ -z "$attachment" ] || part "$1" file | base64 -d >"$attachment"
        exit 0
        ;;
    Error)
        result "$1" | sed 1d >&2
        exit 1
        ;;
    Notice)
        result "$1" | sed 1d >&2
        ;;
    esac
}

send
seen=' '
waited=0
while [ "$waited" -lt "$patience" ]; do
    for uid in $(uids); do
        case $seen in *" $uid "*) continue ;; esac
        seen="$seen$uid "
        mail "$imap/INBOX;UID=$uid" >"$work/mail"
        look_at "$work/mail"
    done
    sleep "$pause"
    waited=$((waited + pause))
done
echo "request.sh: no answer yet to $subject: it may still come" >&2
exit 3
