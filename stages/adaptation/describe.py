"""Write down the networks that adaptation trains: results/networks/adaptation.json.

Source only and target only are DANN's encoder and class head.

    python -m stages.adaptation.describe
"""

from stages.adaptation.networks import DANN, DSN
from stages.runtime.files import write_json
from stages.runtime.networks import described
from stages.runtime.stage import run


def main() -> None:
    write_json("results/networks/adaptation.json", described({"DANN": DANN(), "DSN": DSN()}))


if __name__ == "__main__":
    run(main)
