"""Runs a command on a terminal of its own and answers what it asks there.

    terminal.py PROMPT ANSWER|^C|'' -- COMMAND...

Waits for PROMPT, checks that the terminal does not show what is typed, types the ANSWER (or a
SIGINT from the keyboard; with '' nothing is checked or typed), and prints all that came. After the end it checks that the terminal shows
again what is typed. Its exit status is the command's; 1 and a line on standard error when a check failed.
"""
import os, select, sys, termios

prompt, answer = sys.argv[1].encode(), sys.argv[2]
command = sys.argv[4:]

def shows(fd):
    return bool(termios.tcgetattr(fd)[3] & termios.ECHO)

master, slave = os.openpty()
child = os.fork()
if child == 0:
    os.setsid()
    # The first terminal that a session's leader opens is its own.
    os.close(os.open(os.ttyname(slave), os.O_RDWR))
    for fd in range(3):
        os.dup2(slave, fd)
    os.closerange(3, 256)
    os.execv(command[0], command)

# The slave stays open here: its modes outlive the command.
seen, asked, status = b"", False, None
while True:
    ready, _, _ = select.select([master], [], [], 0.05 if status is None else 0)
    if ready:
        seen += os.read(master, 65536)
    elif status is not None:
        break
    if not asked and prompt in seen:
        asked = True
        if answer and shows(slave):
            sys.exit("terminal.py: the terminal shows what is typed")
        if answer:
            os.write(master, b"\x03" if answer == "^C" else answer.encode() + b"\n")
    if status is None:
        ended, raw = os.waitpid(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(raw)
sys.stdout.buffer.write(seen)
sys.stdout.flush()
if not asked:
    sys.exit("terminal.py: it never asked for " + repr(prompt))
if not shows(slave):
    sys.exit("terminal.py: the terminal was left hidden")
sys.exit(status if status >= 0 else 128 - status)
