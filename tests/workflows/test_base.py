"""Graphs are built over the combinations of options, and every input is connected."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from nipype.interfaces.base import isdefined
from nipype.pipeline.engine.utils import generate_expanded_graph

from bids_sr.bids.image import AnatImage
from bids_sr.config import RunConfig
from bids_sr.exceptions import ConfigError, WeightsError
from bids_sr.interfaces.preprocessing import CorrectSliceGain, Unchanged
from bids_sr.interfaces.super_resolution import EstimateProfile
from bids_sr.workflows.base import (
    image_of_node,
    images_by_graph,
    init_bids_sr_wf,
    makes_product,
    methods_text,
)

MakeImage = Callable[..., AnatImage]


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., RunConfig]:
    def make(**changes: Any) -> RunConfig:
        (tmp_path / "bids").mkdir(exist_ok=True)
        folders = {name: tmp_path / name for name in ("bids", "out", "work")}
        return RunConfig(
            bids_dir=folders["bids"],
            output_dir=folders["out"],
            work_dir=folders["work"],
            **changes,
        )

    return make


def _graph(workflow: Any) -> dict[str, Any]:
    graph = workflow._create_flat_graph()
    connected = {
        (node.fullname, target)
        for _, node, data in graph.edges(data=True)
        for _, target in data["connect"]
    }
    for node in graph.nodes:
        for name, trait in node.inputs.items():
            if node.inputs.traits()[name].mandatory:
                assert isdefined(trait) or (node.fullname, name) in connected, (node, name)
    return {node.name: node for node in graph.nodes}


@pytest.mark.parametrize(
    ("denoise", "bias", "mask", "method", "level"),
    list(
        itertools.product(
            ["nlm", "none"],
            ["n4", "auto", "none"],
            ["template", "none"],
            ["self", "bspline", "none"],
            ["minimal", "full"],
        )
    ),
)
def test_every_combination_builds_with_all_inputs_connected(
    make_image: MakeImage,
    make_config: Callable[..., RunConfig],
    denoise: str,
    bias: str,
    mask: str,
    method: str,
    level: str,
) -> None:
    config = make_config(
        denoise_method=denoise,
        anat_biascorrect=bias,
        skull_strip_method=mask,
        sr_method=method,
        level=level,
    )
    nodes = _graph(init_bids_sr_wf(config, [make_image()]))
    assert isinstance(nodes["denoise"].interface, Unchanged) == (denoise == "none")
    assert isinstance(nodes["correct_bias"].interface, Unchanged) == (bias == "none")
    assert getattr(nodes["correct_bias"].inputs, "anat_biascorrect", "none") == bias
    assert nodes["extract_brain"].inputs.engine == mask
    assert nodes["super_resolve"].inputs.sr_method == method
    assert ("save_n4" in nodes) == (level == "full")
    assert "save_preproc" in nodes


def test_the_product_waits_for_no_figure_and_no_segmentation(
    make_image: MakeImage, make_config: Callable[..., RunConfig]
) -> None:
    config = make_config(segmentation=("atropos",), skull_strip_method="template")
    workflow = init_bids_sr_wf(config, [make_image()])
    graph = generate_expanded_graph(workflow._create_flat_graph())
    nodes = {node.name: node for node in graph.nodes}
    before = {*nx.ancestors(graph, nodes["save_sr"]), *nx.ancestors(graph, nodes["save_preproc"])}
    before |= {nodes["save_sr"], nodes["save_preproc"]}
    producers = {node for node in graph.nodes if makes_product(node.fullname)}
    assert {node.name for node in producers} == {node.name for node in before}


def test_an_image_that_is_passed_through_is_not_super_resolved(
    make_image: MakeImage, make_config: Callable[..., RunConfig]
) -> None:
    nodes = _graph(init_bids_sr_wf(make_config(), [make_image(action="pass-through")]))
    assert nodes["super_resolve"].inputs.sr_method == "none"
    assert nodes["super_resolve"].inputs.parameters == {}


def test_an_existing_mask_and_a_body_part_win_over_the_engine(
    make_image: MakeImage, make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    image = make_image()
    masked = make_image(existing_mask=image.path, mask_note="from freesurfer")
    engine = _graph(init_bids_sr_wf(make_config(), [masked]))["extract_brain"].inputs
    assert (engine.engine, engine.existing_mask) == ("existing", str(image.path))
    assert engine.engine_reason == "from freesurfer"
    knee = make_image(brain=False)
    engine = _graph(init_bids_sr_wf(make_config(), [knee]))["extract_brain"].inputs
    assert engine.engine == "none"
    assert "not a head" in engine.engine_reason


def test_the_mask_engine_gets_its_options(
    make_image: MakeImage, make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = make_config(
        skull_strip_method="template",
        skull_strip_anat="skip",
        hdbet_tta=True,
        allow_unverified_weights=True,
        device="cpu",
        weights_dir=tmp_path,
        nprocs=3,
        omp_nthreads=3,
    )
    engine = _graph(init_bids_sr_wf(config, [make_image()]))["extract_brain"].inputs
    assert engine.skull_strip_anat == "skip"
    assert (engine.hdbet_tta, engine.allow_unverified_weights) == (True, True)
    assert (engine.device, engine.num_threads) == ("cpu", 3)
    assert engine.weights_dir == str(tmp_path)


@pytest.mark.parametrize(
    ("image", "choice", "expected"),
    [
        ({}, "auto", "auto"),
        ({"metadata": {"SkullStripped": True}}, "auto", "skip"),
        ({"metadata": {"SkullStripped": True}}, "force", "force"),
        ({"metadata": {"SkullStripped": "true"}}, "auto", "skip"),
        ({"metadata": {"SkullStripped": "false"}}, "auto", "auto"),
        ({"brain": False}, "skip", "force"),
        ({"n_frames": 4}, "auto", "force"),
    ],
)
def test_what_is_known_of_the_skull_goes_before_a_look(
    make_image: MakeImage,
    make_config: Callable[..., RunConfig],
    image: dict[str, Any],
    choice: str,
    expected: str,
) -> None:
    config = make_config(skull_strip_anat=choice)
    nodes = _graph(init_bids_sr_wf(config, [make_image(**image)]))
    assert nodes["extract_brain"].inputs.skull_strip_anat == expected


def test_the_mask_changes_no_image(
    make_image: MakeImage, make_config: Callable[..., RunConfig]
) -> None:
    """What depends on the mask is the mask itself, its files, records and pictures."""
    flat = init_bids_sr_wf(make_config(), [make_image()])._create_flat_graph()
    graph = generate_expanded_graph(flat)  # without the nodes that only hand on
    (mask,) = (node for node in graph.nodes if node.name == "extract_brain")
    after = {node.name for node in nx.descendants(graph, mask)}
    assert {"mask_to_grid", "save_native_mask", "save_sr_mask", "draw_mask"} <= after
    assert not after & {"check_input", "denoise", "correct_bias", "super_resolve"}
    fields = {
        target.name: {source for source, _ in data["connect"]}
        for _, target, data in graph.edges(mask, data=True)
        if target.name in ("save_sr", "save_preproc")
    }
    assert fields["save_sr"] == {"skull_stripped"}  # the sidecar, not the image
    # whether it is handed on, and the sidecar
    assert fields.get("save_preproc", set()) <= {"skull_stripped", "out_mask", "record"}


def test_only_images_that_are_processed_get_a_graph_and_nodes_are_traced_back(
    make_image: MakeImage, make_config: Callable[..., RunConfig]
) -> None:
    images = [
        make_image("01"),
        make_image("01", "FLAIR"),
        make_image("02", action="skip"),
        make_image("03", action="fail"),
    ]
    graph = init_bids_sr_wf(make_config(), images)._create_flat_graph()
    known = images_by_graph(images)
    owners = {image_of_node(node.fullname, known) for node in graph.nodes}
    assert owners == set(images[:2])
    assert image_of_node("bids_sr_wf.sub_09_wf.check_input", known) is None


def test_a_node_is_of_the_image_that_is_processed_not_of_one_of_its_name(
    make_image: MakeImage,
) -> None:
    right = make_image()
    stranger = replace(right, action="skip", relpath=f"backup/{right.relpath}")
    for images in ([right, stranger], [stranger, right]):
        assert list(images_by_graph(images).values()) == [right]


def test_nothing_to_process_is_an_error(
    make_image: MakeImage, make_config: Callable[..., RunConfig]
) -> None:
    with pytest.raises(ConfigError, match=r"0 of 1 images.*\n?.*--dry-run"):
        init_bids_sr_wf(make_config(), [make_image(action="skip")])


def test_options_reach_the_method_and_memory_stays_within_the_run(
    make_image: MakeImage, make_config: Callable[..., RunConfig]
) -> None:
    config = make_config(
        sr_steps=7, sr_time_budget=9.0, random_seed=5, nprocs=2, omp_nthreads=2, mem_gb=0.9
    )
    graph = _graph(init_bids_sr_wf(config, [make_image()]))
    node = graph["super_resolve"]
    assert node.inputs.parameters == {
        "seed": 5,
        "device": "auto",
        "steps": 7,
        "time_budget": 9.0,
    }
    assert (node.n_procs, node.inputs.num_threads) == (2, 2)
    assert all(node.mem_gb <= 0.9 for node in graph.values())
    assert graph["save_sr"].inputs.metadata["SuperResolution"]["Software"]["antspyx"]


def test_methods_text_tells_what_the_graph_does_once(
    make_image: MakeImage, make_config: Callable[..., RunConfig]
) -> None:
    images = [make_image("01"), make_image("02")]
    text = methods_text(init_bids_sr_wf(make_config(skull_strip_method="template"), images))
    assert text.count("N4BiasFieldCorrection") == 1
    assert text.count("@wang2024") == 1
    text = methods_text(init_bids_sr_wf(make_config(anat_biascorrect="none"), images))
    assert "N4BiasFieldCorrection" not in text
    text = methods_text(init_bids_sr_wf(make_config(sr_adapt="none"), images))
    assert "trained on other images" in text
    assert "fine-tuned" not in text
    assert "@zhao2021" in methods_text(init_bids_sr_wf(make_config(sr_method="self"), images))


def test_what_learns_from_the_dataset_comes_before_its_images(
    make_image: MakeImage, make_config: Callable[..., RunConfig]
) -> None:
    images = [make_image("01"), make_image("02"), make_image("02", "FLAIR")]
    images.append(make_image("03", action="pass-through"))
    workflow = init_bids_sr_wf(make_config(sr_method="latent"), images)
    graph = workflow._create_flat_graph()
    learners = {node.fullname.split(".")[1]: node for node in graph.nodes if node.name == "learn"}
    assert set(learners) == {"dataset_T1w_wf", "dataset_FLAIR_wf"}
    learner = learners["dataset_T1w_wf"].inputs
    assert learner.in_files == [str(image.path) for image in images[:2]]
    assert [acquisition.thickness for acquisition in learner.acquisitions] == [5.0, 5.0]
    assert learner.recipe == "autoencoder"
    fed = {
        target.fullname.split(".")[2]
        for source, target, data in graph.edges(data=True)
        for _, field in data["connect"]
        if field == "in_model" and source.name != "inputnode"
    } | {
        target.fullname.split(".")[2]
        for source, target in graph.edges()
        if source.fullname.endswith("_wf.outputnode") and "dataset_" in source.fullname
    }
    assert fed == {"sub_01_T1w_wf", "sub_02_T1w_wf", "sub_02_FLAIR_wf"}
    text = methods_text(workflow)
    assert "(n = 2)" in text
    assert "@sander2020" in text


def test_a_model_at_hand_needs_no_dataset_and_is_part_of_the_node(
    make_image: MakeImage, make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    from bids_sr.sr.contract.weights import Weights
    from bids_sr.sr.inference.latent_space import LatentSpace
    from bids_sr.sr.networks.autoencoder import Autoencoder

    hashes = []
    for value in (0.0, 1.0):
        network = Autoencoder(width=2, depth=1, latent_channels=2)
        for part in network.parameters():
            part.data.fill_(value)
        card = LatentSpace(network=network, in_plane_spacing=None).card()
        path = tmp_path / f"{value}" / "model.safetensors"
        Weights(network.state_dict(), card).save(path)
        config = make_config(sr_method="latent", sr_model=str(path), save_model=True)
        nodes = _graph(init_bids_sr_wf(config, [make_image()]))
        assert "learn" not in nodes
        node = nodes["super_resolve"]
        assert node.inputs.weights_files == [str(path)]
        assert node.inputs.save_model
        assert node.inputs.output_grid == "slice"
        hashes.append(node.inputs.get_hashval(hash_method="content")[1])
    assert hashes[0] != hashes[1]
    # Where weights may come from is no part of the result.
    config = make_config(
        sr_method="latent", sr_model=str(path), save_model=True, offline=True, weights_dir=tmp_path
    )
    node = _graph(init_bids_sr_wf(config, [make_image()]))["super_resolve"]
    assert node.inputs.places == {"offline": True, "weights_dir": str(tmp_path)}
    assert node.inputs.get_hashval(hash_method="content")[1] == hashes[1]


def test_missing_weights_stop_the_run_before_it_begins(
    make_image: MakeImage, make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = make_config(sr_method="pretrained", weights_dir=tmp_path, offline=True)
    with pytest.raises(WeightsError, match=r"EDSR_finetuned\.pth.*--weights-dir"):
        init_bids_sr_wf(config, [make_image()])


def test_a_series_is_neither_denoised_nor_masked(
    make_image: MakeImage, make_config: Callable[..., RunConfig]
) -> None:
    nodes = _graph(init_bids_sr_wf(make_config(sr_method="linear"), [make_image(n_frames=3)]))
    assert isinstance(nodes["denoise"].interface, Unchanged)
    assert isinstance(nodes["correct_bias"].interface, Unchanged)
    assert nodes["extract_brain"].inputs.engine == "none"


def test_the_profile_is_estimated_before_it_is_used(
    make_image: MakeImage, make_config: Callable[..., RunConfig]
) -> None:
    config = make_config(sr_method="linear", slice_profile="auto")
    image = make_image()
    workflow = init_bids_sr_wf(config, [image])
    nodes = _graph(workflow)
    assert image.facts is not None
    assert isinstance(nodes["estimate_profile"].interface, EstimateProfile)
    assert nodes["estimate_profile"].inputs.acquisition == image.facts.acquisition
    assert "@han2023" in methods_text(workflow)
    passed = _graph(init_bids_sr_wf(config, [make_image(action="pass-through")]))
    assert not isinstance(passed["estimate_profile"].interface, EstimateProfile)


def test_building_a_graph_imports_no_heavy_package() -> None:
    code = (
        "import sys, bids_sr.workflows.base;"
        "sys.exit(str([m for m in ('torch', 'ants', 'nnunetv2') if m in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_slices_of_thick_images_are_compared_if_wanted(
    make_image: MakeImage, make_config: Callable[..., RunConfig], choice: str
) -> None:
    thick, thin = make_image("01"), make_image("02", action="pass-through")
    config = make_config(slice_gain=choice)
    for image, wanted in ((thick, choice == "auto"), (thin, False)):
        workflow = init_bids_sr_wf(config, [image])
        graph = generate_expanded_graph(workflow._create_flat_graph())
        nodes = {node.name: node for node in graph.nodes}
        chosen = nodes["correct_slice_gain"]
        assert isinstance(chosen.interface, CorrectSliceGain) == wanted
        assert ("whose brightness differs" in methods_text(workflow)) == wanted
        assert chosen in nx.ancestors(graph, nodes["super_resolve"])
        assert chosen in nx.ancestors(graph, nodes["extract_brain"])
