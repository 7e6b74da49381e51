"""Look at runs of Prism beside each other: marimo run notebooks/explore_runs.py

From W&B's server, or with no network from run folders and offline runs:
marimo run notebooks/explore_runs.py -- --entity local --project runs/prism

At its end one pair of views is shown through a run's own heads: that needs its checkpoint, and scans of its catalog.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Runs of Prism")

with app.setup:
    import html

    import altair as alt
    import marimo as mo
    import polars as pl

    from medssl import figures
    from medssl.data.run_records import list_runs, read_history
    from medssl.data.run_weights import run_weights
    from medssl.recipes import prism_pairs
    from medssl.recipes.prism_ablation import SHOWN, ranked, study_of
    from medssl.recipes.prism_metrics import GROUPS, METRICS

    LEARNT = tuple(f"config.{part}." for part in ("data", "model", "loss", "train"))  # the rest: where things lie
    OPS = {"$in": lambda a, b: a in b, "$nin": lambda a, b: a not in b, "$ne": lambda a, b: a != b,
           "$gte": lambda a, b: a is not None and a >= b, "$lte": lambda a, b: a is not None and a <= b}


@app.function
def fetch_runs(entity: str, project: str, filters: dict) -> pl.DataFrame:
    """A row a run: run_id, name, state, tags, created, config.…, summary.…, of a project at W&B or, with the entity
    "local", of the folder `project`.

    filters: {"tags": "core24"} (one of its tags), {"config.train.batch_size": 32}, or with $in, $nin, $ne, $gte, $lte:
    {"config.loss.w_supcon_target": {"$gte": 0.2}}. They choose from what was read: the same words everywhere.
    """
    runs = list_runs(entity, project)
    known = {key for run in runs for key in run}
    if unknown := [key for key in filters if runs and key not in known]:
        raise ValueError(f"No run has {unknown[0]!r}. There are: {', '.join(sorted(known))}")

    def fits(value, wanted) -> bool:
        if isinstance(wanted, dict):
            return all(OPS[op](value, other) for op, other in wanted.items())
        return wanted in value if isinstance(value, list) else value == wanted

    chosen = [run for run in runs if all(fits(run.get(key), wanted) for key, wanted in filters.items())]
    shape = {"run_id": pl.String, "name": pl.String, "state": pl.String, "tags": pl.List(pl.String)}
    return pl.from_dicts(chosen, schema_overrides=shape, infer_schema_length=None, strict=False) if chosen else \
        pl.DataFrame(schema={**shape, "created": pl.String})


@app.function
def fetch_history(run_ids: list[str], keys: list[str]) -> pl.DataFrame:
    """A row a run and logged step: run_id, step and the keys; null where a row does not hold one of them.

    Runs are named in full, entity/project/id or local/path. Rows that hold none of the keys are left out; a step that
    was logged in several parts, or again after a resume, is one row.
    """
    rows = {}
    for run_id in run_ids:
        for row in read_history(run_id):
            part = {key: row[key] for key in keys if row.get(key) is not None}
            if part:
                at = rows.setdefault((run_id, row["step"]), {"run_id": run_id, "step": row["step"]})
                at.update(part)
    shape = {"run_id": pl.String, "step": pl.Int64, **{key: pl.Float64 for key in keys}}
    return pl.DataFrame(list(rows.values()), schema=shape, strict=False).sort("run_id", "step")


@app.function
def compute_proxy_score(df_runs: pl.DataFrame, df_hist: pl.DataFrame) -> pl.DataFrame:
    """A row a run: its study, its rank there, its proxies, their z-scores, and recipes.prism_ablation's composite.

    Each study is ranked by itself, the best first: a smoke run beside the 24 moves none of their z-scores. Proxies are
    those a run ended with; where its summary lacks one, the last of its history. A run that did not end well has no
    composite: it is at the end of its study, never in the middle.
    """
    last, studies = {}, {}
    for row in df_hist.sort("step").iter_rows(named=True):
        last.setdefault(row["run_id"], {}).update({key: value for key, value in row.items() if value is not None})
    for run in df_runs.iter_rows(named=True):
        ended = {key.removeprefix("summary."): value for key, value in run.items() if value is not None}
        metrics = last.get(run["run_id"], {}) | ended
        status = "ok" if run["state"] in ("ok", "finished") else run["state"]
        config = {}
        for name in df_runs.columns:
            part, _, key = name.removeprefix("config.").partition(".")
            if name.startswith(LEARNT):
                config.setdefault(part, {})[key] = run[name]
        studies.setdefault(study_of({"run_id": run["name"], "config": config}), []).append({
            "run_id": run["run_id"], "status": status, "steps_timed": metrics.get("steps_timed") or 1,
            "metrics": {k: metrics[k] for k in METRICS if metrics.get(k) is not None}})
    table = pl.DataFrame([{"study": study, "rank": k + 1, **row} for study in sorted(studies)
                          for k, row in enumerate(ranked(studies[study]))], infer_schema_length=None)
    if table.is_empty():
        return table
    settings = [name for name in df_runs.columns if name.startswith("config.")]
    return table.rename({"name": "run_id"}).join(df_runs.select("run_id", "name", *settings), on="run_id", how="left")


@app.function
def summarize_best_configs(df: pl.DataFrame) -> pl.DataFrame:
    """Which value of each setting did best in each study: a row a setting that differs between its runs and a value of
    it, with the number of runs, mean and std of the composite, and the best. Runs without a composite have failed."""
    rows = []
    for (study,), ranked_together in df.group_by("study"):
        for name in df.columns:
            if not name.startswith(LEARNT) or ranked_together[name].n_unique() < 2:
                continue
            for (value,), part in ranked_together.group_by(name):
                good = part.filter(pl.col("composite").is_finite())
                rows.append({"study": study, "setting": name.removeprefix("config."), "value": str(value),
                             "runs": len(part), "failed": len(part) - len(good),
                             "composite_mean": good["composite"].mean(), "composite_std": good["composite"].std(),
                             "composite_best": good["composite"].max()})
    shape = {"study": pl.String, "setting": pl.String, "value": pl.String, "runs": pl.Int64, "failed": pl.Int64,
             **{f"composite_{what}": pl.Float64 for what in ("mean", "std", "best")}}
    return pl.DataFrame(rows, schema=shape).sort("study", "setting", "composite_mean",
                                                 descending=[False, False, True], nulls_last=True)


@app.function
def who_counts(df: pl.DataFrame) -> str:
    """A line a study: how many of its runs the z-scores are over, and which are in none."""
    said = []
    for (study,), part in df.group_by("study", maintain_order=True):
        left = part.filter(~pl.col("composite").is_finite())["name"].to_list()
        said.append(f"{'of no study' if study == 'none' else study}: z-scores over {len(part) - len(left)} of "
                    f"{len(part)} runs" + (f"; not in them: {', '.join(left)}" if left else ""))
    return "\n".join(said)


@app.function
def words(text: str):
    """Text of others, such as a run's name or an error, as it stands: mo.md would take it for Markdown and HTML."""
    return mo.Html(f'<span style="white-space: pre-wrap">{html.escape(text)}</span>')


@app.function
def lines(history: pl.DataFrame, names: list[str], title: str, log: bool = False):
    """One line a run, one panel a metric, over the steps; every panel has its own scale."""
    long = history.unpivot(names, index=["name", "step"], variable_name="metric").drop_nulls("value")
    scale = alt.Scale(type="symlog" if log else "linear", zero=False)
    few = bool(len(long)) and long.group_by("name", "metric").len()["len"].max() <= 20  # a single row is no line
    chart = alt.Chart(long).mark_line(interpolate="monotone", point=few).encode(
        x=alt.X("step:Q", axis=alt.Axis(format="~s", tickMinStep=1)),
        y=alt.Y("value:Q", scale=scale, title=None, axis=alt.Axis(format=",~r")),
        color=alt.Color("name:N", title="run", legend=alt.Legend(orient="bottom", columns=5, labelLimit=260)),
        tooltip=["name", "step", "metric", alt.Tooltip("value", format=".3e")],
    ).properties(width=260, height=150)
    panels = chart.facet(alt.Facet("metric:N", title=None, sort=names), columns=4).resolve_scale(y="independent")
    return mo.vstack([mo.md(f"### {title}"), panels if len(long) else mo.md("Nothing was logged.")])


@app.function
def open_run(run_id: str, catalog: str = "") -> tuple:
    """(its method, its config, scans to look at, a sentence about them) of one run's newest checkpoint."""
    folder, tree = run_weights(run_id)
    config = prism_pairs.config_of_run(tree, catalog)
    method, step = prism_pairs.trained(config, folder)
    scans, held = prism_pairs.scans_to_see(config)
    return method, config, scans, f"Checkpoint of step {step}; {len(scans)} scans of " + (
        "patients that it never saw." if held else "patients that **it learnt from**: nobody was held out.")


@app.function
def show_pair(pair, patch_mm: float):
    """One pair: the heads' answers, where the views lie in the scan, what each is given."""
    short = {name: "{:.2f}".format for name in ("predicted", "true")}
    return mo.vstack([
        mo.ui.table(pl.DataFrame(pair.answers), selection=None, format_mapping=short, show_column_summaries=False,
                    label="What the heads say of B, seen from A"),
        figures.pair_places(pair.picture, pair.spacing, pair.places),
        figures.view_mosaics(pair.shown, patch_mm)])


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Runs of Prism

    Choose where the runs are, then which of them. **Read the losses together with the ratios**: a loss near 0 is good
    only where predictions are spread as widely as their targets (ratio near 1). The ranking is by proxies on held-out
    patients, never by the loss.
    """)
    return


@app.cell
def _():
    said = mo.cli_args()
    entity = mo.ui.text(said.get("entity") or "local", label="entity (local: a folder)")
    project = mo.ui.text(said.get("project") or "runs/prism", label="project, or folder", full_width=True)
    mo.hstack([entity, project], widths=[1, 3])
    return entity, project


@app.cell
def _(entity, project):
    try:
        found, problem = fetch_runs(entity.value, project.value, {}), ""
    except Exception as error:  # shown on the page: what to do stands in it
        found, problem = pl.DataFrame(), str(error)
    mo.stop(bool(problem), mo.callout(words(problem), kind="danger"))
    mo.stop(found.is_empty(), mo.callout(words(f"No run in {entity.value}/{project.value} yet."), kind="warn"))
    return (found,)


@app.cell
def _(found):
    differs = [name for name in found.columns
               if name.startswith(LEARNT) and 1 < found[name].n_unique() <= 12]
    tags = mo.ui.multiselect(sorted(set(found["tags"].explode().drop_nulls())), label="tags (any of)")
    setting = mo.ui.dropdown(differs, label="setting")
    mo.hstack([tags, setting], justify="start")
    return setting, tags


@app.cell
def _(found, setting):
    values = sorted(found[setting.value].drop_nulls().unique()) if setting.value else []
    allowed = mo.ui.multiselect({str(value): value for value in values}, label="its values (none: all)")
    allowed
    return (allowed,)


@app.cell
def _(allowed, entity, project, setting, tags):
    wanted = {setting.value: {"$in": allowed.value}} if setting.value and allowed.value else {}
    runs = fetch_runs(entity.value, project.value, wanted)
    if tags.value:
        runs = runs.filter(pl.col("tags").list.set_intersection(tags.value).list.len() > 0)
    mo.stop(runs.is_empty(), mo.callout(mo.md("No run fits."), kind="warn"))
    history = fetch_history(runs["run_id"].to_list(), list(METRICS)).join(runs.select("run_id", "name"), on="run_id")
    mo.md(f"**{len(runs)}** runs, **{len(history)}** rows of history")
    return history, runs


@app.cell
def _(history, runs):
    score = compute_proxy_score(runs, history)
    shown = ["study", "rank", "name", "status", "composite", *SHOWN, "throughput", "total_step_time_ms_p99",
             "positives_per_anchor"]
    ranking = mo.ui.table(score.select(shown), selection="multi", page_size=25, label="Proxies and ranking",
                          format_mapping={name: "{:.3f}".format for name in ("composite", *SHOWN)})
    mo.vstack([ranking, words(who_counts(score)), mo.md(
        "Each study is ranked by itself, of the runs chosen above; runs of no table, such as a smoke run, among "
        "each other. `_grey` is what places alone reach: it does not count.")])
    return ranking, score


@app.cell
def _(score):
    short = {f"composite_{what}": lambda x: "" if x is None else f"{x:.3f}" for what in ("mean", "std", "best")}
    mo.vstack([mo.md("### What each setting did"),
               mo.ui.table(summarize_best_configs(score), selection=None, format_mapping=short)])
    return


@app.cell
def _(history, ranking):
    picked = ranking.value["name"].to_list() if len(ranking.value) else []
    seen = history.filter(pl.col("name").is_in(picked)) if picked else history
    present = [name for name in METRICS if seen[name].is_not_null().any()]
    words(f"Drawn: {', '.join(picked) if picked else 'all runs; choose rows of the table above to draw fewer'}")
    return present, seen


@app.cell
def _(present, seen):
    losses = [name for name in GROUPS["loss"] if name in present and not name.endswith("_raw")]
    lines(seen, losses, "Loss decomposition", log=True)
    return


@app.cell
def _(present, seen):
    spread = [name for name in GROUPS["sanity"] if name in present and name.startswith(("ratio_", "positives"))]
    lines(seen, spread, "Are the losses to be believed? std of predictions over that of targets; positives per anchor")
    return


@app.cell
def _(present, seen):
    clock = [name for name in GROUPS["throughput"] if name in present and not name.startswith("vram")]
    lines(seen, clock, "Throughput and tail latency")
    return


@app.cell
def _(present, seen):
    counters = [name for name in GROUPS["replacement"] if name in present]
    mo.stop(not counters, mo.md("No replacement counters were logged."))
    ended = seen.sort("step").group_by("name", maintain_order=True).agg(
        pl.col("step").last(), *(pl.col(name).drop_nulls().last() for name in counters))
    digits = {name: lambda x: "" if x is None else f"{x:,.4g}" for name in counters}
    mo.vstack([mo.md("### Replacements and failures, as each run ended"),
               mo.ui.table(ended, selection=None, format_mapping=digits)])
    return


@app.cell
def _(found):
    once = found.with_columns(pl.when(pl.col("name").is_unique()).then("name").otherwise("run_id").alias("shown"))
    which = mo.ui.dropdown(dict(once.select("shown", "run_id").iter_rows()), label="run")  # of all: no filter closes it
    catalog = mo.ui.text(label="catalog (empty: that of the run)", full_width=True)
    mo.vstack([mo.md("### A pair of views, and what a run says of it"), mo.hstack([which, catalog], widths=[1, 3])])
    return catalog, which


@app.cell
def _(catalog, which):
    mo.stop(not which.value, mo.md("Choose a run: its newest checkpoint is opened, and a scan of its catalog."))
    try:
        opened, wrong = open_run(which.value, catalog.value.strip()), ""
    except Exception as error:  # as above: what to do stands in it
        opened, wrong = (), str(error)
    mo.stop(bool(wrong), mo.callout(words(wrong), kind="warn"))
    method, config, scans, told = opened
    scan = mo.ui.slider(1, len(scans), label=f"scan, of {len(scans)}", show_value=True, debounce=True)
    visit = mo.ui.slider(1, 16, label="pair", show_value=True, debounce=True)
    mo.vstack([mo.md(told), mo.hstack([scan, visit], justify="start")])
    return config, method, scan, scans, visit


@app.cell
def _(config, method, scan, scans, visit):
    try:
        shown_pair = show_pair(prism_pairs.see_pair(method, config, scans[scan.value - 1], visit.value - 1),
                               config.data.patch_mm)
    except Exception as error:
        shown_pair = mo.callout(words(f"This scan cannot be shown: {error}"), kind="warn")
    shown_pair
    return


if __name__ == "__main__":
    app.run()
