"""The figures of the study by name, each as mean, standard deviation and number over the seeds."""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from stages.report.names import NEAR_SHARE, NOVELTY
from stages.report.results import Results


def summarise(results: Results) -> dict[str, Any]:
    """What metrics/summary.json holds: accuracies are fractions, and nothing depends on when or where it was made."""
    faces = {
        protocol: {extractor: _measured(runs) for extractor, runs in extractors.items()}
        for protocol, extractors in results.faces.items()
    }
    for name in (*NOVELTY, *NEAR_SHARE):
        found = [run.get(name) for run in results.neighbours]
        if found and None not in found:
            faces["clean"][results.study.extractors[0]][name] = spread(found)
    adaptation = {
        pair: {method: of_adaptation(runs) for method, runs in methods.items()} for pair, methods in results.adaptation.items()
    }
    return {
        "stylegan2": faces,
        "acgan": {
            "judge_accuracy": spread([run["judge_accuracy"] for run in results.digits]),
            "diversity": _measured([run["diversity"] for run in results.digits]),
        },
        "judge": {"test_accuracy": spread([results.judge["test_accuracy"]])},
        "adaptation": adaptation,
    }


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation (divisor n - 1; None for one value, whose spread nobody knows) and number of values."""
    return {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else None, "n": len(values)}


def of_adaptation(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy, and what else all runs have: the domains' distance, accuracy for tuning, and by rule the regret of its choice."""
    names = ("accuracy", "oracle_dev_accuracy", "proxy_a_distance")
    found: dict[str, Any] = {
        name: spread([run[name] for run in runs]) for name in names if all(run.get(name) is not None for run in runs)
    }
    rules = [rule for rule in runs[0].get("selection", {}) if all(rule in run["selection"] for run in runs)]
    regret = {rule: spread([run["selection"][rule]["regret"] for run in runs]) for rule in rules}
    return found | ({"regret": regret} if regret else {})


def _measured(runs: list[dict[str, Any]]) -> dict[str, dict[str, float | int | None]]:
    """Every measured figure; counts and words are left to the runs' own files."""
    names = [name for name, value in runs[0].items() if isinstance(value, int | float) and not name.startswith("n_")]
    return {name: spread([run[name] for run in runs]) for name in names}
