"""Weights of pre-trained encoders: files of others, the cache, the hub (a server of this machine), what is refused."""

from __future__ import annotations

import hashlib
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import save, save_file

from helpers import use_hub
from osteon.core.errors import FileError, ModelError, OsteonError, UsageError
from osteon.core.torchvision_ops import patch_torchvision_ops
from osteon.networks.encoder_sources import published, source_of
from osteon.networks.encoder_weights import encoder_state
from osteon.networks.weight_cache import LOCK, cached_path, check, fetch, verify
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
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    look_up = socket.getaddrinfo

    def refuse(host: Any, *others: Any, **named: Any) -> Any:
        assert host == "127.0.0.1", "the network was asked"
        return look_up(host, *others, **named)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
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


@pytest.mark.parametrize(("encoder", "file", "message"), [
    ("resnet18", "resnet34", "belong to another network (layer1.2."),  # every tensor of a resnet18 is there
    ("resnet34", "resnet18", "missing or have another shape (layer1.2."),
    ("tu-resnet18", "resnet34", "belong to another network"),
    ("mobilenet_v2", "resnet18", "of its 312 tensors are missing"),
])  # fmt: skip
def test_another_architecture_is_refused(tmp_path: Path, encoder: str, file: str, message: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file(torchvision_state(file), path)
    with pytest.raises(ModelError) as error:
        encoder_state(encoder, str(path))
    assert message in error.value.message
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
    """A hub that has one file under every name, and counts the downloads."""

    def __init__(self, tensors: Tensors, commit: str = "c" * 40) -> None:
        self.tensors, self.commit = tensors, commit
        self.asked: list[str] = []
        self.lies = False

    def serve(self) -> ThreadingHTTPServer:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                content = save(hub.tensors)
                digest = "0" * 64 if hub.lies else hashlib.sha256(content).hexdigest()
                revision = self.path.split("/resolve/")[1].split("/")[0]
                self.send_response(200)
                self.send_header("X-Repo-Commit", hub.commit if revision == "main" else revision)
                self.send_header("ETag", f'"{digest}"')
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command == "GET":
                    hub.asked.append(revision)
                    self.wfile.write(content)

            do_GET = do_HEAD  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def hub(resnet18: Tensors, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub(resnet18)
    with made.serve() as server:
        use_hub(f"http://127.0.0.1:{server.server_port}", monkeypatch)
        Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


def kept(encoder: str) -> Path:
    path = cached_path(source_of(encoder))
    assert path is not None
    return path


def test_imagenet_is_fetched_once_at_the_pinned_commit_and_verified_ever_after(
    cache: Path, resnet18: Tensors, hub: Hub
) -> None:
    assert same(encoder_state("resnet18", "imagenet"), resnet18)
    assert same(encoder_state("resnet18", "imagenet"), resnet18)
    assert hub.asked == ["3f2325ff978283d47aa6a1d6878ca20565622683"]
    path = kept("resnet18")
    assert path.is_relative_to(cache / "models--smp-hub--resnet18.imagenet")  # as huggingface_hub keeps files
    entry = yaml.safe_load((cache / LOCK).read_text())["resnet18.imagenet.safetensors"]
    assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="is not the file that was fetched"):
        encoder_state("resnet18", "imagenet")
    path.unlink()
    assert same(encoder_state("resnet18", "imagenet"), resnet18)
    kept("resnet18").unlink()
    hub.tensors = {**resnet18, "bn1.bias": torch.ones(64)}
    with pytest.raises(ModelError, match=f"not what {LOCK} has"):
        encoder_state("resnet18", "imagenet")
    assert cached_path(source_of("resnet18")) is None


def test_weights_that_an_earlier_version_has_fetched_are_found(cache: Path, resnet18: Tensors, hub: Hub) -> None:
    path = cache / "resnet18.imagenet.safetensors"
    cache.mkdir()
    save_file(resnet18, path)
    entry = {"repository": "smp-hub/resnet18.imagenet", "revision": source_of("resnet18").revision}
    entry |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size, "licence": "?"}
    (cache / LOCK).write_text(yaml.safe_dump({path.name: entry}))
    assert kept("resnet18") == path
    assert same(encoder_state("resnet18", "imagenet"), resnet18)
    assert verify() == {path.name: None}
    assert not hub.asked
    assert command("weights", "fetch", "resnet18", "--again") == 0
    assert not path.exists()  # one copy is enough
    assert verify() == {path.name: None}


def test_what_other_programs_have_fetched_is_used(tmp_path: Path, cache: Path, resnet18: Tensors, hub: Hub) -> None:
    fetch(source_of("resnet18"))
    shutil.move(cache, tmp_path / "hf")  # huggingface_hub's own cache
    (tmp_path / "hf" / LOCK).unlink()
    hub.asked.clear()
    assert same(encoder_state("resnet18", "imagenet"), resnet18)
    assert verify() == {"resnet18.imagenet.safetensors": None}
    assert not hub.asked
    assert command("weights", "fetch", "resnet18") == 0  # into the folder that people copy
    assert kept("resnet18").is_relative_to(cache)


def test_timm_names_no_commit_so_the_first_fetch_decides_it(hub: Hub) -> None:
    hub.tensors = timm_state("resnet18")
    state = encoder_state("tu-resnet18", "imagenet")
    assert torch.equal(state["model.conv1.weight"], hub.tensors["conv1.weight"])
    kept("tu-resnet18").unlink()
    hub.commit = "d" * 40
    encoder_state("tu-resnet18", "imagenet")
    assert hub.asked == ["c" * 40, "c" * 40]


def test_what_the_hub_or_the_manifest_contradicts_is_thrown_away(hub: Hub, cache: Path) -> None:
    hub.lies = True
    with pytest.raises(ModelError, match="not what the hub has"):
        fetch(source_of("resnet18"))
    hub.lies = False
    source = source_of("resnet18")
    known = replace(source, sha256="1" * 64)
    with pytest.raises(ModelError, match="not what the manifest has"):
        fetch(known)
    assert cached_path(source) is None
    assert not list(cache.rglob("*.safetensors"))


@pytest.mark.usefixtures("hub")
def test_a_file_from_another_commit_is_not_used(cache: Path) -> None:
    fetch(source_of("resnet18"))
    lock = yaml.safe_load((cache / LOCK).read_text())
    lock["resnet18.imagenet.safetensors"]["revision"] = "d" * 40
    (cache / LOCK).write_text(yaml.safe_dump(lock))
    with pytest.raises(ModelError, match="came from commit dddddddd"):
        check(source_of("resnet18"), kept("resnet18"))


def test_a_commit_that_the_library_names_anew_is_fetched(cache: Path, resnet18: Tensors, hub: Hub) -> None:
    old = source_of("resnet18")
    fetch(replace(old, revision="d" * 40))
    hub.tensors = {**resnet18, "bn1.bias": torch.ones(64)}
    assert same(encoder_state("resnet18", "imagenet"), hub.tensors)
    assert yaml.safe_load((cache / LOCK).read_text())[old.name]["revision"] == old.revision


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


def test_the_hub_is_not_asked_where_its_own_switch_says_so(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # as HF_HUB_OFFLINE=1 does
    with pytest.raises(ModelError, match=r"cannot be fetched from smp-hub/resnet18\.imagenet \(.*offline"):
        encoder_state("resnet18", "imagenet")
    assert not hub.asked


def test_a_folder_copied_from_another_machine_serves(cache: Path, resnet18: Tensors) -> None:
    cache.mkdir()
    save_file(resnet18, cache / "resnet18.imagenet.safetensors")
    assert same(encoder_state("resnet18", "imagenet"), resnet18)
    assert verify() == {"resnet18.imagenet.safetensors": None}  # pinned by its first use


def test_the_commands(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("weights", "verify") == 0
    assert command("weights", "fetch", "resnet18") == 0
    assert command("weights", "fetch", "resnet18") == 0
    assert "is here already" in capsys.readouterr().out
    assert len(hub.asked) == 1
    assert command("weights", "list", "resnet18", "--here") == 0
    assert "smp-hub/resnet18.imagenet" in capsys.readouterr().out
    assert command("weights", "list", "mit_b0") == 0
    assert "not for a product" in capsys.readouterr().err
    assert command("weights", "verify") == 0
    path = kept("resnet18")
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
