"""All benchmarks, one after the other: every module beside this one that has a main, but for the check of a GPU.

They want the machine for themselves, and say at the end how long they took.
"""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import machine

FOLDER = Path(__file__).parent
OTHERS = ("__main__", "gpu_check")


def names() -> list[str]:
    """The benchmarks' module names."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in OTHERS and "\ndef main(" in path.read_text())


def main() -> None:
    print(f"{machine()}\nleave the machine alone meanwhile", flush=True)
    began, failed = time.monotonic(), []
    for name in names():
        print(f"\npython -m benchmarks.{name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=FOLDER.parent).returncode:
            failed.append(name)
    print(f"\n{(time.monotonic() - began) / 60:.0f} minutes in all")
    sys.exit(f"error: failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
