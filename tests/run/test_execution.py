from __future__ import annotations

from pathlib import Path

import pytest
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from bids_sr.exceptions import ConfigError
from bids_sr.run import execution
from bids_sr.run.graph import named_nodes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plugin: Nope\n", "names the plugin 'Nope'"),
        ("- a\n", "it holds a list"),
        ("a: 1\n", "names the plugin None"),
        ("plugin: [", "--use-plugin cannot be read"),
    ],
)
def test_a_bad_plugin_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plugin.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        execution.read_plugin(path)


def test_a_plugin_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "plugin.yml"
    path.write_text("plugin: SLURM\nplugin_args:\n  sbatch_args: --time=60\n")
    assert execution.read_plugin(path) == ("SLURM", {"sbatch_args": "--time=60"})


def test_nodes_of_all_graphs_are_found_with_their_full_names() -> None:
    workflow = pe.Workflow(name="all_wf")
    for label in ("01", "02"):
        subject, image = pe.Workflow(name=f"sub_{label}_wf"), pe.Workflow(name="image_wf")
        image.add_nodes([pe.Node(IdentityInterface(["a"]), name=name) for name in ("x", "y")])
        subject.add_nodes([image, pe.Node(IdentityInterface(["a"]), name="x")])
        workflow.add_nodes([subject])
    nodes = dict(named_nodes(workflow))
    assert sorted(nodes) == sorted(f"all_wf.{name}" for name in workflow.list_node_names())
    assert len(nodes) == 6
    for name, node in nodes.items():
        assert node is workflow.get_node(name.removeprefix("all_wf."))


def test_nodes_are_sorted_by_the_group_of_stacks_they_belong_to() -> None:
    groups = {"a_wf": "sub-01_desc-fused_T2w", "b_wf": "sub-02_desc-fused_T2w"}
    names = ["w.sub_01_wf.a_wf.fuse", "w.sub_01_wf.a_wf.segmentation_wf.x", "w.sub_01_wf.t1w_wf.x"]
    assert execution.nodes_of_groups(names, groups) == {"sub-01_desc-fused_T2w": set(names[:2])}
