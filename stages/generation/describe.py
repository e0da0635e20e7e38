"""Write down the networks of StyleGAN2 and ACGAN as the params ask for them: results/networks/generation.json.

The face images' size decides how many blocks StyleGAN2's networks have.

    python -m stages.generation.describe
"""

from stages.generation import acgan, stylegan2
from stages.runtime import params
from stages.runtime.files import write_json
from stages.runtime.images import load_arrays
from stages.runtime.networks import described
from stages.runtime.stage import run


def main() -> None:
    dataset, network, batch_norm_eps = params.read("stylegan2.dataset", "stylegan2.network", "acgan.train.batch_norm_eps")
    (images,) = load_arrays(f"data/prepared/{dataset}.npz", "test_images")
    size = images.shape[1]
    faces = stylegan2.StyleGAN2(size, **network.model_dump(exclude={"minibatch_stddev"}))
    networks = {
        "StyleGAN2, mapping network": faces.mapping,
        "StyleGAN2, generator": faces.generator,
        "StyleGAN2, discriminator": stylegan2.Discriminator(size, **network.model_dump(exclude={"latent_dim"})),
        "ACGAN, generator": acgan.Generator(batch_norm_eps),
        "ACGAN, discriminator": acgan.Discriminator(batch_norm_eps),
    }
    write_json("results/networks/generation.json", described(networks))


if __name__ == "__main__":
    run(main)
