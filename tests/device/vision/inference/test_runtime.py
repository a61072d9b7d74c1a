import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from device.vision.inference import edgetpu_probe, runtime
from device.vision.inference.bundle import EDGETPU_FILE, MODEL_FILE, Bundle, BundleError, write_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.runtime import PACKAGES, Kernels, Package, RuntimeFault, load_runtime

# Fake libraries with libedgetpu's interface: one takes the whole network and always returns the given golden output, one takes no operation,
# one finds no device, and two do not fit the runtime.
WHOLE_DELEGATE = """
#include <stddef.h>
#include <stdint.h>
#include <string.h>
struct ints { int size; int data[]; };
struct tensor { int type; char *data; struct ints *dims; void *more[11]; };
struct node { struct ints *inputs, *outputs; };
struct context;
struct registration {
  void *init, *free;
  int (*prepare)(struct context *, struct node *), (*invoke)(struct context *, struct node *);
  void *profile; int code; const char *name; int version; void *more[4];
};
struct context {
  size_t count; int (*plan)(struct context *, struct ints **); struct tensor *tensors; void *own[5];
  int (*replace)(struct context *, struct registration, struct ints *, void *);
};
struct delegate { void *data; int (*prepare)(struct context *, struct delegate *); void *copy[3]; int64_t flags; void *builder; };
static const signed char answer[] = {%s};
static int ready(struct context *context, struct node *node) { return 0; }
static int invoke(struct context *context, struct node *node) {
  for (int i = 0; i < node->outputs->size; i++) {
    struct tensor *output = &context->tensors[node->outputs->data[i]];
    if (output->dims->data[1] == sizeof answer) memcpy(output->data, answer, sizeof answer);
  }
  return 0;
}
static int prepare(struct context *context, struct delegate *self) {
  struct registration taken = { .prepare = ready, .invoke = invoke, .name = "whole" };
  struct ints *plan;
  return context->plan(context, &plan) || context->replace(context, taken, plan, self);
}
static struct delegate whole = { .prepare = prepare };
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) { return &whole; }
void tflite_plugin_destroy_delegate(void *delegate) {}
"""
IDLE_DELEGATE = """
#include <stddef.h>
#include <stdint.h>
struct delegate { void *data; int (*prepare)(void *, struct delegate *); void *copy[3]; int64_t flags; void *builder; };
static int prepare(void *context, struct delegate *self) { return 0; }
static struct delegate idle = { .prepare = prepare };
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) { return &idle; }
void tflite_plugin_destroy_delegate(void *delegate) {}
"""
MISMATCHED = """
#include <stddef.h>
#include <unistd.h>
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) { %s; return NULL; }
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


def answering(logits: tuple[int, ...]) -> str:
    return WHOLE_DELEGATE.replace("%s", ", ".join(map(str, logits)))


@pytest.fixture
def compiled(tiny_copy: Bundle) -> Bundle:
    """The tiny bundle with its own model in place of an Edge TPU model."""
    shutil.copyfile(tiny_copy.folder / MODEL_FILE, tiny_copy.folder / EDGETPU_FILE)
    return write_bundle(tiny_copy.folder, tiny_copy.info)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("kernels", ["default", "builtin"])
def test_every_runtime_meets_the_golden_output(tiny_bundle: Bundle, package: Package, kernels: Kernels) -> None:
    pytest.importorskip(package.replace("-", "_"))
    loaded = load_runtime(tiny_bundle, package=package, kernels=kernels)
    Classifier(tiny_bundle, loaded).check_golden_output()
    assert loaded.name.split()[0] == package
    assert loaded.name.split()[1][0].isdigit()
    assert loaded.exact == ((package, kernels) == ("ai-edge-litert", "builtin"))
    assert loaded.degraded == ""


def test_default_is_litert_with_xnnpack(tiny_bundle: Bundle) -> None:
    loaded = load_runtime(tiny_bundle)
    assert loaded.name.startswith("ai-edge-litert ") and loaded.name.endswith(" xnnpack")
    operations: Any = loaded.interpreter
    assert "DELEGATE" in {operation["op_name"] for operation in operations._get_ops_details()}


def test_builtin_kernels_use_no_delegate(tiny_bundle: Bundle) -> None:
    loaded = load_runtime(tiny_bundle, kernels="builtin")
    operations: Any = loaded.interpreter
    assert "DELEGATE" not in {operation["op_name"] for operation in operations._get_ops_details()}
    assert loaded.name.endswith(" builtin")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_runtime_without_xnnpack_is_named_builtin(tiny_bundle: Bundle, package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    """tflite-runtime runs INT8 without XNNPACK on x86; ai-edge-litert does so where XNNPACK cannot start."""
    interpreter = pytest.importorskip(f"{package.replace('-', '_')}.interpreter")
    without = interpreter._get_op_resolver_id(interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    monkeypatch.setattr(interpreter, "_get_op_resolver_id", lambda *_: without)
    loaded = load_runtime(tiny_bundle, package=package)
    assert loaded.name.endswith(" builtin")
    assert loaded.exact == (package == "ai-edge-litert")


@pytest.mark.parametrize(
    ("machine", "given_on", "exact"), [("x86_64", None, True), ("aarch64", None, False), ("arm64", "aarch64", True), ("x86_64", "aarch64", False)]
)
def test_builtin_kernels_are_exact_on_the_golden_outputs_architecture(
    tiny_bundle: Bundle, machine: str, given_on: str | None, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    answer = msgspec.structs.replace(tiny_bundle.info.known_answer, architecture=given_on or msgspec.UNSET)
    bundle = Bundle(tiny_bundle.folder, msgspec.structs.replace(tiny_bundle.info, known_answer=answer))
    assert load_runtime(bundle, kernels="builtin").exact is exact


def test_without_litert_tflite_runtime_is_used(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tflite_runtime")
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert load_runtime(tiny_bundle).name.startswith("tflite-runtime ")


def test_without_any_package_the_message_says_what_to_install(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    with pytest.raises(RuntimeFault, match="install ai-edge-litert, or tflite-runtime"):
        load_runtime(tiny_bundle)


def test_the_message_names_the_installed_package(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    with pytest.raises(RuntimeFault, match=r"^tflite-runtime: .*; ai-edge-litert is installed: leave model\.runtime empty"):
        load_runtime(tiny_bundle, package="tflite-runtime")
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(RuntimeFault, match=r"nothing to run a network with \(tflite-runtime: .*\): install"):
        load_runtime(tiny_bundle, package="tflite-runtime")


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
    Classifier(tiny_bundle, loaded).check_golden_output()


def test_an_unlisted_edge_tpu_model_is_not_used(tiny_copy: Bundle) -> None:
    (tiny_copy.folder / EDGETPU_FILE).write_bytes(b"unchecked")
    assert "no model_int8_edgetpu.tflite in this bundle" in load_runtime(tiny_copy, kernels="edgetpu").degraded


def test_without_the_edge_tpu_library_the_cpu_is_used(compiled: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtime, "EDGETPU_LIBRARY", str(tmp_path / "libedgetpu.so.1"))
    loaded = load_runtime(compiled, kernels="edgetpu")
    assert "cannot be loaded" in loaded.degraded and loaded.degraded.count("\n") == 0
    Classifier(compiled, loaded).check_golden_output()


@pytest.mark.parametrize("package", PACKAGES)
def test_without_an_accelerator_the_cpu_is_used(compiled: Bundle, package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip(package.replace("-", "_"))
    monkeypatch.setattr(runtime, "EDGETPU_LIBRARY", library(tmp_path, NO_DEVICE))
    loaded = load_runtime(compiled, package=package, kernels="edgetpu")
    assert "finds no Edge TPU" in loaded.degraded
    Classifier(compiled, loaded).check_golden_output()


@pytest.mark.parametrize("package", PACKAGES)
def test_with_an_accelerator_the_compiled_model_runs(compiled: Bundle, package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip(package.replace("-", "_"))
    monkeypatch.setattr(runtime, "EDGETPU_LIBRARY", library(tmp_path, answering(compiled.info.known_answer.logits)))
    loaded = load_runtime(compiled, package=package, kernels="edgetpu")
    assert (loaded.degraded, loaded.model.name) == ("", EDGETPU_FILE)
    assert loaded.name.endswith(" edgetpu") and not loaded.exact
    Classifier(compiled, loaded).check_golden_output()


def test_an_accelerator_that_takes_no_operation_is_not_used(compiled: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtime, "EDGETPU_LIBRARY", library(tmp_path, IDLE_DELEGATE))
    loaded = load_runtime(compiled, kernels="edgetpu")
    assert "nothing in it is for an Edge TPU" in loaded.degraded
    assert loaded.name.endswith(" xnnpack") and loaded.model.name == MODEL_FILE


def test_an_accelerator_with_wrong_results_is_not_used(compiled: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    right = compiled.info.known_answer.logits
    monkeypatch.setattr(runtime, "EDGETPU_LIBRARY", library(tmp_path, answering((right[0] - 50, *right[1:]))))
    loaded = load_runtime(compiled, kernels="edgetpu")
    assert "wrong golden output on ai-edge-litert" in loaded.degraded
    Classifier(compiled, loaded).check_golden_output()


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(("does", "said"), [("*(volatile int *)0 = 1", "crashed with SIGSEGV"), ("for (;;) pause()", "no answer within 2 s, ended")])
def test_a_crashing_or_hanging_library_is_not_used(
    compiled: Bundle, package: Package, does: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Google's build of libedgetpu 16.0 crashes with a newer TensorFlow Lite."""
    pytest.importorskip(package.replace("-", "_"))
    monkeypatch.setattr(edgetpu_probe, "PROBE_TIMEOUT_S", 2.0 if "pause" in does else 60.0)
    monkeypatch.setattr(runtime, "EDGETPU_LIBRARY", library(tmp_path, MISMATCHED % does))
    loaded = load_runtime(compiled, package=package, kernels="edgetpu")
    assert said in loaded.degraded and "expected a libedgetpu built for this TensorFlow Lite" in loaded.degraded
    assert "\n" not in loaded.degraded
    Classifier(compiled, loaded).check_golden_output()


def test_a_compiled_model_that_cannot_run_is_not_used(compiled: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (compiled.folder / EDGETPU_FILE).write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    broken = write_bundle(compiled.folder, compiled.info)
    monkeypatch.setattr(runtime, "EDGETPU_LIBRARY", library(tmp_path, IDLE_DELEGATE))
    loaded = load_runtime(broken, kernels="edgetpu")
    assert EDGETPU_FILE in loaded.degraded and "cannot run it" in loaded.degraded
    Classifier(broken, loaded).check_golden_output()
