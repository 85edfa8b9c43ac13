"""Every row of the registry proves the same properties; and what cannot be built is refused with a way out."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from helpers import FLAT, plan_data, tiny_plan
from osteon.core.errors import ModelError, PlanError, UsageError
from osteon.networks import encoder_weights
from osteon.networks.encoder_registry import canonical_name, libraries
from osteon.networks.encoders import check_encoder, has_fixed_size, load_encoder_weights, weights_licence
from osteon.networks.pretrained import PooledNorm
from osteon.networks.registry import NETWORKS, build_network, check_network, find_network, output_channels
from osteon.networks.transfer import init_output_bias
from osteon.networks.weights import save_tensors
from osteon.plan.schema import Grid, Network, Plan, Pretrained
from osteon.planning.network_choice import choose_network
from osteon.planning.options import PlanOptions
from osteon.planning.recipes import RECIPES, SizeLimits
from osteon.predicting.tiles import predict_probabilities
from osteon.runs.fit import train
from osteon.training.module import TrainingModule
from osteon.training.sampling import Batch
from runs import CPU, cohort

TINY = "tu-mobilenetv3_small_050"
FEATURES = {"decoder_features": [8, 8, 8, 8, 8]}


def slices(name: str, encoder: str = TINY, **section: Any) -> dict[str, Any]:
    return {"name": name, "encoder": encoder, "weights": "none", **section}


def stages(name: str, dimensions: int) -> dict[str, Any]:
    flat = dimensions == 2
    step = [2, 2, 1 if flat else 2]
    kernel = [3, 3, 1 if flat else 3]
    return {"name": name, "features": [4, 6], "strides": [[1, 1, 1], step], "kernels": [kernel] * 2}


def nnunet(name: str, dimensions: int) -> dict[str, Any]:
    return {**stages(name, dimensions), "depths": [1, 2], "decoder_depths": [1]}


ROWS: dict[str, tuple[int, list[int], dict[str, Any]]] = {
    "unet": (3, [8, 8, 8], stages("unet", 3)),
    "unet flat": (2, [8, 8, 1], stages("unet", 2)),
    "resunet": (3, [8, 8, 8], stages("resunet", 3)),
    "resunet flat": (2, [8, 8, 1], stages("resunet", 2)),
    "unet pretrained": (2, [64, 32, 1], slices("unet", "resnet18", **FEATURES)),
    "unet inflated": (
        3,
        [64, 32, 8],
        slices("unet", "mobilenet_v2", thick_stages=2, downsampling=[32, 32, 8], **FEATURES),
    ),
    "unet efficientnet": (2, [64, 64, 1], slices("unet", "efficientnet-b0", **FEATURES)),
    "unet one size": (2, [64, 32, 1], slices("unet", "tu-swinv2_cr_tiny_ns_224", fixed_size=True, **FEATURES)),
    "unetplusplus": (2, [64, 32, 1], slices("unetplusplus", **FEATURES)),
    "manet": (2, [64, 32, 1], slices("manet", **FEATURES)),
    "upernet": (2, [64, 32, 1], slices("upernet", decoder_features=[8])),
    "segformer": (2, [64, 32, 1], slices("segformer", "mit_b0", decoder_features=[8])),
    "deeplabv3": (2, [64, 32, 1], slices("deeplabv3", decoder_features=[8])),
    "deeplabv3plus": (2, [64, 32, 1], slices("deeplabv3plus", decoder_features=[8])),
    "segresnet": (3, [16, 16, 16], {"name": "segresnet", "features": 8, "downsampling": [8, 8, 8]}),
    "segresnet flat": (2, [16, 16, 1], {"name": "segresnet", "features": 8, "downsampling": [8, 8, 1]}),
    "swinunetr": (3, [64, 32, 32], {"name": "swinunetr", "features": 12, "downsampling": [32, 32, 32]}),
    "swinunetr flat": (2, [64, 32, 1], {"name": "swinunetr", "features": 12, "downsampling": [32, 32, 1]}),
    "monai-bundle": (
        3,
        [8, 8, 8],
        {
            "target": "UNet",
            "arguments": {"spatial_dims": 3, "channels": [4, 8], "strides": [2]},
            "downsampling": [2, 2, 2],
        },
    ),
    "nnunet": (3, [8, 8, 8], nnunet("nnunet", 3)),
    "nnunet flat": (2, [8, 8, 1], nnunet("nnunet", 2)),
    "nnunet-residual": (3, [8, 8, 8], nnunet("nnunet-residual", 3)),
    "nnunet-residual flat": (2, [8, 8, 1], nnunet("nnunet-residual", 2)),
}
"""For each row of the registry and each of its dimensionalities a network as small as it can be."""
LONE = {"swinunetr"}
"""Rows that are given one image at a time: each takes seconds, and the norms are of one image alone."""


def plan_of(row: str, channels: str = "a", **changes: Any) -> Plan:
    dimensions, size, section = ROWS[row]
    flat = {"grid.dimensions": 2, "grid.resample_last": False} if dimensions == 2 else {}
    data = plan_data({**flat, "network": section, "patch.size": size, **changes})
    data["channels"] = [{"name": name, "modality": "mr"} for name in channels]
    data["intensities"] = [{"channel": name} for name in channels]
    return Plan.model_validate(data)


def count(row: str) -> int:
    return 1 if row in LONE else 2


@cache
def built(row: str) -> tuple[Plan, nn.Module]:
    plan = plan_of(row, "abcd")
    torch.manual_seed(0)
    return plan, build_network(plan)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_every_row_is_tested_in_each_of_its_dimensions() -> None:
    tested = {(type(plan_of(row).network), plan_of(row).network.name, ROWS[row][0]) for row in ROWS}
    assert tested == {(row.family, row.name, d) for row in NETWORKS for d in row.dimensions}
    for row in NETWORKS:
        assert find_network(row.name, row.family) is row


def test_a_network_that_does_not_exist_is_refused_when_it_is_built() -> None:
    plan = plan_of("unet")
    unknown = plan.model_copy(update={"network": plan.network.model_copy(update={"name": "unett"})})
    for call in (lambda: find_network("unett"), lambda: build_network(unknown)):
        with pytest.raises(PlanError, match="there is no network unett") as caught:
            call()
        assert "unet" in caught.value.hint
    with pytest.raises(PlanError, match="not the keys of segresnet"):
        find_network("segresnet", Pretrained)


@pytest.mark.parametrize("row", ROWS)
def test_shapes_gradients_and_the_same_after_reloading(row: str, tmp_path: Path) -> None:
    """With four channels; deep supervision gives several outputs in training, the finest first."""
    plan, network = built(row)
    image = noise(count(row), 4, *plan.patch.size)
    logits = network.train()(image)
    assert logits[0].shape == (count(row), output_channels(plan), *plan.patch.size)
    sum(part.square().mean() for part in logits).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
    network.eval()
    with torch.no_grad():
        (before,) = network(image)
        save_tensors(tmp_path / "weights.safetensors", network.state_dict())
        torch.manual_seed(1)
        other = build_network(plan)
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        torch.testing.assert_close(other.eval()(image)[0], before)


@pytest.mark.parametrize("row", ROWS)
def test_scans_of_any_size_are_padded_and_put_together(row: str) -> None:
    plan, network = built(row)
    i, j, k = plan.patch.size
    for shape in ((i + 5, j - 3, 2 if k == 1 else k + 1), (3, 5, 1)):
        made = predict_probabilities(network.eval(), noise(4, *shape), plan)
        assert made.shape == (output_channels(plan), *shape)
        torch.testing.assert_close(made.sum(0), torch.ones(shape))


@pytest.mark.parametrize("row", ROWS)
def test_two_steps_of_training_with_one_channel(row: str) -> None:
    plan = plan_of(row)
    module = TrainingModule(plan, 0, lambda: 0.0)
    first = {name: weight.detach().clone() for name, weight in module.network.named_parameters()}
    optimiser = module.configure_optimizers()
    for step in range(2):
        labels = torch.randint(0, 3, (count(row), *plan.patch.size), generator=torch.Generator().manual_seed(step))
        batch = Batch(step, noise(count(row), 1, *plan.patch.size), labels, torch.ones(count(row), 2, dtype=torch.bool))
        loss = module.training_step(batch, step)
        assert loss.isfinite()
        loss.backward()
        module.on_before_optimizer_step(optimiser)
        optimiser.step()
        optimiser.zero_grad()
        module.update_ema(batch)
    moved = [not torch.equal(weight, first[name]) for name, weight in module.network.named_parameters()]
    assert sum(moved) > 0.9 * len(moved)


def test_train_takes_a_pretrained_network_from_data_to_model(tmp_path: Path) -> None:
    data = cohort(tmp_path / "data")
    section = slices("unet", TINY, **FEATURES)
    plan = tiny_plan({**FLAT_GRID, "network": section, "patch.size": [64, 32, 1]})
    result = train(data, plan, tmp_path / "run", CPU)
    assert result is not None
    assert (tmp_path / "run/model/weights.safetensors").is_file()


FLAT_GRID = {key: FLAT[key] for key in ("grid.dimensions", "grid.resample_last")}


def test_an_encoder_of_one_size_gets_that_size_alone() -> None:
    plan, network = built("unet one size")
    seen = []
    hook = network.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[2:])))
    predict_probabilities(network.eval(), noise(4, 70, 33, 1), plan)  # less than 1.5 patches: else looked at as a whole
    hook.remove()
    assert set(seen) == {(64, 32, 1)}
    assert len(seen) > 1


# -- encoders --------------------------------------------------------------------------------------------------------

PUBLISHED = [
    ("unet", "resnet34"),
    ("unet", "resnet50"),
    ("unetplusplus", "resnet101"),
    ("unetplusplus", "efficientnet-b5"),
    ("unetplusplus", "timm-gernet_l"),
    ("manet", "tu-res2net50_26w_4s"),
    ("manet", "tu-resnest50d_4s2x40d"),
    ("upernet", "resnet101"),
    ("upernet", "tu-swinv2_tiny_window8_256"),
    ("deeplabv3", "tu-tf_efficientnet_b8"),
]


@pytest.mark.parametrize(("name", "encoder"), PUBLISHED)
def test_published_networks_can_be_built(name: str, encoder: str) -> None:
    check_network(Pretrained(name=name, encoder=encoder, fixed_size=has_fixed_size(encoder)), 2, (64, 64))


def test_norms_of_a_random_encoder_follow_the_data_within_thirty_steps() -> None:
    torch.manual_seed(0)
    network = build_network(plan_of("unet efficientnet"))
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().mean((0, 2, 3))))
    for _ in range(30):
        network.train()(noise(2, 1, 64, 64, 1) + 3)
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, seen[-1], rtol=0.05)


def test_norms_of_a_pretrained_encoder_keep_their_pace() -> None:
    section = slices("unet", "efficientnet-b0", **FEATURES) | {"weights": "imagenet"}
    network = build_network(plan_of("unet efficientnet", network=section))
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    assert norm.momentum == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("name", "encoder", "dimensions", "message", "hint"),
    [
        ("unet", "resnet35", 2, "no encoder resnet35", "resnet34"),
        ("unet", "swinv2_tiny_window8_256", 2, "no encoder", "tu-swinv2_tiny_window8_256"),
        ("unetplusplus", "mit_b0", 2, "unetplusplus cannot be built on the encoder mit_b0", "any but mit_b"),
        ("deeplabv3", "vgg11", 2, "deeplabv3 cannot be built on the encoder vgg11", "resnet"),
        ("unet", "xception", 3, "no 3D form", "efficientnet-b"),
        ("manet", "resnet18", 3, "manet has no 3D form", "unet"),
        ("unet", "tu-swinv2_tiny_window8_256", 2, "one size alone", "fixed_size: true"),
        ("unet", "tu-vit_tiny_patch16_224", 2, "one size alone", "fixed_size: true"),
    ],
)
def test_what_cannot_be_built_is_refused_with_a_way_out(
    name: str, encoder: str, dimensions: int, message: str, hint: str
) -> None:
    with pytest.raises(PlanError, match=message) as refused:
        check_network(Pretrained(name=name, encoder=encoder), dimensions, (64, 64))
    assert hint in refused.value.hint


def test_older_names_of_encoders_are_taken() -> None:
    assert canonical_name("timm-gernet_l") == "tu-gernet_l"
    assert canonical_name("timm-mobilenetv3_small_100") == "tu-tf_mobilenetv3_small_100"
    assert canonical_name("timm-efficientnet-b0") == "timm-efficientnet-b0"
    check_encoder("tu-resnet18.a1_in1k")


def test_licences_are_told_where_they_are_known() -> None:
    assert "non-commercial" in weights_licence("mit_b2")
    assert weights_licence("resnet34") == "BSD-3-Clause"
    assert weights_licence("timm-gernet_l") == "apache-2.0"
    assert weights_licence("xception") == "not stated"


@pytest.mark.parametrize("encoder", ["resnet18", TINY])
def test_the_first_layer_takes_any_number_of_channels(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    smp, _ = libraries()
    torch.manual_seed(5)
    state = smp.encoders.get_encoder(encoder, weights=None).state_dict()
    key, rgb = next((name, tensor) for name, tensor in state.items() if tensor.ndim == 4)
    asked = []

    def give(name: str, weights: str) -> dict[str, torch.Tensor]:
        asked.append((name, weights))
        return dict(state)

    monkeypatch.setattr(encoder_weights, "encoder_state", give)
    expected = {
        "a": rgb.sum(1, keepdim=True),
        "ab": rgb[:, :2] * 1.5,
        "abc": rgb,
        "abcd": rgb[:, [0, 1, 2, 0]] * 0.75,
    }
    for channels, weight in expected.items():
        data = plan_data({**FLAT_GRID, "network": slices("unet", encoder), "patch.size": [64, 64, 1]})
        data["network"]["weights"] = "imagenet"
        data["channels"] = [{"name": name, "modality": "mr"} for name in channels]
        data["intensities"] = [{"channel": name} for name in channels]
        plan = Plan.model_validate(data)
        got = build_network(plan, fresh=True).encoder.state_dict()  # type: ignore[union-attr,operator]
        torch.testing.assert_close(got[key], weight)
        for name, tensor in state.items():
            assert name == key or torch.equal(got[name], tensor), name
    assert asked == [(encoder, "imagenet")] * 4
    build_network(plan)
    assert len(asked) == 4  # a model that is restored looks for nothing


def test_weights_of_another_encoder_are_refused() -> None:
    smp, _ = libraries()
    state = smp.encoders.get_encoder("resnet18", weights=None).state_dict()
    with pytest.raises(ModelError, match="do not fit the encoder resnet34"):
        load_encoder_weights(smp.encoders.get_encoder("resnet34", weights=None), state, 3, "resnet34")


def test_a_norm_of_one_value_uses_what_it_has_seen() -> None:
    norm = PooledNorm(2)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0]))  # type: ignore[union-attr]
    norm.running_var.copy_(torch.tensor([4.0, 9.0]))  # type: ignore[union-attr]
    one = torch.tensor([3.0, 8.0]).reshape(1, 2, 1, 1)
    torch.testing.assert_close(norm.train()(one).flatten(), torch.tensor([1.0, 2.0]), atol=1e-4, rtol=0)
    plain = nn.BatchNorm2d(2).train()
    many = noise(3, 2, 2, 2)
    torch.testing.assert_close(PooledNorm(2).train()(many), plain(many))
    plan = plan_of("upernet", **{"patch.batch": 1})
    assert build_network(plan).train()(noise(1, 1, 64, 32, 1))[0].isfinite().all()


# -- choosing --------------------------------------------------------------------------------------------------------

SMALL = SizeLimits(voxels=2**17, features=20, max_features=32)


def chosen(patch: tuple[int, int, int], spacing: tuple[float, float, float], dimensions: int = 3, **how: Any) -> Any:
    grid = Grid(dimensions=dimensions, spacing_mm=spacing, resample_last=dimensions == 3)  # type: ignore[arg-type]
    return choose_network(patch, grid, SMALL, RECIPES["osteon"], PlanOptions(**how))


@pytest.mark.parametrize(
    ("patch", "spacing", "axis", "thick"),
    [
        ((64, 64, 64), (1, 1, 1), 2, 0),
        ((64, 64, 64), (1, 1, 4), 2, 2),
        ((64, 64, 64), (3, 1, 1), 0, 2),  # 3 is nearer to 4 than to 2, as a factor
        ((64, 20, 64), (1, 1, 1.02), 1, 0),
        ((64, 64, 16), (1, 1, 1), 2, 1),
        ((64, 64, 3), (1, 1, 10), 2, 3),
    ],
)
def test_the_new_axis_is_the_thickest_or_else_the_shortest(
    patch: tuple[int, int, int], spacing: tuple[float, float, float], axis: int, thick: int
) -> None:
    made = chosen(patch, spacing, network="unet", encoder="resnet18", weights="none")
    assert (made.through_axis, made.thick_stages) == (axis, thick)
    expected = [32, 32, 32]
    expected[axis] = 2 ** (5 - thick)
    assert list(made.downsampling) == expected


def test_one_word_is_enough_for_a_network() -> None:
    residual = chosen((16, 16, 16), (1, 1, 1), network="resunet")
    assert isinstance(residual, Network)
    assert residual.residual
    assert Network.model_validate(residual.model_dump()) == residual
    assert "residual" in NETWORKS[1].name or residual.description.startswith("resunet")
    swin = chosen((64, 64, 1), (1, 1, 5), 2, network="upernet", encoder="tu-swinv2_tiny_window8_256")
    assert swin.fixed_size
    assert swin.downsampling == (32, 32, 1)
    assert any("mit" in why for why in swin.why)
    plain = chosen((64, 64, 1), (1, 1, 5), 2, network="segformer", encoder="mit_b0")
    assert not plain.fixed_size
    assert any("non-commercial" in why for why in plain.why)
    assert chosen((64, 64, 64), (1, 1, 1), network="swinunetr").features == 24
    assert chosen((64, 64, 64), (1, 1, 1), network="segresnet").features == 16


@pytest.mark.parametrize(
    ("how", "message", "hint"),
    [
        ({"network": "unett"}, "no network unett", "unet"),
        ({"network": "swinunetr", "encoder": "resnet18"}, "no pre-trained encoder", "unetplusplus"),
        ({"network": "unet", "weights": "imagenet"}, "no encoder", "--encoder"),
        ({"network": "unet", "encoder": "resnet1"}, "no encoder resnet1", "resnet18"),
    ],
)
def test_choices_that_do_not_go_together(how: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        chosen((64, 64, 64), (1, 1, 1), **how)
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "segresnet", "features": 12, "downsampling": [8, 8, 8]}, "a multiple of 8"),
        ({"name": "swinunetr", "features": 16, "downsampling": [32, 32, 32]}, "a multiple of 12"),
        (slices("unet", decoder_features=[8]), "unet takes 5, not 1"),
        (slices("upernet", decoder_features=[8, 8]), "upernet takes 1, not 2"),
        ({**stages("resunet", 3), "residual": False}, "a resunet has residual blocks"),
    ],
)
def test_sections_that_make_no_sense(section: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        tiny_plan({"network": section, "patch.size": [64, 64, 64]})


@pytest.mark.parametrize("row", ["unet", "unet flat", "unet pretrained", "unet inflated", "upernet", "segresnet flat"])
def test_overlapping_structures_are_expected_to_be_rare(row: str) -> None:
    plan = plan_of(row, overlapping=True)
    torch.manual_seed(0)
    network = build_network(plan)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    init_output_bias(network, plan)
    changed = {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}
    probabilities = network.eval()(noise(2, 1, *plan.patch.size))[0].detach().sigmoid()
    assert changed
    assert all(before[key].shape == (output_channels(plan),) for key in changed)
    assert 0.001 < float(probabilities.mean()) < 0.1
    exclusive = plan_of(row)
    init_output_bias(network, exclusive)
    again = {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}
    assert again == changed  # nothing more
