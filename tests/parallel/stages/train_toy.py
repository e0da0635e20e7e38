"""A stage that trains the toy, for tests of how processes start and end.

From step 25 on every step waits as many seconds as WAIT says; where it says `told`, step 25 waits for a file `go`.
"""

import os
import time
from pathlib import Path

import torch

from stages.runtime import parallel
from stages.runtime.resume import ResumeState
from stages.runtime.stage import run
from stages.runtime.training import train
from tests.parallel.together import TRAINING
from tests.parallel.toy import Toy


def main(seed: int) -> None:
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    parallel.start(TRAINING)
    state = ResumeState(f"toy-{seed}", [seed], [])
    model = Waiting().double()
    trained = train(model, run=f"toy-{seed}", seed=seed, steps=60, images_per_step=16, snapshots=0, state=state)
    if trained is None:
        return
    print([float(tensor.sum()) for tensor in model.state_dict().values()])
    state.clear()


class Waiting(Toy):
    def update(self, step: int) -> dict[str, torch.Tensor]:
        """A step; on the way it leaves this process's id in at25-RANK."""
        values = super().update(step)
        if step == 25:
            Path(f"at25-{parallel.rank()}").write_text(str(os.getpid()))
        wait = os.environ.get("WAIT", "0")
        while step == 25 and wait == "told" and not Path("go").exists():
            time.sleep(0.05)
        if step >= 25 and wait != "told":
            time.sleep(float(wait))
        return values


if __name__ == "__main__":
    run(main)
