"""Write what is handed in, and nothing else: names from the contract, numbers from predictions, tables from JSON."""

import hashlib
import io
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from medssl.about import REPOSITORY
from medssl.course import artifacts, markdown, provenance
from medssl.course.contract import load_contract
from medssl.course.names import dataset_key, fill, locate, results_root, slug
from medssl.course.predictions import format_predictions
from medssl.errors import MedsslError
from medssl.files import write_atomic


class Submission:
    """One person's hand-in of one week. `data` (what load() gave) adds the split hash, class names and licence."""

    def __init__(self, week: int, dataset: str, name: str, root: str | Path | None = None, *, data=None,
                 backbone: str = "random"):
        self.contract = load_contract()
        self.week, self.dataset, self.name = self.contract.week(week), dataset_key(dataset), slug(name)
        if data is not None and data.key != self.dataset:
            raise MedsslError(f"The data is {data.key}, the hand-in is for {self.dataset}.", "one data set for both")
        self.root, self.data, self.backbone = results_root(root), data, backbone
        self.phantom = bool(self.contract.datasets[self.dataset].phantom_of)
        self.started, self._predictions, self._weights, self._metrics = time.monotonic(), {}, {}, {}

    @property
    def folder(self) -> Path:
        return self.root / fill(self.week.folder, self.dataset, self.name)

    def path(self, file: str, *kinds: str) -> Path:
        """Where `file` goes. A file that the contract does not know, or of another kind, is an error."""
        slot, path = locate(self.week, file, self.dataset, self.name)
        if slot and kinds and slot.kind not in kinds:
            raise MedsslError(f"{file} is a {slot.kind} file.", f"one of kind {' or '.join(kinds)}")
        return self.root / path

    def predictions(self, file: str, *, seed: int, index, y, p) -> Path:
        """Add one seed's scores: index [N] in the split, y [N] labels, p [N] = P(class 1).

        The test split is looked at once: a second set of test scores for the same seed is refused. (A Submission begun
        anew, as by running the notebook again, replaces the file.)
        """
        from medssl.evaluate import check_labels_and_probabilities

        path, rows = self.path(file, "predictions"), dict(self._predictions.get(file, {}))
        y, p = check_labels_and_probabilities(y, p)
        index = np.asarray(index)
        if index.shape != y.shape or len(np.unique(index)) != len(index):
            raise MedsslError(f"index has the shape {list(index.shape)}, or holds an image twice.",
                              f"[{len(y)}]: the place of each image in its split, once", "use torch.arange(len(split))")
        if seed in rows and not file.endswith("_val.csv") and file != "predictions_val.csv":
            raise MedsslError(f"{file} already holds test predictions of seed {seed}.",
                              "one look at the test split for each seed: decisions belong on val",
                              "begin a new Submission to run everything again")
        rows[int(seed)] = (index.astype(np.int64), y.astype(np.int64), p)
        written = write_atomic(path, format_predictions(rows))
        self._predictions[file] = rows
        return written

    def metrics(self, file: str, per_seed: list[dict], *, model: str, split: str = "test", **more) -> dict:
        """Write evaluate() results, one a seed, with their mean and standard deviation.

        The predictions they come from must have been handed over before: same seeds, same order. `more` (config=…,
        n_train=…) is written too."""
        from medssl.evaluate import summarise_seeds

        slot, _ = locate(self.week, file, self.dataset, self.name)
        path, rows = self.path(file, "metrics"), self._predictions.get(slot.predictions if slot else "", {})
        counts = [len(y) for _, y, _ in rows.values()]
        if not slot or not rows or counts != [m["n"] for m in per_seed]:
            source = slot.predictions if slot else "predictions_….csv"
            raise MedsslError(f"{file}: {len(per_seed)} seeds of metrics, {len(rows)} of predictions.",
                              "predictions and metrics of the same seeds and the same images",
                              f"first call predictions({source!r}, …) for each seed")
        summary = summarise_seeds(per_seed)
        content = {"model": model, "dataset": self.dataset, "split": split, "positive": per_seed[0]["positive"],
                   "n": per_seed[0]["n"], "seeds": list(rows), **{key: s["mean"] for key, s in summary.items()},
                   "std": {key: s["std"] for key, s in summary.items()}, "backbone": self.backbone,
                   "data": {"split_hash": self._split_hash(), "phantom": self.phantom},
                   "predictions": slot.predictions, **more, "per_seed": per_seed}
        absent = [key for key in slot.keys if key not in content]
        if absent:
            raise MedsslError(f"{file} lacks {', '.join(absent)}.", fix=f"pass {absent[0]}=… to metrics()")
        self._write_json(path, content)
        self._metrics[file] = content
        return content

    def config(self, file: str, values: dict) -> Path:
        """Write settings as JSON; all keys that the contract asks for must be there."""
        slot, _ = locate(self.week, file, self.dataset, self.name)
        absent = [key for key in (slot.keys if slot else []) if key not in values]
        if absent:
            raise MedsslError(f"{file} lacks {', '.join(absent)}.", f"the keys {', '.join(slot.keys)}")
        return self._write_json(self.path(file, "config"), values)

    def figure(self, file: str, fig, dpi: int = 150) -> Path:
        """Save a matplotlib Figure, with a mark on it where the images are phantoms or the backbone is random."""
        path, buffer = self.path(file, "figure"), io.BytesIO()
        if self.mark():
            from medssl.figures import stamp

            stamp(fig, self.mark())
        fig.savefig(buffer, dpi=dpi, format=path.suffix[1:] or "png", bbox_inches="tight")
        return write_atomic(path, buffer.getvalue())

    def mark(self) -> str:
        """What every figure must admit: PHANTOM data, random backbone, or nothing."""
        notes = ["PHANTOM data"] * self.phantom + ["random backbone"] * (self.backbone == "random")
        return " · ".join(notes)

    def table(self, file: str, text: str) -> Path:
        """Write a Markdown or CSV table."""
        return write_atomic(self.path(file, "table", "document"), text.rstrip("\n") + "\n")

    def weights(self, file: str, state_dict: dict) -> Path:
        """Save a state_dict (load it with weights_only=True). Git ignores it; run.json keeps its sha256."""
        import torch

        buffer = io.BytesIO()
        torch.save({key: value.detach().cpu() for key, value in state_dict.items()}, buffer)
        path = write_atomic(self.path(file, "weights"), buffer.getvalue())
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        self._weights[file] = {"sha256": digest, "bytes": len(buffer.getvalue())}
        return path

    def finish(self, *, params: dict, seeds=None, seconds: float | None = None, notes: str = "",
               label_indices: dict | None = None) -> str:
        """Write run.json and env.json and render the README; returns the checklist of what is there and what is not.

        The README's tables are made anew each time; what the student wrote outside the markers stays as it is.
        """
        written = sorted({seed for rows in self._predictions.values() for seed in rows})
        run = {"contract_version": self.contract.version, "week": self.week.number, "dataset": self.dataset,
               "name": self.name, "seeds": written if seeds is None else list(seeds),
               "split_hash": self._split_hash(), "label_indices": label_indices or {},
               "parameters": params, "phantom": self.phantom, "backbone": self.backbone,
               "data_source": self._source(), "weights": self._weights, "versions": provenance.versions(),
               "git": provenance.git_commit(self.root), "hardware": provenance.hardware(),
               "seconds": time.monotonic() - self.started if seconds is None else seconds,
               "finished": datetime.now(UTC).isoformat(timespec="seconds"), "notes": notes}
        if self.week.slot("run.json"):
            self._write_json(self.path("run.json"), run)
            self._write_json(self.path("env.json"), provenance.environment())
        self._render_readme(json.loads(_to_json(run)))
        return self.checklist()

    def _render_readme(self, run: dict) -> None:
        slot = next((s for s in self.week.files if s.kind == "readme" or "{name}_" in s.path), None)
        if slot is None:
            return
        path = self.path(slot.short)
        path = next((p for p in (path, *map(path.with_name, slot.aliases)) if p.is_file()), path)
        try:  # bytes that are not UTF-8 go through unharmed
            text = path.read_bytes().decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            text = markdown.new_readme(self.week, self.dataset, self.name)
        banner = f"**{self.mark()}**: read no clinical meaning into these numbers." if self.mark() else ""
        if self._metrics:
            text = markdown.render_between_markers(text, "results", markdown.metrics_table(list(self._metrics.values())))
        text = markdown.render_between_markers(text, "banner", banner)
        write_atomic(path, markdown.render_between_markers(text, "run", markdown.run_table(run)))

    def missing(self) -> list[str]:
        """Required files that are not there yet."""
        patterns = {s.short: fill(self.week.pattern(s), self.dataset, self.name) for s in self.week.files if s.required}
        return [file for file, pattern in patterns.items() if not any(self.root.glob(pattern))]

    def checklist(self) -> str:
        """One line for each required file: there, or missing."""
        missing = self.missing()
        lines = [f"{'MISSING' if s.short in missing else 'ok':8}{s.short}" for s in self.week.files if s.required]
        return "\n".join([f"Week {self.week.number}, in {self.folder}:", *lines])

    def pack(self, to: str = "zip", path: str | Path | None = None) -> Path:
        """Take the hand-in along: "zip" -> runs/packed/….zip; "drive" -> the mounted Google Drive (or `path`)."""
        if to not in ("zip", "drive"):
            raise MedsslError(f"pack({to!r}) is not known.", '"zip" or "drive"')
        args = (self.week, self.dataset, self.name, self.root)
        return artifacts.pack_zip(*args) if to == "zip" else artifacts.pack_drive(*args, path)

    def pull_request_lines(self) -> str:
        """The commands that turn this hand-in into a pull request, to be copied into a terminal at the root."""
        branch = artifacts.archive_name(self.week, self.dataset, self.name)
        files = artifacts.handed_in(self.week, self.dataset, self.name, self.root)
        names = [path.relative_to(self.root).as_posix() for path in files if path.suffix != ".pt"]
        return "\n".join([f"git switch -c {branch}", *(f'git add "{name}"' for name in names),
                          f'git commit -m "Week{self.week.number}: {self.week.title} ({self.dataset})"',
                          f"git push -u origin {branch}", f"# then open {REPOSITORY}/compare/{branch}?expand=1"])

    def _split_hash(self) -> str | None:
        return self.data.split_hash() if self.data is not None else None

    def _source(self) -> str:
        title = self.contract.datasets[self.dataset].title
        return f"{title}, {self.data.license}, {self.data.size} px" if self.data is not None else title

    def _write_json(self, path: Path, content: dict) -> Path:
        return write_atomic(path, _to_json(content))


def _to_json(content: dict) -> str:
    """JSON text; arrays and tensors become lists, other objects (an Augment) their repr. JSON has no NaN: refused."""
    try:
        return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False,
                          default=lambda x: x.tolist() if hasattr(x, "tolist") else repr(x)) + "\n"
    except ValueError as error:
        raise MedsslError("A number to be handed in is NaN or infinite.", "finite numbers",
                          "look for a diverged loss, or a metric of one class only") from error
