"""Python loads this before a stage where PYTHONPATH names its folder: the plan in FAULT comes into real `dvc repro` runs."""

import json
import os
import sys

if "FAULT" in os.environ and sys.orig_argv[1:2] == ["-m"] and sys.orig_argv[2].startswith("stages."):
    sys.path.insert(0, os.getcwd())
    from tests.faults.plan import install

    install(json.loads(os.environ["FAULT"]))
