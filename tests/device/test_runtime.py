import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from device.vision import runtime
from device.vision.bundle import EDGETPU_FILE, MODEL_FILE, Bundle, BundleError, write_bundle
from device.vision.classifier import Classifier
from device.vision.runtime import PACKAGES, Kernels, Package, RuntimeFault, load_runtime

# The interface that libedgetpu has, without an accelerator behind it: one that takes no operation, and one that finds no device.
IDLE_DELEGATE = """
#include <stddef.h>
#include <stdint.h>
struct delegate { void *data; int (*prepare)(void *, struct delegate *); void *copy[3]; int64_t flags; void *builder; };
static int prepare(void *context, struct delegate *self) { return 0; }
static struct delegate idle = { .prepare = prepare };
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) { return &idle; }
void tflite_plugin_destroy_delegate(void *delegate) {}
"""
NO_DEVICE = """
#include <stddef.h>
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) { return NULL; }
void tflite_plugin_destroy_delegate(void *delegate) {}
"""


def library(folder: Path, source: str) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    file = folder / "libedgetpu.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", file], input=source.encode(), check=True, timeout=60)
    return str(file)


@pytest.fixture
def compiled(tiny_copy: Bundle) -> Bundle:
    """The tiny bundle with something in the place of its Edge TPU model."""
    shutil.copyfile(tiny_copy.folder / MODEL_FILE, tiny_copy.folder / EDGETPU_FILE)
    return write_bundle(tiny_copy.folder, tiny_copy.info)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("kernels", ["default", "builtin"])
def test_every_runtime_knows_the_answer(tiny_bundle: Bundle, package: Package, kernels: Kernels) -> None:
    pytest.importorskip(package.replace("-", "_"))
    loaded = load_runtime(tiny_bundle, package=package, kernels=kernels)
    Classifier(tiny_bundle, loaded).check_known_answer()
    assert loaded.name.split()[0] == package
    assert loaded.name.split()[1][0].isdigit()
    assert loaded.exact == ((package, kernels) == ("ai-edge-litert", "builtin"))
    assert loaded.degraded == ""


def test_the_first_choice_is_litert_with_xnnpack_and_that_really_runs(tiny_bundle: Bundle) -> None:
    loaded = load_runtime(tiny_bundle)
    assert loaded.name.startswith("ai-edge-litert ") and loaded.name.endswith(" xnnpack")
    operations: Any = loaded.interpreter
    assert "DELEGATE" in {operation["op_name"] for operation in operations._get_ops_details()}


def test_builtin_kernels_are_not_handed_to_a_delegate(tiny_bundle: Bundle) -> None:
    operations: Any = load_runtime(tiny_bundle, kernels="builtin").interpreter
    assert "DELEGATE" not in {operation["op_name"] for operation in operations._get_ops_details()}


def test_without_litert_the_older_package_is_taken(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tflite_runtime")
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert load_runtime(tiny_bundle).name.startswith("tflite-runtime ")


def test_without_any_package_the_message_says_what_to_install(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    with pytest.raises(RuntimeFault, match="install ai-edge-litert, or tflite-runtime"):
        load_runtime(tiny_bundle)


def test_a_package_built_for_numpy_1_says_which_numpy_it_needs(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def interpreter(**options: object) -> None:
        raise SystemError("<built-in method CreateWrapperFromFile> returned a result with an exception set")

    broken = SimpleNamespace(Interpreter=interpreter, OpResolverType=SimpleNamespace(AUTO=0))
    monkeypatch.setitem(sys.modules, "tflite_runtime", SimpleNamespace(__version__="2.14.0"))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", broken)
    with pytest.raises(RuntimeFault, match=rf"tflite-runtime 2\.14\.0 does not work with numpy {np.__version__}: pip install 'numpy<2'"):
        load_runtime(tiny_bundle, package="tflite-runtime")


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("content", [b"", b"no network", b"\x1c\0\0\0TFL3" + bytes(64)])
def test_a_file_that_is_no_network_is_named(tiny_copy: Bundle, package: Package, content: bytes) -> None:
    pytest.importorskip(package.replace("-", "_"))
    (tiny_copy.folder / MODEL_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{MODEL_FILE}: {package} .* cannot run it: \S"):
        load_runtime(tiny_copy, package=package)


def test_an_edge_tpu_needs_a_compiled_model(tiny_bundle: Bundle) -> None:
    loaded = load_runtime(tiny_bundle, kernels="edgetpu")
    assert "no model_int8_edgetpu.tflite in this bundle" in loaded.degraded
    assert loaded.model.name == MODEL_FILE
    Classifier(tiny_bundle, loaded).check_known_answer()


def test_an_unlisted_edge_tpu_model_is_not_run(tiny_copy: Bundle) -> None:
    (tiny_copy.folder / EDGETPU_FILE).write_bytes(b"unchecked")
    assert "no model_int8_edgetpu.tflite in this bundle" in load_runtime(tiny_copy, kernels="edgetpu").degraded


def test_without_the_edge_tpu_library_the_cpu_takes_over(compiled: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtime, "EDGETPU_LIBRARY", str(tmp_path / "libedgetpu.so.1"))
    loaded = load_runtime(compiled, kernels="edgetpu")
    assert "cannot be loaded" in loaded.degraded and loaded.degraded.count("\n") == 0
    Classifier(compiled, loaded).check_known_answer()


@pytest.mark.parametrize("package", PACKAGES)
def test_without_an_accelerator_the_cpu_takes_over(compiled: Bundle, package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip(package.replace("-", "_"))
    monkeypatch.setattr(runtime, "EDGETPU_LIBRARY", library(tmp_path, NO_DEVICE))
    loaded = load_runtime(compiled, package=package, kernels="edgetpu")
    assert "finds no Edge TPU" in loaded.degraded
    Classifier(compiled, loaded).check_known_answer()


@pytest.mark.parametrize("package", PACKAGES)
def test_with_an_accelerator_the_compiled_model_runs(compiled: Bundle, package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip(package.replace("-", "_"))
    monkeypatch.setattr(runtime, "EDGETPU_LIBRARY", library(tmp_path, IDLE_DELEGATE))
    loaded = load_runtime(compiled, package=package, kernels="edgetpu")
    assert (loaded.degraded, loaded.model.name) == ("", EDGETPU_FILE)
    assert loaded.name.endswith(" edgetpu") and not loaded.exact
    Classifier(compiled, loaded).check_known_answer()


def test_a_compiled_model_that_cannot_be_run_leaves_the_cpu(compiled: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (compiled.folder / EDGETPU_FILE).write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    broken = write_bundle(compiled.folder, compiled.info)
    monkeypatch.setattr(runtime, "EDGETPU_LIBRARY", library(tmp_path, IDLE_DELEGATE))
    loaded = load_runtime(broken, kernels="edgetpu")
    assert EDGETPU_FILE in loaded.degraded and "cannot run it" in loaded.degraded
    Classifier(broken, loaded).check_known_answer()
