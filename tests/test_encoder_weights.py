"""Weights of pre-trained encoders: files of others, the cache, the hub (replaced here), and what is refused."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from osteon.core.errors import FileError, ModelError, OsteonError, UsageError
from osteon.core.torchvision_ops import patch_torchvision_ops
from osteon.networks import hub
from osteon.networks.encoder_sources import Source, published, source_of
from osteon.networks.encoder_weights import encoder_state
from osteon.networks.weight_cache import LOCK, Fetched, cached_path, check, fetch, verify
from runs import command

patch_torchvision_ops()
Tensors = dict[str, torch.Tensor]


def torchvision_state(name: str = "resnet18", seed: int = 0) -> Tensors:
    """A classification network of torchvision with random weights: the format of ImageNet files."""
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return dict(torchvision.models.get_model(name, weights=None, num_classes=7).state_dict())


def timm_state(name: str, seed: int = 0) -> Tensors:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return dict(timm.create_model(name, num_classes=3).state_dict())


@pytest.fixture(scope="module")
def resnet18() -> Tensors:
    return torchvision_state()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OSTEON_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path / "weights"


def same(state: Tensors, file: Tensors, prefix: str = "") -> bool:
    """Whether each tensor of an encoder is the file's of that name, and the encoder has all of them."""
    return all(torch.equal(tensor, file[name.removeprefix(prefix)]) for name, tensor in state.items())


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_classification_file_of_torchvision_reaches_the_encoder(
    tmp_path: Path, resnet18: Tensors, suffix: str
) -> None:
    path = tmp_path / f"resnet18{suffix}"
    save_file(resnet18, path) if suffix == ".safetensors" else torch.save(resnet18, path)
    state = encoder_state("resnet18", str(path))
    assert len(state) == 120  # 20 convolutions and 20 norms of 5 tensors each
    assert not any(name.startswith("fc.") for name in state)
    assert same(state, resnet18)


@pytest.mark.parametrize(
    ("prefix", "wrapper"), [("module.", "state_dict"), ("model.encoder.", "model"), ("module.backbone.", "")]
)
def test_wrapped_and_prefixed_files_are_understood(
    tmp_path: Path, resnet18: Tensors, prefix: str, wrapper: str
) -> None:
    renamed: Any = {prefix + name: tensor for name, tensor in resnet18.items()}
    torch.save({wrapper: renamed, "epoch": 3} if wrapper else renamed, tmp_path / "a.pth")
    assert same(encoder_state("resnet18", str(tmp_path / "a.pth")), resnet18)


def test_a_whole_segmentation_network_gives_its_encoder_alone(tmp_path: Path, resnet18: Tensors) -> None:
    whole = {f"encoder.{name}": tensor for name, tensor in resnet18.items() if not name.startswith("fc.")}
    whole |= {"decoder.blocks.0.conv1.0.weight": torch.zeros(2, 2), "segmentation_head.0.bias": torch.zeros(2)}
    save_file(whole, tmp_path / "unet.safetensors")
    assert same(encoder_state("resnet18", str(tmp_path / "unet.safetensors")), resnet18)


def test_files_without_counters_of_batches_and_in_half_precision_serve(tmp_path: Path, resnet18: Tensors) -> None:
    older = {name: tensor.half() for name, tensor in resnet18.items() if not name.endswith("num_batches_tracked")}
    save_file(older, tmp_path / "a.safetensors")
    state = encoder_state("resnet18", str(tmp_path / "a.safetensors"))
    assert state["conv1.weight"].dtype == torch.float32
    assert torch.allclose(state["conv1.weight"], resnet18["conv1.weight"], atol=1e-3)
    assert state["bn1.num_batches_tracked"] == 0


@pytest.mark.parametrize(("encoder", "name"), [("tu-resnet18", "resnet18"), ("tu-gernet_s", "gernet_s")])
def test_files_of_timm_reach_its_encoders(tmp_path: Path, encoder: str, name: str) -> None:
    file = timm_state(name)
    torch.save(file, tmp_path / "timm.pth")
    state = encoder_state(encoder, str(tmp_path / "timm.pth"))
    assert all(key.startswith("model.") for key in state)
    plain = {key.removeprefix("model.").replace("stages_", "stages."): tensor for key, tensor in state.items()}
    assert same(plain, file)


def test_an_encoder_that_smp_has_left_to_timm_keeps_its_old_name(tmp_path: Path) -> None:
    save_file(timm_state("gernet_s"), tmp_path / "a.safetensors")
    state = encoder_state("timm-gernet_s", str(tmp_path / "a.safetensors"))
    assert any("stages_0" in name for name in state)
    assert source_of("timm-gernet_l").encoder == "tu-gernet_l"


@pytest.mark.parametrize(("encoder", "file", "said"), [
    ("resnet18", "resnet34", "belong to another network (layer1.2."),  # every tensor of a resnet18 is there
    ("resnet34", "resnet18", "missing or have another shape (layer1.2."),
    ("tu-resnet18", "resnet34", "belong to another network"),
    ("mobilenet_v2", "resnet18", "of its 312 tensors are missing"),
])  # fmt: skip
def test_another_architecture_is_refused(tmp_path: Path, encoder: str, file: str, said: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file(torchvision_state(file), path)
    with pytest.raises(ModelError) as error:
        encoder_state(encoder, str(path))
    assert said in error.value.message
    assert str(path) in error.value.message
    assert "--init" in error.value.hint


def test_another_shape_is_shown_beside_the_one_that_is_needed(tmp_path: Path, resnet18: Tensors) -> None:
    grey = {**resnet18, "conv1.weight": resnet18["conv1.weight"].sum(1, keepdim=True)}
    save_file(grey, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"1 of its 120 tensors .*conv1\.weight 64×3×7×7, there 64×1×7×7") as error:
        encoder_state("resnet18", str(tmp_path / "a.safetensors"))
    assert error.value.hint


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


def test_damaged_missing_and_dangerous_files_are_errors(
    tmp_path: Path, resnet18: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(resnet18, "whole.safetensors")
    torch.save(resnet18, "whole.pth")
    for name in ("whole.safetensors", "whole.pth"):
        data = Path(name).read_bytes()
        for number, cut in enumerate((data[: len(data) // 2], b"", data[:7], b"\x00" * 100)):
            path = Path(f"{number}-{name}")
            path.write_bytes(cut)
            with pytest.raises(FileError, match=name):
                encoder_state("resnet18", str(path))
    torch.save({"state_dict": resnet18, "evil": _Evil()}, "evil.pth")
    with pytest.raises(FileError, match="could run code"):
        encoder_state("resnet18", "evil.pth")
    assert not Path("ran").exists()
    with pytest.raises(FileError, match="does not exist"):
        encoder_state("resnet18", "nowhere/resnet18.pth")
    torch.save([1, 2], "list.pth")
    with pytest.raises(FileError, match="holds no named tensors"):
        encoder_state("resnet18", "list.pth")
    Path("notes.txt").write_text("x")
    with pytest.raises(UsageError, match="not a file of weights"):
        encoder_state("resnet18", "notes.txt")
    save_file({**resnet18, "bn1.weight": torch.full((64,), torch.nan)}, "nan.safetensors")
    with pytest.raises(ModelError, match=r"bn1\.weight holds NaN"):
        encoder_state("resnet18", "nan.safetensors")


def test_unknown_encoders_and_weights_are_named_with_what_is_near() -> None:
    with pytest.raises(UsageError) as error:
        encoder_state("resnet43", "imagenet")
    assert "resnet34" in error.value.hint
    with pytest.raises(UsageError) as error:
        encoder_state("tu-resnet50dd", "imagenet")
    assert "tu-resnet50d" in error.value.hint
    with pytest.raises(UsageError) as error:
        encoder_state("resnext101_32x4d", "imagenet")
    assert "ssl, swsl" in error.value.hint


def test_sources_are_those_of_the_installed_libraries() -> None:
    from segmentation_models_pytorch.encoders import encoders

    by_name = {(source.encoder, source.weights): source for source in published()}
    for name, row in encoders.items():
        for weights, settings in row["pretrained_settings"].items():
            source = by_name[name, weights]
            assert (source.repository, source.revision) == (settings["repo_id"], settings["revision"])
    assert not by_name["mit_b0", "imagenet"].commercial
    assert by_name["tu-gernet_l", "imagenet"].repository.startswith("timm/gernet_l.")
    assert by_name["tu-gernet_l", "imagenet"].licence == "apache-2.0"
    assert by_name["resnet34", "imagenet"].licence == "unknown"


class Hub:
    """Stands for the hub: hands out a file and counts."""

    def __init__(self, tensors: Tensors, commit: str = "c" * 40) -> None:
        self.tensors, self.commit = tensors, commit
        self.asked: list[str | None] = []
        self.lies = False

    def __call__(self, source: Source, revision: str | None, folder: Path) -> Fetched:
        self.asked.append(revision)
        folder.mkdir(parents=True)
        path = folder / source.file
        save_file(self.tensors, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Fetched(path, revision or self.commit, "0" * 64 if self.lies else digest)


@pytest.fixture
def replaced(resnet18: Tensors, monkeypatch: pytest.MonkeyPatch) -> Hub:
    stand_in = Hub(resnet18)
    monkeypatch.setattr(hub, "download", stand_in)
    return stand_in


def test_imagenet_is_fetched_once_at_the_pinned_commit_and_verified_ever_after(
    cache: Path, resnet18: Tensors, replaced: Hub
) -> None:
    assert same(encoder_state("resnet18", "imagenet"), resnet18)
    assert same(encoder_state("resnet18", "imagenet"), resnet18)
    assert replaced.asked == ["3f2325ff978283d47aa6a1d6878ca20565622683"]
    path = cache / "resnet18.imagenet.safetensors"
    entry = yaml.safe_load((cache / LOCK).read_text())["resnet18.imagenet.safetensors"]
    assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sorted(p.name for p in cache.iterdir()) == [LOCK, path.name]  # nothing is left of the fetching
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="is not the file that was fetched"):
        encoder_state("resnet18", "imagenet")
    path.unlink()
    replaced.tensors = {**resnet18, "bn1.bias": torch.ones(64)}
    with pytest.raises(ModelError, match=f"not what {LOCK} has"):
        encoder_state("resnet18", "imagenet")
    assert not path.exists()


def test_timm_names_no_commit_so_the_first_fetch_decides_it(replaced: Hub) -> None:
    replaced.tensors = timm_state("resnet18")
    state = encoder_state("tu-resnet18", "imagenet")
    assert torch.equal(state["model.conv1.weight"], replaced.tensors["conv1.weight"])
    cached_path(source_of("tu-resnet18")).unlink()
    encoder_state("tu-resnet18", "imagenet")
    assert replaced.asked == [None, "c" * 40]


def test_what_the_hub_or_the_manifest_contradicts_is_thrown_away(replaced: Hub, cache: Path) -> None:
    replaced.lies = True
    with pytest.raises(ModelError, match="not what the hub has"):
        fetch(source_of("resnet18"))
    replaced.lies = False
    source = source_of("resnet18")
    known = Source(source.encoder, source.weights, source.repository, source.revision, sha256="1" * 64)
    with pytest.raises(ModelError, match="not what the manifest has"):
        fetch(known)
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("replaced")
def test_a_file_from_another_commit_is_not_used(cache: Path) -> None:
    fetch(source_of("resnet18"))
    lock = yaml.safe_load((cache / LOCK).read_text())
    lock["resnet18.imagenet.safetensors"]["revision"] = "d" * 40
    (cache / LOCK).write_text(yaml.safe_dump(lock))
    with pytest.raises(ModelError, match="came from commit dddddddd"):
        check(source_of("resnet18"))


def test_off_line_it_is_said_at_once_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    import huggingface_hub

    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", offline)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("tried to download"))
    source_of("resnet18")
    began = time.perf_counter()
    with pytest.raises(ModelError) as error:
        encoder_state("resnet18", "imagenet")
    assert time.perf_counter() - began < 2
    assert "resnet18" in error.value.message
    assert "osteon weights fetch resnet18" in error.value.hint
    assert "path of a file" in error.value.hint


def test_a_folder_copied_from_another_machine_serves(cache: Path, resnet18: Tensors) -> None:
    cache.mkdir()
    save_file(resnet18, cache / "resnet18.imagenet.safetensors")
    assert same(encoder_state("resnet18", "imagenet"), resnet18)
    assert verify() == {"resnet18.imagenet.safetensors": None}  # pinned by its first use


def test_the_commands(replaced: Hub, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("weights", "verify") == 0
    assert command("weights", "fetch", "resnet18") == 0
    assert command("weights", "fetch", "resnet18") == 0
    assert "is here already" in capsys.readouterr().out
    assert len(replaced.asked) == 1
    assert command("weights", "list", "resnet18", "--here") == 0
    assert "smp-hub/resnet18.imagenet" in capsys.readouterr().out
    assert command("weights", "list", "mit_b0") == 0
    assert "not for a product" in capsys.readouterr().err
    assert command("weights", "verify") == 0
    path = cache / "resnet18.imagenet.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert command("weights", "verify") == 1
    assert "is not the file that was fetched" in capsys.readouterr().err
    path.unlink()
    assert command("weights", "verify") == 1
    assert command("weights", "fetch", "resnet180") == 2


def test_files_that_nobody_has_recorded_fail_to_verify(cache: Path) -> None:
    cache.mkdir()
    (cache / "resnet18.imagenet.safetensors").write_bytes(b"x")
    error = verify()["resnet18.imagenet.safetensors"]
    assert isinstance(error, OsteonError)
    assert "nobody has recorded" in error.message
