"""Readers of text, damaged: catalogs, tables of labels and predictions, settings."""

import gzip
import io
import json
from pathlib import Path

import torch
from fuzz_mutate import damaged, other_json, pick, reader, rewritten


@reader
def catalog(folder: Path):
    import polars

    from medssl.data.catalog import read_catalog

    rows = {"pmbb_id": ["P1", "P2", ""], "modality": ["CT", "MR", "ct"], "series_path": ["a", "b/c", "../d"],
            "age": ["1", "2", "x"]}
    table, stream = polars.DataFrame(rows), io.BytesIO()
    table.write_parquet(stream)
    own = polars.DataFrame({"patient": ["P1", "P2"], "modality": ["CT", "MR"], "nifti_path": ["a.nii", "b.nii.gz"],
                            "study": ["1", None]}).write_csv()
    texts = [table.write_csv(), own, table.write_csv(separator="\t")]

    def case(rng):
        name = pick(rng, ["c.csv", "c.csv", "c.tsv", "c.csv.gz", "c.parquet"])
        if name == "c.parquet":
            blob = damaged(rng, stream.getvalue())
        else:
            blob = rewritten(rng, texts[2] if name == "c.tsv" else pick(rng, texts[:2]))
            if name.endswith("gz"):
                blob = gzip.compress(blob, 1, mtime=0)
                blob = damaged(rng, blob) if rng.random() < 0.5 else blob
        path = folder / name
        path.write_bytes(blob)
        return lambda: read_catalog(path)

    return case


@reader
def tables(folder: Path):
    """CSV: labels of pictures, and predictions."""
    from medssl.course.predictions import read_predictions
    from medssl.data.folder_listing import read_table

    plain = "seed,index,y_true,p\n0,0,1,0.5\n0,1,0,0.25\n1,0,1,0.5\n1,1,0,1e-3\n"

    def case(rng):
        path = folder / "t.csv"
        path.write_bytes(rewritten(rng, pick(rng, [plain, "image,label\na.png,0\nb.png,1\n", plain.replace(",", ";")])))
        read = pick(rng, [read_predictions, read_table])
        return lambda: read(path)

    return case


@reader
def config(folder: Path):
    """The settings of `medssl prism`, of `medssl pretrain`, the contract and the profiles."""
    import medssl
    from medssl import cli, configs
    from medssl.course.contract import Contract
    from medssl.recipes.prism_config import PrismConfig, read_config
    from medssl.settings import build, read_toml

    home, path = Path(medssl.__file__).parent, folder / "c.toml"
    contract, profiles = ((home / f"course/{name}.toml").read_text() for name in ("contract", "profiles"))
    start = contract.index("[[weeks]]")
    contract = contract[:start] + contract[start:start + 3000].rpartition("\n\n")[0]
    pretrain = next((home / "configs").glob("*.toml")).read_text()
    prism = '[data]\ncatalog = "c.csv"\nn_patches = 24\nworkers = 0\n[train]\nlr = 1e-3\n[wandb]\ntags = ["a"]'
    whole = {"data": {"catalog": "c.csv", "n_patches": 4}, "train": {"lr": 1e-3, "steps": 9}, "seed": 3}
    kinds = [(contract, lambda: build(Contract, read_toml(path), str(path))), (prism, lambda: read_config(path, [])),
             (profiles[:1500], lambda: build(dict[str, dict[str, dict]], read_toml(path), str(path))),
             (pretrain, lambda: configs.read_config(str(path), cli.pretrain))]

    def case(rng):
        if rng.random() < 0.2:  # as JSON, which has null and deep values
            path.write_bytes(other_json(rng, whole))
            return lambda: build(PrismConfig, json.loads(path.read_text()), str(path)) if json_is_whole(path) else None
        text, read = pick(rng, kinds)
        path.write_bytes(rewritten(rng, text))
        return read

    return case


@reader
def public_sets(folder: Path):
    """What the makers of public sets say in text: dataset.json of the Decathlon, the lists of ChestX-ray14."""
    from types import SimpleNamespace

    from medssl.data.folder_listing import Listing
    from medssl.data.phantom_volumes import ct_phantom
    from medssl.data.public import SETS
    from medssl.data.public.pictures import official_parts
    from medssl.data.public.scans import read_msd
    from medssl.data.volumes import write_nifti

    names = ["imagesTr/a.nii", "imagesTr/b.nii"]
    (folder / "imagesTr").mkdir()
    for k, name in enumerate(names):
        write_nifti(folder / name, ct_phantom(k, (6, 7, 8), (30.0, 30.0, 30.0)).image)
    whole = {"modality": {"0": "CT"}, "training": [{"image": name, "label": name} for name in names], "numTraining": 2}
    chest = SimpleNamespace(lists={"train.txt": "train", "test.txt": "test"}, patient_column="p", image_column="i")
    listing = Listing(folder, tuple(folder / name for name in "abcd"), labels=torch.tensor([0, 1, 0, 1]),
                      columns={"i": tuple("abcd"), "p": tuple("1123")})

    def case(rng):
        (folder / "dataset.json").write_bytes(other_json(rng, whole))
        if rng.random() < 0.5:
            return lambda: read_msd(folder, SETS["msd-spleen"], 4, fractions=(1, 0, 0))
        (folder / "train.txt").write_bytes(rewritten(rng, "a\nb\nc\n") if rng.random() < 0.5 else b"a b c")
        (folder / "test.txt").write_bytes(rewritten(rng, "d\n"))
        return lambda: official_parts(folder, chest, listing, 0)

    return case


def json_is_whole(path: Path) -> bool:
    try:
        json.loads(path.read_text())
        return True
    except (ValueError, RecursionError):
        return False
