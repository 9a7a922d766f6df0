from __future__ import annotations

import builtins
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bids_sr.config import RunConfig
from bids_sr.exceptions import ConfigError, WeightsError
from bids_sr.run import graph
from bids_sr.run.exit_codes import ExitCode, ExitError


class Workflow:
    """As much of a Nipype workflow as the functions under test touch."""

    name = "bids_sr_wf"

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = str(base_dir)

    def list_node_names(self) -> list[str]:
        return ["sub_01_wf.sub_01_T1w_wf.a_wf.b", "sub_01_wf.sub_01_T1w_wf.c"]


def test_cleaning_spares_what_other_jobs_left(tmp_path: Path) -> None:
    root = tmp_path / "bids_sr_wf"
    for name in ("sub_01_wf/sub_01_T1w_wf", "sub_01_wf/sub_01_T2w_wf", "sub_02_wf/x_wf"):
        (root / name).mkdir(parents=True)
    graph.clean_work(graph.Graph(workflow=Workflow(tmp_path), methods=""))
    left = {path.relative_to(root).as_posix() for path in root.glob("*/*")}
    assert left == {"sub_01_wf/sub_01_T2w_wf", "sub_02_wf/x_wf"}


def fake_torch(devices: int) -> SimpleNamespace:
    cuda = SimpleNamespace(is_available=lambda: devices > 0, device_count=lambda: devices)
    mps = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False))
    return SimpleNamespace(cuda=cuda, backends=mps, __version__="2.0")


@pytest.fixture
def with_devices(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(devices: int) -> None:
        real = builtins.__import__

        def importer(name: str, *args: Any, **keywords: Any) -> Any:
            return fake_torch(devices) if name == "torch" else real(name, *args, **keywords)

        monkeypatch.setattr(builtins, "__import__", importer)
        monkeypatch.setattr(graph, "_has_nvidia_device", lambda: devices > 0)

    return install


@pytest.mark.parametrize(
    ("device", "devices", "visible", "names"),
    [
        ("cpu", 1, None, ()),
        ("auto", 0, None, ()),
        ("auto", 1, None, ("0",)),
        ("cuda", 2, None, ("0", "1")),
        ("cuda", 2, "3, GPU-5a", ("3", "GPU-5a")),  # those of a Slurm job
        ("cuda:1", 2, None, ("",)),
    ],
)
def test_which_gpus_are_used(
    with_devices: Any,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    devices: int,
    visible: str | None,
    names: tuple[str, ...],
) -> None:
    with_devices(devices)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert graph.gpus_for(device) == names


@pytest.mark.parametrize(("device", "devices"), [("cuda", 0), ("cuda:1", 1), ("mps", 1)])
def test_an_explicit_device_must_be_there(with_devices: Any, device: str, devices: int) -> None:
    with_devices(devices)
    with pytest.raises(ConfigError, match=f"--device {device}: .*--device cpu"):
        graph.gpus_for(device)


def make_config(tmp_path: Path) -> RunConfig:
    return RunConfig(bids_dir=tmp_path / "raw", output_dir=tmp_path / "out", work_dir=tmp_path)


def break_build(monkeypatch: pytest.MonkeyPatch, breaking: Any) -> None:
    monkeypatch.setattr(graph, "_build", breaking)


def refuse(config: RunConfig, images: Any) -> Any:
    raise ConfigError("no such thing")


def crash(config: RunConfig, images: Any) -> Any:
    raise KeyError("bug")


def die(config: RunConfig, images: Any) -> Any:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def test_errors_of_the_building_child_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_build(monkeypatch, refuse)
    with pytest.raises(ConfigError, match="no such thing"):
        graph.build(make_config(tmp_path), [])


@pytest.mark.parametrize(
    ("breaking", "message"), [(crash, r"KeyError: 'bug'.*please report"), (die, "was killed")]
)
def test_without_a_workflow_the_run_ends_with_its_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaking: Any, message: str
) -> None:
    break_build(monkeypatch, breaking)
    with pytest.raises(ExitError, match=message) as error:
        graph.build(make_config(tmp_path), [])
    assert error.value.code == ExitCode.NO_WORKFLOW


def images_named(*names: str) -> list[Any]:
    return [
        SimpleNamespace(relpath=name, stem=name, processed=name != "skipped") for name in names
    ]


def test_an_image_of_which_no_graph_can_be_built_is_found() -> None:
    def workflow_of(images: Any) -> str:
        if any(image.relpath == "bad" for image in images):
            raise RecursionError("too deep")
        return "workflow"

    images = images_named("a", "bad", "skipped", "b")
    refused = graph._refused(images, workflow_of, RecursionError("too deep"))
    assert refused == {"bad": "no steps could be planned for it: RecursionError: too deep"}


def test_what_fails_with_every_image_is_no_images_fault() -> None:
    def workflow_of(_: Any) -> None:
        raise WeightsError("not there")

    with pytest.raises(WeightsError):
        graph._refused(images_named("a", "b"), workflow_of, WeightsError("not there"))


def test_what_fails_with_no_image_alone_is_no_images_fault() -> None:
    with pytest.raises(KeyError):
        graph._refused(images_named("a", "b"), lambda _: None, KeyError("bug"))
