"""The pass of the backbone alone, over a part of the images: it leaves their features in the cache and opens no run."""

from kesikaran.config.schema import Experiment
from kesikaran.data import augment, data_source, label_file, original_names
from kesikaran.data.object_store import sha1_of
from kesikaran.experiment.refusals import tell_complaints, tell_refusals
from kesikaran.features import extract
from kesikaran.models import backbone
from kesikaran.training import device


def fill(e: Experiment, shard: int, shards: int) -> None:
    """Compute the features of every `shards`-th image in the order of SHA-1, beginning with number `shard`.

    Raises:
        InputError: whatever is wrong with the data, the backbone or the cache; images were refused and
            `data.on_bad_image` is `fail`.
    """
    device.choose(e.device)
    labels_path, folder = data_source.locate(e.data)
    table = label_file.read_labels(labels_path).table
    whole = list(table.head(e.data.limit or len(table))["object_id"])
    part = sorted(whole, key=sha1_of)[shard::shards]
    net = backbone.load(e.backbone.handle, e.backbone.image_size, e.backbone.trusted)
    views = augment.views(e.augment.name)
    done = extract.fill(part, whole, folder, net, e.backbone, e.data.max_megapixels, views)
    good = len(part) - len(done.refused)
    print(
        f"Shard {shard} of {shards}: features of {good} images, {done.computed} of them computed now, the others "
        "cached."
    )
    tell_complaints(done.remarks, folder)
    if done.refused:
        known_as = original_names.of(folder, done.refused)
        tell_refusals(done.refused, len(part), e.data.on_bad_image, "a training lists all of them", known_as)
    if done.lacking:
        print(
            f"Of all {len(whole)} images {done.lacking} have no features yet: the other shards compute or refuse them."
        )
    else:
        print(f"All {len(whole) - len(done.refused)} images have features.")
