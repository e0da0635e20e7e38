import multiprocessing
import os
import re
from functools import partial

import pytest
import torch

from benchmarks import __main__ as all_benchmarks
from benchmarks import common


def test_forms_take_turns_after_a_warm_up_and_another_one_begins_each_round():
    called = []
    forms = {name: lambda name=name: called.append(name) for name in ("plain", "ours")}
    seconds = common.interleaved(forms, rounds=2, repeats=2)
    assert called == ["plain", "plain", "ours", "ours", "plain", "plain", "ours", "ours", "ours", "ours", "plain", "plain"]
    assert {name: len(values) for name, values in seconds.items()} == {"plain": 2, "ours": 2}
    assert all(value >= 0 for values in seconds.values() for value in values)


def test_calls_before_a_turn_are_not_measured(monkeypatch):
    called = []
    measured = common._seconds
    monkeypatch.setattr(common, "_seconds", lambda form, repeats: called.append("clock") or measured(form, repeats))
    common.interleaved({"plain": lambda: called.append("plain")}, rounds=2, repeats=2, unmeasured=1)
    assert called == ["clock", "plain", "plain", *2 * ["plain", "clock", "plain", "plain"]]


def test_a_ratio_is_the_median_over_rounds_with_least_and_most():
    line = common.ratio_line("DANN step", [0.045, 0.031, 0.024], [0.015, 0.010, 0.010])
    assert line == "DANN step: 3.0x (2.4-3.1), plain 31.0 ms, ours 10.0 ms"


def test_ratios_below_two_have_two_decimals():
    line = common.ratio_line("step", [0.0086, 0.0086, 0.0250], [0.01, 0.01, 0.01])
    assert line == "step: 0.86x (0.86-2.5), plain 8.6 ms, ours 10.0 ms"


def test_long_times_are_said_in_seconds():
    assert common.ratio_line("study", [30.0], [12.5]) == "study: 2.4x (2.4-2.4), plain 30.0 s, ours 12.5 s"


def test_the_operations_of_a_product_and_its_gradients_are_counted():
    left, right = torch.randn(3, 5, requires_grad=True), torch.randn(5, 7, requires_grad=True)
    assert common.flops_of(lambda: left @ right) == 2 * 3 * 5 * 7
    assert common.flops_of(lambda: (left @ right).sum().backward()) == 3 * 2 * 3 * 5 * 7


def test_a_share_of_the_peak_is_in_percent():
    assert common.peak_line("step", 1e9, 0.1, 40e9) == "step: 25 % of the measured peak (10 of 40 GFLOP/s)"


def test_the_peak_is_of_a_plausible_size(monkeypatch):
    monkeypatch.setattr(common, "SIDES_CPU", (256,))
    assert 1e8 < common.peak_flops(torch.float32) < 1e15


def test_the_machine_is_named_on_one_line_with_its_torch():
    line = common.machine()
    assert re.search(r"\d+ cores; .*bfloat16.*; torch [\d.]+\S*, \d+ threads$", line) and "\n" not in line


def test_all_benchmarks_are_found_and_nothing_else():
    assert all_benchmarks.names() == [
        *("acgan", "adaptation", "frechet", "memory", "scaling", "startup", "streaming", "stylegan2", "tsne"),
    ]


def test_a_form_of_another_process_gets_what_the_call_gets_and_is_waited_for(tmp_path):
    with common.processes({"made": (partial, os.mkdir), "changed": (partial, os.chdir)}) as forms:
        forms["made"](tmp_path / "folder")
        assert (tmp_path / "folder").is_dir()
        here = os.getcwd()
        forms["changed"](tmp_path)
        assert os.getcwd() == here


def test_a_form_of_another_process_starts_workers_as_any_program_does(tmp_path):
    told = "import multiprocessing, pathlib; pathlib.Path({!r}).write_text(multiprocessing.get_start_method())"
    with common.processes({"tells": (partial, exec)}) as forms:
        forms["tells"](told.format(str(tmp_path / "method")))
    assert (tmp_path / "method").read_text() == multiprocessing.get_all_start_methods()[0]


def ending():
    """A form whose call ends its process, as the system does where memory is short."""
    return lambda: os._exit(9)


def test_what_runs_elsewhere_answers_from_a_process_of_its_own():
    assert common.elsewhere(os.getpid) != os.getpid()


def test_a_form_whose_process_ends_is_named():
    with common.processes({"plain": (ending,)}) as forms, pytest.raises(RuntimeError, match="the process of 'plain' has ended"):
        forms["plain"]()
