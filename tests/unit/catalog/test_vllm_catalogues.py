"""The catalogues of vLLM that come with the package, against a list of flags and versions that was made by other means.

The list is of a plain search of the wheels for the definitions of arguments. It knows Y and -: there, and not there.
"""

from __future__ import annotations

import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue, Flag, FlagType
from optuna_tuner.catalog.notes import annotated
from optuna_tuner.catalog.text import to_text

RELEASES = [
    "0.11.0",
    "0.11.1",
    "0.11.2",
    "0.12.0",
    "0.13.0",
    "0.14.0",
    "0.14.1",
    "0.15.0",
    "0.15.1",
    "0.16.0",
    "0.17.0",
    "0.17.1",
    "0.18.0",
    "0.18.1",
    "0.19.0",
    "0.19.1",
    "0.20.0",
    "0.20.1",
    "0.20.2",
    "0.21.0",
    "0.22.0",
    "0.22.1",
    "0.23.0",
    "0.24.0",
    "0.25.0",
    "0.25.1",
    "0.26.0",
    "0.27.0",
    "0.27.1",
    "0.28.0",
    "0.29.0",
    "0.30.0",
    "0.31.0",
    "0.32.0",
    "0.33.0",
]
LISTED = [
    "0.11.0",
    "0.12.0",
    "0.14.0",
    "0.16.0",
    "0.17.1",
    "0.19.1",
    "0.22.0",
    "0.25.0",
    "0.28.0",
    "0.30.0",
    "0.32.0",
    "0.33.0",
]
LIFETIMES = """
swap-space                          Y Y Y Y Y - - - - - - -
scheduler-delay-factor              - - - - - - - - - - - -
use-v2-block-manager                - - - - - - - - - - - -
num-scheduler-steps                 - - - - - - - - - - - -
max-seq-len-to-capture              - - - - - - - - - - - -
cuda-graph-sizes                    Y Y - - - - - - - - - -
cudagraph-capture-sizes             - Y Y Y Y Y Y Y Y Y Y Y
max-cudagraph-capture-size          - Y Y Y Y Y Y Y Y Y Y Y
max-num-partial-prefills            Y Y Y Y Y Y Y Y - - - -
max-long-partial-prefills           Y Y Y Y Y Y Y Y - - - -
num-lookahead-slots                 Y - - - - - - - - - - -
preemption-mode                     - - - - - - - - - - - -
optimization-level                  - Y Y Y Y Y Y Y Y Y Y Y
performance-mode                    - - - - Y Y Y Y Y Y Y Y
attention-backend                   - - Y Y Y Y Y Y Y Y Y Y
async-scheduling                    Y Y Y Y Y Y Y Y Y Y Y Y
enable-dbo                          Y Y Y Y Y Y Y Y Y Y Y Y
all2all-backend                     - Y Y Y Y Y Y Y Y Y Y Y
moe-backend                         - - - - Y Y Y Y Y Y Y Y
linear-backend                      - - - - - - Y Y Y Y Y Y
decode-context-parallel-size        Y Y Y Y Y Y Y Y Y Y Y Y
prefill-context-parallel-size       - Y Y Y Y Y Y Y Y Y Y Y
kv-cache-memory-bytes               Y Y Y Y Y Y Y Y Y Y Y Y
kv-offloading-size                  - Y Y Y Y Y Y Y Y Y Y Y
stream-interval                     - Y Y Y Y Y Y Y Y Y Y Y
watermark                           - - - - - - - Y Y Y Y Y
prefill-schedule-interval           - - - - - - - Y Y Y Y Y
max-num-active-seqs                 - - - - - - - - - - Y Y
disable-hybrid-kv-cache-manager     Y Y Y Y Y Y Y Y Y Y Y Y
enable-eplb                         Y Y Y Y Y Y Y Y Y Y Y Y
calculate-kv-scales                 Y Y Y Y Y Y Y Y - - - -
enable-flashinfer-autotune          - - - Y Y Y Y Y Y Y Y Y
disable-log-requests                Y Y Y Y - - - - - - - -
mamba-block-size                    - Y Y Y Y Y Y Y Y Y Y Y
renderer-num-workers                - - - - - Y Y Y Y Y Y Y
ubatch-size                         - - Y Y Y Y Y Y Y Y Y Y
"""
ALWAYS = [
    "long-prefill-token-threshold",
    "enable-chunked-prefill",
    "enable-prefix-caching",
    "block-size",
    "speculative-config",
    "compilation-config",
    "cpu-offload-gb",
    "enforce-eager",
    "disable-custom-all-reduce",
    "scheduling-policy",
    "enable-expert-parallel",
    "data-parallel-size",
    "kv-cache-dtype",
    "quantization",
    "max-num-batched-tokens",
    "max-num-seqs",
    "gpu-memory-utilization",
]
NEVER = ["speculative-model", "num-speculative-tokens"]
FRONT_END = ["api-server-count", "headless", "config", "host", "port", "uvicorn-log-level"]  # the list leaves these out


def catalogue(version: str) -> Catalogue:
    return shelf.load("vllm", version)


def test_every_release_since_0_11_has_a_catalogue() -> None:
    assert set(RELEASES) <= set(shelf.versions("vllm"))


@pytest.mark.parametrize("row", LIFETIMES.strip().splitlines(), ids=lambda row: row.split()[0])
def test_a_flag_is_in_the_versions_that_have_it(row: str) -> None:
    name, *marks = row.split()
    found = ["Y" if catalogue(version).find(name) else "-" for version in LISTED]
    assert found == marks


@pytest.mark.parametrize("version", RELEASES)
def test_flags_that_never_changed_are_in_all_and_those_that_never_were_in_none(version: str) -> None:
    found = catalogue(version)
    assert [name for name in (*ALWAYS, *FRONT_END) if found.find(name) is None] == []
    assert [name for name in NEVER if found.find(name)] == []


@pytest.mark.parametrize("version", RELEASES)
def test_the_default_share_of_gpu_memory_grew_with_0_20(version: str) -> None:
    default = catalogue(version).by_name["gpu_memory_utilization"].default
    assert default == (0.92 if shelf.order(version) >= shelf.order("0.20.0") else 0.9)


def test_block_sizes_were_a_short_list_up_to_0_17() -> None:
    sizes = {version: catalogue(version).by_name["block_size"].choices for version in ("0.11.0", "0.17.1", "0.19.1")}
    assert sizes == {"0.11.0": (1, 8, 16, 32, 64, 128), "0.17.1": (1, 8, 16, 32, 64, 128, 256), "0.19.1": ()}


@pytest.mark.parametrize("version", RELEASES)
def test_every_catalogue_is_sound(version: str) -> None:
    found = catalogue(version)
    spellings = [spelling for flag in found.flags for spelling in flag.spellings]
    assert len(spellings) == len(set(spellings))
    assert len({flag.name for flag in found.flags}) == len(found.flags)
    assert found.source["wheel"].startswith(f"vllm-{version}-")
    assert len(found.source["sha256"]) == 64
    assert [flag.name for flag in found.flags if not fits_itself(flag)] == []


def fits_itself(flag: Flag) -> bool:
    """Whether the default is one of the choices and of the type."""
    if flag.default is None:
        return True
    given = flag.default if isinstance(flag.default, list) and flag.type is not FlagType.JSON else [flag.default]
    kinds: dict[FlagType, type | tuple[type, ...]] = {
        FlagType.SWITCH: bool,
        FlagType.INT: int,
        FlagType.FLOAT: (int, float),
        FlagType.TEXT: (str, int, dict),
    }
    kind = kinds.get(flag.type, object)
    return all(isinstance(each, kind) and (not flag.choices or each in flag.choices) for each in given)


def test_the_deprecated_say_what_to_use() -> None:
    assert "--cudagraph-capture-sizes" in catalogue("0.12.0").by_name["cuda_graph_sizes"].deprecated


@pytest.mark.parametrize("version", RELEASES)
def test_a_catalogue_is_as_the_tool_writes_it(version: str) -> None:
    assert dict(shelf.texts("vllm"))[version] == to_text(annotated(catalogue(version)))
