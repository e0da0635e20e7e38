"""The command line every stage shares: arguments, one-line errors, time and memory spent."""

import argparse
import inspect
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stages.runtime.files import write_json


class UserError(Exception):
    """Something the user can put right; its message is one line that says what is wrong and what to do."""


def run(main: Callable[..., None]) -> None:
    """Call a stage's `main` with the words of the command line, and leave its time and memory in .timings/.

    The arguments are main's own parameters, in order, converted by their annotations (str or int). A `UserError` becomes
    one line on stderr and exit code 1; Ctrl-C one line and 130. Any other exception is a defect and keeps its traceback.
    """
    arguments = _parse(main)
    started = time.perf_counter()
    try:
        main(**arguments)
    except UserError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    _record("-".join([name_of(main), *map(str, arguments.values())]), time.perf_counter() - started)


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
    """Write .timings/NAME.json: kept out of every DVC output, because it changes from run to run."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    write_json(
        Path(os.environ.get("TIMINGS_DIR", ".timings")) / f"{name}.json",
        {"stage": name, "seconds": round(seconds, 2), "peak_bytes": peak},
    )
