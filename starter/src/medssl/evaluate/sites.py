"""Does it hold elsewhere? Each hospital in turn is the test set, and nothing of it is learnt from or tuned on."""

import numpy as np

from medssl.errors import MedsslError
from medssl.evaluate.probes import as_features, scale
from medssl.evaluate.probes_many import fit_many, report


def leave_one_site_out(x, y, sites, classes, *, patients=None, score=None, n_boot: int = 2000,
                       seed: int = 0) -> dict[str, dict]:
    """{site: the numbers of a linear probe on that site, trained on all others}, for three named sites or more.

    Features x [N,D], labels y [N] or [N,K], sites [N] (names). Standardisation and training see the other sites only; C
    is chosen by leaving out one of *them* in turn, because it, too, must serve a place that was not seen. patients [N],
    where given, must each belong to one site. score [N]: False for images to learn from but not to be tested on. A site
    without images of each class has no AUROC, and without a site that alone has a class nothing can be learnt of it:
    the entry says so under "not_scored". Sites are few and differ in more than their scanners: read the rows, not their
    mean.
    """
    from sklearn.model_selection import LeaveOneGroupOut

    x, y, sites = as_features(x, "x"), np.asarray(y).astype(np.int64), np.asarray(sites).astype(str)
    names = np.unique(sites)
    if len(names) < 3 or not len(x) == len(y) == len(sites):
        raise MedsslError(f"{len(x)} features, {len(y)} labels, {len(sites)} sites: {', '.join(names[:5])}.",
                          "a site for each image, three sites or more: one to test on, two to choose C between")
    if patients is not None:
        pairs = {*zip(np.asarray(patients).astype(str), sites, strict=True)}
        if len(pairs) > len({patient for patient, _ in pairs}):
            raise MedsslError(f"{len(pairs) - len({p for p, _ in pairs})} patients were seen at two sites.",
                              "each patient at one: else the probe is tested on whom it knows",
                              "give such a patient's images one site, or leave them out")
    out = {}
    for rest, held in LeaveOneGroupOut().split(x, groups=sites):
        mean, std = scale(x[rest])
        z = (x - mean) / std
        folds = [(rest[a], rest[b]) for a, b in LeaveOneGroupOut().split(rest, groups=sites[rest])]
        name, held = str(sites[held[0]]), held if score is None else held[np.asarray(score)[held]]
        try:
            model, C = fit_many(z, y, rest, folds)
            out[name] = report(y[held], model.predict_proba(z[held]), classes, n_boot=n_boot, seed=seed) | {"C": C}
        except MedsslError as error:
            out[name] = {"n": len(held), "not_scored": error.wrong}
        out[name] |= {"n_train": len(rest), "trained_on": [str(n) for n in names if n != name]}
    return out
