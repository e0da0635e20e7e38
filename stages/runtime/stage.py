"""The command line every stage shares: arguments, one-line errors, time and memory spent."""

import argparse
import inspect
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stages.runtime import interruption
from stages.runtime.errors import SharedError, UserError
from stages.runtime.files import CannotWrite, reason, write_json


def run(main: Callable[..., None]) -> None:
    """Call a stage's `main` with the words of the command line, and leave its time and memory in .timings/.

    The arguments are main's own parameters, in order, converted by their annotations (str or int). A `UserError`, and whatever
    the file system refuses, becomes one line on stderr and exit code 1; a signal one line and 128 plus its number (Ctrl-C: 130).
    Any other exception is a defect and keeps its traceback.
    """
    arguments = _parse(main)
    started = time.perf_counter()
    try:
        interruption.raise_interrupted()
        interruption.end_with_dvc()
        main(**arguments)
        sys.stdout.flush()
        if interruption.speaks():
            _record("-".join([name_of(main), *map(str, arguments.values())]), time.perf_counter() - started)
    except UserError as error:
        if isinstance(error, SharedError) and not interruption.speaks():
            sys.exit(1)
        sys.exit(f"error: {_one_line(str(error))}")
    except KeyboardInterrupt as error:
        interruption.heed_no_more()
        interruption.say(str(error) or "interrupted")
        sys.exit(128 + getattr(error, "number", signal.SIGINT))
    except BrokenPipeError:
        # Whoever read the output has stopped; Python would complain of the rest once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        where = f"{_one_line(str(error.filename))}: " if error.filename else ""
        sys.exit(f"error: {where}{reason(error)}")


def _one_line(text: str) -> str:
    """The words in one line, without what a terminal would take for commands."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def name_of(main: Callable[..., None]) -> str:
    """The stage module's dotted name below `stages`, also where Python calls it `__main__`."""
    parts = Path(inspect.getsourcefile(main)).with_suffix("").parts
    below = len(parts) - parts[::-1].index("stages")
    return ".".join(parts[below:])


def _parse(main: Callable[..., None]) -> dict[str, str | int]:
    module = sys.modules[main.__module__]
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{name_of(main)}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for parameter in inspect.signature(main).parameters.values():
        parser.add_argument(parameter.name, type=parameter.annotation)
    return vars(parser.parse_args())


def _record(name: str, seconds: float) -> None:
    """Write .timings/NAME.json: kept out of every DVC output, because it changes from run to run, and no stage fails for it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    path = Path(os.environ.get("TIMINGS_DIR", ".timings")) / f"{name}.json"
    try:
        write_json(path, {"stage": name, "seconds": round(seconds, 2), "peak_bytes": peak})
    except CannotWrite as error:
        interruption.say(f"note: {error}")
