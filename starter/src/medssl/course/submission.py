"""Write what is handed in, and nothing else: names from the contract, numbers from predictions, tables from JSON."""

import hashlib
import io
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from medssl.about import REPOSITORY
from medssl.course import artifacts, markdown, provenance
from medssl.course.checker.parse.recompute import compare
from medssl.course.contract import FileSlot, load_contract
from medssl.course.names import dataset_key, fill, locate, results_root, slug
from medssl.course.predictions import format_predictions, split_of
from medssl.errors import MedsslError
from medssl.files import write_atomic


class Submission:
    """One person's hand-in of one week. `data` (what load() gave) adds split hash and licence, and every score is held
    against its labels; `backbone` says where the weights began: "random", "imagenet" or "ssl"."""

    def __init__(self, week: int, dataset: str, name: str, root: str | Path | None = None, *, data=None,
                 backbone: str = "random"):
        self.contract = load_contract()
        self.week, self.dataset, self.name = self.contract.week(week), dataset_key(dataset), slug(name)
        self.about, self.root, self.backbone = self.contract.datasets[self.dataset], results_root(root), backbone
        if data is not None and data.key != self.dataset:
            raise MedsslError(f"The data is {data.key}, the hand-in is for {self.dataset}.", "one data set for both")
        self.split_hash = data.split_hash() if data is not None else None
        self._labels = {key: np.asarray(s.labels) for key, s in data.splits.items()} if data is not None else {}
        self.source = self.about.title + (f", {data.license}, {data.size} px" if data is not None else "")
        self.started, self._predictions, self._metrics, self._weights = time.monotonic(), {}, {}, {}

    @property
    def folder(self) -> Path:
        return self.root / fill(self.week.folder, self.dataset, self.name)

    @property
    def mark(self) -> str:
        """What every figure must admit: PHANTOM data, random backbone, or nothing."""
        notes = ["PHANTOM data"] * bool(self.about.phantom_of) + ["random backbone"] * (self.backbone == "random")
        return " · ".join(notes)

    def path(self, file: str) -> Path:
        """Where `file` goes. A file that the contract does not know is an error."""
        return self.root / locate(self.week, file, self.dataset, self.name)[1]

    def predictions(self, file: str, *, seed: int, index, y, p) -> Path:
        """Add one seed's scores: index [N] in the split, y [N] labels, p [N] = P(class 1).

        All images of the official split (val where the file's name says so, else test), each with its own label. The
        test split is looked at once: other test scores for the same seed are refused. (A Submission begun anew, as by
        running the notebook again, replaces the file.)
        """
        from medssl.evaluate import check_labels_and_probabilities

        self._slot(file, "predictions")
        (y, p), index, rows = check_labels_and_probabilities(y, p), np.asarray(index), self._predictions.get(file, {})
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or index.dtype.kind not in "iu":
            raise MedsslError(f"{file}: seed {seed!r}, index of type {index.dtype}.", "whole numbers")
        self._check_images(file, index, y)
        if seed in rows and split_of(file) == "test" and not np.array_equal(rows[seed][2], p):
            raise MedsslError(f"{file} already holds predictions of seed {seed}.", "one look at the test split a seed",
                              "decide on val; to run everything again, begin a new Submission")
        rows = {**rows, int(seed): (index.astype(np.int64), y.astype(np.int64), p)}
        path = write_atomic(self.path(file), format_predictions(rows))
        self._predictions[file] = rows
        return path

    def _check_images(self, file: str, index: np.ndarray, y: np.ndarray) -> None:
        """A number compares with others' only if it was measured on the same images: the whole official split."""
        split = split_of(file)
        labels, counts = self._labels.get(split), self.about.counts[split]
        n = sum(counts) if labels is None else len(labels)
        if len(y) != n or not np.array_equal(np.sort(index), np.arange(n)):
            raise MedsslError(f"{file}: {len(y)} labels, index of shape {list(index.shape)}.",
                              f"each of the {n} images of the {split} split once: index 0 … {n - 1}",
                              "score the split as load() gives it, and use range(len(split))")
        right = np.bincount(y, minlength=2).tolist() == counts if labels is None else np.array_equal(y, labels[index])
        if not right:
            raise MedsslError(f"{file}: y is not what the {split} split of {self.dataset} has at these places.",
                              "the label of each image in `index`", "take y from the split, in the same order as p")

    def metrics(self, file: str, per_seed: list[dict], *, model: str, split: str = "test", **more) -> dict:
        """Write evaluate() results, one a seed, with their mean and standard deviation.

        The predictions they come from must have been handed over before (same seeds, same order), and every number
        must follow from them. `more` (config=…, n_train=…) is written too. Returns what was written.
        """
        from medssl.evaluate import summarise_seeds

        csv = self._slot(file, "metrics").predictions or more.pop("predictions", "")  # an extra task names its own
        rows = self._predictions.get(csv, {})
        if not rows or [len(y) for _, y, _ in rows.values()] != [m["n"] for m in per_seed]:
            raise MedsslError(f"{file}: metrics of {len(per_seed)} seeds, predictions of {len(rows)}.",
                              "the same seeds and the same images", f"first call predictions({csv!r}, …) for each seed")
        seeds = [one.get("seed", seed) for seed, one in zip(rows, per_seed, strict=True)]
        if split != split_of(csv) or seeds != list(rows):
            raise MedsslError(f"{file}: seeds {seeds} of {split}; {csv} holds seeds {list(rows)} of {split_of(csv)}.",
                              "the same split, and the same seeds in the same order")
        summary = summarise_seeds(per_seed)
        content = {"model": model, "dataset": self.dataset, "split": split, "positive": per_seed[0]["positive"],
                   "n": per_seed[0]["n"], "seeds": list(rows), **{key: s["mean"] for key, s in summary.items()},
                   "std": {key: s["std"] for key, s in summary.items()}, "predictions": csv,
                   "data": {"split_hash": self.split_hash, "phantom": bool(self.about.phantom_of)},
                   "backbone": self.backbone, **more, "per_seed": per_seed}
        checked = compare(content, {seed: (y, p) for seed, (_, y, p) in rows.items()}, file, self.about.classes)
        if wrong := next((row for row in checked if not row["agrees"]), None):
            raise MedsslError(f"{file}: {wrong['metric']} = {wrong['reported']} (seed {wrong['seed']}), but {csv} "
                              f"gives {wrong['recomputed']}.", "numbers that follow from the predictions",
                              "give evaluate() the very y and p that you gave predictions()")
        self._write_json(file, "metrics", content)
        self._metrics[file] = content
        return content

    def scored(self, file: str, result, *, model: str, **more) -> dict:
        """predictions() and metrics() of all seeds in one call; `result` is what recipes.score() gave."""
        for seed, p in result.p.items():
            self.predictions(self._slot(file, "metrics").predictions, seed=seed, index=range(len(p)), y=result.y, p=p)
        return self.metrics(file, result.per_seed, model=model, split=result.split, **more)

    def config(self, file: str, values: dict) -> Path:
        """Write settings as JSON; the keys that the contract asks for must be there."""
        return self._write_json(file, "config", values)

    def table(self, file: str, text: str) -> Path:
        """Write a table (Markdown or CSV) or a document."""
        self._slot(file, "table", "document")
        return write_atomic(self.path(file), text.rstrip("\n") + "\n")

    def show(self, fig):
        """The matplotlib Figure, with a mark on it where the images are phantoms or the backbone is random."""
        from medssl.figures import stamp

        return stamp(fig, self.mark) if self.mark else fig

    def figure(self, file: str, fig, dpi: int = 150):
        """Save the Figure as show() marks it, and return it, so that a cell that ends with this line shows it."""
        self._slot(file, "figure")
        path, buffer, fig = self.path(file), io.BytesIO(), self.show(fig)
        crop = None if fig.get_layout_engine() else "tight"  # without one the mark lies below the figure's edge
        fig.savefig(buffer, dpi=dpi, format=path.suffix[1:], bbox_inches=crop)
        write_atomic(path, buffer.getvalue())
        return fig

    def weights(self, file: str, state_dict: dict) -> Path:
        """Save a state_dict (load it with weights_only=True). Large: pull_request_lines() leaves it out; run.json has
        its sha256."""
        import torch

        self._slot(file, "weights")
        buffer = io.BytesIO()
        torch.save({key: value.detach().cpu() for key, value in state_dict.items()}, buffer)
        content = buffer.getvalue()
        self._weights[file] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        return write_atomic(self.path(file), content)

    def finish(self, *, params: dict, seeds=None, seconds: float | None = None, notes: str = "",
               label_indices: dict | None = None, findings: str = "") -> str:
        """Write run.json and env.json and render the README; returns the checklist, for print().

        The README's tables are made anew each time, `findings` (Markdown: more tables, sentences that were computed)
        below that of the metrics; what the student wrote outside the markers stays as it is.
        """
        used = sorted({seed for rows in self._predictions.values() for seed in rows})
        run = {"contract_version": self.contract.version, "week": self.week.number, "dataset": self.dataset,
               "name": self.name, "seeds": used if seeds is None else list(seeds), "split_hash": self.split_hash,
               "label_indices": label_indices or {}, "parameters": params, "data_source": self.source,
               "phantom": bool(self.about.phantom_of), "backbone": self.backbone, "weights": self._weights,
               "versions": provenance.versions(), "git": provenance.git_commit(self.root),
               "hardware": provenance.hardware(), "notes": notes,
               "seconds": time.monotonic() - self.started if seconds is None else seconds,
               "finished": datetime.now(UTC).isoformat(timespec="seconds")}
        if self.week.slot("run.json"):
            self._write_json("run.json", "run", run)
            self._write_json("env.json", "env", provenance.environment())
        self._render_readme(run, findings)
        return self.checklist()

    def _render_readme(self, run: dict, findings: str) -> None:
        slot = next((s for s in self.week.files if s.kind == "readme" or "{name}_" in s.path), None)
        if slot is None:  # the group's weeks have none
            return
        path = self.path(slot.short)
        path = next((p for p in (path, *map(path.with_name, slot.aliases)) if p.is_file()), path)
        metrics = markdown.metrics_table([*self._metrics.values()]) if self._metrics else ""
        results = "\n\n".join(filter(None, (metrics, findings.strip())))
        new = markdown.new_readme(self.week, self.dataset, self.name)
        self._render(path, new, ({"results": results} if results else {}) | {"run": markdown.run_table(run)})

    def task_readme(self, task: str, results: str, params: dict) -> Path:
        """Write README_week5_P1.md of an extra task: its results (Markdown) and how it was run, between markers; what
        the student concludes stands outside of them and stays. The week's own README and run.json are not touched."""
        path = self.path(f"README_week{self.week.number}_{task}.md")
        about = next(one for one in self.contract.tasks if one.id == task)
        rows = [["Backbone", self.backbone], ["Split hash", self.split_hash], *params.items()]
        blocks = {"results": results, "run": markdown.table(["What", "Value"], rows)}
        return self._render(path, markdown.new_task_readme(about, self.dataset, self.name), blocks)

    def _render(self, path: Path, new: str, blocks: dict[str, str]) -> Path:
        """Make the blocks of a README anew; an emptied one gets the headings of a `new` one again."""
        text = new
        if path.is_file():  # bytes that are not UTF-8 go through unharmed
            mine = path.read_bytes().decode("utf-8", "surrogateescape")
            text = mine if markdown.has_own_words(mine) else new
        banner = f"**{self.mark}**: these numbers say nothing about patients." if self.mark else ""
        for name, body in ({"banner": banner} | blocks).items():
            text = markdown.render_between_markers(text, name, body)
        return write_atomic(path, text)

    def missing(self) -> list[str]:
        """Required files that are not there yet."""
        wanted = {s.short: fill(self.week.pattern(s), self.dataset, self.name) for s in self.week.files if s.required}
        return [file for file, pattern in wanted.items() if not any(self.root.glob(pattern))]

    def checklist(self) -> str:
        """One line for each required file: there, or missing."""
        missing, wanted = self.missing(), [s.short for s in self.week.files if s.required]
        lines = [f"  {'MISSING' if file in missing else 'ok':8} {file}" for file in wanted]
        return "\n".join([f"Week {self.week.number}, in {self.folder}:", *lines])

    def pack(self, to: str = "zip", path: str | Path | None = None) -> Path | str:
        """Take the hand-in along: "zip" -> runs/packed/….zip; "drive" -> the mounted Google Drive, or `path`; "git" ->
        pull_request_lines()."""
        if to not in ("zip", "drive", "git"):
            raise MedsslError(f"pack({to!r}) is not known.", '"zip", "drive" or "git"')
        if to == "git":
            return self.pull_request_lines()
        where = self.week, self.dataset, self.name, self.root
        return artifacts.pack_zip(*where) if to == "zip" else artifacts.pack_drive(*where, path)

    def pull_request_lines(self) -> str:
        """The commands that make this hand-in a pull request, to be copied into a terminal at the root."""
        branch = artifacts.archive_name(self.week, self.dataset, self.name)
        files = artifacts.handed_in(self.week, self.dataset, self.name, self.root)
        names = [path.relative_to(self.root).as_posix() for path in files if path.suffix != ".pt"]
        return "\n".join([f"git switch -c {branch}", *(f'git add "{name}"' for name in names),
                          f'git commit -m "Week{self.week.number}: {self.week.title} ({self.dataset})"',
                          f"git push -u origin {branch}",
                          f"# then open {REPOSITORY}/compare/main...YOUR_ACCOUNT:{branch}?expand=1"])

    def _slot(self, file: str, *kinds: str) -> FileSlot:
        """The slot of `file`, which must be of one of these kinds; an extra task's file is of any kind."""
        slot = locate(self.week, file, self.dataset, self.name)[0] or FileSlot(file, kinds[0], "an extra task")
        if slot.kind not in kinds:
            raise MedsslError(f"{file} is a {slot.kind} file.", f"one of kind {' or '.join(kinds)}")
        return slot

    def _write_json(self, file: str, kind: str, content: dict) -> Path:
        """Arrays and tensors become lists, other objects (an Augment) their repr. JSON has no NaN: refused."""
        absent = [key for key in self._slot(file, kind).keys if key not in content]
        if absent:
            raise MedsslError(f"{file} lacks {', '.join(absent)}.", "the keys that contract.toml names for it")
        try:
            text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False,
                              default=lambda x: x.tolist() if hasattr(x, "tolist") else repr(x))
        except ValueError as error:
            raise MedsslError(f"A number for {file} is NaN or infinite.", "finite numbers",
                              "look for a diverged loss, or a metric of one class only") from error
        text = re.sub(r'\[[^][{}"]*\]', lambda numbers: re.sub(r"\n\s*", " ", numbers[0]), text)  # a list, one line
        return write_atomic(self.path(file), text + "\n")
