"""Small services on any network: freeze it, thaw it, count it, decide which weights may decay."""

import hashlib
from functools import partial

from torch import Tensor, nn


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    module.training = False  # `mode` is ignored: a frozen module is never in training mode
    return module


def freeze(module: nn.Module) -> nn.Module:
    """Stop every change inside `module`, also while the model around it trains; returns the module.

    Parameters without gradient are not enough: BatchNorm in training mode still moves its running mean and variance
    with every batch it sees, so a "frozen" backbone drifts away from the features its head was trained on. Hence eval
    mode too, and one that survives `.train()` on the module or on anything that holds it.
    """
    if is_frozen(module):
        return module
    trainable = [name for name, p in module.named_parameters() if p.requires_grad]
    thawed = [(name, m.training) for name, m in module.named_modules() if "train" not in vars(m)]
    for name, _ in thawed:
        part = module.get_submodule(name)
        part.training = False
        part.train = partial(_stay_in_eval, part)  # unlike a lambda, a partial follows its module through deepcopy
    module.requires_grad_(False)
    module.thaw_record = (trainable, thawed)
    return module


def unfreeze(module: nn.Module) -> nn.Module:
    """Undo `freeze`: what trained before trains again, what was fixed before (say, position codes) stays fixed."""
    if is_frozen(module):
        trainable, thawed = vars(module).pop("thaw_record")
        for name in trainable:
            module.get_parameter(name).requires_grad_(True)
        for name, was_training in thawed:
            part = module.get_submodule(name)
            del part.train
            part.training = was_training
    return module


def freeze_batchnorm(module: nn.Module) -> nn.Module:
    """Keep BatchNorm's means and variances as they are while everything else (its scales too) learns on."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.training = False
            part.train = partial(_stay_in_eval, part)
    return module


def is_frozen(module: nn.Module) -> bool:
    """True between `freeze(module)` and `unfreeze(module)`."""
    return "thaw_record" in vars(module)


def count_parameters(module: nn.Module) -> dict[str, int]:
    """{"trainable": numbers that the optimiser may change, "total": all of them}; buffers are not counted."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return {"trainable": sum(n for n, trains in sizes if trains), "total": sum(n for n, _ in sizes)}


def digest(state: dict[str, Tensor]) -> str:
    """12 hex digits that change with any number of a state_dict: which weights did this start from?"""
    sha = hashlib.sha256()
    for name, value in state.items():
        sha.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        sha.update(value.detach().cpu().contiguous().numpy())
    return sha.hexdigest()[:12]


def decay_groups(module: nn.Module, lr: float, weight_decay: float) -> list[dict]:
    """Optimiser groups of the trainable parameters: weight matrices and kernels decay, biases and norm scales do not.

    Decay pulls towards 0: for a kernel that means "simpler", for a BatchNorm scale "switch the channel off".
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    kinds = [([p for p in trainable if p.ndim > 1], weight_decay), ([p for p in trainable if p.ndim <= 1], 0.0)]
    return [{"params": params, "lr": lr, "weight_decay": decay} for params, decay in kinds if params]
