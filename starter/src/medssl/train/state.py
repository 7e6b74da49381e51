"""What a Trainer writes of itself into a checkpoint, and takes back from one."""

import json

from medssl.errors import MedsslError

COUNTED = {"step": int, "epoch": int, "batches_done": int, "bad_evals": int, "summed": int, "stopped_early": bool,
           "seconds": float, "history": list, "sums": dict, "best": (dict, type(None))}


def state_of(trainer, done: bool) -> dict:
    """All that the next step depends on; a run that is done needs its optimizer no more."""
    return {"config": trainer.config, "method": trainer.method.state_dict(),
            "optimizer": None if done else trainer.optimizer.state_dict(), "scaler": trainer.scaler.state_dict(),
            "source": trainer.source.state_dict(), **{name: getattr(trainer, name) for name in COUNTED}}


def put_back(trainer, state: dict) -> None:
    """Go on from there, where it is a run with the same settings; ValueError or TypeError where it is no run."""
    was, now = state["config"], trainer.config
    if changed := [name for name in {**was, **now} if was.get(name) != now.get(name)]:
        told = "; ".join(f"{name} was {was.get(name)!r}, is {now.get(name)!r}" for name in changed)
        raise MedsslError(f"{trainer.out} holds a run with other settings: {told}",
                          "the same settings, to go on with it", trainer.afresh)
    _check(state, trainer.method.state_dict(), trainer.optimizer.param_groups)
    trainer.method.load_state_dict(state["method"])
    if state["optimizer"]:
        trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.source.load_state_dict(state["source"])
    for name in COUNTED:
        setattr(trainer, name, state[name])


def _check(state: dict, weights: dict, groups: list[dict]) -> None:
    """Whether what is counted and kept is of the right kind."""
    for name, kind in COUNTED.items():
        if not isinstance(value := state[name], kind) or isinstance(value, int) and not 0 <= value < 2**62:
            raise ValueError(f"{name} is {str(value)[:50]!r}")
    if not all(isinstance(row, dict) for row in state["history"]):
        raise ValueError("its history is none")
    if not all(isinstance(value, int | float) for value in state["sums"].values()):
        raise ValueError("its sums are no numbers")
    for group, own in zip(state["optimizer"]["param_groups"] if state["optimizer"] else [], groups, strict=False):
        if lacks := own.keys() - group.keys():
            raise ValueError(f"its optimizer lacks {', '.join(sorted(lacks))}")
    json.dumps(state["history"])
    best = state["best"]["weights"] if state["best"] else weights
    if {name: value.shape for name, value in best.items()} != {name: value.shape for name, value in weights.items()}:
        raise ValueError("its best weights are those of another network")
    if state["best"]:
        float(state["best"]["value"])
