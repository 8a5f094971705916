"""Options of a training run that are not in the cfg."""
from __future__ import annotations

import os
from dataclasses import dataclass

from darknet_py.errors import DarknetError, suggestion
from darknet_py.evaluation.darknet_map import check_settings

AMP = ("off", "bf16", "fp16")
STATISTICS = ("estimated", "running")


@dataclass(frozen=True)
class Settings:
    """Options of a training run; the network is that of the cfg, the data those of the .data file.

    clear: start at iteration 0 whatever the weights have seen, and do not go on from an earlier run; its files move to
        previous-N in the backup folder.
    evaluate: measure mAP (or a classifier's accuracy) now and then, and keep the best weights (-map).
    score_epochs: passes through the data between two measurements.
    patience: end the run when so many measurements in a row brought nothing better, which implies ``evaluate``; those
        before the first score above 0 do not count, and an equal score is none better. None: run to max_batches.
    iou_thresh, points, thresh: of the measurement, see ``evaluate_map``.
    device: "auto" takes a GPU where there is one.
    seed: of all that is random; None takes another one every time.
    workers: processes that load pictures; None: as many as there are idle cores, at most 8.
    amp: "off", "bf16" or "fp16" (mixed precision).
    statistics: "estimated": networks that are measured or saved have batch-norm statistics of their weights (see
        ``Statistics``); "running": those of C, which follow the weights slowly.
    compile: let torch.compile make the network faster; takes a while to begin.
    backup: the folder for weights; None: that of the .data file, else "backup".
    stop_after: end after so many iterations of the schedule as if that were all, for trials; None: max_batches.
    save: whether weights, the log and charts are written.
    charts: the folder for chart.png and chart_NAME.png; None for none.
    chart: a chart that Darknet drew of the iterations before, whose curves go into these; see ``read_chart``.
    report: whether the log comes with NAME_report/, a page with pictures of the run.
    tensorboard: a folder for TensorBoard's events; None for none.
    """

    clear: bool = False
    evaluate: bool = False
    score_epochs: float = 4
    patience: int | None = None
    iou_thresh: float = .5
    points: int = 0
    thresh: float = .25
    device: str = "auto"
    seed: int | None = None
    workers: int | None = None
    amp: str = "off"
    statistics: str = "estimated"
    compile: bool = False
    backup: str | os.PathLike | None = None
    stop_after: int | None = None
    save: bool = True
    charts: str | os.PathLike | None = "."
    chart: str | os.PathLike | None = None
    report: bool = True
    tensorboard: str | os.PathLike | None = None

    def __post_init__(self) -> None:
        for name, kinds in (("amp", AMP), ("statistics", STATISTICS)):
            if getattr(self, name) not in kinds:
                raise DarknetError(f"{name} needs one of {', '.join(kinds)}, found {getattr(self, name)!r}"
                                   + suggestion(str(getattr(self, name)), kinds))
        check_settings(self.iou_thresh, self.points)
        if self.patience is not None:
            if self.patience < 1:
                raise DarknetError(f"patience needs a number of measurements from 1 on, found {self.patience}")
            object.__setattr__(self, "evaluate", True)
