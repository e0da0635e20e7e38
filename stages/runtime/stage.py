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
from types import NoneType
from typing import Any, get_args

from stages.runtime import interruption
from stages.runtime.errors import SharedError, UserError
from stages.runtime.files import CannotWrite, reason, write_json


def run(main: Callable[..., None], *, timed: bool = True) -> None:
    """Call a stage's `main` with the words of the command line, and leave its time and memory in .timings/ if it is to be timed.

    The arguments are main's own parameters, see `parser_of`. A `UserError`, and whatever the file system refuses, becomes one
    line on stderr and exit code 1; a signal one line and 128 plus its number (Ctrl-C: 130). Any other exception is a defect and
    keeps its traceback.
    """
    arguments = vars(parser_of(main).parse_args())
    started = time.perf_counter()
    try:
        interruption.raise_interrupted()
        interruption.end_with_dvc()
        main(**arguments)
        sys.stdout.flush()
        if timed and interruption.speaks():
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
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {_one_line(where + reason(error))}")


def _one_line(text: str) -> str:
    """The words in one line, without what a terminal would take for commands."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def name_of(main: Callable[..., None]) -> str:
    """The stage module's dotted name below `stages`, also where Python calls it `__main__`."""
    parts = Path(inspect.getsourcefile(main)).with_suffix("").parts
    below = len(parts) - parts[::-1].index("stages")
    return ".".join(parts[below:])


def parser_of(main: Callable[..., None]) -> argparse.ArgumentParser:
    """The command line of `main`: its positional parameters in order, and an option for each keyword-only one.

    Each is annotated with `Annotated[TYPE, HELP]`, or `Annotated[TYPE, HELP, KEY, ...]` with the keys of params.yaml that hold
    the choices. TYPE is str, int or float, of an option also one of these or None; an option that is bool is a switch. An
    underscore at a name's end, which keeps it from being Python's own word, is no part of the option.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{name_of(main)}",
        description=sys.modules[main.__module__].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for parameter in inspect.signature(main).parameters.values():
        annotated, said, *keys = get_args(parameter.annotation) or (parameter.annotation, "")
        kind = next(one for one in (*get_args(annotated), annotated) if one is not NoneType)
        if {"-h", "--help"} & set(sys.argv):
            said = "".join([said, *map(_choices, keys)])
        # argparse takes % for the beginning of a placeholder.
        said = said.replace("%", "%%")
        if parameter.kind is not parameter.KEYWORD_ONLY:
            parser.add_argument(parameter.name, type=kind, help=said)
        elif kind is bool:
            parser.add_argument(_option(parameter.name), dest=parameter.name, action="store_true", help=said)
        else:
            details = {"dest": parameter.name, "metavar": parameter.name.strip("_").upper(), "default": parameter.default}
            parser.add_argument(_option(parameter.name), type=kind, help=said, **details)
    return parser


def _option(name: str) -> str:
    return "--" + name.strip("_").replace("_", "-")


def _choices(key: str) -> str:
    """For a line of help: what params.yaml lists under a dotted key, as far as it can be read without being checked."""
    # Here, because only --help asks for it.
    import yaml

    try:
        value: Any = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
        for part in key.split("."):
            value = value[part]
    except (OSError, ValueError, LookupError, TypeError, RecursionError, yaml.YAMLError):
        value = None
    # Words and numbers alone: of a file that nobody has checked, anything else could be endless.
    words = [str(one)[:80] for one in value if isinstance(one, str | int)] if isinstance(value, list | dict) else []
    return f" ({key} in params.yaml{': ' if words else ''}{', '.join(words)})"


def _record(name: str, seconds: float) -> None:
    """Write .timings/NAME.json: kept out of every DVC output, because it changes from run to run, and no stage fails for it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    path = Path(os.environ.get("TIMINGS_DIR", ".timings")) / f"{name}.json"
    try:
        write_json(path, {"stage": name, "seconds": round(seconds, 2), "peak_bytes": peak})
    except CannotWrite as error:
        interruption.say(f"note: {error}")
