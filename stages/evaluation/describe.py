"""Write down the judge: results/networks/evaluation.json.

python -m stages.evaluation.describe
"""

from stages.evaluation.judge import Judge
from stages.runtime.files import write_json
from stages.runtime.networks import described
from stages.runtime.stage import run


def main() -> None:
    write_json("results/networks/evaluation.json", described({"Judge": Judge()}))


if __name__ == "__main__":
    run(main)
