"""Write down the networks that adaptation trains: results/networks/adaptation.json.

Source only and target only are DANN's encoder and class head; self-ensembling has two of the classifier that is here.

    python -m stages.adaptation.describe
"""

from stages.adaptation.methods import mean_teacher
from stages.adaptation.networks import DANN, DSN
from stages.runtime import params
from stages.runtime.files import write_json
from stages.runtime.networks import described
from stages.runtime.stage import run


def main() -> None:
    (width,) = params.read("adaptation.mean_teacher.width")
    networks = {"DANN": DANN(), "DSN": DSN(), "self-ensembling": mean_teacher.Classifier(width)}
    write_json("results/networks/adaptation.json", described(networks))


if __name__ == "__main__":
    run(main)
