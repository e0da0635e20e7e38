"""Every reader of what comes from outside, fed with damaged, made-up and hostile content."""

import pytest

from stages.runtime.errors import UserError
from tests.fuzz import of_data, of_outputs, of_params
from tests.fuzz.harness import QUICK, feed, run

# Cases of a whole slow run, at least.
LEAST = 10_000
TARGETS = [*of_params.TARGETS, *of_data.TARGETS, *of_outputs.TARGETS]


def name(target) -> str:
    return target.name


@pytest.mark.parametrize("target", TARGETS, ids=name)
def test_a_few_cases_end_in_a_value_or_one_clear_line(target):
    assert run(target, QUICK) >= QUICK


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=name)
def test_many_cases_end_in_a_value_or_one_clear_line(target):
    assert run(target, target.cases) >= target.cases


def test_the_slow_run_has_enough_cases():
    assert sum(target.cases for target in TARGETS) >= LEAST


@pytest.mark.parametrize("target", [target for target in TARGETS if target.start is not None], ids=name)
def test_what_the_cases_start_from_is_read(target):
    """Or else every case might be refused for one and the same reason."""
    assert not isinstance(feed(target, target.start), UserError | None)
