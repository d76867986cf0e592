"""The exported model of a fine-tuned network. Its backbone is its own, so it has no template: it is traced and written
whole, which takes seconds."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kesikaran.config.schema import BackboneConfig, DataConfig, DecisionRule
from kesikaran.core import files, terminal
from kesikaran.metrics import decisions
from kesikaran.metrics.decisions import Decision
from kesikaran.models.classifier import Classifier
from kesikaran.models.module_files import digest
from kesikaran.models.network import Network
from kesikaran.publish.facts import Facts
from kesikaran.tracking import models
from kesikaran.tracking.open_run import Run

BACKBONE = "backbone"  # the folder of a run's artifacts with the tuned backbone: another run's backbone.handle
_REMEDY = "or go without the model: tracking.log_model=false"


@dataclass(frozen=True)
class FinetunedClassifier:
    """A fine-tuned network, with the values that its variables have when it is logged. views: of an image, whose
    features' mean the head takes. data: what the run was trained on."""

    network: Network
    config: BackboneConfig
    views: tuple[str, ...]
    data: DataConfig

    def log(self, run: Run, decision: Decision, rule: DecisionRule) -> None:
        """Log the classifier as the model of a run, and its backbone as the folder `backbone` of the run's artifacts.
        The head of the network becomes one whose logits are the decision's log-odds.

        Raises:
            InputError: the store of runs or the temporary folder is full.
        """
        room = files.disk_space(f"the store of runs or the temporary folder {tempfile.gettempdir()}", _REMEDY)
        with room, tempfile.TemporaryDirectory() as making:
            found = self._log_backbone(run, Path(making) / BACKBONE)
            self.network.head.set_weights(decisions.fold(decision, self.network.head.get_weights()))
            made = Classifier(self.network, self.config, self.network.head, self.views)
            made.threshold.assign(decision.threshold)
            if decision.band:
                made.band.assign([decision.band.low, decision.band.high])
            about = Facts(
                run.run_id, self.data.name, self.config, found, int(self.network.head.input_shape[-1]), self.views,
                self.data.max_megapixels, rule, decision.threshold, decision.band,
            )  # fmt: skip
            folder = Path(making) / "model"
            with terminal.sheltered():  # TensorFlow can lose a signal's exception while it traces
                models.save_model(made, folder)

            def write(target: Path) -> None:
                shutil.copytree(folder / models.SAVED_MODEL, target)
                about.write(target)

            run.model(folder, write)

    def _log_backbone(self, run: Run, folder: Path) -> str:
        """Returns the digest of the backbone."""
        with terminal.sheltered():
            self.network.save_backbone(folder)
        run.folder(folder, BACKBONE)
        found = digest(folder)
        run.tags({"tuned_backbone_digest": found})
        return found
