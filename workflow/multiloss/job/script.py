"""The frame around every rule's script: logging, and errors that a person can read."""

import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from multiloss.job import records
from multiloss.job.errors import UserError
from multiloss.job.files import sweep

# What goes away without a change of the study.
_MENDED = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM}


def check_package(path: list[str]) -> None:
    """Raise `UserError` if this package is not the one beside the scripts on a job's path.

    Another version may come first, by PYTHONPATH say; Snakemake puts the scripts' folder last.
    """
    here = Path(__file__).parents[1]
    scripts = [Path(entry) for entry in path if os.path.isfile(f"{entry}/{here.name}.py")]
    if scripts and not here.samefile(own := scripts[-1].parent / here.name):
        raise UserError(f"{here} comes before the workflow's own {own}: take it off PYTHONPATH")


def run(main: Callable[[Any], None], snakemake: Any) -> None:
    """Run `main(snakemake)`: log to the rule's log file and to stderr.

    Waits while another process is at the same outputs; compares the inputs with what was
    recorded of them, and records the outputs (`multiloss.job.records`).

    A `UserError` ends the job with its one line; any other exception leaves its traceback
    in the log and one line that points there. Both exit with status 1. A job of Snakemake that
    succeeds ends its process here.
    """
    if snakemake is None:
        raise SystemExit("this script is started by Snakemake: run `snakemake` on its output")
    log_path = str(snakemake.log[0]) if snakemake.log else os.devnull
    screen = logging.StreamHandler(sys.stderr)
    label = "/".join([snakemake.rule, *(str(value) for value in snakemake.wildcards)])
    screen.setFormatter(logging.Formatter(f"[{label}] %(message)s"))
    # The log file has more to tell than the screen.
    screen.setLevel(logging.INFO)
    # Other packages tell of themselves only what is wrong.
    logging.basicConfig(level=logging.WARNING, handlers=[screen], force=True)
    for ours in ("multiloss", "phantom", "__main__"):
        logging.getLogger(ours).setLevel(logging.DEBUG)
    logging.captureWarnings(True)
    held = records.hold(list(snakemake.output))
    # Not before: another process may still be writing its log.
    os.makedirs(os.path.dirname(log_path) or ".", exist_ok=True)
    log_file = logging.FileHandler(log_path, mode="w", encoding="utf-8")
    log_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(log_file)
    try:
        check_package(sys.path)
        records.check(snakemake.input)
        main(snakemake)
        sweep(snakemake.output)
        records.write(snakemake.output)
    except UserError as error:
        logging.getLogger("multiloss").error("Error: %s", error)
        raise SystemExit(1) from None
    except OSError as error:
        log_file.stream.write(traceback.format_exc())
        where = f" '{error.filename}'" if error.filename else ""
        remedy = " (free space or permissions mended, run again)" * (error.errno in _MENDED)
        logging.getLogger("multiloss").error(
            "Error: %s%s%s. Log: %s", error.strerror or error, where, remedy, log_path
        )
        raise SystemExit(1) from None
    except Exception as error:
        log_file.stream.write(traceback.format_exc())
        logging.getLogger("multiloss").error(
            "Error: %s: %s. Traceback in %s", type(error).__name__, error, log_path
        )
        raise SystemExit(1) from None
    finally:
        if held:
            held.close()
    if sys.orig_argv[1:] == sys.argv:  # this script is all that the process was started for
        _end()


def _end() -> None:
    """End the process: all is written, and taking apart what TensorFlow holds takes a second."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
