"""A clone of the working tree in which tests run the real thing."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Clone:
    """A copy of the working tree in `folder`, with the smoke preset; under git unless `git` is false."""

    def __init__(self, folder: Path, *, git: bool = True) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            made = name.startswith("plots/") or name in ("dvc.lock", "metrics/summary.json")
            if not made and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        shutil.copy(ROOT / "presets/smoke.yaml", folder / "params.yaml")
        if git:
            self.run("git", "init", "-q")
            self.commit()

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "state")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(command, cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=900)
        assert not check or done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def make_repro(self) -> set[str]:
        """Run the command of `make repro`; returns the names of the stages that ran."""
        done = self.run(sys.executable, "-m", "stages.runtime.repro")
        return set(re.findall(r"^(\S+): done in", done.stderr, re.MULTILINE))

    def repro(self, *targets: str) -> set[str]:
        """Run `dvc repro`; returns the names of the stages that ran."""
        return set(re.findall(r"Running stage '([^']+)'", self.run("dvc", "repro", *targets).stdout))

    def start(self, log: Path, *command: str) -> subprocess.Popen:
        """Start a command in a process group of its own, its output going to `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as file:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment(),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # What a shell starts in its background ignores Ctrl-C, and so would all that is started from here.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def change(self, old: str, new: str) -> None:
        text = (self.folder / "params.yaml").read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in params.yaml"
        (self.folder / "params.yaml").write_text(text.replace(old, new))

    def summary(self) -> dict:
        return json.loads((self.folder / "metrics/summary.json").read_text())


def environment() -> dict[str, str]:
    """This environment's variables with its own programs first, and all threads for the stages."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "PYTHONPATH")} | {"PATH": path}
