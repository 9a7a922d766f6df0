"""The super-resolution methods as the rest of the package knows them: one entry a method.

Registry, command line, configuration, memory model and methods section derive from these
entries; the classes in ``bids_sr.sr.methods`` are held to them by their contract test.
The recipes that train weights are named here too.  Imports nothing, so that the help of a
command needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, Literal

Adaptation = Literal["none", "dataset", "image", "both"]
"""What weights are trained on before they are applied to an image."""
OutputGrid = Literal["fov", "slice"]
MemoryPlane = tuple[float, float, float]
"""GB; GB per million acquired voxels; GB per million output voxels."""

_EVERY_ADAPTATION: tuple[Adaptation, ...] = ("none", "dataset", "image", "both")
INTERPOLATION_GB: MemoryPlane = (0.45, 0.012, 0.015)
NETWORK_GB: MemoryPlane = (0.8, 0.02, 0.067)


@dataclass(frozen=True, kw_only=True)
class DatasetRecipe:
    """The recipe that trains the weights of a method on all images of a contrast."""

    name: str
    """Its name in ``bids_sr.sr.recipes.registry``."""
    text: str
    """Sentence of the methods section, with ``{suffix}`` and ``{number}`` of the images."""
    sloppy: Mapping[str, Any] = field(default_factory=dict)
    """Its settings under ``--sloppy``."""


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """What is true of a method for every image; the defaults suit a network without options."""

    name: str
    """The value of ``--sr-method``."""
    implementation: str
    """Where its class is, ``module:class``."""
    help: str
    """What it does, for the help of ``--sr-method``."""
    text: str
    """Sentences for the methods section, with citation keys of ``data/boilerplate.bib``."""
    adapted_text: str = ""
    """Sentences added where the weights are adapted to each image."""
    presets: tuple[str, ...] = ()
    """Named sets of hyper-parameters."""
    adaptations: tuple[Adaptation, ...] = ()
    """What its weights can be adapted to; empty: nothing."""
    default_adaptation: Adaptation | None = None
    """The adaptation where the user chooses none."""
    recipe: DatasetRecipe | None = None
    """How its weights are trained on a dataset."""
    takes_model: bool = False
    """Whether the user can give it weights."""
    has_own_model: bool = False
    """Whether it comes with weights; otherwise it must learn where the user gives none."""
    keeps_result: bool = False
    """Whether what it learns can be saved."""
    reuses_result: bool = False
    """Whether what was saved can be applied to another image of the same geometry."""
    takes_series: bool = False
    """Whether it reconstructs the frames of a 4-D image in reasonable time."""
    tells_uncertainty: bool = False
    """Whether it estimates the uncertainty of its result."""
    takes_guide: bool = False
    """Whether its network can learn from a thin scan of another contrast."""
    interpolates: bool = False
    """Whether it only interpolates: no resolution is gained."""
    keeps_grid: bool = False
    """Whether the image stays on its acquired grid."""
    output_grid: OutputGrid = "fov"
    """Layout of the output where the user chooses none."""
    memory_gb: MemoryPlane = NETWORK_GB
    """Memory of a reconstruction, somewhat above what ``benchmarks/nodes.py`` measures."""
    sloppy: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters under ``--sloppy``."""

    def methods_text(self, parameters: Mapping[str, Any]) -> str:
        """Return the sentences of the methods section for these hyper-parameters."""
        adaptation = parameters.get("adapt", self.default_adaptation)
        return self.text + ("" if adaptation == "none" else self.adapted_text)


def methods_that(trait: Callable[[MethodFacts], object]) -> tuple[str, ...]:
    """Return the names of the methods that have a trait."""
    return tuple(name for name, facts in METHOD_FACTS.items() if trait(facts))


def methods_help(methods: Iterable[str] | None = None) -> str:
    """Say what each of the methods does; consecutive methods with the same help share it."""
    chosen = METHOD_FACTS if methods is None else methods
    groups = groupby(chosen, key=lambda name: METHOD_FACTS[name].help)
    return "; ".join(f"{', '.join(names)}: {what}" for what, names in groups)


DEFAULT_METHOD: Final = "finetuned"
LABELS_METHOD: Final = "bspline"
"""The default for label maps: networks are no better on them (benchmarks/labels.py)."""
PASS_THROUGH: Final = "none"
"""The method of images that are passed through."""

_ALL_METHODS = (
    MethodFacts(
        name="self",
        implementation="bids_sr.sr.methods.self_supervised:SelfSupervised",
        help="a network trained on the image itself",
        text="Through-plane resolution was raised by self-supervised super-resolution of the "
        "SMORE family [@zhao2021]: a convolutional network was trained on in-plane slices of the "
        "image itself, degraded along one in-plane direction by the acquisition model (slice "
        "thickness, gap and profile), and applied to both through-plane views, which were then "
        "combined. ",
        presets=("fast", "smore"),
        keeps_result=True,
        reuses_result=True,
        tells_uncertainty=True,
        sloppy={"steps": 30, "channels": 8, "blocks": 2, "orientations": 1, "mirrored": False},
    ),
    MethodFacts(
        name="finetuned",
        implementation="bids_sr.sr.methods.finetuned:Finetuned",
        help="a pretrained network, adapted",
        text="Through-plane resolution was raised by a convolutional network pretrained on other "
        "images, degraded by simulated acquisitions of many kinds, and applied "
        "to both through-plane views, which were then combined. ",
        adapted_text="The network was then fine-tuned with self-supervision on the in-plane "
        "slices of the image itself [@wang2024]; if held-out slices did not improve, or far more "
        "than slices with the detail of their voxels do, the pretrained network was used. ",
        adaptations=_EVERY_ADAPTATION,
        default_adaptation="image",
        recipe=DatasetRecipe(
            name="adapt",
            text="Its weights were first adapted with self-supervision to all {suffix} images of "
            "the dataset together (n = {number}) [@wang2024]. ",
            sloppy={"steps": 10},
        ),
        takes_model=True,
        has_own_model=True,
        keeps_result=True,
        tells_uncertainty=True,
        takes_guide=True,
        memory_gb=(0.8, 0.02, 0.09),
        sloppy={"steps": 10, "orientations": 1, "mirrored": False},
    ),
    MethodFacts(
        name="pretrained",
        implementation="bids_sr.sr.methods.pretrained:Pretrained",
        help="a published network, unchanged",
        text="Through-plane resolution was raised by a network that was trained on other "
        "images with a perceptual loss and applied to triplets of neighbouring slices along "
        "both in-plane directions, as in PRETTIER [@giraldo2024]. ",
        takes_model=True,
        has_own_model=True,
        tells_uncertainty=True,
    ),
    MethodFacts(
        name="latent",
        implementation="bids_sr.sr.methods.latent:Latent",
        help="interpolation of slices in the latent space of an autoencoder",
        text="Intermediate slices were synthesised by an autoencoder, by decoding the weighted "
        "mean of the latent representations of neighbouring slices [@sander2020]; the acquired "
        "slices were kept. ",
        presets=("fast", "paper"),
        adaptations=_EVERY_ADAPTATION,
        default_adaptation="none",
        recipe=DatasetRecipe(
            name="autoencoder",
            text="The autoencoder was trained on the slices of all {suffix} images of the "
            "dataset (n = {number}). ",
            sloppy={"steps": 10, "width": 4},
        ),
        takes_model=True,
        keeps_result=True,
        takes_series=True,
        output_grid="slice",
        sloppy={"steps": 10, "width": 4},
    ),
    MethodFacts(
        name="bspline",
        implementation="bids_sr.sr.methods.interpolation:BSpline",
        help="interpolation",
        text="Images were interpolated across slices by cubic B-splines [@unser1999]. ",
        takes_series=True,
        interpolates=True,
        memory_gb=INTERPOLATION_GB,
    ),
    MethodFacts(
        name="lanczos",
        implementation="bids_sr.sr.methods.interpolation:Lanczos",
        help="interpolation",
        text="Images were interpolated across slices by a Lanczos kernel [@duchon1979]. ",
        takes_series=True,
        interpolates=True,
        memory_gb=INTERPOLATION_GB,
    ),
    MethodFacts(
        name="linear",
        implementation="bids_sr.sr.methods.interpolation:Linear",
        help="interpolation",
        text="Images were interpolated across slices linearly. ",
        takes_series=True,
        interpolates=True,
        memory_gb=INTERPOLATION_GB,
    ),
    MethodFacts(
        name=PASS_THROUGH,
        implementation="bids_sr.sr.methods.interpolation:NoReconstruction",
        help="keep the acquired grid",
        text="Images that were not super-resolved were kept on their acquired grid. ",
        takes_series=True,
        keeps_grid=True,
        memory_gb=INTERPOLATION_GB,
    ),
)
RECIPE_IMPLEMENTATIONS: Final[Mapping[str, str]] = {
    "video": "bids_sr.sr.recipes.video:Video",
    "supervised": "bids_sr.sr.recipes.supervised:Supervised",
    "adapt": "bids_sr.sr.recipes.adapt:Adapt",
    "perceptual": "bids_sr.sr.recipes.perceptual:Perceptual",
    "autoencoder": "bids_sr.sr.recipes.autoencoder:AutoencoderRecipe",
}
"""Where the class of every recipe is, ``module:class``; in the order of the help."""
METHOD_FACTS: Final[Mapping[str, MethodFacts]] = {facts.name: facts for facts in _ALL_METHODS}
"""Every method by name, in the order of the help."""
