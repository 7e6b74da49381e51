"""Readers of what runs leave and people hand in, damaged: checkpoints, encoders, results, submissions."""

import io
import json
from functools import partial
from pathlib import Path

import torch
from fuzz_mutate import damaged, other_json, pick, reader, rewritten
from hostile import VALUES


@reader
def checkpoints(folder: Path):
    """Under a name with the right digest: as if its writer meant harm. A trainer goes on from it."""
    from torch import nn

    from medssl.train import Trainer
    from medssl.train.checkpoint import _digest, load_newest

    class Method(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1)

        def forward(self, batch):
            return {"loss": self.net(batch["x"]).square().mean()}

    class Source:
        def __len__(self):
            return 2

        def batches(self, epoch):
            return ({"x": torch.ones(2, 2)} for _ in range(2))

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    def train(steps=2):
        Trainer(Method(), Source(), steps=4, out=folder, quiet="silent", device="cpu", checkpoint_every=steps).fit()

    train()
    newest = max(folder.glob("*.pt"))
    whole, state = newest.read_bytes(), load_newest(folder)
    odd = [value for value in VALUES if not (isinstance(value, int) and abs(value) > 2**63)]
    odd += [torch.tensor(3.0), torch.zeros(0), torch.full((1, 2), torch.nan), {"net.weight": torch.zeros(7, 7)}]

    def ways(value, at=()):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else (
                ):
            yield (*at, key)
            yield from ways(one, (*at, key))

    def case(rng):
        for old in folder.iterdir():
            old.unlink()
        if rng.random() < 0.5:
            blob = damaged(rng, whole, front=2000)
        else:
            stream = io.BytesIO()
            torch.save(state, stream)
            changed = torch.load(io.BytesIO(stream.getvalue()), weights_only=True)
            at = pick(rng, list(ways(changed)))
            here = changed
            for key in at[:-1]:
                here = here[key]
            if rng.random() < 0.3 and isinstance(here, dict):
                del here[at[-1]]
            else:
                here[at[-1]] = pick(rng, odd)
            stream = io.BytesIO()
            torch.save(changed if rng.random() < 0.95 else pick(rng, odd), stream)
            blob = stream.getvalue()
        path = folder / "x"
        path.write_bytes(blob)
        path.rename(folder / f"checkpoint-00000002-{_digest(path)}.pt")
        return train

    return case


@reader
def encoders(folder: Path):
    """encoder.safetensors, and a pretraining's ssl_config.json with ssl_encoder.pt."""
    from medssl.models import SmallCNN
    from medssl.models.export import WEIGHTS, load_encoder, pretrained_as, save_encoder, seen_images

    save_encoder(folder, SmallCNN(1, width=2), {"method": "simclr", "epochs": 1}, ["ab"])
    whole = (folder / WEIGHTS).read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    header, body = json.loads(whole[8:end]), whole[end:]
    settings = {"backbone": "smallcnn", "channels": 1, "method": "x", "epochs": 1, "backbone_settings": {"width": 2}}
    stream = io.BytesIO()
    torch.save(SmallCNN(1, width=2).state_dict(), stream)

    def case(rng):
        for old in folder.iterdir():
            old.unlink()
        if rng.random() < 0.3:
            (folder / "ssl_config.json").write_bytes(other_json(rng, settings))
            (folder / "ssl_encoder.pt").write_bytes(
                damaged(rng, stream.getvalue(), front=2000) if rng.random() < 0.5 else stream.getvalue())
            return lambda: load_encoder(folder)
        if rng.random() < 0.4:
            blob = damaged(rng, whole, front=end)
        else:
            meta = {key: other_json(rng, json.loads(value)).decode("utf-8", "replace") if value[:1] == "{" else value
                    for key, value in header["__metadata__"].items()}
            head = other_json(rng, header) if rng.random() < 0.5 else json.dumps(
                header | {"__metadata__": meta}).encode()
            blob = len(head).to_bytes(8, "little") + head + body
        (folder / WEIGHTS).write_bytes(blob)
        return pick(rng, [lambda: load_encoder(folder), lambda: load_encoder(folder), lambda: seen_images(folder),
                          lambda: pretrained_as(folder)])

    return case


@reader
def results(folder: Path):
    """What a run of Prism leaves for the next one and for the table of all runs."""
    from types import SimpleNamespace

    from medssl.data.run_records import list_runs
    from medssl.recipes.prism_result import PrismResult, finished

    whole = {name: 1 for name in PrismResult.__dataclass_fields__} | {
        "status": "ok", "config_hash": "ab", "metrics": {"loss": 0.5, "x": None}, "run_id": "r", "folder": "f",
        "config": {"train": {"lr": 1e-3}, "wandb": {"tags": ["a"]}}}

    def case(rng):
        (folder / "result.json").write_bytes(other_json(rng, whole))
        read = pick(rng, [0, 1])
        return lambda: list_runs("local", str(folder)) if read else finished(SimpleNamespace(config_hash="ab"), folder)

    return case


@partial(reader, short=25)
def submissions(folder: Path):
    """A perfect hand-in of which some files are damaged: the checker says what is wrong, and never breaks itself."""
    from cohort_today import perfect

    from medssl.course.checker.grade import grade

    work = perfect(folder, 1, "breastmnist", "ada").write(folder)
    held = {path: path.read_bytes() for path in sorted(work.rglob("*")) if path.is_file()}

    def case(rng):
        for path, blob in held.items():
            path.write_bytes(blob)
        for path in [pick(rng, list(held)) for _ in range(rng.integers(1, 4))]:
            blob = held[path]
            if path.suffix == ".json" and rng.random() < 0.7:
                blob = other_json(rng, json.loads(blob))
            elif path.suffix in (".md", ".csv") and rng.random() < 0.8:
                blob = rewritten(rng, blob.decode())
            else:
                blob = damaged(rng, blob)
            path.write_bytes(blob)

        def read():
            broken = [f for s in grade(folder).submissions for f in s["findings"] if f["code"] == "checker-error"]
            assert not broken, broken

        return read

    return case
