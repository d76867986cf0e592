"""What to do about images that cannot be used, and what is said about those of which a decoder complains."""

from pathlib import Path

from kesikaran.config.schema import OnBadImage
from kesikaran.core.errors import InputError
from kesikaran.data import original_names
from kesikaran.reports import notes
from kesikaran.tracking.open_run import Run


def tell_complaints(remarks: dict[str, str], images: Path) -> None:
    """One line about the images of the folder that are used although libjpeg complains of them (object id -> its
    words)."""
    if remarks:
        name, words = min(remarks.items())
        known_as = original_names.of(images, [name])[name]
        notes.of_data(
            f"libjpeg complains of {len(remarks)} images that are whole and used (the first: {known_as}: {words})."
        )


def settle_refusals(run: Run, reasons: dict[str, str], asked: int, policy: OnBadImage, images: Path) -> None:
    """Count, list and log the images that could not be read.

    Args:
        reasons: object id -> why.
        asked: images in all.
        images: their folder.

    Raises:
        InputError: there are some and the policy is `fail`, or none is left.
    """
    run.metrics({"data/images": asked - len(reasons), "data/refused": len(reasons)})
    if reasons:
        known_as = original_names.of(images, reasons)
        named = {name: why if known_as[name] == name else f"{known_as[name]}: {why}" for name, why in reasons.items()}
        run.json(named, "refused_images.json")
        tell_refusals(reasons, asked, policy, "refused_images.json of the run", known_as)


def tell_refusals(
    reasons: dict[str, str], asked: int, policy: OnBadImage, listed: str, known_as: dict[str, str]
) -> None:
    """Print the first of the images that could not be read. listed: where all of them are found. known_as: object id
    -> the name that is printed.

    Raises:
        InputError: as `settle_refusals`.
    """
    shown = [f"  {known_as[name]}: {why}" for name, why in list(reasons.items())[:10]]
    more = [f"  and {len(reasons) - 10} more: {listed}"] if len(reasons) > 10 else []
    notes.of_data("\n".join([f"Refused {len(reasons)} of {asked} images:", *shown, *more]))
    name, why = next((known_as[name], why) for name, why in reasons.items())
    if len(reasons) == asked:
        raise InputError(f"none of the {asked} images can be used (the first: {name}: {why}); check data.images")
    if policy is OnBadImage.fail:
        raise InputError(
            f"{len(reasons)} of {asked} images were refused (the first: {name}: {why}) and data.on_bad_image=fail; "
            "mend them, or data.on_bad_image=quarantine trains on the others"
        )
