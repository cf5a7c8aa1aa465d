"""What Python imports as it starts where this folder is on PYTHONPATH: each process adds a line of
JSON to the file ACCOUNTS when it ends, with its script, start and end, and its seconds of CPU."""

import atexit
import json
import os
import resource
import sys
import time

STARTED, PROCESS, end = time.time(), os.getpid(), os._exit


def tell() -> None:
    """Write the line; not in a fork, which has no start of its own."""
    if os.getpid() != PROCESS:
        return
    used = {
        kind: sum(resource.getrusage(who)[:2])
        for kind, who in (("own", resource.RUSAGE_SELF), ("children", resource.RUSAGE_CHILDREN))
    }
    line = {"script": sys.argv[0], "start": STARTED, "end": time.time(), **used}
    with open(os.environ["ACCOUNTS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def tell_and_end(status: int) -> None:
    """`os._exit`, which passes over what is registered for the end."""
    tell()
    end(status)


atexit.register(tell)
os._exit = tell_and_end
