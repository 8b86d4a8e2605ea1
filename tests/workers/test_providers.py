"""TensorRT before CUDA before CPU; an engine is found again only where everything that it depends on is the same."""

from pathlib import Path

import onnxruntime as ort
import pytest

from contract.bundle import Provider
from contract.engine import EngineKey
from tests.bundles import write_layered_bundle
from workers import providers
from workers.providers import FallBack, ProviderUnusable, Runtime, compute_capability, on_best, tensorrt_version

EVERYTHING = [provider.value for provider in Provider]


def test_the_first_provider_that_opens_is_taken() -> None:
    def open_on(provider: Provider) -> str:
        if provider is Provider.TENSORRT:
            raise ProviderUnusable("no library")
        return provider.value

    opened, passed = on_best(tuple(Provider), open_on)
    assert opened == "CUDAExecutionProvider"
    assert passed == (FallBack(provider=Provider.TENSORRT, reason="no library"),)


def test_the_last_provider_says_why_none_could() -> None:
    def open_on(provider: Provider) -> str:
        raise ProviderUnusable(f"not on {provider.value}")

    with pytest.raises(ProviderUnusable, match="not on CPUExecutionProvider"):
        on_best(tuple(Provider), open_on)


def test_any_other_error_ends_the_search() -> None:
    def open_on(provider: Provider) -> str:
        raise KeyError(provider)

    with pytest.raises(KeyError, match="Tensorrt"):
        on_best(tuple(Provider), open_on)


def test_tensorrt_is_tried_only_where_its_engines_can_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: EVERYTHING)
    assert Runtime().providers() == (Provider.CUDA, Provider.CPU)
    assert Runtime(engines=tmp_path).providers() == tuple(Provider)


def test_this_machine_has_a_cpu() -> None:
    assert Runtime().providers()[-1] is Provider.CPU


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: EVERYTHING)
    monkeypatch.setattr(providers, "tensorrt_version", lambda: "11.1.0")
    monkeypatch.setattr(providers, "compute_capability", lambda: "9.0")


@pytest.mark.usefixtures("with_gpu")
def test_engines_have_one_shape_and_lie_in_the_folder_of_their_key(tmp_path: Path) -> None:
    manifest = write_layered_bundle(tmp_path / "bundle", precision="float16")
    graph = manifest.variants[0]
    runtime = Runtime(engines=tmp_path / "engines")
    (first, options), *behind = runtime.options(manifest, graph, Provider.TENSORRT)
    key = EngineKey.of(manifest, graph, tensorrt="11.1.0", compute_capability="9.0")
    shapes = "s2:1x4x32x32,s2_valid:1x1x32x32,s1:1x2x32x32,s1_valid:1x1x32x32"
    assert first == "TensorrtExecutionProvider"
    assert [name for name, _ in behind] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert options["trt_engine_cache_path"] == str(tmp_path / "engines" / key.digest)
    assert Path(options["trt_engine_cache_path"]).is_dir()
    assert {options[f"trt_profile_{which}_shapes"] for which in ("min", "opt", "max")} == {shapes} == {key.profile}
    assert options["trt_fp16_enable"] == "1"


@pytest.mark.usefixtures("with_gpu")
def test_a_graph_in_float32_stays_in_float32(tmp_path: Path) -> None:
    manifest = write_layered_bundle(tmp_path / "bundle")
    runtime = Runtime(engines=tmp_path / "engines")
    (_, tensorrt), (_, cuda), _ = runtime.options(manifest, manifest.graphs[-1], Provider.TENSORRT)
    assert tensorrt["trt_fp16_enable"] == "0"
    assert cuda == {"use_tf32": "0"}


@pytest.mark.usefixtures("with_gpu")
def test_tensorrt_is_passed_over_where_its_engines_cannot_be_kept(tmp_path: Path) -> None:
    manifest = write_layered_bundle(tmp_path / "bundle")
    occupied = tmp_path / "file"
    occupied.touch()
    with pytest.raises(ProviderUnusable, match=r"engines cannot be kept in .*file/engines"):
        Runtime(engines=occupied / "engines").options(manifest, manifest.graphs[-1], Provider.TENSORRT)


def test_an_engine_key_changes_with_everything_that_an_engine_depends_on(tmp_path: Path) -> None:
    manifest = write_layered_bundle(tmp_path)
    lean, full = manifest.graphs
    larger = manifest.model_copy(update={"chip_px": 64})
    keys = [
        EngineKey.of(manifest, lean, tensorrt="11.1.0", compute_capability="9.0"),
        EngineKey.of(manifest, lean, tensorrt="11.1.1", compute_capability="9.0"),
        EngineKey.of(manifest, lean, tensorrt="11.1.0", compute_capability="8.9"),
        EngineKey.of(manifest, full, tensorrt="11.1.0", compute_capability="9.0"),
        EngineKey.of(larger, lean, tensorrt="11.1.0", compute_capability="9.0"),
        EngineKey.of(
            manifest, lean.model_copy(update={"precision": "float16"}), tensorrt="11.1.0", compute_capability="9.0"
        ),
    ]
    assert len({key.digest for key in keys}) == len(keys)
    assert keys[0].digest == EngineKey.model_validate_json(keys[0].model_dump_json()).digest


def test_a_missing_tensorrt_makes_the_provider_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(ProviderUnusable, match="tensorrt library cannot be loaded"):
        tensorrt_version()


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_DRIVER", "libno-such-driver.so")
    with pytest.raises(ProviderUnusable, match="no CUDA driver"):
        compute_capability()
