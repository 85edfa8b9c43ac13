"""Rows that other packages add to osteon's tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from helpers import FLAT, plan_data
from osteon.auditing.rules import RULES, find_problems
from osteon.core import plugins
from osteon.core.errors import PlanError, UsageError
from osteon.core.plugins import entries, with_plugins
from osteon.exporting import seg_nrrd
from osteon.exporting.registry import find_form
from osteon.formats import registry as formats
from osteon.importing import pairs
from osteon.importing.recognition import get_form
from osteon.networks.encoder_registry import EncoderEntry, Source, get_encoder, libraries
from osteon.networks.encoder_sources import published, source_of
from osteon.networks.encoders import default_weights, weights_licence
from osteon.networks.pretrained import ARCHITECTURES
from osteon.networks.registry import build_network, check_network
from osteon.phantoms import limb
from osteon.phantoms.registry import make_request
from osteon.plan.schema import Plan, Pretrained
from osteon.planning.options import PlanOptions
from osteon.planning.recipe_files import resolve_recipe
from osteon.planning.recipes import RECIPES

Install = Callable[..., None]
EXAMPLE = Path(__file__).parents[1] / "examples/plugin/src"


@dataclass
class Distribution:
    name: str


@dataclass
class Point:
    """An entry point of an installed package."""

    package: str
    name: str
    row: Any

    @property
    def dist(self) -> Distribution:
        return Distribution(self.package)

    def load(self) -> Any:
        if isinstance(self.row, Exception):
            raise self.row
        return self.row


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Adds a row of a package to a group: `install(group, name, row, package)`."""
    points: dict[str, list[Point]] = {}
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.get(group, []))
    smp, _ = libraries()
    monkeypatch.setattr(smp.encoders, "encoders", dict(smp.encoders.encoders))
    caches = (entries, formats.all_formats, libraries)

    def add(group: str, name: str, row: Any, package: str = "bones-extra") -> None:
        points.setdefault(group, []).append(Point(package, name, row))
        for cached in caches:
            cached.cache_clear()

    for cached in caches:
        cached.cache_clear()
    yield add
    for cached in caches:
        cached.cache_clear()


def test_each_table_takes_rows_of_packages(install: Install, tmp_path: Any) -> None:
    install("osteon.exports", "atlas", replace(seg_nrrd.FORM, name="atlas"))
    assert find_form("atlas").what == seg_nrrd.FORM.what
    install("osteon.importers", "listing", replace(pairs.FORM, name="listing"))
    assert get_form("listing").explain_mismatch(tmp_path)
    install("osteon.phantoms", "rib", replace(limb.KIND, name="rib"))
    assert make_request("rib").kind == "rib"
    install("osteon.recipes", "hasty", replace(RECIPES["osteon"], source="haste"))
    assert resolve_recipe(PlanOptions(recipe="hasty")).source == "haste"
    install("osteon.formats", "Analyze", replace(formats.FORMATS[0], name="Analyze", suffixes=(".hdr", ".x.hdr")))
    assert formats.suffix_of(tmp_path / "a.X.hdr") == ".x.hdr"
    assert formats.format_of(tmp_path / "a.hdr").name == "Analyze"


def test_a_rule_of_a_package_is_asked(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    install("osteon.audit_rules", "asks", lambda cohort: iter(asked.append(cohort) or ()))
    monkeypatch.setattr("osteon.auditing.rules.RULES", RULES[:0])
    assert find_problems("the cohort") == []  # type: ignore[arg-type]
    assert asked == ["the cohort"]


def test_what_cannot_be_loaded_is_named_and_stops_nothing_else(install: Install, capsys: Any) -> None:
    install("osteon.exports", "broken", ImportError("no module named bones"))
    install("osteon.exports", "atlas", replace(seg_nrrd.FORM, name="atlas"))
    assert find_form("atlas").name == "atlas"
    assert find_form("stl").name == "stl"
    output = capsys.readouterr().err
    assert output.count("broken of the package bones-extra (osteon.exports) cannot be loaded") == 1
    assert "no module named bones" in output
    with pytest.raises(UsageError, match="broken: no form of export"):
        find_form("broken")


def test_a_name_that_is_taken_is_refused_with_both_packages(install: Install) -> None:
    install("osteon.exports", "stl", replace(seg_nrrd.FORM, name="stl"))
    with pytest.raises(UsageError, match="stl comes from osteon and from bones-extra"):
        find_form("ply")
    install("osteon.recipes", "hasty", RECIPES["osteon"])
    install("osteon.recipes", "hasty", RECIPES["nnunet"], "other")
    with pytest.raises(UsageError, match="hasty comes from bones-extra and from other"):
        resolve_recipe(PlanOptions())
    install("osteon.formats", "mine", replace(formats.FORMATS[0], name="mine"))
    with pytest.raises(UsageError, match=r"mine takes .* which is taken"):
        formats.known_suffixes()


@pytest.mark.parametrize("row", ["a text", replace(seg_nrrd.FORM, name="otherwise")])
def test_a_row_that_is_none_is_refused(install: Install, row: object) -> None:
    install("osteon.exports", "atlas", row)
    with pytest.raises(UsageError, match="atlas of the package bones-extra is not a ExportForm of that name"):
        find_form("atlas")


def test_a_table_of_functions_takes_functions(install: Install) -> None:
    install("osteon.audit_rules", "text", "a text")
    with pytest.raises(UsageError, match="text of the package bones-extra is not a function"):
        with_plugins("osteon.audit_rules", {})


@pytest.fixture
def plain(install: Install, monkeypatch: pytest.MonkeyPatch) -> EncoderEntry:
    """The encoder of examples/plugin with weights and a normalisation, installed."""
    libraries()  # before smp is imported by the example
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from bones_extra.encoder import PLAIN

    source = Source("plain", "femora", "bones/plain", "abc", licence="MIT")
    entry = replace(PLAIN, sources=(source,), normalisation=(100.0, 50.0))
    install("osteon.encoders", "plain", entry)
    return entry


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("decoder", sorted(ARCHITECTURES))
def test_an_encoder_of_a_package_goes_with_each_decoder(decoder: str) -> None:
    check_network(Pretrained(name=decoder, encoder="plain"), 2, (64, 64))


def test_an_encoder_of_a_package_has_weights_and_values_of_its_own(
    plain: EncoderEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTEON_WEIGHTS", str(tmp_path))
    torch.manual_seed(3)
    published_encoder = get_encoder("plain", 3)
    save_file(published_encoder.state_dict(), tmp_path / "plain.femora.safetensors")
    assert (default_weights("plain"), weights_licence("plain", "femora")) == ("femora", "MIT")
    assert source_of("plain", "femora") == plain.sources[0] in published()
    with pytest.raises(UsageError, match="has no weights imagenet") as refused:
        source_of("plain")
    assert "it has femora" in refused.value.hint
    section = {"name": "unet", "encoder": "plain", "weights": "femora"}
    plan = Plan.model_validate(plan_data({**FLAT, "network": section, "patch.size": [64, 64, 1]}))
    encoder: Any = build_network(plan, fresh=True).eval().encoder
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        features = encoder(image)
        expected = published_encoder.eval()((image * 50 + 100).expand(1, 3, 64, 64))
    for one, other in zip(features[1:], expected[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_an_encoder_without_weights_starts_at_random(install: Install, plain: EncoderEntry) -> None:
    install("osteon.encoders", "bare", replace(plain, name="bare", sources=()))
    assert default_weights("bare") == "none"
    assert default_weights("resnet34") == "imagenet"


def test_an_encoder_of_a_package_is_inflated(plain: EncoderEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    section = Pretrained(name="unet", encoder="plain", downsampling=(32, 32, 32))
    check_network(section, 3, (64, 64))
    monkeypatch.delattr(plain.build, "inflates")
    with pytest.raises(PlanError, match="its layer Plain has no 3D form"):
        check_network(section, 3, (64, 64))


def test_an_encoder_with_too_few_maps_is_refused(install: Install, plain: EncoderEntry) -> None:
    short = replace(plain, name="short", build=lambda depth, output_stride: plain.build(depth - 1, output_stride))
    install("osteon.encoders", "short", short)
    with pytest.raises(PlanError, match=r"short gives 5 maps.* not 6"):
        check_network(Pretrained(name="unet", encoder="short"), 2, (64, 64))


def test_an_encoder_of_a_name_that_is_taken_is_refused(install: Install, plain: EncoderEntry) -> None:
    install("osteon.encoders", "resnet18", replace(plain, name="resnet18"))
    with pytest.raises(UsageError, match="resnet18 comes from osteon and from bones-extra"):
        get_encoder("resnet18", 1)
