#!/usr/bin/env python3
"""Runs a program at its own terminal.

at_terminal.py [--columns N] PROGRAM [ARGUMENT]...

Standard input has the lines that a person types. The program gets one whenever it asks
and waits. Prints the terminal's content. Has the exit code of the program.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios


def main() -> int:
    arguments = sys.argv[1:]
    columns = 80
    if arguments[0] == "--columns":
        columns = int(arguments[1])
        del arguments[:2]
    lines = sys.stdin.buffer.readlines()
    process, terminal = pty.fork()
    if process == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.execv(arguments[0], arguments)
    while True:
        ready, _, _ = select.select([terminal], [], [], 30)
        if not ready:
            sys.exit(f"{arguments[0]} says nothing for 30 s")
        try:
            shown = os.read(terminal, 4096)
        except OSError:
            break
        if not shown:
            break
        sys.stdout.buffer.write(shown)
        if shown.rstrip(b" ").endswith(b":") and lines:
            os.write(terminal, lines.pop(0))
    sys.stdout.flush()
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
