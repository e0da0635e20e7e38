"""What is done to a stage from within its own process: where it is killed, what it may not write.

A plan is a dict, so that it travels as JSON. Its keys:

- `call`: kill at this many Python calls; `torn`: kill at this file, of those that are made whole before they get their name,
  with half of it written; `saves`: kill after so many saved states; `stop`: only stop there;
- `full`: the disk is full at this file; `bytes`: no file may grow beyond; `modes`: mode bits hold for root, too;
- `save`: whether trainers save after every step, as they do here unless it is false; `pace`: seconds that each step takes longer;
- `count`: "files", or "calls" for both.
"""

import ctypes
import errno
import os
import resource
import signal
import stat
import sys
import time
from typing import Any

from stages.runtime import resume, training

CAPABILITIES = 0x20080522  # version 3 of Linux's capability header
COUNTS = {"calls": 0, "files": 0}


def install(plan: dict[str, Any]) -> None:
    """Have this process suffer what the plan says; `count` leaves how many there were in COUNTS."""
    if plan.get("save", True):
        training.train.__kwdefaults__["save_every_seconds"] = 0.0
    if "bytes" in plan:
        resource.setrlimit(resource.RLIMIT_FSIZE, (plan["bytes"], resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    if plan.get("modes"):
        _give_up_capabilities()
    if {"torn", "full", "count"} & plan.keys():
        _count_files(plan.get("torn"), plan.get("full"))
    if "saves" in plan:
        _after_saves(plan["saves"], signal.SIGKILL)
    if "stop" in plan:
        _after_saves(plan["stop"], signal.SIGSTOP)
    if "pace" in plan:
        _slow_down(plan["pace"])
    if "call" in plan or plan.get("count") == "calls":
        _count_calls(plan.get("call"))


def _count_calls(last: int | None) -> None:
    def seen(*_: object) -> None:
        COUNTS["calls"] += 1
        if COUNTS["calls"] == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(seen)


def _count_files(last: int | None, full: int | None) -> None:
    fsync = os.fsync

    def torn(handle: int) -> None:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            return fsync(handle)
        COUNTS["files"] += 1
        if COUNTS["files"] == last:
            os.truncate(handle, status.st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        if COUNTS["files"] == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    os.fsync = torn


def _after_saves(last: int, number: int) -> None:
    save, saves = resume.ResumeState.save, 0

    def counted(*arguments: Any) -> None:
        nonlocal saves
        save(*arguments)
        saves += 1
        if saves == last:
            os.kill(os.getpid(), number)

    resume.ResumeState.save = counted


def _slow_down(seconds: float) -> None:
    seed = training.seed_step

    def slowly(*arguments: Any) -> None:
        time.sleep(seconds)
        seed(*arguments)

    training.seed_step = slowly


def _give_up_capabilities() -> None:
    """Let root be refused by mode bits like anybody else. (Becoming another user would also hide root's own Python.)"""
    header, data = (ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0 and libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")
