"""Train the judge on real training digits, and see how well it does on real test digits.

Reads data/prepared/DATASET.npz (28x28x3) and leaves models/judge/weights.safetensors, results/judge/history.csv and
results/judge/evaluation.json (accuracy on the test digits: overall, by class, confusion).

    python -m stages.evaluation.train_judge
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam

from stages.evaluation.judge import Judge, predict
from stages.runtime import device, parallel, params, schema
from stages.runtime.accuracy import classification_report
from stages.runtime.batches import Feed, resident_gb
from stages.runtime.files import write_json
from stages.runtime.images import load_digits
from stages.runtime.resume import ResumeState
from stages.runtime.schedule import set_lr
from stages.runtime.seeding import seed_step
from stages.runtime.stage import run
from stages.runtime.training import Trainable, train, write_history
from stages.runtime.weights import save_weights


def main() -> None:
    settings, training = params.read("judge", "training")
    place = parallel.start(training)
    path = f"data/prepared/{settings.dataset}.npz"
    images, labels = load_digits(path, "train")
    test_images, test_labels = load_digits(path, "test")
    state = ResumeState("judge", [settings, training], [path])
    model = JudgeTraining(images, labels, settings, place, training)
    trained = train(
        model,
        run="judge",
        seed=settings.seed,
        steps=settings.steps,
        images_per_step=settings.batch_size,
        snapshots=0,
        state=state,
    )
    if trained is None:
        return
    report = classification_report(test_labels, predict(model.judge, test_images, place))
    save_weights("models/judge/weights.safetensors", model.judge.state_dict())
    write_history("results/judge/history.csv", trained.history)
    write_json("results/judge/evaluation.json", {"test_accuracy": report.pop("accuracy"), **report})
    state.clear()


class JudgeTraining(Trainable):
    """The judge and its optimiser, on uint8 images (n, 28, 28, 3) with labels (n,)."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        settings: schema.Judge,
        where: torch.device,
        training: schema.Training,
    ) -> None:
        super().__init__()
        seed_step(settings.seed, "networks")
        self.settings, self.device = settings, where
        self.judge = device.place(Judge(), where)
        size = parallel.share(settings.batch_size, "judge.batch_size")
        self.feed = Feed(images, size, seed=settings.seed, name="digits", place=where, resident_gb=resident_gb())
        self.labels = torch.from_numpy(labels).to(where)
        if training.compile:
            # In place: parameters keep their names.
            self.judge.compile()
        self.optimizers = {"judge": Adam(self.judge.parameters(), lr=settings.lr, fused=True)}

    def update(self, step: int) -> dict[str, Tensor]:
        """One step of cross-entropy on a random batch; `accuracy` is that batch's."""
        settings, optimizer = self.settings, self.optimizers["judge"]
        set_lr(optimizer, settings.lr, step, settings.steps, settings.lr_decay)
        images, index = self.feed.at(step)
        labels = self.labels[index]
        self.judge.train()
        with device.autocast(self.device, settings.precision):
            logits = self.judge(device.to_float(images))
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parallel.average_gradients(self.judge.parameters())
        optimizer.step()
        return {"loss": loss.detach(), "accuracy": (logits.detach().argmax(dim=1) == labels).float().mean()}


if __name__ == "__main__":
    run(main)
