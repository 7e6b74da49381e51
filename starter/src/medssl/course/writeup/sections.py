"""The paper's text, section by section: fixed sentences about the method, and others made from what was measured."""

from medssl.course.checker.parse.handed_in import clean
from medssl.course.writeup import facts, tables, typeset
from medssl.course.writeup.body import Body, Material
from medssl.course.writeup.collect import Collected
from medssl.course.writeup.tables import signed, spread, title_of

SOURCES = {"breastmnist": "It was made from the breast ultrasound images of Al-Dhabyani and others [@aldhabyani2020].",
           "pneumoniamnist": "It was made from the chest X-rays of Kermany and others [@kermany2018]."}
FEW = 8  # missing files that are named one by one
METHODS = {"simclr": "SimCLR [@chen2020]", "moco": "MoCo [@he2020]"}
LIMITS = (
    "The images have 28 × 28 pixels, and one test split of one collection: nothing here is a statement about a clinic, "
    "another hospital or another scanner.",
    "The test split is small. An interval that holds zero is not evidence that two models are equal.",
    "Intervals draw test images, label draws and pretraining seeds anew. With three encoders or fewer they are too "
    "narrow where the luck of the pretraining is the largest noise.",
    "A model without a comparison on the same labels and the same splits is not shown to be better than simpler ones; "
    "the ladder of baselines is part of the result, not decoration.",
)
TWINS = ("The official splits of BreastMNIST hold near-twins: other frames of one scene in train and in test. Every "
         "test score here is flattered by them, and the intervals do not know it.")


def choose_examples(found: Collected) -> list[tuple[str, str]]:
    """For each data set the person whose results are most complete (then by name): never the one with the best."""
    def order(name: str, dataset: str):
        weeks = {run.week for run in found.runs if (run.dataset, run.name) == (dataset, name)}
        return -len(found.of(dataset, name)), -len(weeks), name

    best = {d: sorted({r.name for r in found.of(d)}, key=lambda name, d=d: order(name, d)) for d in found.datasets}
    return [(dataset, names[0]) for dataset, names in best.items() if names]


def abstract(m: Material) -> str:
    """Four to six sentences from the numbers; the group's own words take their place."""
    names, found = " and ".join(title_of(d) for d in found_sets(m)), m.found
    weeks = sorted({run.week for run in found.runs})
    text = [f"We study how far self-supervised pretraining saves labels on {names}, and what it does to calibration."]
    text.append(f"{len({r.name for r in found.metrics})} people" if len(found.people) > 1 else "One person")
    models, many = sum(r.runs for r in found.metrics), len(weeks) > 1
    text[-1] += f" trained and tested {models} model{'s' * (models > 1)} (probes included) in "
    text[-1] += (f"weeks {weeks[0]} to {weeks[-1]}" if many else f"week {weeks[0]}") + " of a course."
    for dataset, name in m.examples:
        reference = found.reference(dataset, name)
        few = (found.few_labels(dataset, name, "finetune") or found.few_labels(dataset, name, "probe"))[-1:]
        for r in few:
            text.append(f"On {title_of(dataset)} {clean(r.model, 50)} ({r.n_train} labels) reaches an AUROC of "
                        f"{spread(r, 'auroc')}" + (f"; the supervised reference with {reference.n_train} labels "
                        f"reaches {spread(reference, 'auroc')}, a difference of "
                        f"{signed(found.difference(r, reference))}."
                                                   if reference else "."))
        if reference and not few:
            text.append(f"On {title_of(dataset)} the supervised reference reaches an AUROC of "
                        f"{spread(reference, 'auroc')}.")
        if leads := facts.same_labels(found, dataset, name):
            text.append(f"Against the same labels without it: {facts.lead_words(max(leads, key=lambda x: x.mean))}")
        above = [r for r in tables.calibrated(found, dataset, name) if r.values["ece"] > r.floor["p95"]]
        of = len(tables.calibrated(found, dataset, name))
        if of:
            text.append(f"{len(above)} of {of} compared models {'is' if len(above) == 1 else 'are'} measurably "
                        "miscalibrated.")
    return " ".join([*text, "Square brackets are 95 % intervals throughout."])


def found_sets(m: Material) -> list[str]:
    return m.found.datasets


def write_body(m: Material, scale: float, extras: bool) -> str:
    """The whole paper after its title. scale: of all pictures; extras: tables that a crowded paper leaves out."""
    body, found = Body(m, scale), m.found
    introduction(body)
    data_section(body)
    method_section(body, extras)
    body.head("Experiments")
    if len(found.people) > 1:
        chosen = ", ".join(f"{clean(name, 40)} on {title_of(dataset)}" for dataset, name in m.examples)
        body.say(f"{len(found.people)} people handed in results. The sections below go through those of {chosen}: the "
                 "most complete ones, chosen without regard to their numbers; where everybody is compared, each has "
                 "their own row.")
    body.show("what was run", [tables.work_table(found)], "",
              "Probes count as models, for each is a training of its own.")
    result_sections(body)
    discussion(body)
    body.head("Limitations")
    body.add(typeset.bullets([*LIMITS, *[TWINS] * ("breastmnist" in found.datasets)]))
    body.own("Limitations")
    if not m.final:
        missing_section(body)
    reproduction(body)
    body.add(typeset.bibliography())
    return "\n\n".join(body.parts)


def introduction(body: Body) -> None:
    body.head("Introduction")
    body.say("Labels in medicine cost the time of people who have none. Self-supervised pretraining promises to learn "
             "from images alone, so that fewer labels do the rest [@chen2020] [@he2020].",
             "Two questions decide whether that is of use: does it save labels against a plain baseline with the same "
             "labels, and do its probabilities mean what they say? A model can rank well and still be badly calibrated "
             "[@guo2017].")
    body.say("We ask both on small public data from MedMNIST v2 [@yang2023], where every number can be computed again "
             "from the predictions that were handed in with it. All numbers, tables and figures of this paper are made "
             "from those files by a program; a difference is called one only where its 95 % interval leaves out zero.")
    body.own("Introduction")


def data_section(body: Body) -> None:
    found = body.material.found
    body.head("Data")
    phantoms = [d for d in found.datasets if found.about(d).phantom_of]
    if phantoms:
        body.add("#banner[" + typeset.prose("**Phantom data.** A program drew these images so that the course runs "
                 "offline. No patient was imaged: the numbers say that the code works, nothing about medicine.") + "]")
    for dataset in found.datasets:
        about = found.about(dataset)
        n, positive = sum(sum(c) for c in about.counts.values()), about.classes[1]
        said = sorted({clean(run.run["data_source"], 140) for run in found.runs
                       if run.dataset == dataset and run.run and run.run.get("data_source")})
        told = f"The runs name their source as “{said[0]}”." if said else ""
        body.say(f"{clean(about.title, 80)} holds {n:,} images in official splits. Class 1, “{positive}”, is the "
                 f"positive class of all metrics, so a false positive is “{about.classes[0]}” called “{positive}”.",
                 SOURCES.get(dataset, ""), told)
    step = " and ".join(f"{1 / sum(found.about(d).counts['test']):.4f} on {title_of(d)}" for d in found.datasets)
    body.show("classes and official splits", [tables.data_table(found)], "",
              f"The steps of any accuracy are coarse: one test image is worth {step}.")


def method_section(body: Body, extras: bool) -> None:
    m, found = body.material, body.material.found
    body.head("Methods")
    kinds = {r.method for r in found.metrics}
    starts = sorted({"ImageNet weights" if r.backbone == "imagenet" else "random weights"
                     for r in found.metrics if r.week < 4})
    if starts:
        body.say("Supervised models are a small convolutional network and a ResNet-18 [@he2016]",
                 f"that start from {' or '.join(starts)}; they are trained with AdamW [@loshchilov2019] and a cosine "
                 "schedule.",
                 "In “head” only the last layer is trained." if "head" in kinds else "",
                 "The configuration was chosen on val; test was scored once for each seed.")
    for one in m.found.pretraining:
        if (one["dataset"], one["name"]) in m.examples:
            body.say(pretraining_text(one))
    if "probe" in kinds:
        body.say("The encoder is judged by a linear probe: a logistic regression on its frozen features, whose "
                 "regularisation is chosen on val. Labels are drawn by class, the same draws for every method; a share "
                 "of 10 % holds the images of the 5 % of the same draw.",
                 "Fine-tuning starts from encoder and probe and moves all layers." if "finetune" in kinds else "")
    body.say("Ranking is measured by AUROC, which no threshold changes. Accuracy stands beside the rate of always "
             "saying the commoner class. The expected calibration error (ECE) is top-label, ECE = Σ (n_b / N) "
             "|accuracy_b − confidence_b| over ten bins of equal width [@guo2017]. It is never zero on few images, so "
             "each stands beside its floor: the ECE that a perfectly calibrated model with the same scores would show, "
             "by simulation. NLL and Brier score need no bins.")
    body.say("Intervals are 95 % bootstrap intervals [@efron1993] that draw test images within each class, draws of "
             "labels and pretraining seeds together; in a difference of two models the same images are drawn for both. "
             "The spread after ± is the standard deviation between runs.",
             "Rates at a threshold have Wilson intervals [@wilson1927]; their drift from val to test Newcombe’s "
             "[@newcombe1998]."
             if m.points else "")
    body.own("Methods")
    if extras:
        body.show("how the networks were trained", [tables.settings_table(found, m.examples)], "",
                  "No setting was chosen on test.")


def pretraining_text(one: dict) -> str:
    c = {key: clean(value, 60) for key, value in one["config"].items()}
    method = METHODS.get(c.get("method", ""), c.get("method", "self-supervised"))
    seeds = one["config"].get("seeds")
    repeated = f", repeated with {len(seeds)} seeds" if isinstance(seeds, list) and len(seeds) > 1 else ""
    loss = next(iter(one["losses"].values()), [])
    moved = f" The contrastive loss went from {loss[0][1]:.2f} to {loss[-1][1]:.2f} with the first seed" if loss else ""
    chance = one["config"].get("chance_level")
    moved += f" (chance: {chance:.2f})." if moved and isinstance(chance, (int, float)) else "." * bool(moved)
    steps = f", {c['steps']} steps" if "steps" in c else ""
    return (f"On {title_of(one['dataset'])} a {c.get('backbone', 'network')} was pretrained with {method} on the train "
            f"images, without their labels: batch {c['batch_size']}, {c['epochs']} epochs{steps}, optimiser "
            f"{c['optimizer']}, learning rate {c['lr']}, weight decay {c['weight_decay']}, temperature {c['tau']}, "
            f"projection to {c['proj_dim']} dimensions{repeated}. The two views differ by "
            f"{tables.augmentation(one['config'].get('augmentations'))}.{moved}")


def result_sections(body: Body) -> None:
    m, found = body.material, body.material.found
    body.head("Results")
    body.head("Supervised baselines", 2)
    body.show("the supervised networks", [tables.baseline_table(found, m.examples)], "baselines",
              "All labels were used. A network that only knows the commoner class has the majority accuracy, a "
              "balanced accuracy of 0.5 and an AUROC of 0.5.")
    for who in m.examples:
        listed(body, who, facts.baseline_claims(found, *who))
    body.head("Label efficiency", 2)
    ladders = [tables.ladder_table(found, *who) for who in m.examples]
    body.show("what few labels give", [tables.label_table(found, m.examples), *ladders], "label_efficiency",
              "A probe is worth its pretraining only where it leads every rung that needs none: pixels, a random "
              "network, and a network trained on the same labels." if any(ladders) else "")
    body.show("the pretraining", [], "pretraining_loss",
              "The loss says that the task was learned, not that the features are of use.")
    body.head("Calibration", 2)
    body.show("the calibration", [tables.calibration_table(found, m.examples)], "reliability",
              "ECE counts noise as error, so it is held against its floor; NLL is compared between models, for it "
              "needs no bins.")
    body.head("Operating points and errors", 2)
    body.show("each rule on val and on test", [tables.point_table(found, m.examples, m.points)], "threshold_drift",
              "AUROC belongs to a model, not to a point: no threshold changes it.")
    body.show("errors", [], "errors", "They are the worst of the mistakes, no sample of them.")
    body.head("Robustness", 2)
    body.show("what shifted images cost", [tables.shift_table(found, m.examples, m.shifts)], "robustness",
              "Model and threshold stayed as they were; only the images changed [@hendrycks2019].")
    body.head("Everybody", 2)
    body.show("everybody's own numbers", [tables.people_table(found)], "everybody")
    body.own("Results")


def listed(body: Body, who: tuple[str, str], claims: list[str]) -> None:
    lead = f"{title_of(who[0])}: " if len(body.material.examples) > 1 else ""
    if claims:
        body.add(typeset.bullets([lead + claim for claim in claims]))


def discussion(body: Body) -> None:
    m, found = body.material, body.material.found
    body.head("Discussion")
    groups = {"Does self-supervision save labels?": facts.label_claims,
              "Do probabilities mean what they say?": facts.calibration_claims,
              "Do thresholds carry over?": lambda f, d, n: facts.point_claims(m.points.get((d, n), [])),
              "What do shifted images cost?": lambda f, d, n: facts.shift_claims(m.shifts.get((d, n), []))}
    for title, claims in groups.items():
        said = {who: claims(found, *who) for who in m.examples}
        if any(said.values()):
            body.head(title, 3, numbered=False)
            for who, lines in said.items():
                listed(body, who, lines)
    if apart := facts.between_datasets(found, m.examples):
        body.head("Do the two data sets differ?", 3, numbered=False)
        body.add(typeset.bullets(apart))
    looks = {kind: gaps for kind, gaps in facts.looks(found, m.examples, m.points, m.shifts).items() if gaps}
    differences = [gap for gaps in looks.values() for gap in gaps]
    clear = sum(gap["lo"] > 0 or gap["hi"] < 0 for gap in differences)
    if len(differences) > 1:
        kinds = "; ".join(f"{len(gaps)} {kind}" for kind, gaps in looks.items())
        body.say(f"In all, {len(differences)} differences were looked at for this paper ({kinds}), and {clear} of "
                 "their intervals leave out zero. Where nothing differs one in twenty would, by chance alone.")
    body.own("Discussion")


def missing_section(body: Body) -> None:
    """File by file where they are few, week by week where they are many."""
    found = body.material.found
    body.head("What is missing")
    lines = [line.file + (f" ({found.broken[line.file]})" if line.file in found.broken else "")
             for line in found.missing]
    if len(lines) > FEW:
        weeks = {week: [line for line in found.missing if line.week == week] for week in range(1, 11)}
        lines = [f"Week {week}: {len(those)} file{'s' * (len(those) > 1)}, such as {those[0].file}"
                 for week, those in weeks.items() if those]
    if lines:
        body.add(typeset.bullets([clean(line, 160) for line in lines]))
        body.say("The list with the command that makes each is missing_pieces.md.")


def reproduction(body: Body) -> None:
    """Versions, machines, commits and seeds, as run.json says them."""
    found = body.material.found
    runs = [run.run for run in found.runs if run.run]
    body.head("Reproducibility")
    versions = sorted({f"{package} {version}" for run in runs if isinstance(run.get("versions"), dict)
                       for package, version in run["versions"].items()})
    commits = sorted({str(run["git"])[:10] for run in runs if run.get("git")})
    splits = sorted({str(run["split_hash"]) for run in runs if run.get("split_hash")})
    seeds = sorted({seed for r in found.metrics for seed in r.seeds})
    hardware = [run["hardware"] for run in runs if tables.hardware_said(run)]
    machines = sorted({f"{clean(one['device'], 30)} ({one.get('cpu_count', '?')} cores)" for one in hardware})
    body.say(f"Versions: {clean(', '.join(versions), 300)}." if versions else "",
             f"Machines: {clean(', '.join(machines), 200)}." if machines else "",
             f"Commits: {clean(', '.join(commits), 120)}." if commits else "",
             f"Hash of the split: {clean(', '.join(splits), 80)}." if splits else "",
             f"Seeds and runs are numbered {seeds[0]} to {seeds[-1]}." if len(seeds) > 1 else "",
             "Weeks 1-7 are run again, with the settings recorded in each run.json, by medssl reproduce; the command "
             "of every week stands in what medssl checklist writes; medssl report makes this paper.")


