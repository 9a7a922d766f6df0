"""The run configuration: everything a user decided about one run, in one frozen record.

:class:`RunConfig` is built by the command line, written to ``logs/`` as TOML and read
back by ``--config-file``.  It checks values and how they go together.  It does not look
at the disk, detect resources or know how an option is spelled in the help.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bids_sr import files
from bids_sr.exceptions import ConfigError, did_you_mean
from bids_sr.method_facts import DEFAULT_METHOD, Adaptation, OutputGrid
from bids_sr.method_options import MethodOptions
from bids_sr.plain_values import WrongTypeError, field_types, plain, structured
from bids_sr.seed import DEFAULT_SEED

AnalysisLevel = Literal["participant", "group"]
DenoiseMethod = Literal["nlm", "none"]
BiasCorrection = Literal["n4", "auto", "none"]
SkullStripMethod = Literal["auto", "hdbet", "template", "none"]
SkullStripAnat = Literal["auto", "force", "skip"]
Level = Literal["minimal", "full"]
FuseStacks = Literal["auto", "none"]
SliceGainChoice = Literal["auto", "none"]
ViewerChoice = Literal["auto", "none"]

SLICE_PROFILES = ("auto", "assumed", "gaussian", "rect", "slr")
MODALITIES = ("T1w", "T2w", "FLAIR", "PDw")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_DATASET = re.compile(r"[A-Za-z0-9._+-]+")
_MODALITY = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Hold every option of one run; a value that cannot work is a :class:`ConfigError`.

    Strings are accepted for paths and lists for tuples, so that the same constructor
    serves the command line, a TOML file and a test.
    """

    bids_dir: Path
    """Root of the input dataset; absolute after construction, never written to."""
    output_dir: Path
    """Root of the derivative dataset; absolute after construction."""
    analysis_level: AnalysisLevel = "participant"

    participant_label: tuple[str, ...] = ()
    """Labels without ``sub-``; empty selects all."""
    session_label: tuple[str, ...] = ()
    """Labels without ``ses-``; empty selects all."""
    bids_filters: dict[str, Any] = field(default_factory=dict)
    """Entity filters of one image kind each, as in fMRIPrep's ``--bids-filter-file``."""
    modalities: tuple[str, ...] = MODALITIES
    """BIDS suffixes to process."""
    derivatives: dict[str, Path] = field(default_factory=dict)
    """Name to folder of derivative datasets that are searched for existing brain masks."""
    anat_reference: tuple[str, ...] = ("finest",)
    """``finest``, ``first-lex`` or ``ENTITY=VALUE`` words: which T1w and T2w is provided."""
    anat_reference_per: Literal["session", "subject"] = "session"
    surface_contrasts: tuple[Literal["T2w", "FLAIR"], ...] = ()
    """Contrasts provided to tools that refine surfaces with them."""
    raw_like_dir: Path | None = None
    """Where a raw-shaped view of the dataset goes; apart from all other folders."""
    bids_database_dir: Path | None = None
    """Accepted for scripts of other BIDS-Apps; nothing is kept there."""
    skip_bids_validation: bool = False

    nprocs: int = 1
    """CPUs of the whole run."""
    omp_nthreads: int = 1
    """Threads of one step; at most ``nprocs``."""
    mem_gb: float = 8.0
    """Memory of the whole run, GB (1e9 bytes)."""
    low_mem: bool = False
    use_plugin: Path | None = None
    """YAML file with ``plugin`` and ``plugin_args`` of Nipype."""
    work_dir: Path = Path("work")
    clean_workdir: bool = False

    level: Level = "minimal"
    random_seed: int = DEFAULT_SEED
    sloppy: bool = False
    dry_run: bool = False
    reports_only: bool = False
    boilerplate_only: bool = False
    write_graph: bool = False
    stop_on_first_crash: bool = False
    strict: bool = False
    """Whether an image whose verdict is ``look`` sets the exit code 1."""
    resource_monitor: bool = False
    debug: bool = False
    verbose: int = 0

    sr_method: str = DEFAULT_METHOD
    sr_preset: str | None = None
    """Named set of hyper-parameters of the method; None: its defaults."""
    sr_model: str | None = None
    """Published name or path of weights; None leaves it to the method."""
    sr_adapt: Adaptation | None = None
    """What weights are adapted to; None leaves it to the method."""
    sr_reuse_model: Path | None = None
    """Network trained on an image of the same geometry, used instead of training."""
    save_model: bool = False
    """Write the trained network next to every image."""
    data_consistency: bool | None = None
    """Make results agree with the acquired slices; None leaves it to the method."""
    sr_steps: int | None = None
    """Maximum training steps per image; None leaves it to the method."""
    sr_time_budget: float | None = None
    """Maximum training time per image, s; None leaves it to the method."""
    output_resolution: float | Literal["native"] | None = None
    """Target spacing, mm; ``native`` is the in-plane spacing; None floors that at 1 mm."""
    output_grid: OutputGrid | None = None
    """None becomes what suits the method: ``slice`` where acquired slices stay as they are."""
    min_anisotropy: float = 1.5
    """Images whose largest / smallest spacing is below this are passed through."""
    fuse_stacks: FuseStacks = "auto"
    """Whether stacks of one contrast of a session also become one volume."""
    guide: tuple[str, ...] = ("auto",)
    """``auto``, ``none``, or words that select which thin scans may guide thick ones: a suffix,
    ``ENTITY=VALUE``."""
    slice_thickness: float | None = None
    """mm, overrides the sidecar."""
    slice_spacing: float | None = None
    """mm, overrides sidecar and header."""
    slice_profile: str = "auto"
    """One of :data:`SLICE_PROFILES` or the path of a TSV file."""
    denoise_method: DenoiseMethod = "nlm"
    anat_biascorrect: BiasCorrection = "n4"
    slice_gain: SliceGainChoice = "auto"
    """Whether slices that differ in brightness are brought to one before super-resolution."""
    skull_strip_method: SkullStripMethod = "auto"
    skull_strip_anat: SkullStripAnat = "auto"
    """``auto`` recognises skull-stripped images; ``skip`` treats all as such, ``force`` none."""
    template: str = "MNI152"
    """Of brain masks and tissue priors: bundled, or ``NAME[:cohort-C]`` of TemplateFlow."""
    hdbet_tta: bool = False
    """Average HD-BET over mirrored copies."""
    allow_unverified_weights: bool = False
    """Load checkpoints that can run code and are not the released files."""
    segmentation: tuple[str, ...] = ()
    """Segmentation tools, ``NAME`` or ``NAME=PATH``."""
    viewer: ViewerChoice = "auto"
    """Whether each subject gets a page to scroll through its images, beside the report."""
    device: str = "auto"
    weights_dir: Path | None = None
    offline: bool = False

    def __post_init__(self) -> None:
        for name, hint in field_types(RunConfig).items():
            try:
                value = structured(getattr(self, name), hint)
            except WrongTypeError as error:
                raise ConfigError(
                    f"{option(name)} is {error.value!r}: expected {error}"
                ) from error
            object.__setattr__(self, name, value)
        profile = self.slice_profile
        if profile not in SLICE_PROFILES:  # nodes run in other folders
            object.__setattr__(self, "slice_profile", os.path.abspath(profile))
        tools = tuple(_with_absolute_path(tool) for tool in self.segmentation)
        object.__setattr__(self, "segmentation", tools)
        chosen = self.method_options
        object.__setattr__(self, "sr_model", chosen.model)
        object.__setattr__(self, "output_grid", self.output_grid or chosen.facts.output_grid)
        self._check_numbers()
        self._check_names()
        self._check_folders()

    @property
    def method_options(self) -> MethodOptions:
        """What is asked of the super-resolution."""
        return MethodOptions(
            method=self.sr_method,
            preset=self.sr_preset,
            model=self.sr_model,
            adapt=self.sr_adapt,
            reuse_model=self.sr_reuse_model,
            save_model=self.save_model,
            data_consistency=self.data_consistency,
            steps=self.sr_steps,
            time_budget=self.sr_time_budget,
            seed=self.random_seed,
            device=self.device,
            weights_dir=self.weights_dir,
            offline=self.offline,
            sloppy=self.sloppy,
        )

    def _check_numbers(self) -> None:
        _at_least(self, 1, "nprocs", "omp_nthreads", "sr_steps", "min_anisotropy")
        _at_least(self, 0, "random_seed", "verbose")
        _above_zero(self, "mem_gb", "sr_time_budget", "slice_thickness", "slice_spacing")
        if self.output_resolution != "native":
            _above_zero(self, "output_resolution")
        if self.mem_gb < 0.25:
            raise ConfigError(
                f"{option('mem_gb')} gives the run {self.mem_gb * 1000:g} MB, expected at least "
                "250 MB: a bare --mem number is in MB, write --mem 8G for 8 GB"
            )
        if self.omp_nthreads > self.nprocs:
            raise ConfigError(
                f"--omp-nthreads {self.omp_nthreads} is more than --nprocs {self.nprocs}: "
                "lower the first or raise the second"
            )

    def _check_names(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise ConfigError(f"--device {self.device!r}: expected auto, cpu, cuda, cuda:N or mps")
        if not self.modalities:
            raise ConfigError("--modalities is empty: expected at least one suffix, e.g. T1w")
        for suffix in self.modalities:
            if not _MODALITY.fullmatch(suffix):
                raise ConfigError(f"--modalities {suffix!r}: expected a BIDS suffix such as T2w")
        labels = {"--participant-label": self.participant_label}
        labels["--session-label"] = self.session_label
        for spelled, values in labels.items():
            for label in values:
                if not re.fullmatch(r"[A-Za-z0-9+]+", label):
                    raise ConfigError(
                        f"{spelled} {label!r}: a BIDS label has letters and digits only"
                    )
        for name in self.derivatives:
            if name == "raw" or not _DATASET.fullmatch(name):
                raise ConfigError(
                    f"--derivatives {name!r}: expected a name of letters, digits, dots, hyphens "
                    "and underscores, which stands in sidecars as bids:NAME:; raw is the input"
                )
        for kind, entities in self.bids_filters.items():
            if not isinstance(entities, dict):
                raise ConfigError(
                    f"the BIDS filter of {kind!r} is {entities!r}: expected a table of "
                    'entities and values, e.g. {"session": "01"}'
                )

    def _check_folders(self) -> None:
        bids, output, work = self.bids_dir, self.output_dir, self.work_dir
        if output == bids:
            raise ConfigError(
                f"the output folder is the input dataset {bids}: choose another, "
                f"for example {bids / 'derivatives' / 'bids_sr'}"
            )
        if output.is_relative_to(bids):
            inside = output.relative_to(bids).parts
            if inside[0] != "derivatives" or len(inside) < 2:
                raise ConfigError(
                    f"the output folder {output} is inside the input dataset: only a folder "
                    f"below {bids / 'derivatives'} is allowed there"
                )
        if work.is_relative_to(bids):
            raise ConfigError(
                f"the work folder {work} is inside the input dataset {bids}: "
                "give a folder elsewhere with --work-dir"
            )
        view = self.raw_like_dir
        for name, folder in {"input": bids, "output": output, "work": work}.items():
            if view and (view.is_relative_to(folder) or folder.is_relative_to(view)):
                raise ConfigError(
                    f"--raw-like-dir {view} and the {name} folder {folder} are the same or lie in "
                    "one another: give a folder of its own, for example next to the output folder"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain, TOML-able values; options that are None are left out."""
        return {name: value for name, value in plain(self).items() if value is not None}

    def to_toml(self, path: Path) -> Path:
        """Write the configuration so that ``--config-file`` repeats the run.

        The file appears whole or not at all.
        """
        import tomli_w

        text = tomli_w.dumps(self.to_dict())
        # half a letter of a path
        return files.write_bytes_atomic(path, text.encode(errors="replace"))


def read_toml(path: Path) -> dict[str, Any]:
    """Read the options of a TOML file, keys in any of the spellings a-b and a_b.

    Raises
    ------
    ConfigError
        The file cannot be read, is not TOML, or names an option that does not exist.
    """
    table = files.read_toml(Path(path), what="the configuration", error=ConfigError)
    names, values = field_types(RunConfig), dict[str, Any]()
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in names:
            hint = did_you_mean(name, names) or "; see bids_sr --help-all for the options"
            raise ConfigError(f"unknown option {key!r} in {path}{hint}")
        values[name] = value
    return values


def option(name: str) -> str:
    """Return how the field ``name`` is spelled on the command line."""
    return {"mem_gb": "--mem", "bids_filters": "--bids-filter-file"}.get(
        name, "--" + name.replace("_", "-")
    )


def _with_absolute_path(tool: str) -> str:
    """Return ``NAME=PATH`` with the path absolute, since nodes run in folders of their own."""
    name, equals, path = tool.partition("=")
    return f"{name}={os.path.abspath(path)}" if equals and path else tool


def _at_least(config: RunConfig, least: float, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise ConfigError(f"{option(name)} is {value}: expected at least {least:g}")


def _above_zero(config: RunConfig, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise ConfigError(f"{option(name)} is {value}: expected a number above 0")
