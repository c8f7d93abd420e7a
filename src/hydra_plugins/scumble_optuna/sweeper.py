"""A sweeper that searches: Optuna draws the values of each run, Hydra's launchers train them.

Hydra imports this module at each start, whatever the sweeper, so Optuna is imported when a search begins.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from optuna.trial import Trial

    from scumble.sweeps.search import Drawn, Parameter, Search

log = logging.getLogger(__name__)


class OptunaSweeper(Sweeper):
    """Trains ``n_trials`` runs, ``n_jobs`` at a time, whose values the ``sampler`` draws: tpe, nsga2 or random.

    The objectives are the metrics to ``minimize`` and to ``maximize``, as the runs measured them last. The monitors of
    ``prune`` end a run that fires one, and its trial counts as pruned. ``sampler_options`` are those of Optuna's class.
    """

    hydra_context: HydraContext
    config: DictConfig
    launcher: Launcher

    def __init__(
        self,
        sampler: str,
        n_trials: int,
        n_jobs: int = 1,
        seed: int = 0,
        minimize: Sequence[str] = (),
        maximize: Sequence[str] = (),
        prune: Sequence[str] = (),
        sampler_options: Mapping[str, Any] | None = None,
    ):
        self.sampler, self.n_trials, self.n_jobs, self.seed = sampler, n_trials, n_jobs, seed
        self.objectives = dict.fromkeys(minimize, "minimize") | dict.fromkeys(maximize, "maximize")
        self.prune, self.sampler_options = list(prune), dict(sampler_options or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives, and make the launcher."""
        from hydra.core.plugins import Plugins

        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Search until there are ``n_trials``, print the front and return it; a user's mistake ends in one line."""
        from scumble.errors import one_line_errors

        return one_line_errors(self._search)(arguments)

    def _search(self, arguments: list[str]) -> dict[str, Any]:
        from scumble.sweeps.search import JOURNAL_FILE, Search, describe_front, only_search_in

        if min(self.n_trials, self.n_jobs) < 1:
            raise ValueError(f"n_trials and n_jobs must be at least 1, got {self.n_trials} and {self.n_jobs}")
        overrides = OverridesParser.create(self.hydra_context.config_loader).parse_overrides(arguments)
        parameters = {each.get_key_element(): parameter(each) for each in overrides if each.is_sweep_override()}
        if not parameters:
            raise ValueError("there is nothing to search; give a value a range: 'loss_weights.style=interval(1,50)'")
        # What the user says of a monitor comes after, and so has the last word.
        fixed = [f"callbacks.monitors.monitors.{monitor}.action=stop" for monitor in self.prune]
        fixed += [str(each.input_line) for each in overrides if not each.is_sweep_override()]
        self._check_runs(fixed, [each for each in overrides if each.is_sweep_override()])

        folder = Path(self.config.hydra.sweep.dir)
        with only_search_in(folder):
            if (folder / JOURNAL_FILE).is_file() and not self.config.resume:
                raise FileExistsError(
                    f"{folder} has a search already; set resume=true to resume it, or another hydra.sweep.dir"
                )
            search = Search(
                folder, parameters, self.objectives, self.sampler, self.sampler_options, self.seed, self.n_trials
            )
            OmegaConf.save(self.config, folder / "multirun.yaml")
            for batch in search.batches(self.n_trials, self.n_jobs):
                self._train(search, batch, fixed)
                search.write_front()
        report = search.write_front()
        print(f"\n{describe_front(report)}")
        return report

    def _train(self, search: Search, batch: Sequence[Drawn], fixed: Sequence[str]) -> None:
        """Train the runs of a batch and tell the search what they reached."""
        jobs = [[*fixed, *_words(drawn.values), f"hydra.sweep.subdir='{drawn.folder}'"] for drawn in batch]
        try:
            self.launcher.launch(jobs, initial_job_idx=batch[0].trial.number)
        except Exception as error:
            # A run that is killed takes its launcher along, but not what other runs reached. If none has begun, the
            # launcher itself is at fault, and so would be that of the next batch.
            if not any((search.folder / drawn.folder).is_dir() for drawn in batch):
                raise
            log.error("The launcher ended with an error: %s", error)
        for drawn in batch:
            outcome = search.tell(drawn)
            if outcome is None:
                log.warning("%s is not finished; resume=true resumes it", drawn.folder)
            elif outcome.reason:
                log.warning("%s is %s: %s", drawn.folder, outcome.word, outcome.reason)

    def _check_runs(self, fixed: Sequence[str], drawn: Sequence[Override]) -> None:
        """Compose the configs of runs with what can be drawn, so that mistakes come before training.

        That is each value of a list and the ends of a range, each with the first values of the others.
        """
        from scumble.sweeps.search import check_ranks

        first = {each.get_key_element(): _examples(each)[0] for each in drawn}
        for each in drawn:
            for value in _examples(each):
                words = [*fixed, *_words(first | {each.get_key_element(): value})]
                config = self.hydra_context.config_loader.load_sweep_config(self.config, words)
                check_ranks(config.trainer, self.config.hydra.launcher._target_)


def parameter(override: Override) -> Parameter:
    """What a search draws for an override: a value of a list, or a number of a range or an interval.

    ``tag(log,interval(...))`` draws numbers whose logarithm is uniform, ``int(interval(...))`` whole numbers, the end
    included.

    Raises: ValueError if there is nothing to draw.
    """
    from scumble.sweeps.search import Parameter

    asked, sweep = override.get_value_string(), override.value()
    if isinstance(sweep, RangeSweep):
        steps, step = list(sweep.range()), abs(sweep.step)
        if not steps or "log" in sweep.tags:
            raise ValueError(f"{override.input_line}: a range needs a number in it; tag(log,...) is for an interval")
        return Parameter(asked, _number(min(steps), max(steps), step=step))
    if isinstance(sweep, IntervalSweep):
        low, high, log_scale = sweep.start, sweep.end, "log" in sweep.tags
        if low is None or high is None or low >= high or (log_scale and low <= 0):
            raise ValueError(
                f"{override.input_line}: the first number must be less than the second, and above 0 with tag(log,...)"
            )
        return Parameter(asked, _number(low, high, log=log_scale))
    values = list(override.sweep_string_iterator())
    return Parameter(asked, lambda trial, name: trial.suggest_categorical(name, values))


def _number(low: float, high: float, **options: Any) -> Callable[[Trial, str], int | float]:
    """How a number is drawn, a whole one between whole ones."""
    if isinstance(low, int) and isinstance(high, int):
        return lambda trial, name: trial.suggest_int(name, low, high, **options)
    return lambda trial, name: trial.suggest_float(name, low, high, **options)


def _examples(override: Override) -> list[Any]:
    """All values of a list, the ends of a range or an interval."""
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        return [sweep.start, sweep.end]
    values = list(override.sweep_string_iterator())
    return [values[0], values[-1]] if override.is_range_sweep() else values


def _words(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]
