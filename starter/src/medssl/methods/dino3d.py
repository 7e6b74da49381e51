"""DINO for volumes: parts of a scan should get the answer that a slow teacher gives to the whole.

The method of Caron et al. 2021 (arXiv 2104.14294), with Sinkhorn and KoLeo of DINOv2 (Oquab et al. 2023, arXiv
2304.07193), and three settings about air: most of a CT is no patient, and two crops of air are a match that teaches
nothing. They work on each pair of crops by the share of foreground that each crop really has.
"""

import inspect
import math
import warnings
from numbers import Integral, Real

import torch
from torch import Tensor, nn

from medssl.errors import MedsslError
from medssl.losses import dino_loss, entropies, koleo, sinkhorn, small_batch_warning, softmax_centre
from medssl.models import PrototypeHead, decay_groups, follow, freeze, momentum_copy

POWERS = {"none": 0, "linear": 1, "squared": 2}


class DINO3D(nn.Module):
    """Student and teacher on the crops of views.MultiCrop3D: "globals" [G,B,1,Z,Y,X], "locals" [L,B,1,z,y,x] or none,
    their "…_ratio" of foreground and "…_relaxed" [·,B], "…_spacing" [·,B,3] in mm.

        loss = dino_loss(student of all crops, teacher of the globals)  +  koleo · KoLeo(features of the globals)

    No pair of a crop with itself. teacher <- m · teacher + (1 - m) · student, m from `momentum` to 1 along half a
    cosine. centring: "softmax" takes the running mean of the teacher's answers off (good for any batch), "sinkhorn"
    spreads this batch's, and with queue=N also N older rows', over all prototypes; too few rows are warned about.
    teacher_temp: first and last, a straight line over the first `warmup` of the steps. The prototypes stand still for
    the first `still` of the steps.

    - foreground_loss_weighting: a pair weighs r ("linear") or r² ("squared"), r the smaller ratio of its two crops: a
      match is worth no more than its emptier side. Only differences count, the weights are divided by their sum.
    - foreground_only_matching: pairs whose r is below foreground_only_threshold (0.5) are left out. Where none is left
      the whole loss, KoLeo too, is 0 with gradient 0: "pairs" says which share was used.
    - hierarchical_matching: locals with a ratio of hierarchical_threshold (0.5) or more match the teacher's globals,
      the others the teacher's other locals of their image. The teacher then sees the locals too: with 4 of 24³ beside
      2 of 48³ that is a quarter more voxels for it. No published study supports this; it is here to be tested.

    All three are off by default, and then a batch's ratios are reported only.
    """

    def __init__(self, encoder: nn.Module, *, prototypes: int = 256, centring: str = "softmax", queue: int = 0,
                 student_temp: float = 0.1, teacher_temp: tuple[float, float] = (0.04, 0.07), warmup: float = 0.3,
                 momentum: float = 0.99, centre_momentum: float | None = None, koleo: float = 0.1, still: float = 0.05,
                 foreground_loss_weighting: str = "none", hierarchical_matching: bool = False,
                 hierarchical_threshold: float | None = None, foreground_only_matching: bool = False,
                 foreground_only_threshold: float | None = None, hidden: int = 512, bottleneck: int = 64):
        super().__init__()
        shares = {"warmup": warmup, "momentum": momentum, "still": still}
        thresholds = {"hierarchical": (hierarchical_matching, hierarchical_threshold),
                      "foreground_only": (foreground_only_matching, foreground_only_threshold)}
        shares |= {f"{name}_threshold": t for name, (_, t) in thresholds.items() if t is not None}
        shares |= {} if centre_momentum is None else {"centre_momentum": centre_momentum}
        temps = (student_temp, *(teacher_temp if isinstance(teacher_temp, tuple | list) else ()))
        wrong = [f"{name}={value!r}" for name, value in shares.items() if not (_number(value) and 0 <= value <= 1)]
        wrong += [f"{name}_matching={on!r}" for name, (on, _) in thresholds.items() if not isinstance(on, bool)]
        if wrong or len(temps) != 3 or not all(_number(t) and t > 0 for t in temps) or not (_number(koleo) and \
                koleo >= 0) or not (isinstance(queue, Integral) and queue >= 0) or \
                centring not in ("softmax", "sinkhorn") or foreground_loss_weighting not in POWERS:
            raise MedsslError(f"DINO3D with {', '.join(wrong) or 'a setting out of range'}: {student_temp=}, "
                              f"{teacher_temp=}, {koleo=}, {queue=}, {centring=}, {foreground_loss_weighting=}.",
                              "shares and thresholds from 0 to 1, temperatures above 0 (the teacher's first and last), "
                              "matching True or False (true or false in TOML and after --set), centring softmax or "
                              f"sinkhorn, foreground_loss_weighting {', '.join(POWERS)}")
        dead = [f"{name}_threshold without {name}_matching" for name, (on, t) in thresholds.items() if t is not None
                and not on] + ["queue without centring='sinkhorn'"] * bool(queue and centring != "sinkhorn") + \
            ["centre_momentum without centring='softmax'"] * (centre_momentum is not None and centring != "softmax")
        if dead:
            raise MedsslError(f"A setting would do nothing: {', '.join(dead)}.", "both or neither")
        self.encoder, self.head = encoder, PrototypeHead(encoder.dim, prototypes, hidden, bottleneck)
        self.teacher, self.teacher_head = (freeze(momentum_copy(part)) for part in (self.encoder, self.head))
        self.centring, self.student_temp, self.teacher_temps, self.warmup = centring, student_temp, teacher_temp, warmup
        self.first_momentum = self.momentum = momentum
        self.centre_momentum = 0.9 if centre_momentum is None else centre_momentum
        self.koleo, self.still = koleo, still
        self.weighting = foreground_loss_weighting
        self.local_from, self.only_from = ((0.5 if t is None else t) if on else None for on, t in thresholds.values())
        self.in_mm = "spacing" in inspect.signature(encoder.forward).parameters
        self.register_buffer("temp", torch.tensor(float(teacher_temp[0])))
        self.register_buffer("centre", torch.zeros(prototypes))
        self.register_buffer("queue", torch.zeros(queue, bottleneck))  # the newest first
        self.register_buffer("queued", torch.zeros((), dtype=torch.long))
        self.warned = False

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        kinds = ["global", "local"] if len(batch.get("locals", ())) else ["global"]
        ratios = torch.cat([batch[f"{kind}_ratio"] for kind in kinds]).float()  # [S,B], the globals first
        views, images = len(batch["globals"]), ratios.shape[1]
        if len(ratios) < 2:
            raise MedsslError("The batch holds a single crop of each scan.", "2 or more", "n_global=2")
        features = [self.features(self.encoder, batch, kind) for kind in kinds]
        cosines = self.head(torch.cat(features)).unflatten(0, (-1, images))  # [S,B,K]
        with torch.no_grad():
            seen = kinds if self.local_from is not None else ["global"]
            z = self.teacher_head.embed(torch.cat([self.features(self.teacher, batch, kind) for kind in seen]))
            raw = self.teacher_head.score(z)
            targets = self.targets(z, raw)
            weights, used = self.weights(ratios, views)
        loss = dino_loss(cosines, targets.unflatten(0, (-1, images)), student_temp=self.student_temp, weights=weights)
        out = {"loss": loss, "dino": loss, "pairs": used}
        if self.koleo:
            out["koleo"] = koleo(features[0].unflatten(0, (views, images)))
            out["loss"] = loss + self.koleo * (used > 0) * out["koleo"]
        answers = {"student": (cosines[:views].flatten(0, 1), self.student_temp),
                   "teacher": (raw[:views * images], self.temp)}  # as they are, before any centring
        for who, (logits, temp) in answers.items():
            marginal, mean = entropies(logits, temp)
            out |= {f"{who}_mi": marginal - mean, f"{who}_entropy": mean}
        out["target_entropy"] = torch.special.entr(targets).sum(-1).mean()
        out |= {f"{kind}_ratio": batch[f"{kind}_ratio"].float().mean() for kind in kinds}
        return out | {"relaxed": torch.cat([batch[f"{kind}_relaxed"] for kind in kinds]).float().mean()}

    def features(self, encoder: nn.Module, batch: dict[str, Tensor], kind: str) -> Tensor:
        """[views · B, dim] of the crops of one kind, all in one pass."""
        return self._encode(encoder, batch[f"{kind}s"].flatten(0, 1), batch[f"{kind}_spacing"].flatten(0, 1))

    def weights(self, ratios: Tensor, views: int) -> tuple[Tensor, Tensor]:
        """(what each pair of student crop s and teacher crop t is worth [S,T,B], share of the pairs not worth 0), of
        crops with these ratios [S,B], the first `views` of them globals. T is S where the teacher sees locals too."""
        S, crop = len(ratios), torch.arange(len(ratios), device=ratios.device)
        T = S if self.local_from is not None else views
        w = (crop[:, None] != crop[:T])[..., None].expand(S, T, ratios.shape[1]).float()  # no crop with itself
        if self.local_from is not None:
            among_locals = (crop[:, None] >= views) & (ratios < self.local_from)  # [S,B]
            w = w * (among_locals[:, None] == (crop[:T] >= views)[:, None])
        possible, emptier = w.sum(), torch.minimum(ratios[:, None], ratios[:T])
        if self.only_from is not None:
            w = w * (emptier >= self.only_from)
        w = w * emptier ** POWERS[self.weighting]
        return w, (w > 0).sum() / possible.clamp(min=1)

    def targets(self, z: Tensor, raw: Tensor) -> Tensor:
        """The teacher's answers [N,K] spread over the prototypes, from its z [N,D] and their cosines; in training the
        centre or the queue moves on afterwards."""
        if self.centring == "softmax":
            answers = softmax_centre(raw, self.centre, self.temp)
            if self.training:
                self.centre.lerp_(raw.mean(0), 1 - self.centre_momentum)
            return answers
        if self.training and not self.warned and (text := small_batch_warning(len(z) + len(self.queue), raw.shape[1])):
            warnings.warn(text, stacklevel=2)
        self.warned |= self.training
        older = self.teacher_head.score(self.queue[:int(self.queued)])  # by the prototypes as they are now
        answers = sinkhorn(torch.cat([raw, older]), float(self.temp))[:len(raw)]
        if self.training and len(self.queue):
            self.queue.copy_(torch.cat([z, self.queue])[:len(self.queue)])
            self.queued.add_(len(z)).clamp_(max=len(self.queue))
        return answers

    def before_step(self, step: int, total: int) -> None:
        """Momentum, temperature and the rest of the prototypes follow from the step: a resumed run is the same."""
        self.momentum = 1 - (1 - self.first_momentum) * (1 + math.cos(math.pi * step / total)) / 2
        done = min(1.0, step / (self.warmup * total)) if self.warmup else 1.0
        self.temp.fill_(self.teacher_temps[0] + (self.teacher_temps[1] - self.teacher_temps[0]) * done)
        self.head.still = step < self.still * total

    def after_step(self) -> None:
        """The teacher follows once the optimiser has moved the student."""
        follow(self.teacher, self.encoder, self.momentum)
        follow(self.teacher_head, self.head, self.momentum)

    def encode(self, x: Tensor, spacing=None) -> Tensor:
        """Crops [B,1,Z,Y,X] -> features [B,dim] of the student's encoder, from below the head."""
        return self._encode(self.encoder, x, spacing)

    def logits(self, x: Tensor, spacing=None, teacher: bool = False) -> Tensor:
        """Cosines [B,K] with the prototypes, before temperature and centring: what the signs of a collapse need."""
        encoder, head = (self.teacher, self.teacher_head) if teacher else (self.encoder, self.head)
        return head(self._encode(encoder, x, spacing))

    def settings(self) -> dict:
        """What it was built with: for the run's record."""
        own = {"queue": len(self.queue)} if self.centring == "sinkhorn" else {"centre_momentum": self.centre_momentum}
        own |= {} if self.local_from is None else {"hierarchical_threshold": self.local_from}
        own |= {} if self.only_from is None else {"foreground_only_threshold": self.only_from}
        return {"prototypes": len(self.centre), "centring": self.centring, "student_temp": self.student_temp,
                "teacher_temp": list(self.teacher_temps), "warmup": self.warmup, "momentum": self.first_momentum,
                "koleo": self.koleo, "still": self.still, "foreground_loss_weighting": self.weighting,
                "hierarchical_matching": self.local_from is not None,
                "foreground_only_matching": self.only_from is not None, "hidden": self.head.layers[0].out_features,
                "bottleneck": self.head.prototypes.shape[1], **own}

    def param_groups(self, lr: float, weight_decay: float) -> list[dict]:
        """The teacher learns nothing; biases and norm scales do not decay."""
        return decay_groups(self, lr, weight_decay)

    def _encode(self, encoder: nn.Module, x: Tensor, spacing) -> Tensor:
        return encoder(x, spacing=spacing) if self.in_mm else encoder(x)


def _number(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
