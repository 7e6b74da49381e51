"""Which device to compute on, and in which precision: found, never assumed."""

from contextlib import nullcontext

import torch

from medssl.errors import MedsslError

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def find_device(wanted: str | torch.device | None = None) -> torch.device:
    """The wanted one; where none is named, CUDA if there is one, else Apple's MPS, else the CPU."""
    if wanted is not None:
        if torch.device(wanted).type == "cuda" and not torch.cuda.is_available():
            raise MedsslError(f"device={wanted!s}, but torch finds no CUDA GPU here", "cpu, or no device= at all",
                              "`medssl doctor` says what torch finds")
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_precision(precision: str, device: torch.device) -> str:
    """Turn "auto" into bf16 where the hardware computes it natively, fp16 on older GPUs, fp32 everywhere else."""
    if precision == "auto":
        if device.type == "cuda":
            return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
        asked = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # newer than torch 2.4
        native = device.type == "cpu" and asked()
        return "bf16" if native else "fp32"
    if precision not in PRECISIONS:
        raise MedsslError(f"precision={precision!r} is not known", f"auto or one of {', '.join(PRECISIONS)}")
    if precision == "fp16" and device.type == "cpu":
        raise MedsslError("precision='fp16' on a CPU is 100 times slower than fp32", "auto, fp32 or bf16")
    return precision


def autocast(device: torch.device, precision: str):
    """Context in which matrix products run in the chosen precision; parameters stay fp32."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
